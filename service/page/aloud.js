/** The camera's answers, read aloud: what has changed, and no more often than can be listened to. */

import { byId } from "./elements.js";
import { labels } from "./prediction.js";

/** Milliseconds from one announcement to the next, at least. */
const APART = 3000;

let wanted = "";
/** Runs while nothing may be said after the last words. */
let rest = null;

/** Have a screen reader say words that it has not just said, or the newest of them once it may speak again. */
export function announce(words) {
  wanted = words;
  if (rest === null) speak();
}

function speak() {
  rest = null;
  if (wanted === byId("live-said").textContent) return;
  byId("live-said").textContent = wanted;
  rest = setTimeout(speak, APART);
}

/** Have it say what the faces in a frame show, without the confidence, which each frame changes. */
export const announceFaces = (found) => announce(found.length ? labels(found) : "no face found");

/** Say nothing more, and forget what was said. */
export function hush() {
  clearTimeout(rest);
  rest = null;
  wanted = byId("live-said").textContent = "";
}
