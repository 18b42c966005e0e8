/** Groups of pictures, each for one request. */

import { showMissing } from "./item.js";

const GROUP = 8;
const GROUP_BYTES = 8 * 2 ** 20;

/** Take those for one request from what waits: few, for early answers, and not too large together. */
export function takeGroup(waiting) {
  const group = [];
  let bytes = 0;
  while (waiting.length && group.length < GROUP) {
    const { file, choice } = waiting[0];
    bytes += file.size;
    if (group.length && (bytes > GROUP_BYTES || choice !== group[0].choice)) break;
    group.push(waiting.shift());
  }
  return group;
}

/**
 * The items of a group whose files can be read. A folder, or a file that is gone, fails the request of
 * them all as if the service were away.
 */
export async function chooseReadable(group) {
  const read = ({ file }) => file.arrayBuffer();
  const outcomes = await Promise.allSettled(group.map(read));
  return group.filter((item, index) => {
    const isReadable = outcomes[index].status === "fulfilled";
    if (!isReadable) showMissing(item, "fault", "The browser cannot read this file.", []);
    return isReadable;
  });
}
