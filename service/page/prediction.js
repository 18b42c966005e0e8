/** A prediction as a verdict and seven bars. */

import { make, percent } from "./elements.js";

/** Points of confidence within which the second label is named beside the first. */
const TIE = 0.05;

/** The predictions in an answer: of the picture's faces, or of the picture as a face. */
export const predictions = (answer) => answer.faces ?? [answer];

/** The label and its confidence; of an uncertain answer both labels where the second is near. */
export function verdict({ label, confidence, scores, uncertain }) {
  if (!uncertain) return `${label}, ${percent(confidence)}`;
  const [, [second, share]] = Object.entries(scores).sort(([, a], [, b]) => b - a);
  if (confidence - share > TIE) return `uncertain (perhaps ${label}), ${percent(confidence)}`;
  return `uncertain (${label} or ${second}), ${percent(confidence)} and ${percent(share)}`;
}

/** What an answer says in one line. */
export function summary(answer) {
  const found = predictions(answer);
  if (found.length === 1) return verdict(found[0]);
  return labels(found);
}

/** The labels of faces without their confidence, and how many faces there are. */
export function labels(found) {
  const [{ label, uncertain }] = found;
  if (found.length === 1) return uncertain ? `uncertain (perhaps ${label})` : label;
  const names = found.map(({ label, uncertain }) => (uncertain ? "uncertain" : label));
  return `${found.length} faces: ${names.join(", ")}`;
}

function bars({ label, scores }) {
  const list = make("dl", "bars");
  for (const [name, share] of Object.entries(scores)) {
    const fill = make("div", "fill");
    fill.style.width = `${100 * share}%`;
    const track = make("div", "track", fill);
    track.ariaHidden = "true";
    const value = make("dd", name === label ? "best" : "", track, make("span", "share", percent(share)));
    list.append(make("dt", "", name), value);
  }
  return list;
}

/** A prediction's verdict under a heading, and its bars; `name` is what leads the heading. */
export function showPrediction(prediction, ...name) {
  const { uncertain } = prediction;
  const heading = make("h2", uncertain ? "verdict unsure" : "verdict", ...name, verdict(prediction));
  const why = "with so little confidence, the model is wrong too often";
  const reason = uncertain ? [make("p", "name", why)] : [];
  return [heading, ...reason, bars(prediction)];
}
