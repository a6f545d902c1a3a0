/** A photo, large: overlay, legend, base against personal, confidence. */

import { announce, button, el, fill, iconButton, saveAs, toast } from "./dom.js";
import { confirmIt } from "./dialogs.js";
import { percent } from "./format.js";
import { Legend } from "./legend.js";
import { differing, paintChanges, paintConfidence, paintLabels } from "./paint.js";
import { Stage } from "./stage.js";

const PICTURE_PIXELS = 1600;
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
    this.stage = new Stage();
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

  #build() {
    this.title = el("h2", { id: "viewer-title", tabindex: -1, autofocus: true });
    this.place = el("span", { class: "soft small numbers" });
    this.changed = el("p", { class: "small soft changed" });
    this.downloads = el("div", { class: "stack" });
    const strength = el("input", { type: "range", id: "opacity", min: 0, max: 100, value: this.opacity * 100, on: { input: (event) => this.#setOpacity(event.target.value / 100) } });
    this.strength = el("div", { class: "field" }, el("label", { for: "opacity" }, "Overlay"), strength);
    this.sureness = el("div", { class: "ramp", hidden: true }, el("span", {}, "sure"), el("i", { "aria-hidden": "true" }), el("span", {}, "unsure"));
    this.previous = iconButton("Previous photo", "left", () => this.#step(-1), { class: "icon-button previous" });
    this.next = iconButton("Next photo", "right", () => this.#step(1), { class: "icon-button next" });
    const side = el(
      "div",
      { class: "side", tabindex: 0, role: "region", "aria-label": "About this photo" },
      this.#views(),
      this.strength,
      this.sureness,
      this.changed,
      this.legend.element,
      this.downloads,
      button("Delete this photo", () => this.#remove(), { kind: "danger quiet", symbol: "trash", "data-writes": "" }),
      el("p", { class: "soft small keys" }, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " photos  ", el("kbd", {}, "Esc"), " back"),
    );
    return el(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", on: { close: () => this.#closed(), keydown: (event) => this.#key(event) } },
      el("header", {}, this.title, this.place, iconButton("Close", "close", () => this.dialog.close())),
      el("div", { class: "theatre" }, this.previous, this.stage.element, this.next),
      side,
    );
  }

  #views() {
    const choose = (event) => {
      this.view = event.target.value;
      this.#applyView();
      this.#paint();
    };
    const option = ([value, label]) => el("label", {}, el("input", { type: "radio", name: "view", value, checked: value === this.view, on: { change: choose } }), label);
    return (this.choices = el("div", { class: "pill-group", role: "radiogroup", "aria-label": "What to show" }, ...Object.entries(VIEWS).map(option)));
  }

  #applyView() {
    this.stage.setView(this.view);
    this.sureness.hidden = this.view !== "confidence";
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
    this.shown = { photo, masks: {} };
    this.#head(photo);
    this.stage.showLoading(photo);
    this.legend.showLoading();
    this.changed.textContent = "";
    fill(this.downloads);
    try {
      await this.#picture(photo, signal);
      await this.#masks(photo, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.stage.say(error.message, true);
      this.legend.clear();
    }
  }

  #head(photo) {
    const at = this.order.indexOf(photo.id);
    this.title.textContent = photo.filename;
    this.place.textContent = `${at + 1} of ${this.order.length}`;
    this.previous.disabled = at <= 0;
    this.next.disabled = at >= this.order.length - 1;
    announce(`${photo.filename}, photo ${at + 1} of ${this.order.length}`);
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
    const { masks } = this.app;
    const { width, height } = this.shown.size;
    const sides = this.#sides();
    const onWait = () => !signal.aborted && this.stage.say(this.app.health.workersAreDown ? "Waiting for a worker to segment this photo …" : "Segmenting this photo …");
    await Promise.all(
      Object.entries(sides).map(async ([side, model]) => {
        const document = await masks.document(photo.id, model, { signal, onWait });
        const labels = await masks.labels(photo.id, model, width, height);
        if (!signal.aborted) this.shown.masks[side] = { document, labels, model };
      }),
    );
    this.colors = await this.app.colors();
    if (signal.aborted) return;
    this.stage.say("");
    this.#describe();
    await this.#paint();
  }

  #describe() {
    const { base, personal } = this.shown.masks;
    this.stage.setComparing(Boolean(base && personal));
    this.choices.querySelector("[value=changes]").disabled = !personal;
    this.legend.show(base?.document, personal?.document, this.colors);
    this.changed.textContent = personal ? `Your model sees ${percent(differing(base.labels, personal.labels))} of this photo differently.` : "Segmented by the base model. Personalise to compare.";
    const labels = { base: personal ? "Base mask" : "Mask", personal: "Personal mask" };
    fill(this.downloads, el("div", { class: "row" }, ...["personal", "base"].filter((side) => this.shown.masks[side]).map((side) => button(labels[side], () => this.#download(side), { kind: "small", symbol: "download" }))));
  }

  async #paint() {
    const shown = this.shown;
    if (!shown?.size || this.view === "photo") return;
    const { width, height } = shown.size;
    const view = this.view;
    for (const side of Object.keys(shown.masks)) {
      const rgba = await this.#layer(view, side, shown);
      if (this.shown !== shown || this.view !== view) return;
      this.stage.paint(side, rgba, width, height);
    }
  }

  async #layer(view, side, { photo, masks, size }) {
    const { labels, model } = masks[side];
    const { only } = this.legend;
    if (view === "confidence") return paintConfidence(await this.app.masks.confidence(photo.id, model, size.width, size.height));
    if (view === "changes" && masks.personal) return paintChanges(masks.base.labels, masks.personal.labels, this.colors, only);
    return paintLabels(labels, size.width, this.colors, only);
  }

  #step(by) {
    const next = this.order[this.order.indexOf(this.shown.photo.id) + by];
    if (next) this.#show(next);
  }

  #key(event) {
    // Inside a slider or a choice the arrows are its own.
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.#step(by);
  }

  async #download(side) {
    const { photo, masks } = this.shown;
    try {
      const stem = photo.filename.replace(/\.[^.]+$/, "");
      saveAs(await this.app.masks.png(photo.id, masks[side].model), `${stem}-${side}.png`);
    } catch (error) {
      toast(error.message);
    }
  }

  async #remove() {
    const { photo } = this.shown;
    const sure = await confirmIt({ title: "Delete this photo?", text: `“${photo.filename}” and its masks are removed for good.`, action: "Delete photo" });
    if (!sure) return;
    try {
      const at = this.order.indexOf(photo.id);
      await this.app.deletePhoto(photo.id);
      this.order = this.order.filter((id) => id !== photo.id);
      const next = this.order[Math.min(at, this.order.length - 1)];
      if (next) this.#show(next);
      else this.dialog.close();
    } catch (error) {
      toast(error.message);
    }
  }

  #closed() {
    this.loading.abort();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.app.viewerClosed(this.shown?.photo.id);
    this.shown = null;
  }
}
