/** The classes of a photo: colour, name, area before and after; a click shows one class alone. */

import { el, fill } from "./dom.js";
import { className, percent, plural } from "./format.js";

const BACKGROUND = 0;

/** One row per class that either mask has, the largest first. */
export function rows(base, personal) {
  const found = new Map();
  const note = (document, side) => {
    for (const entry of document?.classes ?? []) {
      if (entry.id === BACKGROUND) continue;
      const row = found.get(entry.id) ?? { id: entry.id, name: entry.name, base: 0, personal: 0, confidence: null };
      row[side] = entry.area_share;
      row.confidence = entry.mean_confidence ?? row.confidence;
      found.set(entry.id, row);
    }
  };
  note(base, "base");
  note(personal, "personal");
  return [...found.values()].sort((one, other) => Math.max(other.base, other.personal) - Math.max(one.base, one.personal));
}

export class Legend {
  /** @param {(classId: number | null) => void} onIsolate */
  constructor(onIsolate) {
    this.onIsolate = onIsolate;
    this.only = null;
    this.element = el("div", { class: "legend" });
  }

  /** @param {number[][]} colors by class id */
  show(base, personal, colors) {
    const found = rows(base, personal);
    const comparing = Boolean(base && personal);
    if (!found.some((row) => row.id === this.only)) this.only = null;
    fill(
      this.element,
      el("div", { class: "row between" }, el("h3", {}, plural(found.length, "class").replace("classs", "classes")), comparing && el("span", { class: "soft small" }, "base → personal")),
      found.length ? el("ul", {}, ...found.map((row) => this.#row(row, comparing, colors[row.id]))) : el("p", { class: "soft small" }, "Nothing but background was found in this photo."),
      found.length > 1 && el("p", { class: "soft small" }, "Choose a class to see it alone."),
    );
  }

  showLoading() {
    fill(this.element, el("div", { class: "shimmer bar-line" }), el("div", { class: "shimmer bar-line" }));
  }

  clear() {
    fill(this.element);
  }

  #row(row, comparing, color = [128, 128, 128]) {
    const side = (name) => percent(row[name]);
    const areas = comparing ? `${side("base")} → ${side("personal")}` : side(row.personal ? "personal" : "base");
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "legend-row", "aria-pressed": String(this.only === row.id), "data-class": row.id, on: { click: () => this.#toggle(row.id) } },
        el("i", { class: "swatch", vars: { "--color": `rgb(${color.join(" ")})` } }),
        el("span", { class: "name" }, className(row.name)),
        el("span", { class: "numbers" }, areas),
        el("span", { class: "bars", "aria-hidden": "true", vars: { "--base": comparing ? row.base : 0, "--personal": comparing || row.personal ? row.personal : row.base, "--color": `rgb(${color.join(" ")})` } }, comparing && el("i", { class: "of-base" }), el("i")),
        row.confidence !== null && el("span", { class: "soft small sure" }, `${percent(row.confidence)} sure`),
      ),
    );
  }

  #toggle(classId) {
    this.only = this.only === classId ? null : classId;
    for (const each of this.element.querySelectorAll("[data-class]")) each.setAttribute("aria-pressed", String(Number(each.dataset.class) === this.only));
    this.onIsolate(this.only);
  }
}
