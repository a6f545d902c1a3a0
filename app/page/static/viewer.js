/** A photo, large: overlay, legend, base against personal, confidence. */

import { announce, button, el, fill, iconButton, saveAs, toast } from "./dom.js";
import { confirmIt } from "./dialogs.js";
import { percent, quoted } from "./format.js";
import { enterPhoto, leavePhoto } from "./history.js";
import { Legend } from "./legend.js";
import { differing, paintChanges, paintConfidence, paintLabels } from "./paint.js";
import { Stage } from "./stage.js";

const PICTURE_PIXELS = 1600;
const ZOOM_STEP = 1.5;
/** Key → right, down. */
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MASK_NAMES = { base: "Base mask", personal: "Personal mask" };
const VIEWS = { classes: "Classes", changes: "Changes", confidence: "Confidence", photo: "Photo" };

export class Viewer {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.view = "classes";
    this.opacity = 0.8;
    this.order = [];
    this.shown = null;
    this.loading = new AbortController();
    this.stage = new Stage((zoom) => this.#zoomed(zoom));
    this.legend = new Legend(() => this.#paint());
    this.dialog = this.#build();
    this.stage.setOpacity(this.opacity);
    this.stage.setView(this.view);
  }

  /** Open on this photo; ← and → go through `order`. */
  open(imageId, order) {
    this.order = order;
    if (!this.dialog.isConnected) document.body.append(this.dialog);
    if (!this.dialog.open) this.dialog.showModal();
    this.#show(imageId);
  }

  /** The gallery or the model in use has changed, here or elsewhere. */
  update(order) {
    if (!this.shown) return;
    const { photo, version } = this.shown;
    const at = this.order.indexOf(photo.id);
    this.order = order;
    if (!order.includes(photo.id)) {
      const next = order[Math.min(at, order.length - 1)];
      if (next) this.#show(next);
      else this.dialog.close(); // first: what is said in a closed dialog nobody sees
      if (this.removing !== photo.id) toast(`${quoted(photo.filename)} has been deleted elsewhere.`);
    } else if (version !== this.app.activeModel?.version) this.#show(photo.id);
    else this.#number(photo);
  }

  /** The service is back: what could not be shown is asked for again. */
  retry() {
    if (this.shown?.hasFailed) this.#show(this.shown.photo.id);
  }

  /** Its session has ended. */
  stop() {
    this.dialog.close();
    this.dialog.remove();
  }

  #build() {
    this.title = el("h2", { id: "viewer-title", tabindex: -1, autofocus: true });
    this.place = el("span", { class: "soft small numbers" });
    this.changed = el("p", { class: "small soft changed" });
    this.downloads = el("div", { class: "stack" });
    const strength = el("input", { type: "range", id: "opacity", min: 0, max: 100, value: this.opacity * 100, on: { input: (event) => this.#setOpacity(event.target.value / 100) } });
    this.strength = el("div", { class: "field" }, el("label", { for: "opacity" }, "Overlay"), strength);
    this.sureness = el("div", { class: "ramp", hidden: true }, el("span", {}, "sure"), el("i", { "aria-hidden": "true" }), el("span", {}, "unsure"));
    this.meaning = el("p", { class: "small soft", hidden: true }, "What your model sees differently, in the colour of its class; white where it sees background.");
    this.previous = iconButton("Previous photo", "left", () => this.#step(-1), { class: "icon-button previous" });
    this.next = iconButton("Next photo", "right", () => this.#step(1), { class: "icon-button next" });
    this.zoomOut = iconButton("Zoom out", "minus", () => this.stage.zoomBy(1 / ZOOM_STEP), { "aria-disabled": "true" });
    this.zoomIn = iconButton("Zoom in", "plus", () => this.stage.zoomBy(ZOOM_STEP));
    this.arrows = el("span", {}, " photos  ");
    const side = el(
      "div",
      { class: "side", tabindex: 0, role: "region", "aria-label": "About this photo" },
      this.#views(),
      this.strength,
      this.sureness,
      this.meaning,
      this.changed,
      this.legend.element,
      this.downloads,
      button("Delete this photo", () => this.#remove(), { kind: "danger quiet", symbol: "trash", "data-writes": "" }),
      el("p", { class: "soft small keys" }, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), this.arrows, el("kbd", {}, "+"), " ", el("kbd", {}, "−"), " zoom  ", el("kbd", {}, "Esc"), " back"),
    );
    return el(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", on: { close: () => this.#closed(), keydown: (event) => this.#key(event) } },
      el("header", {}, this.title, this.place, el("div", { class: "row zoom" }, this.zoomOut, this.zoomIn), iconButton("Close", "close", () => this.dialog.close())),
      el("div", { class: "theatre" }, this.previous, this.stage.element, this.next),
      side,
    );
  }

  #views() {
    const choose = (event) => {
      this.#applyView(event.target.value);
      // What another view has painted would be taken for this one until its own pixels are there.
      this.stage.clear();
      this.#paint();
    };
    const option = ([value, label]) => el("label", {}, el("input", { type: "radio", name: "view", value, checked: value === this.view, on: { change: choose } }), label);
    return (this.choices = el("div", { class: "pill-group", role: "radiogroup", "aria-label": "What to show" }, ...Object.entries(VIEWS).map(option)));
  }

  #applyView(view) {
    this.view = view;
    this.stage.setView(this.view);
    this.sureness.hidden = this.view !== "confidence";
    this.meaning.hidden = this.view !== "changes";
    this.strength.hidden = this.view === "photo";
  }

  #setOpacity(share) {
    this.opacity = share;
    this.stage.setOpacity(share);
  }

  /** "base" and, where there is one, the version in use. */
  #sides() {
    const active = this.app.activeModel;
    return active ? { base: "base", personal: active.version } : { base: "base" };
  }

  async #show(imageId) {
    this.loading.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const photo = this.app.photo(imageId);
    if (!photo) return this.dialog.close();
    this.shown = { photo, version: this.app.activeModel?.version, masks: {}, isReady: false, hasFailed: false, trouble: "" };
    enterPhoto(photo.id);
    // It tells of its zoom; what is told last is heard.
    this.stage.showLoading(photo);
    this.#head(photo);
    this.legend.showLoading();
    this.changed.textContent = "";
    fill(this.downloads);
    try {
      await this.#picture(photo, signal);
      await this.#masks(photo, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.shown.hasFailed = true;
      this.stage.say(error.message, true);
      this.legend.clear();
      // The photo, or the version in use, may have been deleted elsewhere.
      if (error.status === 404 && error.code !== "mask_not_ready") this.app.lookAgain();
    }
  }

  #head(photo) {
    this.title.textContent = this.title.title = photo.filename;
    const at = this.#number(photo);
    announce(`${photo.filename}, photo ${at + 1} of ${this.order.length}`);
  }

  /** Where the photo stands in the gallery. */
  #number(photo) {
    const at = this.order.indexOf(photo.id);
    this.place.textContent = `${at + 1} of ${this.order.length}`;
    // Not `disabled`: the focus would fall out of the dialog, and the arrow keys with it.
    this.previous.setAttribute("aria-disabled", String(at <= 0));
    this.next.setAttribute("aria-disabled", String(at >= this.order.length - 1));
    return at;
  }

  async #picture(photo, signal) {
    const blob = await this.app.api.blob(`${this.app.path}/images/${photo.id}/thumbnail?size=${PICTURE_PIXELS}`, { signal });
    const bitmap = await createImageBitmap(blob);
    const size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
    if (signal.aborted) return;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(blob);
    this.shown.size = size;
    this.stage.setPhoto(this.url, `Photo ${photo.filename}`, size);
  }

  async #masks(photo, signal) {
    const sides = Object.entries(this.#sides());
    const onWait = () => !signal.aborted && this.stage.say(this.app.health.workersAreDown ? "Waiting for a worker to segment this photo …" : "Segmenting this photo …");
    const found = await Promise.allSettled(sides.map(([, model]) => this.#mask(photo, model, { signal, onWait })));
    if (signal.aborted) return;
    // One side is shown without the other; only where there is none there is nothing to show.
    const missing = sides.flatMap(([side], index) => (found[index].status === "rejected" ? [{ side, error: found[index].reason }] : []));
    if (missing.length === sides.length) throw missing[0].error;
    this.colors = await this.app.colors();
    if (signal.aborted) return;
    const masks = Object.fromEntries(sides.flatMap(([side], index) => (found[index].value ? [[side, found[index].value]] : [])));
    Object.assign(this.shown, { masks, isReady: true, trouble: missing.map(({ side, error }) => `${MASK_NAMES[side]}: ${error.message}`).join(" ") });
    this.#describe();
    await this.#paint();
  }

  async #mask(photo, model, options) {
    const { width, height } = this.shown.size;
    const document = await this.app.masks.document(photo.id, model, options);
    const labels = await this.app.masks.labels(photo.id, model, width, height);
    return { document, labels, model };
  }

  /** Both sides are there, one beside the other. */
  get #isComparing() {
    return Boolean(this.shown.masks.base && this.shown.masks.personal);
  }

  #describe() {
    const { base, personal } = this.shown.masks;
    const changes = this.choices.querySelector("[value=changes]");
    changes.disabled = !this.#isComparing;
    if (changes.disabled && this.view === "changes") {
      this.choices.querySelector("[value=classes]").checked = true;
      this.#applyView("classes");
    }
    this.legend.show(base?.document, personal?.document, this.colors);
    this.changed.textContent = this.#inWords();
    const labels = personal || this.app.activeModel ? MASK_NAMES : { base: "Mask" };
    fill(this.downloads, el("div", { class: "row" }, ...["personal", "base"].filter((side) => this.shown.masks[side]).map((side) => button(labels[side], () => this.#download(side), { kind: "small", symbol: "download" }))));
  }

  #inWords() {
    const { base, personal } = this.shown.masks;
    if (this.#isComparing) return `Your model sees ${percent(differing(base.labels, personal.labels))} of this photo differently.`;
    if (personal) return "Segmented by your model.";
    return this.app.activeModel || this.app.isReadOnly ? "Segmented by the base model." : "Segmented by the base model. Personalise to compare.";
  }

  async #paint() {
    const { shown, view } = this;
    if (!shown?.isReady) return;
    const isLate = () => this.shown !== shown || this.view !== view;
    try {
      const layers = view === "photo" ? [] : await this.#layers(view, shown);
      if (isLate()) return;
      for (const [side, rgba] of layers) this.stage.paint(side, rgba, shown.size.width, shown.size.height);
      this.stage.setComparing(this.#isComparing);
      this.stage.say(shown.trouble, true);
    } catch (error) {
      if (isLate()) return;
      this.stage.clear();
      this.stage.say(error.message, true);
    }
  }

  #layers(view, shown) {
    return Promise.all(Object.keys(shown.masks).map(async (side) => [side, await this.#layer(view, side, shown)]));
  }

  async #layer(view, side, { photo, masks, size }) {
    const { labels, model } = masks[side];
    const { only } = this.legend;
    if (view === "confidence") return paintConfidence(await this.app.masks.confidence(photo.id, model, size.width, size.height));
    if (view === "changes") return paintChanges(masks.base.labels, masks.personal.labels, this.colors, only);
    return paintLabels(labels, size.width, this.colors, only);
  }

  #step(by) {
    const next = this.order[this.order.indexOf(this.shown.photo.id) + by];
    if (next) this.#show(next);
  }

  #key(event) {
    // Inside a slider or a choice the arrows are its own.
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const move = Object.fromEntries(Object.entries(DIRECTIONS).map(([key, by]) => [key, () => this.stage.moveBy(...by)]));
    const step = { ArrowLeft: () => this.#step(-1), ArrowRight: () => this.#step(1) };
    // Of a photo that is larger than the stage the arrows show the rest.
    const keys = { ...(this.stage.isWhole ? step : move), "+": () => this.stage.zoomBy(ZOOM_STEP), "-": () => this.stage.zoomBy(1 / ZOOM_STEP), 0: () => this.stage.zoomBy(0) };
    // "+" without Shift, where it shares its key with "=".
    const act = keys[event.key === "=" ? "+" : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #zoomed(zoom) {
    this.arrows.textContent = this.stage.isWhole ? " photos  " : " move  ";
    this.zoomOut.setAttribute("aria-disabled", String(zoom <= 1));
    this.zoomIn.setAttribute("aria-disabled", String(this.stage.isLargest));
    announce(`Zoom ${percent(zoom)}`);
  }

  async #download(side) {
    const { photo, masks } = this.shown;
    try {
      const stem = photo.filename.replace(/^.*\//, "").replace(/\.[^.]+$/, "");
      saveAs(await this.app.masks.png(photo.id, masks[side].model), `${stem}-${side}.png`);
    } catch (error) {
      toast(error.message);
    }
  }

  async #remove() {
    const { photo } = this.shown;
    const sure = await confirmIt({ title: "Delete this photo?", text: `${quoted(photo.filename)} and its masks are removed for good.`, action: "Delete photo" });
    if (!sure) return;
    this.removing = photo.id;
    try {
      // The app tells by `update` that it has gone; who has moved on meanwhile stays there.
      await this.app.deletePhoto(photo.id);
    } catch (error) {
      toast(error.message);
    }
    this.removing = null;
  }

  #closed() {
    this.loading.abort();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.app.viewerClosed(this.shown?.photo.id);
    this.shown = null;
    leavePhoto();
  }
}
