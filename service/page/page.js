/** The page: each part listens to its own elements. */

import { startAccess } from "./access.js";
import { startCameraButtons } from "./camera.js";
import { startCard } from "./card.js";
import { startFiles } from "./files.js";
import { startQueue } from "./queue.js";

// Set by old.js, which has told why.
if (document.documentElement.className !== "old") {
  startAccess();
  startQueue();
  startFiles();
  startCameraButtons();
  startCard();
}
