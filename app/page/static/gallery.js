/** The gallery: a grid of photos, grouped as the model grouped them. */

import { arrange, button, el, fill, icon } from "./dom.js";
import { plural } from "./format.js";
import { Thumbnails } from "./thumbnails.js";

const THUMBNAIL_PIXELS = 320;
const SKELETONS = 12;

/**
 * Photos in the order in which they are shown: what is new first, then group by group, the largest group first.
 * @returns {{title: string, note: string, photos: any[]}[]}
 */
export function grouped(images) {
  const byGroup = new Map();
  for (const image of images) byGroup.set(image.group_index, [...(byGroup.get(image.group_index) ?? []), image]);
  const fresh = byGroup.get(null) ?? [];
  byGroup.delete(null);
  if (!byGroup.size) return [{ title: "", note: "", photos: fresh }];
  const groups = [...byGroup.values()]
    .sort((one, other) => other.length - one.length)
    .map((photos, index) => ({ title: `Group ${index + 1}`, note: "", photos }));
  return fresh.length ? [{ title: "New", note: "not seen by your model yet", photos: fresh }, ...groups] : groups;
}

export class Gallery {
  /** @param {import("./app.js").App} app @param {HTMLElement} place */
  constructor(app, place) {
    this.app = app;
    this.place = place;
    this.thumbnails = new Thumbnails((id, signal) => app.api.blob(`${app.path}/images/${id}/thumbnail?size=${THUMBNAIL_PIXELS}`, { signal }));
    this.order = [];
    /** @type {Map<string, HTMLElement>} the cells shown, by photo */
    this.cells = new Map();
    /** @type {Map<string, Section>} */
    this.sections = new Map();
    place.addEventListener("keydown", (event) => this.#move(event));
    place.addEventListener("click", (event) => {
      const photo = event.target.closest("[data-photo]");
      if (photo) app.openPhoto(photo.dataset.photo);
    });
  }

  showLoading() {
    fill(this.place, el("div", { class: "grid", role: "status", "aria-label": "Loading your photos" }, ...Array.from({ length: SKELETONS }, () => el("div", { class: "cell shimmer" }))));
  }

  showProblem(text, retry) {
    fill(this.place, el("div", { class: "card empty" }, icon("warn"), el("h1", {}, "Your photos cannot be shown"), el("p", { class: "soft" }, text), button("Try again", retry, { symbol: "retry" })));
  }

  show(images) {
    const focused = document.activeElement?.closest?.("[data-photo]");
    const groups = images.length ? grouped(images) : [];
    this.order = groups.flatMap((group) => group.photos.map((photo) => photo.id));
    this.#forgetAllBut(new Set(this.order));
    arrange(this.place, groups.map((group) => this.#group(group)));
    this.thumbnails.retry();
    const cells = this.#cells();
    if (cells.length && !cells.some((cell) => cell.tabIndex === 0)) cells[0].tabIndex = 0;
    // Its group may have changed, and it has gone there.
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  /** Cells of photos that are shown already stay, with their picture; these go. */
  #forgetAllBut(ids) {
    for (const [id, cell] of this.cells) {
      if (ids.has(id)) continue;
      this.thumbnails.forget(cell.querySelectorAll("img"));
      this.cells.delete(id);
    }
  }

  /** Where the keyboard is after the viewer has been closed. */
  focus(imageId) {
    const cell = this.#cells().find((each) => each.dataset.photo === imageId);
    if (cell) this.#focus(cell);
  }

  stop() {
    this.thumbnails.stop();
  }

  #group({ title, note, photos }) {
    if (!this.sections.has(title)) this.sections.set(title, new Section(title));
    const section = this.sections.get(title);
    section.count.textContent = plural(photos.length, "photo") + (note && ` · ${note}`);
    arrange(section.list, photos.map((photo) => this.#cell(photo)));
    return section.element;
  }

  #cell(photo) {
    if (!this.cells.has(photo.id)) this.cells.set(photo.id, this.#newCell(photo));
    return this.cells.get(photo.id);
  }

  #newCell(photo) {
    const image = el("img", { alt: "", decoding: "async", draggable: "false" });
    this.thumbnails.watch(image, photo.id);
    return el("li", {}, el("button", { type: "button", class: "cell", tabindex: -1, data: { photo: photo.id }, "aria-label": photo.filename, title: photo.filename }, image));
  }

  #cells = () => [...this.place.querySelectorAll("[data-photo]")];

  #focus(cell) {
    for (const each of this.place.querySelectorAll("[data-photo][tabindex='0']")) each.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }

  /** The gallery is one stop of the Tab key; inside it the arrows move. */
  #move(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const cells = this.#cells();
    const at = cells.indexOf(event.target.closest("[data-photo]"));
    if (at < 0) return;
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: cells.length - 1 }[event.key];
    const target = next === undefined ? vertical(cells, at, event.key) : cells[next];
    if (!target) return;
    event.preventDefault();
    this.#focus(target);
  }
}

/** One group: its heading and its list of cells. */
class Section {
  constructor(title) {
    this.count = el("span", { class: "soft" });
    this.list = el("ul", { class: "grid" });
    this.element = el("section", { class: "group", "aria-label": title || "Photos" }, title && el("h2", {}, title, " ", this.count), this.list);
  }
}

/** The nearest cell of the row above or below. */
function vertical(cells, at, key) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (!step) return null;
  const from = cells[at].getBoundingClientRect();
  let best = null;
  for (let index = at + step; cells[index]; index += step) {
    const box = cells[index].getBoundingClientRect();
    if (Math.abs(box.top - from.top) < 2) continue;
    if (best && Math.abs(box.top - best.top) > 2) break;
    if (!best || Math.abs(box.left - from.left) < Math.abs(best.left - from.left)) best = { top: box.top, left: box.left, cell: cells[index] };
  }
  return best?.cell;
}
