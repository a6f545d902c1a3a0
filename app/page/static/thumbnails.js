/** Thumbnails: fetched with the token when they come near the screen, and let go when there are many. */

const AT_ONCE = 6;
const MOST_HELD = 600;
const NEAR = "800px";

export class Thumbnails {
  /** @param {(imageId: string, signal: AbortSignal) => Promise<Blob>} fetchThumbnail */
  constructor(fetchThumbnail) {
    this.fetchThumbnail = fetchThumbnail;
    /** @type {Map<HTMLImageElement, string>} those that show something, oldest first */
    this.held = new Map();
    this.near = new Set();
    this.wanted = [];
    this.running = 0;
    this.stopped = new AbortController();
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: NEAR });
  }

  /** Show this photo in this `<img>` once it comes near. */
  watch(image, imageId) {
    image.dataset.imageId = imageId;
    this.observer.observe(image);
  }

  /** Try again what could not be fetched. */
  retry() {
    for (const image of this.near) if (!this.held.has(image)) this.wanted.push(image);
    this.#next();
  }

  /** Let go of pictures that are no longer in the page. */
  forget(images) {
    for (const image of images) {
      this.observer.unobserve(image);
      this.near.delete(image);
      this.#release(image);
    }
  }

  stop() {
    this.stopped.abort();
    this.observer.disconnect();
    for (const image of [...this.held.keys()]) this.#release(image);
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) {
        this.near.delete(target);
        continue;
      }
      this.near.add(target);
      if (!this.held.has(target)) this.wanted.push(target);
    }
    this.#next();
  }

  #next() {
    while (this.running < AT_ONCE && this.wanted.length) {
      // The newest wish first: it is what the person looks at now.
      const image = this.wanted.pop();
      if (this.near.has(image) && !this.held.has(image)) this.#load(image);
    }
  }

  async #load(image) {
    this.running += 1;
    this.held.set(image, "");
    try {
      const blob = await this.fetchThumbnail(image.dataset.imageId, this.stopped.signal);
      if (!this.held.has(image)) return;
      const url = URL.createObjectURL(blob);
      this.held.set(image, url);
      image.src = url;
      image.parentElement?.removeAttribute("data-missing");
      this.#makeRoom();
    } catch {
      this.held.delete(image);
      if (!this.stopped.signal.aborted) image.parentElement?.setAttribute("data-missing", "");
    } finally {
      this.running -= 1;
      this.#next();
    }
  }

  #makeRoom() {
    for (const image of this.held.keys()) {
      if (this.held.size <= MOST_HELD) return;
      if (!this.near.has(image)) this.#release(image);
    }
  }

  #release(image) {
    const url = this.held.get(image);
    if (url) URL.revokeObjectURL(url);
    this.held.delete(image);
    image.removeAttribute("src");
  }
}
