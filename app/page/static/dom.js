/** Elements from a few words, and what is said to people who listen. */

const ANNOUNCE_MILLISECONDS = 100;
const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. In `props`: `class`, `on` (listeners), `vars` (CSS custom properties), `data` (dataset); all else is an
 * attribute, or a property where it is a boolean.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(element, name, value);
  element.append(...kept(children));
  return element;
}

function setProp(element, name, value) {
  if (value === null || value === undefined) return;
  if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
  else if (name === "vars") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, String(text));
  else if (name === "data") Object.assign(element.dataset, value);
  else if (typeof value === "boolean" && !name.startsWith("aria-")) element.toggleAttribute(name, value);
  else element.setAttribute(name, String(value));
}

const kept = (children) => children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child)));

/** Put these in the place of what is in `parent`. */
export function fill(parent, ...children) {
  parent.replaceChildren(...kept(children));
}

/** Like `fill`, but what is in its place already stays untouched: the focus and the scrolling with it. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let next = parent.firstChild;
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}

/** Bring icons.svg into the page, once: what is in the page is there without a connection, too. */
export async function loadIcons() {
  const response = await fetch(new URL("icons.svg", import.meta.url));
  const sprite = new DOMParser().parseFromString(await response.text(), "image/svg+xml").documentElement;
  sprite.setAttribute("aria-hidden", "true");
  sprite.setAttribute("class", "sprite");
  document.body.append(document.adoptNode(sprite));
}

/** One of icons.svg; decoration only. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button; `kind` is a class such as "primary". */
export function button(label, onClick, { kind = "", symbol = "", ...props } = {}) {
  return el("button", { type: "button", class: `button ${kind}`, on: { click: onClick }, ...props }, symbol && icon(symbol), label);
}

/** A round button that shows a symbol only; `label` is what it is called. */
export function iconButton(label, symbol, onClick = null, props = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: onClick }, ...props }, icon(symbol));
}

/** The page's live region of this id, or its like in the topmost open dialog: the rest of the page is inert then. */
function liveRegion(id, kind) {
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (!dialog) return document.getElementById(id);
  const known = dialog.querySelector(`:scope > [data-region=${id}]`);
  if (known) return known;
  const made = el("div", { class: kind, role: "status", "aria-live": "polite", data: { region: id } });
  dialog.append(made);
  return made;
}

let announcing = 0;

/** Tell a screen reader, without showing anything. */
export function announce(text) {
  const place = liveRegion("announcer", "hidden");
  clearTimeout(announcing);
  // What a live region holds when it appears is not read; what comes later is.
  announcing = setTimeout(() => {
    if (place.textContent !== text) place.textContent = text;
  }, ANNOUNCE_MILLISECONDS);
}

/** Show a sentence for some seconds; it is read aloud too. */
export function toast(text, seconds = 6) {
  const note = el("div", { class: "toast" }, text);
  liveRegion("toasts", "toasts").append(note);
  setTimeout(() => note.remove(), seconds * 1000);
}

/** A sentence in a box that says what went wrong. */
export function problem(text) {
  return el("p", { class: "problem", role: "alert" }, icon("warn"), el("span", {}, text));
}

/** Hand a blob to the browser as a file. */
export function saveAs(blob, filename) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: filename });
  link.click();
  // The browser reads the blob after this turn; a minute is plenty.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
