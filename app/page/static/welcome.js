/** Before there is a photo: how to add some, and what comes of it. */

import { button, el, icon } from "./dom.js";

/** @param {import("./app.js").App} app */
export function welcome(app) {
  if (app.isReadOnly) return el("div", { class: "card narrow empty" }, icon("photos"), el("h1", {}, "There are no photos yet"), el("p", { class: "soft" }, "Your token may only read: it cannot add any."));
  // Nothing is dropped on a phone, and few of them have folders to choose.
  const isTouched = matchMedia("(hover: none) and (pointer: coarse)").matches;
  const choices = [
    button("Choose a folder", () => app.folderPicker.click(), { kind: isTouched ? "" : "primary", symbol: "folder", "data-writes": "" }),
    button("Choose photos", () => app.picker.click(), { kind: isTouched ? "primary" : "", symbol: "photos", "data-writes": "" }),
  ];
  return el(
    "div",
    {},
    el(
      "section",
      { class: "drop", "aria-labelledby": "welcome" },
      el("span", { class: "glyph" }, icon("photos")),
      el("h1", { id: "welcome" }, isTouched ? "Choose some of your photos" : "Drop a folder of your photos here"),
      el("p", {}, "A few dozen are a good start; hundreds are better. JPEG, PNG, WebP, HEIC and TIFF."),
      el("div", { class: "row" }, ...(isTouched ? choices.reverse() : choices)),
    ),
    el(
      "ol",
      { class: "steps" },
      el("li", {}, el("h2", {}, "Add photos"), el("p", { class: "soft" }, "They stay on this service and are seen by nobody else's model.")),
      el("li", {}, el("h2", {}, "Personalise"), el("p", { class: "soft" }, "A model adapts itself to your photos. You label nothing.")),
      el("li", {}, el("h2", {}, "Compare"), el("p", { class: "soft" }, "Slide between the base model and yours. Where yours is not better, the base stays.")),
    ),
  );
}
