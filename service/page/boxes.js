/** Squares around faces. */

import { make } from "./elements.js";

/** Below this share of the picture's width a box has a thin frame, so that the face is seen. */
const SMALL = 0.12;

/** Put a square around each found face of a picture of the given size, numbered where there are several. */
export function showBoxes(stage, found, width, height) {
  for (const old of stage.querySelectorAll(".box")) old.remove();
  found.forEach(({ box }, number) => {
    if (!box) return;
    const square = make("div", "box", ...(found.length > 1 ? [make("span", "number", `${number + 1}`)] : []));
    square.classList.toggle("small", box.side < SMALL * width);
    square.classList.toggle("top", box.top < 0.1 * height);
    square.style.left = `${(100 * box.left) / width}%`;
    square.style.top = `${(100 * box.top) / height}%`;
    square.style.width = `${(100 * box.side) / width}%`;
    square.style.height = `${(100 * box.side) / height}%`;
    stage.append(square);
  });
}

/** Draw each face beside its answer; in a small picture the boxes' numbers are hard to find. */
export function showThumbs(place, found, image) {
  [...place.querySelectorAll(".thumb")].forEach((canvas, number) => {
    const { left, top, side } = found[number].box;
    canvas.width = canvas.height = 96;
    canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, 96, 96);
  });
}
