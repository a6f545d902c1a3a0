/** Masks: asked for, made where they are missing, and turned into pixels. */

import { ApiError } from "./api.js";
import { follow } from "./events.js";

const WAIT_SECONDS = 20;
const NOT_MADE = "No mask of this photo has been made yet, and a token that may only read cannot ask for one.";

/** Of several bases the one to name beside `model: "base"`; null: the service's choice. */
export const baseFor = (app, model) => (model === "base" ? (app.activeModel?.base ?? null) : null);

/** Palette colours → class ids; the mask's PNG shows each class in its own colour. */
export function idsByColor(classes) {
  return new Map(classes.map(({ id, color: [red, green, blue] }) => [(red << 16) | (green << 8) | blue, id]));
}

/** Class ids of RGBA pixels; 255 where a colour belongs to no class. */
export function labelsOf(rgba, ids) {
  const labels = new Uint8Array(rgba.length / 4);
  let lastColor = -1;
  let last = 255;
  for (let index = 0, at = 0; index < labels.length; index += 1, at += 4) {
    const color = (rgba[at] << 16) | (rgba[at + 1] << 8) | rgba[at + 2];
    if (color !== lastColor) {
      lastColor = color;
      last = ids.get(color) ?? 255;
    }
    labels[index] = last;
  }
  return labels;
}

/** One channel of grey RGBA pixels. */
function everyFourth(rgba) {
  const values = new Uint8Array(rgba.length / 4);
  for (let index = 0; index < values.length; index += 1) values[index] = rgba[index * 4];
  return values;
}

/** The masks of one gallery; each is fetched once while it is among the last few. */
export class Masks {
  /** @param {import("./app.js").App} app */
  constructor(app, mostHeld = 12) {
    this.app = app;
    this.mostHeld = mostHeld;
    /** @type {Map<string, Promise<any>>} */
    this.held = new Map();
  }

  /** What the mask says in numbers; the mask is made first where there is none. `model`: "base" or a version. */
  document(imageId, model, { signal, onWait }) {
    return this.#once(`${imageId}/${this.#query(model)}/json`, () => this.#document(imageId, model, signal, onWait));
  }

  /** The mask's class ids at this size. */
  labels(imageId, model, width, height) {
    return this.#once(`${imageId}/${this.#query(model)}/labels/${width}`, async () => {
      const rgba = await pixels(await this.png(imageId, model), width, height, { isSmooth: false });
      return labelsOf(rgba, idsByColor(await this.app.classes()));
    });
  }

  /** The confidence of each pixel, 0–255, at this size. */
  confidence(imageId, model, width, height) {
    return this.#once(`${imageId}/${this.#query(model)}/confidence/${width}`, async () => {
      const blob = await this.app.api.blob(this.#path(imageId, model, "confidence"));
      const rgba = await pixels(blob, width, height, { isSmooth: true });
      return everyFourth(rgba);
    });
  }

  png(imageId, model) {
    return this.app.api.blob(this.#path(imageId, model, "png"));
  }

  forgetAll() {
    this.held.clear();
  }

  #path = (imageId, model, format) => `${this.app.path}/images/${imageId}/mask?${this.#query(model)}&format=${format}`;

  /** Beside a personal model stands the base that it was made from, not another. */
  #query(model) {
    const base = baseFor(this.app, model);
    return `model=${model}${base ? `&base=${encodeURIComponent(base)}` : ""}`;
  }

  #once(key, make) {
    const known = this.held.get(key);
    if (known) return known;
    const made = make();
    this.held.set(key, made);
    made.catch(() => this.held.delete(key));
    // A photo has up to six entries: base and personal, each in numbers, labels and confidence.
    for (const oldest of this.held.keys()) {
      if (this.held.size <= this.mostHeld * 6) break;
      this.held.delete(oldest);
    }
    return made;
  }

  async #document(imageId, model, signal, onWait) {
    const read = () => this.app.api.get(this.#path(imageId, model, "json"), { signal });
    try {
      return await read();
    } catch (error) {
      if (error.code !== "mask_not_ready") throw error;
      if (this.app.isReadOnly) throw error.extra.job ? error : new ApiError(error.status, error.code, NOT_MADE);
    }
    onWait?.();
    await this.#make(imageId, model, signal);
    return read();
  }

  async #make(imageId, model, signal) {
    const { api, path } = this.app;
    const wish = { image_ids: [imageId], model, base: baseFor(this.app, model), adapt: "never", wait: WAIT_SECONDS };
    const ended = await follow(api, await api.post(`${path}/segmentations`, wish, { signal }), () => {}, signal);
    // Events count the photos; what became of this one is in the job itself.
    const job = ended.items ? ended : await api.get(ended.links.self, { signal });
    const item = job.items.find((each) => each.image_id === imageId);
    if (job.status !== "succeeded" || item?.status === "failed") {
      throw new Error(item?.error_reason ?? job.error_reason ?? "This photo could not be segmented.");
    }
  }
}

/** RGBA of a PNG at a size; without smoothing its colours stay as they are. */
async function pixels(blob, width, height, { isSmooth }) {
  // The canvas scales, not createImageBitmap: Firefox before 149 smooths there whatever `resizeQuality` says.
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = isSmooth;
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
}
