/** The upload tray: how far it is, and what became of each file. */

import { announce, arrange, button, el, fill, icon, iconButton } from "./dom.js";
import { bytes, plural } from "./format.js";

const WORDS = { waiting: "Waiting", sending: "Sending", stored: "Added", duplicate: "There already", rejected: "Not taken", failed: "Failed" };
const SHOWN = 300;
const ORDER = { failed: 0, rejected: 1, sending: 2, waiting: 3, duplicate: 4, stored: 5 };

/** Its elements stay; only their texts change, so that clicks, focus and scrolling are not lost while photos are sent. */
export class Tray {
  /** @param {HTMLElement} place @param {import("./upload.js").Upload} upload */
  constructor(place, upload) {
    this.place = place;
    this.upload = upload;
    // On a phone the list would cover the photos that it tells of.
    this.isOpen = !matchMedia("(max-width: 640px)").matches;
    this.isStopped = false;
    this.due = false;
    this.leftOut = 0;
    this.unreadable = 0;
    /** @type {WeakMap<import("./upload.js").Sending, Line>} */
    this.lines = new WeakMap();
    this.#build();
    upload.addEventListener("change", () => this.#soon());
    upload.addEventListener("done", () => announce(this.#headline()));
  }

  /** Count files of a folder that are no photos, and what could not be read at all. */
  noteLeftOut(leftOut, unreadable) {
    this.leftOut += leftOut;
    this.unreadable += unreadable;
  }

  stop() {
    this.isStopped = true;
    this.place.hidden = true;
    fill(this.place);
  }

  #build() {
    this.title = el("h2");
    this.toggleButton = button("", () => this.#toggle(), { kind: "quiet small" });
    this.closeButton = iconButton("Close the upload list", "close", () => this.#close());
    this.bar = el("div", { class: "progress", role: "progressbar", "aria-label": "Upload", "aria-valuemin": 0, "aria-valuemax": 100 }, el("i"));
    this.retryLabel = el("span");
    this.retry = el("div", { class: "row" }, button(this.retryLabel, () => this.upload.retry(), { kind: "primary small", symbol: "retry" }));
    this.leftOutNote = el("p", { class: "soft small" });
    this.unreadableNote = el("p", { class: "small" });
    this.files = el("ul", { class: "files", tabindex: 0, "aria-label": "Files" });
    this.rest = el("li", { class: "soft small" });
    fill(this.place, el("section", { class: "card", "aria-label": "Upload" }, el("div", { class: "row head" }, this.title, this.toggleButton, this.closeButton), this.bar, this.retry, this.leftOutNote, this.unreadableNote, this.files));
  }

  /** Many events of one moment make one picture. */
  #soon() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.#show();
    });
  }

  #headline() {
    const { upload } = this;
    if (upload.isBusy) return `Adding photos: ${upload.items.length - upload.count("waiting", "sending")} of ${upload.items.length}`;
    const bad = upload.countPhotos("rejected") + upload.count("failed");
    const ends = [[upload.countPhotos("stored"), "added"], [upload.countPhotos("duplicate"), "there already"], [bad, "not added"]];
    const [first = [0, "added"], ...others] = ends.filter(([count]) => count);
    return [`${plural(first[0], "photo")} ${first[1]}`, ...others.map(([count, end]) => `${count.toLocaleString("en")} ${end}`)].join(", ");
  }

  #close() {
    this.upload.clear();
    this.leftOut = 0;
    this.unreadable = 0;
    this.#show();
  }

  #show() {
    if (this.isStopped) return;
    const { upload } = this;
    this.place.hidden = !upload.items.length && !this.leftOut && !this.unreadable;
    if (this.place.hidden) return;
    this.#showHead(upload.isBusy, upload.share);
    this.#showNotes(upload.isBusy, upload.count("failed"));
    this.files.hidden = !this.isOpen;
    if (this.isOpen) this.#list();
    // A button that has done its work is gone: the focus stays in the tray.
    if (this.place.contains(document.activeElement) && document.activeElement.closest("[hidden]")) this.toggleButton.focus();
  }

  #showHead(isBusy, share) {
    setText(this.title, this.#headline());
    setText(this.toggleButton, this.isOpen ? "Hide files" : "Show files");
    this.toggleButton.setAttribute("aria-expanded", String(this.isOpen));
    this.closeButton.hidden = isBusy;
    this.bar.hidden = !isBusy;
    this.bar.style.setProperty("--done", String(share));
    this.bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  }

  #showNotes(isBusy, failed) {
    const { leftOut, unreadable } = this;
    this.retry.hidden = isBusy || !failed;
    setText(this.retryLabel, `Try ${plural(failed, "file")} again`);
    this.leftOutNote.hidden = !leftOut;
    setText(this.leftOutNote, `${plural(leftOut, "file")} of the folder ${leftOut === 1 ? "is no photo and was" : "are no photos and were"} left out.`);
    this.unreadableNote.hidden = !unreadable;
    setText(this.unreadableNote, `${unreadable === 1 ? "1 file or folder" : `${unreadable.toLocaleString("en")} files or folders`} could not be read and ${unreadable === 1 ? "was" : "were"} left out.`);
  }

  #toggle() {
    this.isOpen = !this.isOpen;
    this.#show();
  }

  #list() {
    const items = [...this.upload.items].sort((one, other) => ORDER[one.status] - ORDER[other.status]);
    const lines = items.slice(0, SHOWN).map((item) => this.#line(item));
    const rest = items.length - SHOWN;
    setText(this.rest, `and ${plural(rest, "more file")}`);
    arrange(this.files, rest > 0 ? [...lines, this.rest] : lines);
  }

  #line(item) {
    if (!this.lines.has(item)) this.lines.set(item, new Line(item));
    const line = this.lines.get(item);
    line.update();
    return line.element;
  }
}

/** One file of the list. */
class Line {
  constructor(item) {
    this.item = item;
    this.check = icon("check");
    this.word = el("span");
    this.reason = el("span", { class: "reason" });
    this.element = el("li", {}, el("span", { class: "name", title: item.path }, item.path), el("span", { class: "word" }, this.check, this.word), this.reason);
  }

  update() {
    const { status, reason } = this.item;
    this.element.dataset.status = status;
    this.check.toggleAttribute("hidden", status !== "stored");
    setText(this.word, this.#words());
    setText(this.reason, reason);
    this.reason.hidden = !reason;
  }

  #words() {
    const { status, sent, file } = this.item;
    const share = file.size ? Math.round((100 * sent) / file.size) : 0;
    if (status === "sending") return share >= 100 ? "Checking" : `${share} %`;
    return status === "waiting" ? `${WORDS.waiting} · ${bytes(file.size)}` : WORDS[status];
  }
}

/** Text that is there already is not written again: what is selected stays selected. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
