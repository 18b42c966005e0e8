/** The access key in its box; an accepted one is kept while the tab is open. */

import { byId } from "./elements.js";

const NAME = "access-key";

/** The tab's store; undefined where the browser forbids it. */
function store() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}

/** The key in the box; none where it has what no key has, and the browser would not send. */
export const readKey = () => (/^[ -~]*$/.test(byId("key").value) ? byId("key").value : "");

export const keepKey = () => store()?.setItem(NAME, readKey());

// Before the first request, which is sent with it.
byId("key").value = store()?.getItem(NAME) ?? "";
