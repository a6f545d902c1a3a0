/** Personalising: the adaptation, then the masks of all photos by the new model and by the base. */

import { mayPass } from "./api.js";
import { announce, toast } from "./dom.js";
import { hasEnded } from "./events.js";
import { stageName } from "./format.js";
import { baseFor } from "./masks.js";
import { isTrained } from "./models.js";
import { areMasksDue, noteMasksDue } from "./session.js";

const LEADS_TO_MASKS = new Set(["succeeded", "refused"]);

/** So many of the newest segmentations are looked at for those under way. */
const LOOKED_AT = 100;

/** So many ids stay below the bound on a request's body (1 MiB). */
const MOST_NAMED = 10_000;

const photosOf = (job) => Object.values(job.item_counts).reduce((sum, count) => sum + count, 0);

/** The document of a job that is `photos` of `all`, behind `before` others that are done, with the progress over all of them. */
export function overAll(document, before, photos, all) {
  const percent = (100 * (before + (photos * document.percent) / 100)) / all;
  if (document.stage !== "segmenting") return { ...document, percent };
  const step = before + document.step;
  const left = document.steps - document.step;
  const eta_seconds = document.eta_seconds === null || left <= 0 ? null : (document.eta_seconds / left) * (all - step);
  return { ...document, percent, step, steps: all, eta_seconds };
}

export class Work extends EventTarget {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    super();
    this.app = app;
    /** @type {{kind: "adaptation" | "segmentation", jobs: any[], job: any, isCancelling: boolean} | null} what is under way; `job`: how it is shown */
    this.now = null;
    /** True from the click on, before the service has named the job. */
    this.isBusy = false;
    this.lastAdaptation = null;
    this.problem = "";
    /** Whether the problem was that no answer came. */
    this.isUnanswered = false;
    /** Whether the page itself tries anew what failed before, and nothing is under way yet. */
    this.isAgain = false;
  }

  /** Take up what is under way already. */
  async resume() {
    if (this.isBusy) return;
    const { api, path } = this.app;
    const [adaptations, segmentations] = await Promise.all([api.get(`${path}/adaptations?limit=1`), api.get(`${path}/segmentations?limit=${LOOKED_AT}`)]);
    this.lastAdaptation = adaptations.items[0] ?? null;
    this.#changed();
    const active = segmentations.items.filter((job) => !hasEnded(job)).reverse();
    if (this.lastAdaptation && !hasEnded(this.lastAdaptation)) await this.#guarded(() => this.#adapt(this.lastAdaptation));
    if (active.length) await this.#guarded(() => this.#segment(active));
    if (areMasksDue()) await this.#guarded(() => this.#makeMasks(), { isAgain: Boolean(this.problem) });
  }

  async personalise() {
    await this.#guarded(async () => this.#adapt(await this.app.api.post(`${this.app.path}/adaptations`, {})));
  }

  /** What has a mask already keeps it. */
  makeMissingMasks() {
    return this.#guarded(() => this.segmentAll());
  }

  /** Masks of all photos, by the model in use and by the base. */
  async segmentAll() {
    if (this.app.isReadOnly) return;
    const models = this.app.activeModel ? ["personal", "base"] : ["base"];
    for (const model of models) {
      if (await this.#segment(await this.#start({ model, base: baseFor(this.app, model), adapt: "never" }))) break;
    }
  }

  /** Queue the masks of all photos: as one job, or as several where the photos are more than the service puts into one. */
  async #start(wish) {
    const { api, path } = this.app;
    const start = (image_ids) => api.post(`${path}/segmentations`, { ...wish, image_ids });
    try {
      return [await start("all")];
    } catch (error) {
      if (error.code !== "too_many_images") throw error;
      const ids = (await api.all(`${path}/images`)).map((image) => image.id);
      const jobs = [];
      const size = Math.min(error.extra.most, MOST_NAMED);
      for (let at = 0; at < ids.length; at += size) jobs.push(await start(ids.slice(at, at + size)));
      return jobs;
    }
  }

  async cancel() {
    const { now } = this;
    if (!now || now.isCancelling) return;
    now.isCancelling = true;
    this.#changed();
    try {
      await Promise.all(now.jobs.map((job) => this.app.api.post(job.links.cancel)));
    } catch (error) {
      now.isCancelling = false;
      toast(error.message);
    }
  }

  async #adapt(job) {
    // A page that is loaded anew in the middle goes on with the masks.
    noteMasksDue(true);
    const ended = await this.#run("adaptation", [job], job);
    this.lastAdaptation = ended;
    announce({ succeeded: isTrained(ended.report ?? {}) ? "Your model is ready." : "The base model is used, with your photos corrected.", refused: this.app.activeModel ? "Your model stays as it is." : "The base model is kept.", cancelled: "Cancelled." }[ended.status] ?? "Personalising failed.");
    await this.#makeMasks();
  }

  async #makeMasks() {
    if (LEADS_TO_MASKS.has(this.lastAdaptation?.status)) {
      await this.app.reloadModels();
      await this.segmentAll();
    }
    noteMasksDue(false);
  }

  /** Follow jobs one after the other, as one piece of work; true where any of them was cancelled. */
  async #segment(jobs) {
    let [done, isCancelled] = [0, false];
    const photos = jobs.length > 1 ? jobs.map(photosOf).reduce((sum, count) => sum + count) : 0;
    for (const job of jobs) {
      const before = done;
      const ended = await this.#run("segmentation", jobs, job, (document) => (photos ? overAll(document, before, photosOf(job), photos) : document));
      if (ended.status === "failed") this.problem ||= ended.error_reason ?? "Segmenting failed.";
      isCancelled ||= ended.status === "cancelled";
      if (photos) done += photosOf(job);
      this.app.masks.forgetAll();
    }
    return isCancelled;
  }

  /** Follow one of the jobs that are one piece of work; `shown` makes what is shown of its document. */
  async #run(kind, jobs, job, shown = (document) => document) {
    if (this.isAgain) this.#clear();
    this.isAgain = false;
    this.now = { kind, jobs, job: shown(job), isCancelling: false };
    this.#changed();
    const note = (news) => {
      const document = shown(news);
      if (document.stage !== this.now.job.stage) announce(stageName(document.stage));
      this.now.job = document;
      this.#changed();
    };
    return this.app.follow(job, note);
  }

  /** One step at a time: a second click, or an app that starts twice, would run the same job's masks twice. */
  async #guarded(step, { isAgain = false } = {}) {
    if (this.isBusy) return;
    this.isBusy = true;
    this.isAgain = isAgain;
    // The problem of the step before; of the same step, tried again by the page itself, it stands until something is under way.
    if (!isAgain) this.#clear();
    this.#changed();
    try {
      await step();
      if (this.isAgain) this.#clear();
    } catch (error) {
      if (this.app.stopped.signal.aborted || error.status === 401) return;
      this.problem = error.message;
      this.isUnanswered = error.status === 0;
      // The masks that follow an adaptation are made in the end.
      if (areMasksDue() && mayPass(error)) this.app.resumeLater();
    } finally {
      this.isBusy = false;
      this.now = null;
      this.#changed();
    }
  }

  /** The service answers again: that it did not is no problem any more. */
  forgive() {
    if (!this.isUnanswered) return;
    this.#clear();
    this.#changed();
  }

  #clear() {
    this.problem = "";
    this.isUnanswered = false;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
