/** Pictures from files, by choice, paste and drop. */

import { byId } from "./elements.js";
import { choice } from "./info.js";
import { makeItem } from "./item.js";
import { enqueue } from "./queue.js";

function take(files) {
  const items = [...files].map((file) => makeItem(file, choice()));
  if (!items.length) return;
  byId("answers").prepend(...items.map(({ figure }) => figure));
  enqueue(items);
  // On a phone the answers would come below the window's edge.
  const progress = byId("progress");
  if (progress.getBoundingClientRect().top > innerHeight / 2) progress.scrollIntoView({ block: "start" });
}

export function startFiles() {
  byId("files").addEventListener("change", ({ target }) => {
    take(target.files);
    target.value = "";
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    take([...clipboardData.files].filter((file) => file.type.startsWith("image/")));
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
  document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    take(event.dataTransfer.files);
  });
}
