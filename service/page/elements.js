/** Elements of the page and the words in its status line. */

export const byId = (id) => document.getElementById(id);

/** An element with a class and children: elements or text, which is never read as HTML. */
export function make(kind, className, ...children) {
  const element = document.createElement(kind);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A button that does something when it is pressed. */
export function makeButton(words, act) {
  const button = make("button", "", words);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

/** A share of one in words; the space before the sign is not broken. */
export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;

/** Say something in the status line, which is read aloud, too. */
export function say(words, isFault = false) {
  byId("status").textContent = words;
  byId("status").classList.toggle("fault", isFault);
}

/** Hide an element; the keyboard goes on at the status line, not at the top of the page. */
export function hide(element) {
  if (element.contains(document.activeElement)) byId("status").focus({ preventScroll: true });
  element.hidden = true;
}
