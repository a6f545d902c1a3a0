/** The upload tray: how far it is, and what became of each file. */

import { announce, button, el, fill, icon, iconButton } from "./dom.js";
import { bytes, plural } from "./format.js";

const WORDS = { waiting: "Waiting", sending: "Sending", stored: "Added", duplicate: "There already", rejected: "Not taken", failed: "Failed" };
const SHOWN = 300;
const ORDER = { failed: 0, rejected: 1, sending: 2, waiting: 3, duplicate: 4, stored: 5 };

export class Tray {
  /** @param {HTMLElement} place @param {import("./upload.js").Upload} upload */
  constructor(place, upload) {
    this.place = place;
    this.upload = upload;
    this.isOpen = true;
    this.due = false;
    this.leftOut = 0;
    this.unreadable = 0;
    upload.addEventListener("change", () => this.#soon());
    upload.addEventListener("done", () => announce(this.#headline()));
  }

  /** Count files of a folder that are no photos, and what could not be read at all. */
  noteLeftOut(leftOut, unreadable) {
    this.leftOut += leftOut;
    this.unreadable += unreadable;
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
    const through = upload.count("stored", "duplicate");
    if (upload.isBusy) return `Adding photos: ${upload.items.length - upload.count("waiting", "sending")} of ${upload.items.length}`;
    const bad = upload.count("rejected", "failed");
    return `${plural(through, "photo")} added${bad ? `, ${bad} not` : ""}`;
  }

  #close() {
    this.upload.clear();
    this.leftOut = 0;
    this.unreadable = 0;
    this.#show();
  }

  #show() {
    const { upload } = this;
    this.place.hidden = !upload.items.length && !this.leftOut && !this.unreadable;
    if (this.place.hidden) return;
    const failed = upload.count("failed");
    const hadFocus = this.place.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") : null;
    fill(
      this.place,
      el(
        "section",
        { class: "card", "aria-label": "Upload" },
        el(
          "div",
          { class: "row head" },
          el("h2", {}, this.#headline()),
          button(this.isOpen ? "Hide files" : "Show files", () => this.#toggle(), { kind: "quiet small", "aria-expanded": String(this.isOpen), "data-key": "toggle" }),
          !upload.isBusy && iconButton("Close the upload list", "close", () => this.#close(), { "data-key": "close" }),
        ),
        upload.isBusy && this.#bar(),
        failed > 0 && !upload.isBusy && el("div", { class: "row" }, button(`Try ${plural(failed, "file")} again`, () => upload.retry(), { kind: "primary small", symbol: "retry", "data-key": "retry" })),
        this.leftOut > 0 && el("p", { class: "soft small" }, `${plural(this.leftOut, "file")} of the folder ${this.leftOut === 1 ? "is no photo and was" : "are no photos and were"} left out.`),
        this.unreadable > 0 && el("p", { class: "small" }, `${this.unreadable === 1 ? "1 file or folder" : `${this.unreadable.toLocaleString("en")} files or folders`} could not be read and ${this.unreadable === 1 ? "was" : "were"} left out.`),
        this.isOpen && this.#list(),
      ),
    );
    if (hadFocus) this.place.querySelector(`[data-key=${hadFocus}]`)?.focus();
  }

  #toggle() {
    this.isOpen = !this.isOpen;
    this.#show();
  }

  #bar() {
    const done = this.upload.share;
    return el("div", { class: "progress", role: "progressbar", "aria-label": "Upload", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(done * 100), vars: { "--done": done } }, el("i"));
  }

  #list() {
    const items = [...this.upload.items].sort((one, other) => ORDER[one.status] - ORDER[other.status]);
    const rest = items.length - SHOWN;
    return el("ul", { class: "files", tabindex: 0, "aria-label": "Files" }, ...items.slice(0, SHOWN).map(line), rest > 0 && el("li", { class: "soft small" }, `and ${plural(rest, "more file")}`));
  }
}

function line(item) {
  const share = item.file.size ? Math.round((100 * item.sent) / item.file.size) : 0;
  const word = item.status === "sending" ? (share >= 100 ? "Checking" : `${share} %`) : WORDS[item.status];
  return el(
    "li",
    { data: { status: item.status } },
    el("span", { class: "name", title: item.path }, item.path),
    el("span", { class: "word" }, item.status === "stored" && icon("check"), word, item.status === "waiting" && ` · ${bytes(item.file.size)}`),
    item.reason && el("span", { class: "reason" }, item.reason),
  );
}
