/** Asking the service with patience: again where it is busy, and once it has a key. */

import { waitForKey } from "./access.js";
import { say } from "./elements.js";
import { pause, send } from "./send.js";

const TRIES = 4;

/** Wait as long as a busy service wants; other Faults are not waited for. */
export async function pauseBusy({ seconds }, signal) {
  say(`The service is busy; asking again in ${seconds} s …`);
  await pause(seconds, signal);
  say("asking again …");
}

/**
 * The answer to a request that is made again while the service is busy (429, 503) or wants a key.
 *
 * @param signal ends it when a person stops it.
 * @param giveUp whether a Fault is thrown at once although the service may only be busy.
 */
export async function ask(path, options = {}, { signal, giveUp = () => false } = {}) {
  let isRepeated = false;
  for (let left = TRIES - 1; ; isRepeated = true) {
    try {
      const answer = await send(path, options, signal);
      if (isRepeated) say("");
      return answer;
    } catch (fault) {
      if (fault.status === 401) {
        say(fault.message, true);
        await waitForKey(signal);
        say("asking again …");
      } else if (fault.seconds && left > 0 && !giveUp(fault)) {
        left -= 1;
        await pauseBusy(fault, signal);
      } else {
        throw fault;
      }
    }
  }
}
