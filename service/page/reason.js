/** What led to a face's label, drawn on request. */

import { ask } from "./ask.js";
import { make, makeButton, say } from "./elements.js";

const SHOW = "show what led to it";

/** A button that shows where in one face of an item's file the network saw the label. */
export function offerReason({ file, name, choice }, { label }, number) {
  const button = makeButton(SHOW, async () => {
    if (button.ariaDisabled === "true") return;
    // Not `disabled`, which would take the keyboard away from it.
    button.ariaDisabled = "true";
    button.textContent = "looking …";
    part.querySelector(".fault")?.remove();
    try {
      const path = `explain?faces=${choice}&face=${number}&label=${label}`;
      const form = new FormData();
      form.append("image", file, name);
      replace(part, label, await ask(path, { method: "POST", body: form }));
    } catch (fault) {
      button.ariaDisabled = "false";
      button.textContent = SHOW;
      part.append(make("span", "fault", fault.message));
      say(fault.message, true);
    }
  });
  button.ariaLabel = `${SHOW}: ${label}, face ${number + 1} of ${name}`;
  const part = make("div", "reason", button);
  return part;
}

function replace(part, label, drawn) {
  const image = make("img", "heat");
  image.alt = `The face as the network reads it; red marks what led to ${label}.`;
  image.src = URL.createObjectURL(drawn);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  // Else the keyboard would begin again at the top of the page.
  image.tabIndex = -1;
  part.replaceChildren(image, make("div", "name", `red: what led to ${label}; a rough guide`));
  image.focus({ preventScroll: true });
}
