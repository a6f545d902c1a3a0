/** The card beside the gallery: what the model is, and what it does now. */

import { button, el, fill, icon, problem } from "./dom.js";
import { duration, percent, plural, sentence, stageName } from "./format.js";
import { isTrained, showModels } from "./models.js";

const FEWEST_PHOTOS = 2;
const STALE_SHARE = 0.2;
const WORKING = { adaptation: "Personalising", segmentation: "Segmenting" };

export class Panel {
  /** @param {import("./app.js").App} app @param {HTMLElement} place */
  constructor(app, place) {
    this.app = app;
    this.place = place;
    this.progress = new ProgressCard(app);
    /** The version whose card stands beside the progress. */
    this.versionBeside = undefined;
    app.work.addEventListener("change", () => this.show());
  }

  show() {
    if (!this.app.isLoaded) return;
    const { now } = this.app.work;
    if (now) {
      this.#showWork(now);
      return;
    }
    const focused = this.place.contains(document.activeElement) ? document.activeElement.textContent : null;
    fill(this.place, this.#trouble(), this.app.activeModel ? this.#modelCard(false) : this.#baseCard());
    if (focused === null) return;
    const buttons = [...this.place.querySelectorAll("button")];
    (buttons.find((each) => each.textContent === focused) ?? buttons[0])?.focus();
  }

  #showWork(now) {
    this.progress.update(now);
    // The card stays the same element while it works, so that the focus on "Cancel" is not lost.
    const isNew = this.progress.element.parentNode !== this.place;
    if (isNew) {
      const hadFocus = this.place.contains(document.activeElement);
      fill(this.place, this.progress.element);
      // Not on "Cancel": who presses Enter twice would end what they began.
      if (hadFocus) this.progress.title.focus();
    }
    const version = this.app.activeModel?.version;
    if (!isNew && version === this.versionBeside) return;
    this.versionBeside = version;
    const before = this.progress.element.nextElementSibling;
    const hadFocus = before?.contains(document.activeElement);
    before?.remove();
    if (!version) return;
    this.progress.element.after(this.#modelCard(true));
    if (hadFocus) this.progress.element.nextElementSibling.querySelector("button").focus();
  }

  #trouble() {
    const { problem: text, lastAdaptation: last } = this.app.work;
    if (text) return problem(text);
    if (last?.status === "failed") return problem(`Personalising failed: ${last.error_reason ?? "no reason was given."}`);
    return null;
  }

  #baseCard() {
    const { images, work } = this.app;
    const missing = FEWEST_PHOTOS - images.length;
    const refused = work.lastAdaptation?.status === "refused";
    return el(
      "section",
      { class: "card stack" },
      el("div", { class: "row between" }, el("h2", {}, "Your model"), el("span", { class: `badge ${refused ? "kept" : ""}` }, refused ? "Base kept" : "Base")),
      refused ? el("p", {}, sentence(work.lastAdaptation.error_reason ?? "The personal model was not better, so the base stays.")) : el("p", { class: "soft" }, "Let a model adapt itself to your photos: your rooms, your light, your people. You label nothing, and a model that is not better is not used."),
      refused && el("p", { class: "soft small" }, "More photos of what matters to you may change that."),
      missing > 0 && el("p", { class: "hint" }, icon("plus"), el("span", {}, `Add ${plural(missing, "more photo")} to personalise.`)),
      this.#start(refused ? "Try again" : "Personalise", missing > 0, "primary"),
    );
  }

  #modelCard(isQuiet) {
    const { activeModel: model, images, work } = this.app;
    const { verdict } = model.report;
    const trained = isTrained(model.report);
    const refusal = refusalSince(model, work.lastAdaptation);
    const newer = newerShare(model, images, refusal);
    return el(
      "section",
      { class: "card stack" },
      el("div", { class: "row between" }, el("h2", {}, trained ? "Your model" : "Base, photos corrected"), el("span", { class: "badge good" }, `Version ${model.version} in use`)),
      verdict?.sentence && el("p", {}, sentence(verdict.sentence)),
      el(
        "dl",
        { class: "facts" },
        trained && fact("Photos learned from", model.report.photos_learned_from ?? model.report.photos),
        fact("Pixels seen differently", changedShare(model.report)),
        trained && mirrored(verdict?.figures),
      ),
      refusal && !isQuiet && el("p", { class: "hint" }, icon("warn"), el("span", {}, keptVersion(refusal, model.version))),
      newer > 0 && !isQuiet && el("p", { class: "hint" }, icon("spark"), el("span", {}, `${percent(newer)} of your photos came after ${refusal ? "that" : trained ? "this model" : "this version"}. Personalise again to include them.`)),
      button("Before and after", () => showModels(this.app), { kind: "wide" }),
      !isQuiet && this.#start("Personalise again", false, newer >= STALE_SHARE ? "primary" : "quiet"),
    );
  }

  #start(label, disabled, kind) {
    const { work } = this.app;
    // Not `disabled` while busy: the focus stays where it is, should the request fail.
    return button(label, () => work.personalise(), { kind: `${kind} wide`, symbol: "spark", disabled, "aria-disabled": work.isBusy ? "true" : null, "data-writes": "" });
  }
}

/** The last adaptation, where it was refused after this model had been made. */
export const refusalSince = (model, last) => (last?.status === "refused" && (last.finished_at ?? last.created_at) > model.created_at ? last : null);

/** The share of photos that no adaptation has looked at since the model in use. A refused one has: the same photos would be refused again. */
export function newerShare(model, images, refusal) {
  if (!refusal) return model.newer_share;
  const newer = images.filter((image) => image.created_at > (refusal.started_at ?? refusal.created_at)).length;
  return images.length ? newer / images.length : 0;
}

/** The guard's sentence; it speaks of the base, but what stays is the version in use. */
const keptVersion = (refusal, version) => sentence(refusal.error_reason ?? "Kept the base model, because the new one was not better.").replace(/^Kept the base model/, `Kept version ${version}`);

/** Over the photos compared, a corrected appearance included; the guard's own figure leaves that out. */
function changedShare(report) {
  const compared = report.photos_compared;
  if (compared?.length) return percent(compared.reduce((sum, photo) => sum + photo.changed, 0) / compared.length);
  const changed = report.verdict?.figures?.changed_share;
  return changed === undefined || !isTrained(report) ? null : percent(changed);
}

function mirrored(figures) {
  if (figures?.consistency_after === undefined) return null;
  return fact("Agrees with itself, mirrored", `${percent1(figures.consistency_before)} → ${percent1(figures.consistency_after)}`);
}

const percent1 = (share) => `${(share * 100).toFixed(1)} %`;

function fact(name, value) {
  return value === null || value === undefined ? null : el("div", {}, el("dt", {}, name), el("dd", { class: "numbers" }, value));
}

/** A job under way: stage, bar, what is left, cancel. Its elements stay; only their text changes. */
class ProgressCard {
  constructor(app) {
    this.app = app;
    this.title = el("h2", { tabindex: -1 });
    this.percent = el("span", { class: "soft numbers" });
    this.stage = el("p", { class: "stage-name" });
    this.rest = el("p", { class: "soft small numbers" });
    this.bar = el("div", { class: "progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, el("i"));
    this.cancel = button("Cancel", () => app.work.cancel(), { kind: "wide", "data-writes": "" });
    this.element = el("section", { class: "card stack working" }, el("div", { class: "row between" }, this.title, this.percent), this.bar, el("div", {}, this.stage, this.rest), this.cancel);
  }

  update({ kind, job, isCancelling }) {
    const isQueued = job.status === "queued";
    this.title.textContent = WORKING[kind];
    this.percent.textContent = isQueued ? "" : `${Math.floor(job.percent)} %`;
    this.bar.classList.toggle("waiting", isQueued);
    this.bar.style.setProperty("--done", String(job.percent / 100));
    if (isQueued) this.bar.removeAttribute("aria-valuenow");
    else this.bar.setAttribute("aria-valuenow", String(Math.floor(job.percent)));
    this.stage.textContent = isQueued ? this.#queued(job) : stageOf(kind, job);
    this.rest.textContent = isQueued ? "" : rest(job);
    // Not `disabled`: the focus stays here until the card goes.
    const isEnding = isCancelling || job.cancel_requested;
    this.cancel.setAttribute("aria-disabled", String(isEnding));
    this.cancel.textContent = isEnding ? "Cancelling …" : "Cancel";
  }

  #queued(job) {
    if (this.app.health.workersAreDown) return "Waiting for a worker";
    if (!job.queue_position) return "Waiting";
    return job.queue_position === 1 ? "Next in the queue" : `Number ${job.queue_position} in the queue`;
  }
}

function stageOf(kind, job) {
  if (kind === "adaptation" || job.stage === "fetching") return stageName(job.stage);
  return job.model_used === "base" ? "Base masks, to compare with" : "Masks by your model";
}

function rest(job) {
  const parts = [];
  if (job.steps > 1) parts.push(`${Math.min(job.step, job.steps)} of ${job.steps}`);
  if (job.eta_seconds !== null) parts.push(`about ${duration(job.eta_seconds)} left`);
  if (job.attempt > 1) parts.push(`attempt ${job.attempt}`);
  return parts.join(" · ");
}
