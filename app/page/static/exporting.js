/** Export of all masks as one zip. */

import { ApiError } from "./api.js";
import { sheet } from "./dialogs.js";
import { button, el, fill, problem, saveAs } from "./dom.js";
import { bytes, plural } from "./format.js";

const FORMATS = {
  coco: ["COCO", "One annotations.json with run lengths, as pycocotools reads it."],
  "coco-panoptic": ["COCO panoptic", "panoptic.json and one PNG of segments per photo, as panopticapi reads them."],
  voc: ["Pascal VOC", "One palette PNG per photo, the names of the classes, a list."],
  labelstudio: ["Label Studio", "Tasks to import: the masks as brush regions to correct, and the labelling interface."],
  confidence: ["Confidence", "One grey PNG per photo: the whiter a pixel, the surer the model."],
};

export function showExport(app) {
  const { signal } = app.stopped;
  const state = el("div", { class: "stack", role: "status" });
  const buttons = Object.entries(FORMATS).map(([format, [name, text]]) =>
    el("div", { class: "format" }, el("div", {}, el("h3", {}, name), el("p", { class: "soft small" }, text)), button(`Download ${name}`, () => download(format), { kind: "small", symbol: "download" })),
  );
  const makeMasks = () => {
    dialog.close();
    app.work.makeMissingMasks();
  };
  const offer = () => app.work.isBusy ? el("p", { class: "soft small" }, "Something is under way: try again when it has ended.") : button("Make the missing masks", makeMasks, { kind: "small", symbol: "spark", "data-writes": "" });
  async function download(format) {
    fill(state, el("p", { class: "soft" }, "Preparing the zip …"));
    try {
      const response = await app.api.send("GET", `${app.path}/export?format=${format}`, { signal });
      const blob = await received(response, (count) => fill(state, el("p", { class: "soft numbers" }, `${bytes(count)} received`)));
      saveAs(blob, `personalseg-${format}.zip`);
      fill(state, el("p", {}, `Done: ${bytes(blob.size)}.`), ...leftOut(Number(response.headers.get("X-Photos-Left-Out"))));
    } catch (error) {
      // Its session has ended, and the sheet with it.
      if (signal.aborted) return;
      const isEmpty = error.code === "nothing_to_export";
      fill(state, problem(isEmpty ? "No photo has a mask yet." : error.message), isEmpty && offer());
    }
  }
  const leftOut = (count) => (count ? [el("p", { class: "hint" }, `${plural(count, "photo")} ${count === 1 ? "has" : "have"} no mask yet and ${count === 1 ? "is" : "are"} not in the zip.`), offer()] : []);
  const { dialog } = sheet("Export masks", {}, el("p", { class: "soft" }, "The masks of all photos that have one: by the model in use; where it has made none, by the base."), ...buttons, state);
}

/** The body as a blob, with a word on how much has come. */
async function received(response, onBytes) {
  const pieces = [];
  let count = 0;
  const reader = response.body.getReader();
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      count += piece.value.length;
      onBytes(count);
    }
  } catch {
    throw new ApiError(0, "broken_off", "The connection broke off, and nothing was saved. Try again.");
  }
  return new Blob(pieces, { type: "application/zip" });
}
