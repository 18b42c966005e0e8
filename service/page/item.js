/** A picture's figure: the picture, and the place for what is said about it. */

import { showBoxes, showThumbs } from "./boxes.js";
import { make, makeButton } from "./elements.js";
import { predictions, showPrediction, summary } from "./prediction.js";
import { offerReason } from "./reason.js";

/** A file and its figure; `choice` is how it is to be read, `said` what came of it in one line. */
export function makeItem(file, choice) {
  const name = file.name || "pasted picture";
  const image = make("img");
  const link = make("a", "", image);
  const stage = make("div", "stage", link);
  image.alt = "";
  image.src = link.href = URL.createObjectURL(file);
  image.addEventListener("error", () => link.remove());
  link.target = "_blank";
  link.title = link.ariaLabel = `open ${name} large`;
  const place = make("div", "answer");
  // Where the keyboard goes on when a button in it has done its work and is gone.
  place.tabIndex = -1;
  const figure = make("figure", "", stage, make("figcaption", "", make("div", "name", name), place));
  return { file, name, choice, said: "", figure, stage, image, place };
}

export function showWaiting({ place, stage, figure }) {
  if (place.contains(document.activeElement)) place.focus({ preventScroll: true });
  place.ariaBusy = "true";
  place.replaceChildren("waiting for the answer …");
  figure.classList.remove("many");
  showBoxes(stage, [], 1, 1);
}

/**
 * Show why there is no answer, and buttons that may help: words and what to do when they are pressed.
 *
 * @param kind "fault" where the picture is at fault, else "note".
 */
export function showMissing(item, kind, words, helps) {
  item.said = words;
  item.place.ariaBusy = "false";
  const buttons = helps.map(([name, act]) => makeButton(name, act));
  item.place.replaceChildren(make("p", kind, words), ...buttons);
}

export async function showAnswer(item, answer) {
  const { place, stage, image, figure } = item;
  const found = predictions(answer);
  const isMany = found.length > 1;
  item.said = summary(answer);
  place.ariaBusy = "false";
  figure.classList.toggle("many", isMany);
  const faces = found.map((prediction, number) => {
    const thumb = make("canvas", "thumb");
    thumb.ariaHidden = "true";
    const lead = isMany ? [thumb, `face ${number + 1}: `] : [];
    const reason = offerReason(item, prediction, number);
    return make("div", "face", ...showPrediction(prediction, ...lead), reason);
  });
  const note = answer.left_out
    ? `the ${found.length} largest faces; ${answer.left_out} more were found`
    : `${found.length} faces found; very small ones may be missed`;
  place.replaceChildren(...(isMany ? [make("p", "note", note)] : []), ...faces);
  try {
    await image.decode();
  } catch {
    return; // A picture that the browser cannot show has no place for boxes.
  }
  showBoxes(stage, found, image.naturalWidth, image.naturalHeight);
  if (isMany) showThumbs(place, found, image);
}
