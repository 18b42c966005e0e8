/** The pictures that wait for an answer: sent in groups, one after another, with one count. */

import { isWaitingForKey } from "./access.js";
import { ask, pauseBusy } from "./ask.js";
import { byId, hide, say } from "./elements.js";
import { chooseReadable, takeGroup } from "./groups.js";
import { possible, ready } from "./info.js";
import { showAnswer, showMissing, showWaiting } from "./item.js";
import { unlessStopped } from "./send.js";

/** Seconds without an answer after which the time is told. */
const LONG = 5;

const waiting = [];
/** Items that await the service: they may be answered when it is asked again. */
const failed = new Set();
/** What is being worked through: its counts, the last trouble with the service, how to stop it; or null. */
let run = null;

/** Send items, after those that wait already. */
export function enqueue(items) {
  for (const item of items) {
    failed.delete(item);
    showWaiting(item);
  }
  waiting.push(...items);
  const begins = !run;
  run ??= { items: new Set(), answered: 0, trouble: "", stop: new AbortController() };
  for (const item of items) run.items.add(item);
  showProgress();
  showAgain();
  if (begins) work();
}

async function work() {
  run.since = performance.now();
  byId("working").hidden = false;
  const clock = setInterval(showTime, 1000);
  const { signal } = run.stop;
  await unlessStopped(ready, signal).catch(() => {});
  const parts = [];
  while (parts.length || waiting.length) {
    const group = parts.shift() ?? takeGroup(waiting);
    try {
      await answer(group, signal);
    } catch (fault) {
      parts.unshift(...(await divide(group, fault)));
      // What follows would only fail as well, and slowly where nothing refuses it.
      if (fault.isAway && group.every((item) => failed.has(item))) {
        for (const item of [...parts.splice(0).flat(), ...waiting.splice(0)]) fail(item, fault);
      }
      // What follows would only be refused as well.
      if (fault.seconds && (parts.length || waiting.length)) await pauseBusy(fault, signal).catch(() => {});
    }
    run.since = performance.now();
    showProgress();
  }
  clearInterval(clock);
  showEnd();
}

/** Whether there was no time left, for a whole request or for one picture in it. */
const isLate = ({ code }) => code === "deadline_exceeded";

/** Whether fewer pictures in one request may be answered: it took too long to send, is too large, or late. */
const isTooMuch = (fault) => [408, 413].includes(fault.status) || isLate(fault);

/** The parts of a group that may be answered although it was not; none once its items show why. */
async function divide(group, fault) {
  const readable = fault.isAway ? await chooseReadable(group) : group;
  if (readable.length < group.length) return readable.length ? [readable] : [];
  if (isTooMuch(fault) && group.length > 1) {
    const middle = Math.ceil(group.length / 2);
    return [group.slice(0, middle), group.slice(middle)];
  }
  for (const item of group) fail(item, fault);
  return [];
}

/** Ask for a group and show what comes back; throws a Fault that concerns all of it. */
async function answer(group, signal) {
  const form = new FormData();
  for (const { file, name } of group) form.append("images", file, name);
  const path = `predict_batch?faces=${possible(group[0].choice)}`;
  const giveUp = (fault) => group.length > 1 && isTooMuch(fault);
  const { results } = await ask(path, { method: "POST", body: form }, { signal, giveUp });
  for (const [index, result] of results.entries()) {
    const item = group[index];
    if (result.error) {
      (isLate(result.error) ? fail : refuse)(item, result.error);
      continue;
    }
    item.choice = result.faces ? "auto" : "crop";
    run.answered += 1;
    await showAnswer(item, result);
  }
}

/** Show why a picture has no answer, which stays so: it is broken, or no face is in it. */
function refuse(item, { code, message }) {
  const isFaceless = code === "no_face";
  const words = isFaceless ? "No face was found in this picture." : message;
  const readAsFace = () => {
    item.choice = "crop";
    enqueue([item]);
  };
  showMissing(item, "fault", words, isFaceless ? [["read it as one face", readAsFace]] : []);
}

/** Show why a picture was not answered, and offer to ask again unless it is of no use. */
function fail(item, { status, message }) {
  if (status === 413) {
    showMissing(item, "fault", message, []);
    return;
  }
  failed.add(item);
  run.trouble = message;
  showMissing(item, "note", message, [["ask again", () => enqueue([item])]]);
}

/** How many of the items await the service. */
const countLeft = (items) => items.filter((item) => failed.has(item)).length;

function showProgress() {
  // The line says that the service wants one.
  if (isWaitingForKey()) return;
  const items = [...run.items];
  const isDone = ({ place }) => place.ariaBusy === "false";
  if (!items.every(isDone)) say(`${items.filter(isDone).length - countLeft(items)} of ${items.length} read …`);
}

function showTime() {
  const seconds = Math.floor((performance.now() - run.since) / 1000);
  byId("elapsed").textContent = seconds < LONG || isWaitingForKey() ? "" : `still waiting, ${seconds} s`;
}

function showEnd() {
  const words = tellEnd(run);
  const isTrouble = countLeft([...run.items]) > 0;
  run = null;
  byId("elapsed").textContent = "";
  hide(byId("working"));
  showAgain();
  say(words, isTrouble);
}

/**
 * The end of a run in words: of one picture its answer, of several how many were answered. Those that await
 * the service are not called read: nothing is known about them.
 */
function tellEnd(run) {
  const { answered, trouble, stop } = run;
  const items = [...run.items];
  if (items.length === 1) return `${items[0].name}: ${items[0].said}`.replace(/[^.]$/, "$&.");
  if (stop.signal.aborted) return `Stopped; ${answered} of ${items.length} answered.`;
  const left = countLeft(items);
  const read = items.length - left;
  const missing = read - answered;
  const counts = missing ? `: ${answered} answered, ${missing} not` : "";
  const rest = left ? `; ${left} still waiting for the service. ${trouble}` : ".";
  return `${read} of ${items.length} read${counts}${rest}`;
}

/** Offer to ask again for all that failed, where the figures' own buttons would be many. */
function showAgain() {
  const button = byId("again");
  button.textContent = `ask again for ${failed.size} pictures`;
  if (failed.size > 1 && !run) button.hidden = false;
  else hide(button);
}

export function startQueue() {
  byId("stop").addEventListener("click", () => run?.stop.abort());
  byId("again").addEventListener("click", () => enqueue([...failed]));
}
