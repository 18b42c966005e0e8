/** One request to the service. */

import { readKey } from "./key.js";

const LONGEST_ANSWER = 60;
const LONGEST_PAUSE = 20;

/**
 * What went wrong, in words for people.
 *
 * `status` and `code` are the service's where it answered; `seconds` is the pause that it asks for
 * where it is busy (429, 503); `isAway` is true where it cannot be reached.
 */
export class Fault extends Error {
  constructor(words, facts = {}) {
    super(words);
    Object.assign(this, facts);
  }
}

const stopped = () => new Fault("Stopped before the answer.");

/** A promise's value, or a Fault as soon as the signal says stop. */
export function unlessStopped(promise, signal) {
  const stop = new Promise((_, reject) => {
    if (signal?.aborted) reject(stopped());
    signal?.addEventListener("abort", () => reject(stopped()), { once: true });
  });
  return Promise.race([promise, stop]);
}

export const pause = (seconds, signal) =>
  unlessStopped(new Promise((resolve) => setTimeout(resolve, 1000 * seconds)), signal);

/** The answer to one request: an object or an image; throws a Fault for whatever goes wrong. */
export async function send(path, options = {}, signal = undefined) {
  const headers = { ...options.headers, ...(readKey() ? { "X-API-Key": readKey() } : {}) };
  const limit = AbortSignal.any([AbortSignal.timeout(1000 * LONGEST_ANSWER), ...(signal ? [signal] : [])]);
  let response;
  let answer;
  try {
    response = await fetch(path, { ...options, headers, signal: limit });
    answer = await readBody(response);
  } catch (error) {
    if (signal?.aborted) throw stopped();
    if (error.name === "TimeoutError") throw new Fault("The service did not answer within a minute.");
    throw new Fault("The service cannot be reached.", { isAway: true });
  }
  if (response.ok && answer) return answer;
  throw toFault(response, answer?.error ?? {});
}

/** An image, the object in a JSON body, or null. */
async function readBody(response) {
  if (response.headers.get("Content-Type") === "image/png") return response.blob();
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function toFault({ status, headers }, { code, message }) {
  if (status === 401) return new Fault("The service asks for a valid access key; enter it above.", { status });
  const isBusy = [429, 503].includes(status);
  const seconds = isBusy ? Math.min(LONGEST_PAUSE, Number(headers.get("Retry-After")) || 1) : undefined;
  return new Fault(message ?? `The service answered ${status}.`, { status, code, seconds });
}
