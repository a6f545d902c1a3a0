/** The sheet of models: versions, verdict in words, before and after by class and by photo. */

import { confirmIt, sheet } from "./dialogs.js";
import { button, el, fill, toast } from "./dom.js";
import { bytes, className, date, percent, sentence } from "./format.js";
import { Thumbnails } from "./thumbnails.js";

const PHOTOS_SHOWN = 12;

/** False for the base's weights with photos shown to them otherwise: figures of a verdict are then those of a training that was not kept. */
export const isTrained = (report) => report.verdict?.code !== "appearance_only";

/** Open the sheet on the version in use. */
export function showModels(app) {
  const thumbnails = new Thumbnails((id, signal) => app.api.blob(`${app.path}/images/${id}/thumbnail?size=320`, { signal }));
  const { dialog, inside } = sheet("Your models", { large: true, onClose: () => thumbnails.stop() });
  let chosen = app.activeModel?.version ?? app.models[0]?.version;
  const choose = (version) => {
    const isThere = app.models.some((model) => model.version === version);
    chosen = version;
    if (!showLeft()) return;
    if (!isThere) toast(`Version ${version} has been deleted elsewhere.`);
    focusChosen();
  };
  // The button that was pressed has gone: without this the focus would be nowhere.
  const focusChosen = () => inside.querySelector(`[data-version="${chosen}"]`)?.focus();
  const act = async (step) => {
    try {
      await step().catch(async (error) => {
        if (error.status !== 404) throw error;
        toast(`Version ${chosen} has been deleted elsewhere.`);
      });
      await app.reloadModels();
      if (showLeft()) focusChosen();
    } catch (error) {
      toast(error.message);
    }
  };
  /** Show the chosen version, or the first where that is gone; false where there is none left. */
  const showLeft = () => {
    if (!app.models.length) dialog.close();
    else {
      if (!app.models.some((model) => model.version === chosen)) chosen = app.models[0].version;
      show();
    }
    return app.models.length > 0;
  };
  const open = (imageId) => {
    dialog.close();
    app.openPhoto(imageId);
  };
  const show = () => {
    const model = app.models.find((each) => each.version === chosen);
    thumbnails.forget(inside.querySelectorAll("img"));
    fill(inside, versions(app.models, chosen, choose), heading(app, model, act), classTable(model.report.classes), photos(app, model.report.photos_compared, thumbnails, open));
  };
  show();
}

function versions(models, chosen, choose) {
  const entry = (model) =>
    el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "version", "aria-pressed": String(model.version === chosen), "data-version": model.version, on: { click: () => choose(model.version) } },
        el("b", {}, `Version ${model.version}`),
        model.active && el("span", { class: "badge good" }, "In use"),
        el("span", { class: "soft small" }, date(model.created_at)),
      ),
    );
  return el("ul", { class: "versions", "aria-label": "Versions" }, ...models.map(entry));
}

function heading(app, model, act) {
  const { verdict, photos, photos_learned_from: learned } = model.report;
  const activate = () => act(() => app.api.post(`${app.path}/models/${model.version}/activate`));
  const remove = async () => {
    const text = model.active ? "It is in use: your photos go back to the base model. Its masks are removed too." : "Its masks are removed too.";
    if (await confirmIt({ title: `Delete version ${model.version}?`, text, action: "Delete version" })) await act(() => app.api.remove(`${app.path}/models/${model.version}`));
  };
  return el(
    "div",
    { class: "stack" },
    verdict?.sentence && el("p", { class: "lead" }, sentence(verdict.sentence)),
    el("p", { class: "soft small" }, [learned !== undefined && isTrained(model.report) && `Learned from ${learned} of ${photos} photos`, bytes(model.byte_size), `base ${model.base}`].filter(Boolean).join(" · ")),
    el("div", { class: "row" }, !model.active && button(`Use version ${model.version}`, activate, { kind: "primary small", "data-writes": "" }), button("Delete", remove, { kind: "danger small", symbol: "trash", "data-writes": "" })),
  );
}

function classTable(classes) {
  if (!classes?.length) return el("p", { class: "soft" }, "This model shows your photos to the base in another light; it has trained nothing, so there is nothing to compare by class.");
  const change = (before, after) => `${percent(before)} → ${percent(after)}`;
  const row = (entry) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, className(entry.name)),
      el("td", { class: "numbers", data: { label: "Area" } }, change(entry.area_before, entry.area_after)),
      el("td", { class: "numbers", data: { label: "Agreement with the mirrored photo" } }, change(entry.mirror_iou_before, entry.mirror_iou_after)),
      el("td", { class: "reason" }, sentence(entry.reason)),
    );
  return el(
    "section",
    { class: "stack" },
    el("h3", {}, "By class, base → personal"),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "By class" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Class", "Area", "Agreement with the mirrored photo", "In words"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...classes.map(row)))),
  );
}

function photos(app, compared, thumbnails, open) {
  const there = (compared ?? []).filter((entry) => app.photo(entry.id)).slice(0, PHOTOS_SHOWN);
  if (!there.length) return null;
  const card = (entry) => {
    const image = el("img", { alt: "", decoding: "async" });
    thumbnails.watch(image, entry.id);
    return el("li", {}, el("button", { type: "button", class: "compared", on: { click: () => open(entry.id) } }, el("span", { class: "picture" }, image), el("b", {}, `${percent(entry.changed)} changed`), el("span", { class: "soft small" }, sentence(entry.reason))));
  };
  return el("section", { class: "stack" }, el("h3", {}, "Photos that changed most"), el("ul", { class: "compared-list" }, ...there.map(card)));
}
