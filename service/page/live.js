/** What the camera's part of the page shows. */

import { announce, announceFaces } from "./aloud.js";
import { showBoxes } from "./boxes.js";
import { byId, make } from "./elements.js";
import { showPrediction } from "./prediction.js";

/** Milliseconds after which an answer is shown as old. */
const OLD = 1000;

/** Show what a frame of the given size was answered: its faces, or that there is none. */
export function showFaces(found, { width, height }) {
  const name = (number) => (found.length > 1 ? [`face ${number + 1}: `] : []);
  const faces = found.map((prediction, number) => make("div", "face", ...showPrediction(prediction, ...name(number))));
  const none = make("p", "verdict unsure", "no face found");
  byId("live-answer").replaceChildren(...(faces.length ? faces : [none]));
  showBoxes(byId("stage"), found, width, height);
  byId("live").classList.remove("old");
  announceFaces(found);
}

/** Show the milliseconds that an answer took, and of those between two answers the rate. */
export function showPace(took, apart) {
  const rate = 1000 / apart;
  const digits = rate < 0.95 ? 1 : 0;
  byId("pace").textContent = `${took.toFixed(0)} ms an answer, ${rate.toFixed(digits)} frames a second`;
}

/** Fade an answer that is no longer that of the face before the camera. */
export function showAge(milliseconds) {
  if (milliseconds < OLD || !byId("live-answer").querySelector(".verdict")) return;
  byId("live").classList.add("old");
  byId("pace").textContent = `waiting for an answer, ${Math.floor(milliseconds / 1000)} s …`;
}

/** Show words in place of an answer; those of a fault are read aloud, too. */
export function showWords(words, className = "name") {
  if (className === "fault") announce(words);
  byId("live-answer").replaceChildren(make("p", className, words));
  byId("live").classList.remove("old");
  showBoxes(byId("stage"), [], 1, 1);
  byId("pace").textContent = "";
}

/** Bring the camera into view, and the keyboard to the button that stops it. */
export function goToCamera() {
  byId("stop-camera").focus({ preventScroll: true });
  byId("live").scrollIntoView({ block: "start" });
}
