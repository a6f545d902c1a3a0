/** One user's page: what is known, and who shows it. */

import { userPath } from "./api.js";
import { button, el, fill, iconButton, toast } from "./dom.js";
import { follow, hasEnded } from "./events.js";
import { pickedByDrop, pickedByInput, sortOut } from "./files.js";
import { plural } from "./format.js";
import { Gallery } from "./gallery.js";
import { followHistory, photoInHistory } from "./history.js";
import { Masks } from "./masks.js";
import { AWAY } from "./health.js";
import { accountMenu } from "./menu.js";
import { Panel } from "./panel.js";
import { showExport } from "./exporting.js";
import { Tray } from "./tray.js";
import { Upload } from "./upload.js";
import { Viewer } from "./viewer.js";
import { welcome } from "./welcome.js";
import { Work } from "./work.js";

const READ_AGAIN_MILLISECONDS = 4000;
const PHOTO_TYPES = "image/*,.heic,.heif,.tif,.tiff,.zip";

export class App {
  constructor({ api, userId, isReadOnly, main, bar, health, tray, onLeave }) {
    Object.assign(this, { api, userId, isReadOnly, main, bar, health, onLeave });
    this.path = userPath(userId);
    this.stopped = new AbortController();
    this.images = [];
    this.models = [];
    /** Of what has been begun, asked for, and shown: an answer that comes after a later one is not shown. */
    this.turns = { begun: 0, asked: 0, shown: 0 };
    this.masks = new Masks(this);
    this.upload = new Upload(api, userId, health);
    this.tray = new Tray(tray, this.upload);
    this.viewer = new Viewer(this);
    this.work = new Work(this);
    this.frame = null;
    // Photos of a long upload are shown while the rest is on its way.
    this.upload.addEventListener("change", () => this.#showSoon());
    this.upload.addEventListener("done", () => this.reloadPhotos());
    health.addEventListener("change", (event) => this.#healthChanged(event.detail), { signal: this.stopped.signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.lookAgain(), { signal: this.stopped.signal });
    addEventListener("beforeunload", (event) => this.upload.isBusy && event.preventDefault(), { signal: this.stopped.signal });
    followHistory((imageId) => this.#goTo(imageId));
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(type, (event) => this.#drag(event), { signal: this.stopped.signal });
  }

  async start() {
    this.#build();
    this.gallery.showLoading();
    await this.#load();
  }

  stop() {
    this.stopped.abort();
    clearTimeout(this.again);
    clearTimeout(this.resuming);
    followHistory(() => {});
    this.gallery?.stop();
    this.viewer.stop();
    this.upload.stop();
    this.tray.stop();
    document.body.classList.remove("dragging");
  }

  // What is known ------------------------------------------------------------------------------------------------

  get activeModel() {
    return this.models.find((model) => model.active) ?? null;
  }

  /** What would be broken off now, in words; "" where nothing is on its way. */
  get underWay() {
    const left = this.upload.count("waiting", "sending");
    return left ? `${plural(left, "file")} ${left === 1 ? "is" : "are"} still on the way.` : "";
  }

  photo = (imageId) => this.images.find((image) => image.id === imageId);

  /** The classes of the base; asked for until a worker has told of them. */
  async classes() {
    const base = this.activeModel?.base;
    if (!this.known || this.known.of !== base) this.known = { of: base, ...(await this.api.get(`v1/classes${base ? `?base=${encodeURIComponent(base)}` : ""}`)) };
    return this.known.items;
  }

  /** Class id → [red, green, blue]. */
  async colors() {
    const colors = [];
    for (const { id, color } of await this.classes()) colors[id] = color;
    return colors;
  }

  async #load() {
    const turn = (this.turns.begun += 1);
    try {
      const [user] = await Promise.all([this.api.get(this.path), this.#read()]);
      if (this.stopped.signal.aborted) return;
      this.user = user;
      this.isLoaded = true;
      this.#show();
      if (this.photo(photoInHistory())) this.openPhoto(photoInHistory());
    } catch (error) {
      // Where it was begun anew meanwhile, that tells.
      if (this.stopped.signal.aborted || error.status === 401 || this.isLoaded || turn !== this.turns.begun) return;
      if (error.status === 404) return this.onLeave("This user is no longer there.");
      return this.gallery.showProblem(error.message, () => this.start());
    }
    await this.#resume();
  }

  /** What is under way; where that cannot be read now, it is asked for again. */
  async #resume(isFirst = true) {
    clearTimeout(this.resuming);
    try {
      await this.work.resume();
    } catch (error) {
      if (this.stopped.signal.aborted || error.status === 401) return;
      if (isFirst) toast(error.message);
      this.resumeLater();
    }
  }

  resumeLater() {
    clearTimeout(this.resuming);
    if (!this.stopped.signal.aborted) this.resuming = setTimeout(() => this.#resume(false), READ_AGAIN_MILLISECONDS);
  }

  /** Other tabs and programs change the same gallery: what has become of it, and what is under way by now. */
  async lookAgain() {
    if (!this.isLoaded) return;
    await this.reloadPhotos();
    await this.#resume();
  }

  /** Photos and models together: each model says what share of the photos came after it. */
  async #read() {
    const turn = (this.turns.asked += 1);
    const [images, models] = await Promise.all([this.api.all(`${this.path}/images`), this.api.all(`${this.path}/models`)]);
    if (turn < this.turns.shown) return;
    this.turns.shown = turn;
    this.images = images;
    this.models = models;
  }

  /** What cannot be read now is read a little later, again and again: photos that were added are shown in the end. */
  async reloadPhotos() {
    clearTimeout(this.again);
    if (this.stopped.signal.aborted) return;
    try {
      await this.#read();
      this.isStale = false;
      this.#show();
    } catch (error) {
      if (this.stopped.signal.aborted || error.status === 401) return;
      if (!this.isStale) toast(error.message);
      this.isStale = true;
      clearTimeout(this.again);
      this.again = setTimeout(() => this.reloadPhotos(), READ_AGAIN_MILLISECONDS);
    }
  }

  /** After an adaptation, an activation or a deletion: models, groups, and no mask of before. */
  async reloadModels() {
    await this.#read();
    this.masks.forgetAll();
    this.#show();
  }

  async deletePhoto(imageId) {
    try {
      await this.api.remove(`${this.path}/images/${imageId}`);
    } catch (error) {
      // It is gone, as it should be: another tab was faster.
      if (error.code !== "image_not_found") throw error;
    }
    this.images = this.images.filter((image) => image.id !== imageId);
    this.#show();
    // What was asked before may still speak of the photo: it is asked anew.
    if (this.turns.asked > this.turns.shown) {
      this.turns.shown = this.turns.asked += 1;
      return this.reloadPhotos();
    }
    // What the models say of newer photos has changed with it; without an answer the old share is no harm.
    this.api.all(`${this.path}/models`).then((models) => { this.models = models; this.panel.show(); }, () => {});
  }

  // What is shown ------------------------------------------------------------------------------------------------

  #build() {
    this.gallery?.stop();
    this.picker = el("input", { type: "file", multiple: true, accept: PHOTO_TYPES, hidden: true, "data-picker": "photos", on: { change: (event) => this.#picked(event.target) } });
    this.folderPicker = el("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true, "data-picker": "folder", on: { change: (event) => this.#picked(event.target) } });
    this.heading = el("h1", {}, "Photos ", el("span", { class: "numbers" }));
    this.exportButton = button("Export", () => showExport(this), { symbol: "download" });
    this.tools = el("div", { class: "tools", hidden: true }, this.heading, this.exportButton, button("Folder", () => this.folderPicker.click(), { symbol: "folder", "aria-label": "Add a folder", "data-writes": "" }), button("Add photos", () => this.picker.click(), { symbol: "plus", "data-writes": "" }));
    const grid = el("div", { class: "gallery" });
    this.gallery = new Gallery(this, grid);
    const aside = el("aside", { "aria-label": "Your model" });
    this.panel = new Panel(this, aside);
    this.layout = el("div", { class: "layout" }, el("div", {}, this.tools, grid), aside);
    fill(this.main, this.layout, el("div", { class: "drop-veil", "aria-hidden": "true" }, "Drop to add your photos"), this.picker, this.folderPicker);
    const account = iconButton("Your account", "person");
    fill(this.bar, account, accountMenu(this, account));
  }

  #show() {
    if (!this.isLoaded || this.stopped.signal.aborted) return;
    const isEmpty = !this.images.length;
    this.welcome?.remove();
    this.layout.hidden = isEmpty;
    if (isEmpty) {
      this.welcome = welcome(this);
      this.main.prepend(this.welcome);
    }
    this.tools.hidden = false;
    this.heading.lastChild.textContent = this.images.length.toLocaleString("en");
    this.gallery.show(this.images);
    this.panel.show();
    this.viewer.update(this.gallery.order);
  }

  openPhoto(imageId) {
    this.viewer.open(imageId, this.gallery.order);
  }

  /** The browser's Back and Forward; what covers the page goes first. */
  #goTo(imageId) {
    if (this.photo(imageId)) return this.openPhoto(imageId);
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  }

  viewerClosed(imageId) {
    if (imageId) this.gallery.focus(imageId);
  }

  // Adding photos ------------------------------------------------------------------------------------------------

  #picked(input) {
    this.#add(pickedByInput(input));
    input.value = "";
  }

  #add(picked) {
    if (this.stopped.signal.aborted) return;
    const { photos, leftOut, unreadable } = sortOut(picked);
    this.tray.noteLeftOut(leftOut, unreadable);
    if (!photos.length) toast(unreadable ? "No photo among these files could be read." : "There is no photo among these files.");
    this.upload.add(photos);
  }

  async #drag(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (this.isReadOnly) return;
    const isOver = event.type === "dragenter" || event.type === "dragover";
    document.body.classList.toggle("dragging", isOver || (event.type === "dragleave" && event.relatedTarget !== null));
    if (event.type !== "drop") return;
    if (!this.isLoaded) return toast("The page is not ready yet: drop your photos again in a moment.");
    this.#add(await pickedByDrop(event.dataTransfer));
  }

  #showSoon() {
    if (this.due || !this.upload.isBusy || !this.upload.count("stored")) return;
    this.due = setTimeout(() => {
      this.due = null;
      if (this.upload.isBusy && !this.stopped.signal.aborted) this.reloadPhotos();
    }, 2500);
  }

  // The rest -----------------------------------------------------------------------------------------------------

  #healthChanged({ before, state }) {
    if (this.stopped.signal.aborted) return;
    const isAway = AWAY.has(state);
    const isBack = this.wasAway && !isAway;
    this.wasAway = isAway;
    if (!this.isLoaded && !isAway && before !== "unknown") this.start();
    if (state === "ready" || isBack) {
      this.gallery?.thumbnails.retry();
      this.viewer.retry();
    }
    if (isBack) {
      this.work.forgive();
      this.lookAgain();
    }
    this.panel?.show();
  }

  /** Follow a job until its end; what the caller does with it stops with the session. */
  follow(job, onDocument) {
    return hasEnded(job) ? Promise.resolve(job) : follow(this.api, job, onDocument, this.stopped.signal);
  }
}
