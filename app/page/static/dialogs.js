/** Questions and sheets, in the browser's own dialog: Escape closes, the focus stays inside and comes back. */

import { button, el, iconButton } from "./dom.js";

/** A sheet with a heading; it leaves the page when it is closed. */
export function sheet(title, { large = false, onClose = () => {} } = {}, ...children) {
  const heading = el("h2", { tabindex: -1, autofocus: true, id: `sheet-${Math.random().toString(36).slice(2)}` }, title);
  const inside = el("div", { class: "inside" }, ...children);
  const dialog = el(
    "dialog",
    { class: `sheet ${large ? "large" : ""}`, "aria-labelledby": heading.id },
    el("header", {}, heading, iconButton("Close", "close", () => dialog.close())),
    inside,
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, inside };
}

/**
 * Ask, as a rule before something is lost. With `typed` the word must be typed first.
 * @returns {Promise<boolean>}
 */
export function confirmIt({ title, text, action, otherwise = "Cancel", kind = "danger solid", typed = "" }) {
  return new Promise((resolve) => {
    let answer = false;
    const close = (value) => {
      answer = value;
      dialog.close();
    };
    const yes = button(action, () => close(true), { kind, disabled: Boolean(typed) });
    const input = typed && el("input", { type: "text", id: "confirm-word", autocomplete: "off", autocapitalize: "off", spellcheck: "false", on: { input: () => (yes.disabled = input.value.trim().toLowerCase() !== typed) } });
    const question = typed && el("div", { class: "field" }, el("label", { for: "confirm-word" }, "Type ", el("code", {}, typed), " to confirm"), input);
    const { dialog } = sheet(title, { onClose: () => resolve(answer) }, el("p", {}, text), question, el("div", { class: "row" }, yes, button(otherwise, () => close(false), { kind: "quiet" })));
  });
}
