/** The camera, read live: the next frame is sent when the last one is answered. */

import { waitForKey } from "./access.js";
import { showBoxes } from "./boxes.js";
import { byId, make, say } from "./elements.js";
import { choice, possible, ready } from "./info.js";
import { predictions, showPrediction } from "./prediction.js";
import { pause, send } from "./send.js";

const WIDTH = 320;

/** Milliseconds after which an answer is shown as old. */
const OLD = 1000;

/** Seconds before a service is asked again that did not say when. */
const REST = 2;

/** Ends what follows the camera; null while it is off. */
let running = null;

/** The camera's picture as a JPEG file: whole where faces are looked for, else its middle square. */
function grabFrame(video, canvas, isWhole) {
  const side = Math.min(video.videoWidth, video.videoHeight);
  const [width, height] = isWhole ? [video.videoWidth, video.videoHeight] : [side, side];
  canvas.width = WIDTH;
  canvas.height = Math.round((WIDTH * height) / width);
  const left = (video.videoWidth - width) / 2;
  const top = (video.videoHeight - height) / 2;
  canvas.getContext("2d").drawImage(video, left, top, width, height, 0, 0, WIDTH, canvas.height);
  byId("stage").classList.toggle("square", !isWhole);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

/** Read frame after frame until the signal says stop. */
async function follow(signal) {
  const canvas = make("canvas");
  let last = performance.now();
  const clock = setInterval(() => showAge(performance.now() - last), OLD / 4);
  while (!signal.aborted) {
    try {
      const wanted = possible(choice());
      const body = await grabFrame(byId("video"), canvas, wanted === "auto");
      const sent = performance.now();
      const headers = { "Content-Type": "image/jpeg" };
      const answer = await send(`predict?faces=${wanted}`, { method: "POST", body, headers }, signal);
      const now = performance.now();
      showLive(predictions(answer), canvas);
      showPace(now - sent, now - last);
      last = now;
    } catch (fault) {
      if (!signal.aborted) await showTrouble(fault, signal).catch(() => {});
      last = performance.now();
    }
    await new Promise(requestAnimationFrame);
  }
  clearInterval(clock);
}

function showLive(found, { width, height }) {
  const name = (number) => (found.length > 1 ? [`face ${number + 1}: `] : []);
  const faces = found.map((prediction, number) => make("div", "face", ...showPrediction(prediction, ...name(number))));
  byId("live-answer").replaceChildren(...faces);
  showBoxes(byId("stage"), found, width, height);
  byId("live").classList.remove("old");
}

function showPace(took, apart) {
  const rate = 1000 / apart;
  const digits = rate < 0.95 ? 1 : 0;
  byId("pace").textContent = `${took.toFixed(0)} ms an answer, ${rate.toFixed(digits)} frames a second`;
}

/** Fade an answer that is no longer that of the face before the camera. */
function showAge(milliseconds) {
  if (milliseconds < OLD || !byId("live-answer").querySelector(".verdict")) return;
  byId("live").classList.add("old");
  byId("pace").textContent = `waiting for an answer, ${Math.floor(milliseconds / 1000)} s …`;
}

/** Show why a frame has no answer, and wait until another may be sent. */
async function showTrouble({ status, code, message, seconds = REST }, signal) {
  const isFaceless = code === "no_face";
  const words = isFaceless ? make("p", "verdict unsure", "no face found") : make("p", "fault", message);
  byId("live-answer").replaceChildren(words);
  byId("live").classList.remove("old");
  showBoxes(byId("stage"), [], 1, 1);
  byId("pace").textContent = "";
  if (isFaceless) return;
  if (status === 401) {
    await waitForKey(signal);
    return;
  }
  byId("pace").textContent = `asking again in ${seconds} s …`;
  await pause(seconds, signal);
}

function stopCamera() {
  running?.abort();
  running = null;
  for (const track of byId("video").srcObject?.getTracks() ?? []) track.stop();
  byId("video").srcObject = null;
  const hadKeyboard = byId("live").contains(document.activeElement);
  byId("live").hidden = true;
  byId("camera").hidden = false;
  if (hadKeyboard) byId("camera").focus();
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("The browser gives a camera to pages over https or from localhost only.");
  }
  await ready;
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => {
    stopCamera();
    say("The camera has stopped.", true);
  });
  // A mirror, unless the camera looks away from the person.
  byId("stage").classList.toggle("mirrored", track.getSettings().facingMode !== "environment");
  byId("video").srcObject = stream;
  await byId("video").play();
  byId("live-answer").replaceChildren(make("p", "name", "waiting for the first answer …"));
  byId("pace").textContent = "";
  byId("live").hidden = false;
  byId("camera").hidden = true;
  byId("stop-camera").focus({ preventScroll: true });
  byId("live").scrollIntoView({ block: "start" });
  say("");
  running = new AbortController();
  follow(running.signal);
}

/** Why there is no camera, and what a person can do. */
const REASONS = {
  NotAllowedError:
    "The browser does not allow the camera. Allow it by the sign beside the address, then press the button again.",
  NotFoundError: "No camera was found. Connect one, then press the button again.",
  NotReadableError: "The camera cannot be read. Close other programs that use it, then press the button again.",
};

export function startCameraButtons() {
  byId("stop-camera").addEventListener("click", stopCamera);
  byId("camera").addEventListener("click", async ({ target: button }) => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await startCamera();
    } catch (error) {
      stopCamera();
      say(REASONS[error.name] ?? `There is no camera: ${error.message}`, true);
    }
    button.ariaBusy = "false";
  });
}
