"use strict";

const byId = (id) => document.getElementById(id);

/** An element with a class and children: elements or text, which is never read as HTML. */
function make(kind, className, ...children) {
  const element = document.createElement(kind);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

function say(words, isFault = false) {
  byId("status").textContent = words;
  byId("status").className = isFault ? "fault" : "";
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const LONGEST_PAUSE = 20;

/**
 * Ask the service, again after a while where it is busy (429, 503); throws an Error in words, with
 * the answer's status if any, for whatever goes wrong.
 */
async function ask(path, options = {}, tries = 4) {
  const key = byId("key").value;
  const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(60000) });
  } catch (error) {
    const slow = error.name === "TimeoutError";
    throw new Error(slow ? "The service took over a minute." : "The service cannot be reached.");
  }
  const isImage = response.headers.get("Content-Type") === "image/png";
  const answer = await (isImage ? response.blob() : response.json().catch(() => null));
  if (response.ok && answer) return answer;
  if ([429, 503].includes(response.status) && tries > 1) {
    const seconds = Math.min(LONGEST_PAUSE, Number(response.headers.get("Retry-After")) || 1);
    say(`The service is busy; asking again in ${seconds} s …`);
    await pause(1000 * seconds);
    return ask(path, options, tries - 1);
  }
  if (response.status === 401) byId("access").open = true;
  const words =
    response.status === 401
      ? "The service asks for a valid access key; enter it above."
      : (answer?.error?.message ?? `The service answered ${response.status}.`);
  throw Object.assign(new Error(words), { status: response.status });
}

function showPrediction(prediction) {
  const { label, confidence, scores, uncertain } = prediction;
  const words = uncertain ? `uncertain (perhaps ${label})` : label;
  const bars = make("dl", "bars");
  for (const [name, share] of Object.entries(scores)) {
    const fill = make("div", "fill");
    fill.style.width = `${100 * share}%`;
    const track = make("div", "track", fill);
    track.ariaHidden = "true";
    const value = make("dd", name === label ? "best" : "", track, make("span", "share", percent(share)));
    bars.append(make("dt", "", name), value);
  }
  return [make("p", "verdict", `${words}, ${percent(confidence)}`), bars];
}

/** A button that shows where in the file's face the network saw the label. */
function showReason(file, number, choice) {
  const button = make("button", "", "show what spoke for it");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const headers = { "Content-Type": file.type };
      const path = `explain?faces=${choice}&face=${number}`;
      const image = make("img", "heat");
      image.alt = "The face as the network reads it, partly red.";
      image.src = URL.createObjectURL(await ask(path, { method: "POST", body: file, headers }));
      // Else the keyboard would begin again at the top of the page.
      image.tabIndex = -1;
      button.replaceWith(image, make("div", "name", "red: what spoke for it"));
      image.focus({ preventScroll: true });
    } catch (error) {
      button.replaceWith(...showFault(error.message));
    }
  });
  return button;
}

/** The predictions in an answer: of the picture's faces, or of the picture as a face. */
const predictions = (answer) => answer.faces ?? [answer];

function showAnswer(file, answer) {
  const found = predictions(answer);
  return found.map((prediction, number) => {
    const name = found.length > 1 ? [make("h2", "", make("canvas", "thumb"), `face ${number + 1}`)] : [];
    return make("div", "face", ...name, ...showPrediction(prediction), showReason(file, number, answer.faces ? "auto" : "crop"));
  });
}

/** Draw each face beside its number; in a small picture the boxes' numbers cannot be read. */
function showThumbs(place, found, image) {
  [...place.querySelectorAll(".thumb")].forEach((canvas, number) => {
    const { left, top, side } = found[number].box;
    canvas.width = canvas.height = 96;
    canvas.ariaHidden = "true";
    canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, 96, 96);
  });
}

/** Squares over a picture of the given size. */
function showBoxes(stage, found, width, height) {
  for (const old of stage.querySelectorAll(".box")) old.remove();
  found.forEach(({ box }, number) => {
    if (!box) return;
    const square = make("div", "box", found.length > 1 ? `${number + 1}` : "");
    square.style.left = `${(100 * box.left) / width}%`;
    square.style.top = `${(100 * box.top) / height}%`;
    square.style.width = `${(100 * box.side) / width}%`;
    square.style.height = `${(100 * box.side) / height}%`;
    stage.append(square);
  });
}

function showFault(words) {
  return [make("p", "fault", words)];
}

/** A figure for one file and the place for its answer. */
function makeFigure(file) {
  const image = make("img");
  const stage = make("div", "stage", image);
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.addEventListener("error", () => image.remove());
  const place = make("div", "answer", "waiting for the answer …");
  place.ariaBusy = "true";
  const caption = make("figcaption", "", make("div", "name", file.name || "pasted picture"), place);
  return { file, place, stage, image, figure: make("figure", "", stage, caption) };
}

async function showResult({ file, place, stage, image, figure }, result) {
  const found = result.error ? [] : predictions(result);
  place.ariaBusy = "false";
  figure.classList.toggle("many", found.length > 1);
  if (result.error) {
    place.replaceChildren(...showFault(result.error.message));
    if (result.error.code === "no_face") place.append(offerCrop({ file, place, stage, image, figure }));
    return;
  }
  place.replaceChildren(...showAnswer(file, result));
  await image.decode().then(
    () => {
      showBoxes(stage, found, image.naturalWidth, image.naturalHeight);
      showThumbs(place, found, image);
    },
    () => {},
  );
}

/** A button that reads a picture in which no face was found as one face. */
function offerCrop(item) {
  const button = make("button", "", "read it as one face");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    const headers = { "Content-Type": item.file.type };
    const asked = ask("predict?faces=crop", { method: "POST", body: item.file, headers });
    await showResult(item, await asked.catch(({ message }) => ({ error: { message } })));
    say(`${item.file.name || "pasted picture"}: ${item.place.querySelector("p").textContent}.`);
  });
  return button;
}

const GROUP = 8;
const GROUP_BYTES = 8 * 2 ** 20;

/** Files for one request each: few, so that the first answers come early, and not too large. */
function makeGroups(work) {
  const groups = [];
  let bytes = Infinity;
  for (const item of work) {
    if (groups.at(-1)?.length === GROUP || bytes + item.file.size > GROUP_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(item);
    bytes += item.file.size;
  }
  return groups;
}

/** The results of a group; in halves where it is too much for the service. */
async function askGroup(group) {
  const form = new FormData();
  for (const { file } of group) form.append("images", file, file.name || "pasted.png");
  try {
    return (await ask(`predict_batch?faces=${faces()}`, { method: "POST", body: form })).results;
  } catch (error) {
    if (error.status !== 413) throw error;
    if (group.length === 1) return [{ error: { message: error.message } }];
    const middle = Math.ceil(group.length / 2);
    return [...(await askGroup(group.slice(0, middle))), ...(await askGroup(group.slice(middle)))];
  }
}

/** Send files in groups and show what comes back. */
async function label(files) {
  const work = [...files].map(makeFigure);
  await ready;
  byId("answers").prepend(...work.map(({ figure }) => figure));
  let done = 0;
  let fault = "";
  for (const group of makeGroups(work)) {
    say(`${done} of ${work.length} done …`);
    const trouble = await fill(group);
    if (trouble) fault = trouble;
    else done += group.length;
  }
  say(`${done} of ${work.length} done. ${fault}`.trim(), Boolean(fault));
}

/** Ask for a group and show what comes back; returns in words what went wrong with it as a whole. */
async function fill(group) {
  try {
    const results = await askGroup(group);
    await Promise.all(results.map((result, index) => showResult(group[index], result)));
    return "";
  } catch (error) {
    for (const item of group) {
      await showResult(item, { error: { message: error.message } });
      item.place.append(offerAgain(item));
    }
    return error.message;
  }
}

/** A button that asks once more for a file that never got an answer. */
function offerAgain(item) {
  const button = make("button", "", "ask again");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    const fault = await fill([item]);
    say(fault || `${item.file.name || "pasted picture"}: ${item.place.querySelector("p").textContent}.`, Boolean(fault));
  });
  return button;
}

/* Whether faces are looked for, or pictures are faces; without a detector always the latter. */

const faces = () => (byId("cropped").checked ? "crop" : "auto");

async function learn() {
  const key = byId("key").value;
  const response = await fetch("info", { headers: key ? { "X-API-Key": key } : {} }).catch(() => null);
  if (response?.status !== 200 || (await response.json()).faces.includes("auto")) return;
  byId("cropped").checked = true;
  byId("cropped").disabled = true;
  byId("no-detector").hidden = false;
}

const ready = learn();

byId("key-form").addEventListener("submit", (event) => event.preventDefault());

byId("files").addEventListener("change", (event) => {
  label(event.target.files);
  event.target.value = "";
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (files.length) label(files);
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});

document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));

document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (event.dataTransfer.files.length) label(event.dataTransfer.files);
});

/* The camera: the next frame is sent when the last one is answered. */

const WIDTH = 320;
let stream = null;

/** The camera's picture as a JPEG file: whole where faces are looked for, else its middle square. */
function grabFrame(video, canvas) {
  const whole = faces() === "auto";
  const side = Math.min(video.videoWidth, video.videoHeight);
  const [width, height] = whole ? [video.videoWidth, video.videoHeight] : [side, side];
  canvas.width = WIDTH;
  canvas.height = Math.round((WIDTH * height) / width);
  const left = (video.videoWidth - width) / 2;
  const top = (video.videoHeight - height) / 2;
  canvas.getContext("2d").drawImage(video, left, top, width, height, 0, 0, WIDTH, canvas.height);
  byId("stage").classList.toggle("square", !whole);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

async function follow(own) {
  const canvas = make("canvas");
  let last = performance.now();
  while (stream === own) {
    const body = await grabFrame(byId("video"), canvas);
    const sent = performance.now();
    try {
      const headers = { "Content-Type": "image/jpeg" };
      const answer = await ask(`predict?faces=${faces()}`, { method: "POST", body, headers }, 1);
      if (stream !== own) return;
      const found = predictions(answer);
      byId("live-answer").replaceChildren(...found.flatMap(showPrediction));
      showBoxes(byId("stage"), found, canvas.width, canvas.height);
      const now = performance.now();
      byId("pace").textContent =
        `${(now - sent).toFixed(0)} ms an answer, ${(1000 / (now - last)).toFixed(0)} frames a second`;
      last = now;
    } catch (error) {
      byId("live-answer").replaceChildren(...showFault(error.message));
      showBoxes(byId("stage"), [], 1, 1);
      await pause(500);
    }
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId("live").hidden = true;
  byId("camera").ariaPressed = "false";
  byId("camera").textContent = "use the camera";
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("The browser gives a camera to pages over https or from localhost only.");
  }
  await ready;
  const own = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  stream = own;
  byId("video").srcObject = own;
  await byId("video").play();
  byId("live").hidden = false;
  byId("camera").ariaPressed = "true";
  byId("camera").textContent = "stop the camera";
  say("");
  follow(own);
}

byId("camera").addEventListener("click", async () => {
  if (stream) {
    stopCamera();
    return;
  }
  try {
    await startCamera();
  } catch (error) {
    stopCamera();
    const denied = error.name === "NotAllowedError";
    say(denied ? "The browser does not allow the camera." : `No camera: ${error.message}`, true);
  }
});

/* The model card. */

function addRows(table, rows) {
  for (const [name, value] of rows) table.append(make("tr", "", make("th", "", name), make("td", "", value)));
}

function showCard({ model, card }) {
  const found = card.metrics?.validation ?? {};
  const table = make("table");
  addRows(table, [
    ["model", model],
    ["network", `${card.name}, ${card.parameters?.toLocaleString("en")} parameters`],
    ["trained on", card.data?.terms ?? "not told"],
    ["right on validation", found.accuracy ? `${percent(found.accuracy)} of ${found.images} faces` : "not measured"],
    ["worst expression", found.worst_class ? `${found.worst_class} (F1 ${found.worst_class_f1.toFixed(2)})` : "not measured"],
  ]);
  const answered = card.calibration;
  if (answered) {
    const words = `below ${percent(card.uncertain_below)}; of the ${percent(answered.coverage)} others `;
    const others = `${words}${percent(answered.accuracy_when_answered)} are right`;
    addRows(table, [["uncertain", answered.coverage ? others : "every answer; it is too often wrong"]]);
  }
  byId("card").replaceChildren(table, ...showRobustness(card.robustness?.accuracy ?? {}));
}

/** How often the model is right on spoilt faces, folded: the list is long on a phone. */
function showRobustness(shares) {
  const rows = Object.entries(shares).filter(([name]) => name !== "none");
  if (!rows.length) return [];
  const table = make("table");
  addRows(table, rows.map(([name, share]) => [name, percent(share)]));
  return [make("details", "", make("summary", "", "How often it is right on spoilt pictures"), table)];
}

byId("model").addEventListener("toggle", async () => {
  if (!byId("model").open) return;
  try {
    showCard(await ask("info"));
  } catch (error) {
    byId("card").replaceChildren(...showFault(error.message));
  }
});
