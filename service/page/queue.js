/** The pictures that wait for an answer: sent in groups, one after another, with one count. */

import { ask, pauseBusy } from "./ask.js";
import { byId, hide, say } from "./elements.js";
import { possible, ready } from "./info.js";
import { showAnswer, showFault, showWaiting } from "./item.js";
import { unlessStopped } from "./send.js";

const GROUP = 8;
const GROUP_BYTES = 8 * 2 ** 20;

/** Seconds without an answer after which the time is told. */
const LONG = 5;

const waiting = [];
/** Items that may be answered when they are asked again. */
const failed = new Set();
/** What is being worked through: its counts, its last fault, how to stop it; or null. */
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

/** Files for one request: few, so that the first answers come early, and not too large together. */
function takeGroup() {
  const group = [];
  let bytes = 0;
  while (waiting.length && group.length < GROUP) {
    const { file, choice } = waiting[0];
    bytes += file.size;
    if (group.length && (bytes > GROUP_BYTES || choice !== group[0].choice)) break;
    group.push(waiting.shift());
  }
  return group;
}

async function work() {
  run.since = performance.now();
  byId("working").hidden = false;
  const clock = setInterval(showTime, 1000);
  const { signal } = run.stop;
  await unlessStopped(ready, signal).catch(() => {});
  const halves = [];
  while (halves.length || waiting.length) {
    const group = halves.shift() ?? takeGroup();
    try {
      await answer(group, signal);
    } catch (fault) {
      if (isTooMuch(fault) && group.length > 1) {
        const middle = Math.ceil(group.length / 2);
        halves.unshift(group.slice(0, middle), group.slice(middle));
      } else {
        for (const item of group) fail(item, fault);
        run.trouble = fault.message;
      }
      // What follows would only be refused as well.
      if (fault.seconds && (halves.length || waiting.length)) await pauseBusy(fault, signal).catch(() => {});
    }
    run.since = performance.now();
    showProgress();
  }
  clearInterval(clock);
  showEnd();
}

/** Whether fewer pictures in one request may be answered. */
const isTooMuch = ({ status, code }) => status === 413 || code === "deadline_exceeded";

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
      refuse(item, result.error);
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
  showFault(item, words, isFaceless ? [["read it as one face", readAsFace]] : []);
}

/** Show why a picture was not answered, and offer to ask again unless it is of no use. */
function fail(item, { status, message }) {
  if (status === 413) {
    showFault(item, message, []);
    return;
  }
  failed.add(item);
  showFault(item, message, [["ask again", () => enqueue([item])]]);
}

function showProgress() {
  const done = [...run.items].filter(({ place }) => place.ariaBusy === "false").length;
  if (done < run.items.size) say(`${done} of ${run.items.size} read …`);
}

function showTime() {
  const seconds = Math.floor((performance.now() - run.since) / 1000);
  byId("elapsed").textContent = seconds < LONG ? "" : `still waiting, ${seconds} s`;
}

function showEnd() {
  const { items, answered, trouble, stop } = run;
  run = null;
  byId("elapsed").textContent = "";
  hide(byId("working"));
  showAgain();
  say(tellEnd([...items], answered, trouble, stop.signal.aborted), Boolean(trouble));
}

/** The end of a run in words: of one picture its answer, of several how many were answered. */
function tellEnd(items, answered, trouble, wasStopped) {
  if (items.length === 1) return `${items[0].name}: ${items[0].said}`.replace(/[^.]$/, "$&.");
  if (wasStopped) return `Stopped; ${answered} of ${items.length} answered.`;
  const missing = items.length - answered;
  const counts = missing ? `: ${answered} answered, ${missing} not` : "";
  return `${items.length} of ${items.length} read${counts}. ${trouble}`.trim();
}

/** Offer to ask again for all that failed, where the figures' own buttons would be many. */
function showAgain() {
  const button = byId("again");
  button.textContent = `ask again for the ${failed.size} that failed`;
  if (failed.size > 1 && !run) button.hidden = false;
  else hide(button);
}

export function startQueue() {
  byId("stop").addEventListener("click", () => run?.stop.abort());
  byId("again").addEventListener("click", () => enqueue([...failed]));
}
