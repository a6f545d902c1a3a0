/** Personalising: the adaptation, then the masks of all photos by the new model and by the base. */

import { announce, toast } from "./dom.js";
import { hasEnded } from "./events.js";
import { stageName } from "./format.js";
import { isTrained } from "./models.js";
import { areMasksDue, noteMasksDue } from "./session.js";

const LEADS_TO_MASKS = new Set(["succeeded", "refused"]);

export class Work extends EventTarget {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    super();
    this.app = app;
    /** @type {{kind: "adaptation" | "segmentation", job: any, isCancelling: boolean} | null} what is under way */
    this.now = null;
    /** True from the click on, before the service has named the job. */
    this.isBusy = false;
    this.lastAdaptation = null;
    this.problem = "";
  }

  /** Take up what is under way already. */
  async resume() {
    if (this.isBusy) return;
    const { api, path } = this.app;
    const [adaptations, segmentations] = await Promise.all([api.get(`${path}/adaptations?limit=1`), api.get(`${path}/segmentations?limit=5`)]);
    this.lastAdaptation = adaptations.items[0] ?? null;
    this.#changed();
    const active = segmentations.items.filter((job) => !hasEnded(job)).reverse();
    if (this.lastAdaptation && !hasEnded(this.lastAdaptation)) await this.#guarded(() => this.#adapt(this.lastAdaptation));
    for (const job of active) await this.#guarded(() => this.#segment(job));
    if (areMasksDue()) await this.#guarded(() => this.#makeMasks());
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
      const job = await this.app.api.post(`${this.app.path}/segmentations`, { image_ids: "all", model, adapt: "never" });
      if ((await this.#segment(job)).status === "cancelled") break;
    }
  }

  async cancel() {
    const { now } = this;
    if (!now || now.isCancelling) return;
    now.isCancelling = true;
    this.#changed();
    try {
      await this.app.api.post(now.job.links.cancel);
    } catch (error) {
      now.isCancelling = false;
      toast(error.message);
    }
  }

  async #adapt(job) {
    // A page that is loaded anew in the middle goes on with the masks.
    noteMasksDue(true);
    const ended = await this.#run("adaptation", job);
    this.lastAdaptation = ended;
    announce({ succeeded: isTrained(ended.report ?? {}) ? "Your model is ready." : "The base model is used, with your photos corrected.", refused: this.app.activeModel ? "Your model stays as it is." : "The base model is kept.", cancelled: "Cancelled." }[ended.status] ?? "Personalising failed.");
    if (LEADS_TO_MASKS.has(ended.status)) await this.app.reloadModels();
    await this.#makeMasks();
  }

  async #makeMasks() {
    if (LEADS_TO_MASKS.has(this.lastAdaptation?.status)) await this.segmentAll();
    noteMasksDue(false);
  }

  async #segment(job) {
    const ended = await this.#run("segmentation", job);
    if (ended.status === "failed") this.problem = ended.error_reason ?? "Segmenting failed.";
    this.app.masks.forgetAll();
    return ended;
  }

  async #run(kind, job) {
    this.now = { kind, job, isCancelling: false };
    this.problem = "";
    this.#changed();
    const note = (document) => {
      if (document.stage !== this.now.job.stage) announce(stageName(document.stage));
      this.now.job = document;
      this.#changed();
    };
    return this.app.follow(job, note);
  }

  /** One step at a time: a second click, or an app that starts twice, would run the same job's masks twice. */
  async #guarded(step) {
    if (this.isBusy) return;
    this.isBusy = true;
    this.#changed();
    try {
      await step();
    } catch (error) {
      if (this.app.stopped.signal.aborted || error.status === 401) return;
      this.problem = error.message;
    } finally {
      this.isBusy = false;
      this.now = null;
      this.#changed();
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
