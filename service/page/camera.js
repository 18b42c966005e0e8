/** The camera, read live: the next frame is sent when the last one is answered, and not too soon. */

import { waitForKey } from "./access.js";
import { hush } from "./aloud.js";
import { byId, make, say } from "./elements.js";
import { choice, possible, ready } from "./info.js";
import { goToCamera, showAge, showFaces, showPace, showWords } from "./live.js";
import { predictions } from "./prediction.js";
import { pause, send } from "./send.js";

const WIDTH = 320;

/**
 * Milliseconds from one frame to the next, at least. A face that moves looks no more alive with more
 * than ten answers a second, which would only be a load on the service.
 */
const APART = 100;

/** The same while no face is in view: nobody may be there, and one who comes waits a moment only. */
const APART_FACELESS = 333;

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

/** The faces in a frame: none where the service finds none. */
async function findFaces(wanted, body, signal) {
  const headers = { "Content-Type": "image/jpeg" };
  try {
    return predictions(await send(`predict?faces=${wanted}`, { method: "POST", body, headers }, signal));
  } catch (fault) {
    if (fault.code === "no_face") return [];
    throw fault;
  }
}

/** Wait until the next frame may be sent, and is seen: a page in the background sends none. */
async function waitForFrame(due) {
  await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
  await new Promise(requestAnimationFrame);
}

/** Read frame after frame until the signal says stop. */
async function follow(signal) {
  const canvas = make("canvas");
  let last = performance.now();
  let isFirst = true;
  const clock = setInterval(() => showAge(performance.now() - last), 250);
  while (!signal.aborted) {
    let sent = performance.now();
    let apart = APART;
    try {
      const wanted = possible(choice());
      const body = await grabFrame(byId("video"), canvas, wanted === "auto");
      sent = performance.now();
      const found = await findFaces(wanted, body, signal);
      const now = performance.now();
      showFaces(found, canvas);
      showPace(now - sent, now - last);
      // An answer makes the page longer, which may have been too short to have the camera at its top.
      if (isFirst) goToCamera();
      isFirst = false;
      last = now;
      if (!found.length) apart = APART_FACELESS;
    } catch (fault) {
      if (!signal.aborted) await showTrouble(fault, signal).catch(() => {});
      isFirst ||= fault.status === 401;
      last = performance.now();
    }
    await waitForFrame(sent + apart);
  }
  clearInterval(clock);
}

/** Show why a frame has no answer, and wait until another may be sent. */
async function showTrouble({ status, message, seconds = REST }, signal) {
  if (status === 401) {
    showWords("waiting for the access key …");
    say(message, true);
    await waitForKey(signal);
    say("");
    return;
  }
  showWords(message, "fault");
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
  hush();
  byId("camera").hidden = false;
  if (hadKeyboard) byId("camera").focus();
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers allow the camera only on pages opened over HTTPS or from localhost.");
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
  showWords("waiting for the first answer …");
  byId("live").hidden = false;
  byId("camera").hidden = true;
  goToCamera();
  say("");
  running = new AbortController();
  follow(running.signal);
}

/** Why there is no camera, and what a person can do. */
const REASONS = {
  NotAllowedError:
    "The browser does not allow the camera. Allow it with the icon next to the address, then press the button again.",
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
