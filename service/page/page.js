/** The page: each part listens to its own elements. */

import { startAccess } from "./access.js";
import { startCameraButtons } from "./camera.js";
import { startCard } from "./card.js";
import { startFiles } from "./files.js";
import { startQueue } from "./queue.js";

startAccess();
startQueue();
startFiles();
startCameraButtons();
startCard();
