/** Sends photos in small batches, a few at a time, and knows what became of each. */

import { address, errorFromText, noAnswer, userPath } from "./api.js";

const BATCH_FILES = 6;
const BATCH_BYTES = 24_000_000;
const LANES = 3;
const TRIES = 3;

/** @typedef {"waiting" | "sending" | "stored" | "duplicate" | "rejected" | "failed"} FileStatus */

/** One file on its way. `rejected` is the service's last word on it; `failed` may be tried again. */
export class Sending {
  constructor(picked) {
    this.file = picked.file;
    this.path = picked.path;
    /** @type {FileStatus} */
    this.status = "waiting";
    this.sent = 0;
    this.reason = "";
  }
}

/** Cut a list into batches of few files and few bytes. */
export function batches(items, mostFiles = BATCH_FILES, mostBytes = BATCH_BYTES) {
  const made = [];
  let size = 0;
  for (const item of items) {
    const last = made.at(-1);
    if (!last || last.length >= mostFiles || size + item.file.size > mostBytes) {
      made.push([item]);
      size = 0;
    } else last.push(item);
    size += item.file.size;
  }
  return made;
}

/** All that is being sent and has been sent since the tray was opened; says `change` whenever something has happened. */
export class Upload extends EventTarget {
  constructor(api, userId) {
    super();
    this.api = api;
    this.path = `${userPath(userId)}/images`;
    /** @type {Sending[]} */
    this.items = [];
    this.waiting = [];
    this.lanes = 0;
  }

  get isBusy() {
    return this.lanes > 0;
  }

  count(...statuses) {
    return this.items.filter((item) => statuses.includes(item.status)).length;
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
    this.#changed();
    if (!this.lanes) this.dispatchEvent(new Event("done"));
  }

  async #deliver(batch) {
    for (const item of batch) item.status = "sending";
    for (let attempt = 1; ; attempt += 1) {
      try {
        const report = await this.#post(batch);
        batch.forEach((item, index) => settle(item, report.results[index]));
        break;
      } catch (error) {
        if (attempt < TRIES && mayPass(error)) {
          await new Promise((resolve) => setTimeout(resolve, 700 * 2 ** attempt));
          continue;
        }
        for (const item of batch) Object.assign(item, { status: "failed", reason: error.message });
        break;
      }
    }
    this.#changed();
  }

  /** XMLHttpRequest, because fetch does not tell how much has been sent. */
  #post(batch) {
    const body = new FormData();
    for (const item of batch) body.append("files", item.file, item.file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", address(this.path));
      request.setRequestHeader("Authorization", `Bearer ${this.api.token}`);
      request.upload.onprogress = (event) => this.#share(batch, event.loaded);
      request.onerror = () => reject(noAnswer());
      request.onload = () => {
        if (request.status === 200) resolve(JSON.parse(request.responseText));
        else reject(this.api.noted(errorFromText(request.status, request.responseText)));
      };
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

function settle(item, result) {
  item.sent = item.file.size;
  if (!result) Object.assign(item, { status: "failed", reason: "The service did not say what became of this file." });
  else Object.assign(item, { status: result.status, reason: result.reason ?? "" });
}

const mayPass = (error) => error.status === 0 || error.status === 503 || error.status === 429;
