/** What the service can do, as it says itself. */

import { byId } from "./elements.js";
import { send } from "./send.js";

let finds = true;

/** Ask what the service can do; throws a Fault where it does not say. */
export async function learn() {
  const { faces } = await send("info");
  finds = faces.includes("auto");
  if (finds) return;
  byId("cropped").checked = true;
  byId("cropped").disabled = true;
  byId("no-detector").hidden = false;
}

/** Settled once the service has been asked: null, or the Fault. */
export const ready = learn().then(
  () => null,
  (fault) => fault,
);

/** Whether faces are looked for (`auto`) or pictures are faces (`crop`), as the person wants it. */
export const choice = () => (byId("cropped").checked ? "crop" : "auto");

/** The same as far as the service can: without a detector pictures are always faces. */
export const possible = (wanted) => (finds ? wanted : "crop");
