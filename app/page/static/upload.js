/** Sends photos in small batches, a few at a time, and knows what became of each. */

import { ApiError, address, errorFromText, mayPass, noAnswer, userPath } from "./api.js";
import { sentName } from "./files.js";
import { AWAY } from "./health.js";

const BATCH_FILES = 6;
const BATCH_BYTES = 24_000_000;
const LANES = 3;
const TRIES = 3;
const REASONS_SHOWN = 3;
const LOOK_AGAIN_MILLISECONDS = 2500;

const ARCHIVE = /\.zip$/i;
/** Where several came to different ends, the first of these names them all. */
const ENDS = ["stored", "duplicate", "rejected"];
const SUMMED = { stored: "added", duplicate: "there already", rejected: "not taken" };
const NO_LONGER_READABLE = "This computer no longer gives this file: it was moved, changed or unplugged. Choose it again.";
const NO_PHOTOS = { stored: 0, duplicate: 0, rejected: 0 };

/** @typedef {"waiting" | "sending" | "stored" | "duplicate" | "rejected" | "failed"} FileStatus */

/** One file on its way. `rejected` is the service's last word on it; `failed` may be tried again. */
export class Sending {
  constructor(picked) {
    this.file = picked.file;
    this.path = picked.path;
    this.name = sentName(picked);
    /** @type {FileStatus} */
    this.status = "waiting";
    this.sent = 0;
    this.reason = "";
    this.isArchive = ARCHIVE.test(picked.file.name);
    /** What became of the photos in it: one, but as many as a zip holds. */
    this.photos = { ...NO_PHOTOS };
  }
}

/** Cut a list into batches of few files and few bytes; a zip is a batch of its own, because it is answered by what it holds. */
export function batches(items, mostFiles = BATCH_FILES, mostBytes = BATCH_BYTES) {
  const made = [];
  let size = 0;
  for (const item of items) {
    const last = made.at(-1);
    if (!last || item.isArchive || last[0].isArchive || last.length >= mostFiles || size + item.file.size > mostBytes) {
      made.push([item]);
      size = 0;
    } else last.push(item);
    size += item.file.size;
  }
  return made;
}

/** All that is being sent and has been sent since the tray was opened; says `change` whenever something has happened. */
export class Upload extends EventTarget {
  /** @param {import("./health.js").Health} health */
  constructor(api, userId, health) {
    super();
    this.api = api;
    this.health = health;
    this.path = `${userPath(userId)}/images`;
    /** @type {Sending[]} */
    this.items = [];
    this.waiting = [];
    this.lanes = 0;
    this.isStopped = false;
    /** @type {Set<XMLHttpRequest>} */
    this.requests = new Set();
  }

  /** Nothing more is sent, and nothing more is said. */
  stop() {
    this.isStopped = true;
    this.items = [];
    this.waiting = [];
    for (const request of this.requests) request.abort();
  }

  get isBusy() {
    return this.lanes > 0;
  }

  count(...statuses) {
    return this.items.filter((item) => statuses.includes(item.status)).length;
  }

  /** Photos that came to one of these ends, those of a zip each by itself. */
  countPhotos(...ends) {
    return this.items.reduce((sum, item) => sum + ends.reduce((count, end) => count + item.photos[end], 0), 0);
  }

  /** Bytes that are through, as a share of all. */
  get share() {
    const size = (item) => item.file.size || 1;
    const all = this.items.reduce((sum, item) => sum + size(item), 0);
    const through = (item) => (item.status === "waiting" ? 0 : item.status === "sending" ? Math.min(item.sent, size(item)) : size(item));
    return all ? this.items.reduce((sum, item) => sum + through(item), 0) / all : 0;
  }

  add(photos) {
    const added = photos.map((picked) => new Sending(picked));
    this.items.push(...added);
    this.#queue(added);
  }

  /** Send again what failed on the way. */
  retry() {
    const failed = this.items.filter((item) => item.status === "failed");
    for (const item of failed) Object.assign(item, { status: "waiting", sent: 0, reason: "" });
    this.#queue(failed);
  }

  /** Forget what is done. */
  clear() {
    this.items = this.items.filter((item) => item.status === "waiting" || item.status === "sending");
  }

  #queue(items) {
    this.waiting.push(...batches(items));
    while (this.lanes < LANES && this.waiting.length) this.#lane();
    this.#changed();
  }

  async #lane() {
    this.lanes += 1;
    for (let batch = this.waiting.shift(); batch; batch = this.waiting.shift()) await this.#deliver(batch);
    this.lanes -= 1;
    if (this.isStopped) return;
    this.#changed();
    if (!this.lanes) this.dispatchEvent(new Event("done"));
  }

  async #deliver(batch) {
    for (const item of batch) item.status = "sending";
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#settle(batch, await this.#post(batch));
        break;
      } catch (error) {
        if (this.isStopped || (error.status === 0 && (await this.#partUnreadable(batch)))) break;
        // While nothing answers, no try is used up.
        if (error.status === 0 && (await this.#wasAway())) attempt = 0;
        if (attempt < TRIES && mayPass(error)) {
          await pause(700 * 2 ** attempt);
          if (this.isStopped) break;
          continue;
        }
        // So the service says it where others of the batch were stored: that photo by photo, and it is its last word.
        if (error.code === "quota_exceeded") for (const item of batch) settle(item, [{ status: "rejected", reason: error.message }]);
        else for (const item of batch) Object.assign(item, { status: "failed", reason: error.message });
        break;
      }
    }
    if (!this.isStopped) this.#changed();
  }

  /** Whether the service does not answer at all; then this returns when it does, also in a tab that nobody looks at. */
  async #wasAway() {
    await this.health.look();
    const isAway = AWAY.has(this.health.state);
    while (!this.isStopped && AWAY.has(this.health.state)) {
      await pause(LOOK_AGAIN_MILLISECONDS);
      await this.health.look();
    }
    return isAway;
  }

  /** No request can be sent with a file that cannot be read: it fails, and the others go without it. */
  async #partUnreadable(batch) {
    const readable = await Promise.all(batch.map(({ file }) => isReadable(file)));
    if (readable.every(Boolean)) return false;
    batch.forEach((item, index) => Object.assign(item, readable[index] ? { status: "waiting", sent: 0 } : { status: "failed", reason: NO_LONGER_READABLE }));
    const rest = batch.filter((_, index) => readable[index]);
    if (rest.length) this.waiting.unshift(rest);
    return true;
  }

  #settle(batch, results) {
    if (batch.length === 1) settle(batch[0], results);
    else if (batch.length === results.length) batch.forEach((item, index) => settle(item, [results[index]]));
    else {
      // A zip by another name is among them: one by one they tell what became of each.
      for (const item of batch) Object.assign(item, { status: "waiting", sent: 0 });
      this.waiting.unshift(...batch.map((item) => [item]));
    }
  }

  /** The service's results, one by one. XMLHttpRequest, because fetch does not tell how much has been sent. */
  #post(batch) {
    const body = new FormData();
    for (const item of batch) body.append("files", item.file, item.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.requests.add(request);
      request.open("POST", address(this.path));
      request.setRequestHeader("Authorization", `Bearer ${this.api.token}`);
      request.upload.onprogress = (event) => this.#share(batch, event.loaded);
      request.onerror = request.onabort = () => reject(noAnswer());
      request.onload = () => {
        const results = request.status === 200 && resultsOf(request.responseText);
        if (results) resolve(results);
        else reject(request.status === 200 ? notTheService() : this.api.noted(errorFromText(request.status, request.responseText)));
      };
      request.onloadend = () => this.requests.delete(request);
      request.send(body);
    });
  }

  /** The files of a batch go one after the other. */
  #share(batch, loaded) {
    let left = loaded;
    for (const item of batch) {
      item.sent = Math.max(0, Math.min(item.file.size, left));
      left -= item.file.size;
    }
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

async function isReadable(file) {
  try {
    // Of a file that was gone before its size was asked for, a part is empty and can be read.
    await (file.size ? file.slice(0, 1) : file).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** @returns {any[] | null} null for what is no answer of the service */
function resultsOf(text) {
  try {
    const { results } = JSON.parse(text);
    return Array.isArray(results) ? results : null;
  } catch {
    return null;
  }
}

const notTheService = () => new ApiError(200, "unknown", "What answered is not the service. Perhaps this network wants you to sign in first.");

/** What became of a file: one result, or of a zip one for each entry. */
function settle(item, results) {
  item.sent = item.file.size;
  item.photos = { ...NO_PHOTOS };
  for (const { status } of results) item.photos[status] += 1;
  if (!results.length) Object.assign(item, { status: "failed", reason: "The service did not say what became of this file." });
  else if (results.length === 1) Object.assign(item, { status: results[0].status, reason: results[0].reason ?? "" });
  else Object.assign(item, { status: ENDS.find((end) => item.photos[end]), reason: summary(item.photos, results) });
}

/** "2 added · 1 there already · 2 not taken: The file is empty. (2)" */
export function summary(photos, results) {
  const parts = ENDS.filter((end) => photos[end]).map((end) => `${photos[end].toLocaleString("en")} ${SUMMED[end]}`);
  const reasons = new Map();
  for (const { status, reason } of results) if (status === "rejected" && reason) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const said = [...reasons].slice(0, REASONS_SHOWN).map(([reason, count]) => (count > 1 ? `${reason} (${count})` : reason));
  if (reasons.size > REASONS_SHOWN) said.push("…");
  return parts.join(" · ") + (said.length ? `: ${said.join(" ")}` : "");
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
