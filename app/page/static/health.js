/** Whether the service and its workers are there, as a dot in the bar and a sentence under it. */

import { address } from "./api.js";
import { el, fill } from "./dom.js";

const CALM_MILLISECONDS = 12_000;
const WORRIED_MILLISECONDS = 2_500;
const PATIENCE_MILLISECONDS = 6_000;

/** States in which nothing is answered. */
export const AWAY = new Set(["away", "offline"]);

const SENTENCES = {
  offline: ["bad", "You are offline. What is on the screen stays; everything else goes on when the connection is back."],
  away: ["bad", "The service does not answer. Your photos are safe; this page tries again by itself."],
  workers: ["warn", "No worker is running. You can add and look at photos; what you start waits and begins when a worker is back."],
  unwell: ["warn", "The service is not quite ready. This page tries again by itself."],
};

export class Health extends EventTarget {
  constructor(banner) {
    super();
    this.banner = banner;
    /** @type {"ready" | "offline" | "away" | "workers" | "unwell" | "unknown"} */
    this.state = "unknown";
    this.dot = el("span", { class: "state", data: { state: "" } }, el("span", {}, "Connecting"));
    addEventListener("online", () => this.look());
    addEventListener("offline", () => this.look());
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.look();
  }

  get workersAreDown() {
    return this.state === "workers";
  }

  /** Ask now, and then again and again; more often while something is wrong. */
  async look() {
    clearTimeout(this.timer);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const state = await ask();
    if (turn !== this.turn) return;
    this.#become(state);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), state === "ready" ? CALM_MILLISECONDS : WORRIED_MILLISECONDS);
  }

  #become(state) {
    if (state === this.state) return;
    const before = this.state;
    this.state = state;
    const [kind, text] = SENTENCES[state] ?? ["", ""];
    this.banner.hidden = !text;
    this.banner.dataset.kind = kind;
    fill(this.banner, text);
    this.dot.dataset.state = state === "ready" ? "ready" : kind === "warn" ? "waiting" : "away";
    fill(this.dot, el("span", {}, { ready: "Ready", workers: "No worker", offline: "Offline" }[state] ?? "Not ready"));
    this.dispatchEvent(new CustomEvent("change", { detail: { before, state } }));
  }
}

/** The service itself is asked, whatever the browser believes: it may run on this very machine, which has no network. */
async function ask() {
  const patience = new AbortController();
  // A request that is begun while the connection changes may never end: the clock decides, whatever becomes of it.
  const timer = setTimeout(() => patience.abort(), PATIENCE_MILLISECONDS);
  const ended = new Promise((resolve) => patience.signal.addEventListener("abort", () => resolve("away")));
  const state = await Promise.race([readiness(patience.signal), ended]);
  clearTimeout(timer);
  return state === "away" && !navigator.onLine ? "offline" : state;
}

async function readiness(signal) {
  try {
    const response = await fetch(address("readyz"), { cache: "no-store", signal });
    const { ready, checks } = await response.json();
    if (ready) return "ready";
    if (!checks) return "unwell";
    return Object.entries(checks).every(([name, check]) => check.ok || name === "workers") ? "workers" : "unwell";
  } catch {
    return "away";
  }
}
