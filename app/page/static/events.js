/** Follows a job: server-sent events over fetch (EventSource cannot send a token), or polling where they do not come. */

import { errorOf, address, noAnswer } from "./api.js";

const ENDED = new Set(["succeeded", "refused", "failed", "cancelled"]);
const TRIES_BEFORE_POLLING = 3;
const POLL_MILLISECONDS = 1500;
const LONGEST_PAUSE = 10_000;

export const hasEnded = (job) => ENDED.has(job.status);

/** Takes text as it comes and gives events as they are complete. */
export class EventParser {
  #rest = "";

  /** @returns {{id: string | null, data: string}[]} */
  push(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(parseBlock).filter((event) => event.data !== "");
  }
}

function parseBlock(block) {
  const event = { id: null, data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === "id") event.id = value;
    if (field === "data") event.data += (event.data ? "\n" : "") + value;
  }
  return event;
}

/**
 * Give every new state of the job to `onDocument` until it has ended; a broken line is taken up again.
 * @returns {Promise<any>} the job at its end
 */
export async function follow(api, job, onDocument, signal) {
  const state = { job, seen: null, failures: 0 };
  const note = (document) => {
    state.job = document;
    onDocument(document);
  };
  while (!hasEnded(state.job)) {
    signal?.throwIfAborted();
    try {
      const streamed = state.failures < TRIES_BEFORE_POLLING && (await stream(api, state, note, signal));
      if (!streamed) note(await api.get(state.job.links.self, { signal }));
      if (!streamed && !hasEnded(state.job)) await pause(POLL_MILLISECONDS, signal);
    } catch (error) {
      // A job or a token that is gone does not come back; a service that is away does.
      if (signal?.aborted || [401, 403, 404].includes(error.status)) throw error;
      state.failures += 1;
      await pause(Math.min(LONGEST_PAUSE, 500 * 2 ** state.failures), signal);
    }
  }
  return state.job;
}

/** Read events until the stream ends; false where nothing came, so that the caller asks itself. */
async function stream(api, state, note, signal) {
  const headers = { Authorization: `Bearer ${api.token}`, Accept: "text/event-stream" };
  if (state.seen !== null) headers["Last-Event-ID"] = state.seen;
  let response;
  try {
    response = await fetch(address(state.job.links.events), { headers, signal });
  } catch (error) {
    throw signal?.aborted ? error : noAnswer();
  }
  if (response.status === 204) return false;
  if (!response.ok) throw api.noted(await errorOf(response));
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let came = false;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    for (const event of parser.push(piece.value)) {
      came = true;
      state.failures = 0;
      state.seen = event.id;
      note(JSON.parse(event.data));
    }
  }
  return came;
}

const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop);
  });
