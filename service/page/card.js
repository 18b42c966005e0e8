/** The model's card: what it is and how often it is right. */

import { ask } from "./ask.js";
import { byId, make, percent } from "./elements.js";

function tabulate(rows) {
  const table = make("table");
  for (const [name, value] of rows) table.append(make("tr", "", make("th", "", name), make("td", "", value)));
  return table;
}

function showCard({ model, card }) {
  const found = card.metrics?.validation ?? {};
  const worst = found.worst_class && `${found.worst_class} (F1 ${found.worst_class_f1.toFixed(2)})`;
  const table = tabulate([
    ["model", model],
    ["network", `${card.name}, ${card.parameters?.toLocaleString("en")} parameters`],
    ["trained on", card.data?.terms ?? "not stated"],
    ["right on validation", tellAccuracy(found)],
    ["worst expression", worst ?? "not measured"],
    ...(card.calibration ? [["uncertain", tellUncertain(card)]] : []),
  ]);
  byId("card").replaceChildren(table, ...showRobustness(card.robustness?.accuracy ?? {}));
}

/** How often it is right on the whole split, and on those faces that it has not seen in training. */
function tellAccuracy({ accuracy, images, not_in_train: unseen }) {
  if (!accuracy) return "not measured";
  const whole = `${percent(accuracy)} of ${images} faces`;
  if (!unseen) return whole;
  return `${whole}; ${percent(unseen.accuracy)} of the ${unseen.images} of them that are not also in the training data`;
}

function tellUncertain({ uncertain_below: threshold, calibration: { coverage, accuracy_when_answered: right } }) {
  if (!coverage) return "Every answer is called uncertain; the model is too often wrong.";
  return (
    `Answers below ${percent(threshold)} confidence are called uncertain. ` +
    `Of the other answers (${percent(coverage)} of faces) ${percent(right)} are right.`
  );
}

/** How often the model is right on spoilt faces, folded: the list is long on a phone. */
function showRobustness(shares) {
  const rows = Object.entries(shares).filter(([name]) => name !== "none");
  if (!rows.length) return [];
  const table = tabulate(rows.map(([name, share]) => [name, percent(share)]));
  return [make("details", "", make("summary", "", "How often it is right on degraded pictures"), table)];
}

export function startCard() {
  byId("model").addEventListener("toggle", async () => {
    if (!byId("model").open) return;
    try {
      showCard(await ask("info"));
    } catch (fault) {
      byId("card").replaceChildren(make("p", "fault", fault.message));
    }
  });
}
