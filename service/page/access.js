/** Waiting until the service accepts an access key. */

import { byId } from "./elements.js";
import { learn, ready } from "./info.js";
import { keepKey } from "./key.js";
import { unlessStopped } from "./send.js";

let accepted = null;
let waiters = 0;

/** Whether anything waits for a key. */
export const isWaitingForKey = () => waiters > 0;

/** Settled once the service accepts a key; leads to the box for it. Throws a Fault when stopped. */
export async function waitForKey(signal) {
  byId("access").open = true;
  byId("key").focus({ preventScroll: true });
  // At the top, so that on a phone the reason in the status line below is seen as well.
  byId("access").scrollIntoView({ block: "start" });
  accepted ??= Promise.withResolvers();
  waiters += 1;
  try {
    await unlessStopped(accepted.promise, signal);
  } finally {
    waiters -= 1;
  }
}

function tell(words, isFault = false) {
  byId("key-said").textContent = words;
  byId("key-said").classList.toggle("fault", isFault);
}

/** Try the key in the box; what waits for one then goes on. */
async function tryKey() {
  tell("asking the service …");
  try {
    await learn();
  } catch (fault) {
    tell(fault.status === 401 ? "key not accepted" : fault.message, true);
    return;
  }
  tell("key accepted");
  keepKey();
  accepted?.resolve();
  accepted = null;
}

/** Take keys from the form, which is opened where the service wants one. */
export function startAccess() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tryKey();
  });
  byId("key").addEventListener("input", () => tell(""));
  ready.then((fault) => {
    if (fault?.status === 401) byId("access").open = true;
  });
}
