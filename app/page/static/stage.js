/** The picture of the viewer: the photo, over it base and personal, parted by a slider. */

import { el, fill } from "./dom.js";

/** A frame narrower or lower than this has its labels beside or below it: on it they would hide the photo, or change sides. */
const ROOM_FOR_LABELS = { width: 240, height: 90 };
const MOST_ZOOM = 8;
/** Of the room that is seen. */
const MOVE_SHARE = 0.2;

export class Stage {
  /** @param {(zoom: number) => void} [onZoom] told of every change; 1 = the whole photo */
  constructor(onZoom = () => {}) {
    this.onZoom = onZoom;
    this.zoom = 1;
    this.photo = el("img", { alt: "", draggable: "false" });
    this.base = el("canvas", { class: "layer", "data-layer": "base" });
    this.personal = el("canvas", { class: "layer", "data-layer": "personal" });
    this.slider = el("input", { type: "range", class: "wipe", min: 0, max: 100, step: 1, value: 50, "aria-label": "Compare: base on the left, personal on the right", on: { input: () => this.#wipe() } });
    this.line = el("div", { class: "wipe-line", "aria-hidden": "true" }, el("i", {}, "‹ ›"));
    this.tags = el("div", { class: "tags", "aria-hidden": "true" }, el("span", {}, "Base"), el("span", {}, "Personal"));
    this.frame = el("div", { class: "frame" }, this.photo, this.base, this.personal, this.tags, this.line, this.slider);
    this.note = el("div", { class: "stage-note", role: "status" });
    this.element = el("div", { class: "stage" }, this.frame, this.note);
    // Two fingers on a touchpad come as a wheel with Ctrl; the browser would enlarge the whole page.
    this.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.size = { width: 4, height: 3 };
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.element);
    this.#wipe();
  }

  /** Show this photo, without any overlay yet. */
  setPhoto(url, alt, { width, height }) {
    this.size = { width, height };
    this.photo.src = url;
    this.photo.alt = alt;
    this.frame.classList.remove("loading");
    this.clear();
    this.#fit();
  }

  showLoading({ width, height }) {
    this.size = { width, height };
    this.zoomBy(1 / this.zoom);
    this.photo.removeAttribute("src");
    this.photo.alt = "";
    this.frame.classList.add("loading");
    this.clear();
    this.say("");
    this.#fit();
  }

  clear() {
    for (const canvas of [this.base, this.personal]) canvas.width = canvas.height = 0;
    this.setComparing(false);
  }

  /** @param {"base" | "personal"} layer @param {Uint8ClampedArray} rgba */
  paint(layer, rgba, width, height) {
    const canvas = this[layer];
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  }

  /** With two layers the slider parts them; with one it is away. */
  setComparing(isComparing) {
    this.frame.classList.toggle("comparing", isComparing);
    this.slider.hidden = this.line.hidden = this.tags.hidden = !isComparing;
  }

  setOpacity(share) {
    this.frame.style.setProperty("--opacity", String(share));
  }

  /** @param {"classes" | "changes" | "confidence" | "photo"} view */
  setView(view) {
    this.frame.dataset.view = view;
  }

  /** A word over the picture: it is being segmented, or why it cannot be. */
  say(text, isProblem = false) {
    if (this.note.textContent === text) return;
    this.note.classList.toggle("bad", isProblem);
    fill(this.note, text && el("span", {}, text));
  }

  get isWhole() {
    return this.zoom <= 1;
  }

  /** Show more of a photo that is larger than the room: a part of it to the right or (-1) left, down or up. */
  moveBy(right, down) {
    const { element } = this;
    element.scrollBy(right * element.clientWidth * MOVE_SHARE, down * element.clientHeight * MOVE_SHARE);
  }

  get isLargest() {
    return this.zoom >= MOST_ZOOM;
  }

  /** Larger or smaller, never smaller than the whole; what is under `point`, or in the middle, stays there. @param {{clientX: number, clientY: number}} [point] */
  zoomBy(factor, point) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    if (zoom === this.zoom) return;
    const { element, frame } = this;
    const room = element.getBoundingClientRect();
    const [x, y] = point ? [point.clientX - room.left, point.clientY - room.top] : [room.width / 2, room.height / 2];
    const across = (element.scrollLeft + x - frame.offsetLeft) / frame.offsetWidth;
    const down = (element.scrollTop + y - frame.offsetTop) / frame.offsetHeight;
    this.zoom = zoom;
    element.classList.toggle("zoomed", zoom > 1);
    this.#fit();
    element.scrollTo(frame.offsetLeft + across * frame.offsetWidth - x, frame.offsetTop + down * frame.offsetHeight - y);
    this.onZoom(zoom);
  }

  #wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 200), event);
  }

  #wipe() {
    const value = Number(this.slider.value);
    this.frame.style.setProperty("--wipe", `${value}%`);
    this.slider.setAttribute("aria-valuetext", value === 0 ? "Personal only" : value === 100 ? "Base only" : `${value} % base, ${100 - value} % personal`);
  }

  /** The largest frame of the photo's shape that fits, or as many times that as is zoomed. */
  #fit() {
    const room = this.element.getBoundingClientRect();
    const scale = Math.min(room.width / this.size.width, room.height / this.size.height);
    if (!Number.isFinite(scale) || scale <= 0) return;
    const [width, height] = [this.size.width, this.size.height].map((side) => Math.floor(side * scale * this.zoom));
    Object.assign(this.frame.style, { width: `${width}px`, height: `${height}px` });
    this.frame.classList.toggle("slim", width < ROOM_FOR_LABELS.width);
    this.frame.classList.toggle("flat", width >= ROOM_FOR_LABELS.width && height < ROOM_FOR_LABELS.height);
  }
}
