/** Export of all masks as one zip. */

import { sheet } from "./dialogs.js";
import { button, el, fill, problem, saveAs } from "./dom.js";
import { bytes } from "./format.js";

const FORMATS = {
  coco: ["COCO", "One annotations.json with run lengths, as pycocotools reads it."],
  "coco-panoptic": ["COCO panoptic", "panoptic.json and one PNG of segments per photo, as panopticapi reads them."],
  voc: ["Pascal VOC", "One palette PNG per photo, the names of the classes, a list."],
  labelstudio: ["Label Studio", "Tasks to import: the masks as brush regions to correct, and the labelling interface."],
  confidence: ["Confidence", "One grey PNG per photo: the whiter a pixel, the surer the model."],
};

export function showExport(app) {
  const state = el("div", { role: "status" });
  const buttons = Object.entries(FORMATS).map(([format, [name, text]]) =>
    el("div", { class: "format" }, el("div", {}, el("h3", {}, name), el("p", { class: "soft small" }, text)), button(`Download ${name}`, () => download(format), { kind: "small", symbol: "download" })),
  );
  async function download(format) {
    fill(state, el("p", { class: "soft" }, "Preparing the zip …"));
    try {
      const response = await app.api.send("GET", `${app.path}/export?format=${format}`);
      const blob = await received(response, (count) => fill(state, el("p", { class: "soft numbers" }, `${bytes(count)} received`)));
      saveAs(blob, `personalseg-${format}.zip`);
      fill(state, el("p", {}, `Done: ${bytes(blob.size)}.`));
    } catch (error) {
      fill(state, problem(error.code === "nothing_to_export" ? "No photo has a mask yet. Personalise, or open a photo, first." : error.message));
    }
  }
  sheet("Export masks", {}, el("p", { class: "soft" }, "The masks of all photos, by the model in use; where it has made none, the base's."), ...buttons, state);
}

/** The body as a blob, with a word on how much has come. */
async function received(response, onBytes) {
  const pieces = [];
  let count = 0;
  const reader = response.body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    pieces.push(piece.value);
    count += piece.value.length;
    onBytes(count);
  }
  return new Blob(pieces, { type: "application/zip" });
}
