/** The account: who is signed in, sign out, erase everything. */

import { button, el, fill, toast } from "./dom.js";
import { confirmIt } from "./dialogs.js";
import { bytes, plural } from "./format.js";

const WORD = "erase";

/** The menu of this button, closed; the browser opens and closes it. */
export function accountMenu(app, opener) {
  const menu = el("div", { class: "menu", popover: "auto", role: "group", "aria-label": "Your account" });
  menu.addEventListener("beforetoggle", (event) => event.newState === "open" && fill(menu, ...entries(app, () => menu.hidePopover())));
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open") menu.querySelector(".button").focus();
    else if (document.activeElement === document.body) opener.focus();
  });
  opener.popoverTargetElement = menu;
  return menu;
}

function entries(app, close) {
  const { user } = app;
  const stored = app.images.reduce((sum, image) => sum + image.byte_size, 0);
  return [
    el("p", {}, el("b", {}, user?.external_id ?? "Signed in"), el("br"), el("span", { class: "soft small" }, `${plural(app.images.length, "photo")} · ${bytes(stored)}`)),
    el("a", { class: "button", href: "docs", target: "_blank", rel: "noopener" }, "API documentation"),
    button("Sign out", () => { close(); signOut(app); }),
    button("Erase me …", () => { close(); eraseMe(app); }, { kind: "danger", "data-writes": "" }),
  ];
}

/** Photos on their way are lost with the session: that is asked about. */
async function signOut(app) {
  const { underWay } = app;
  if (underWay && !(await confirmIt({ title: "Sign out now?", text: `${underWay} What has not arrived will not be added.`, action: "Sign out" }))) return;
  app.onLeave();
}

async function eraseMe(app) {
  const text = "Your photos, masks, models and jobs are removed at once and for good, and your tokens stop working. Nobody can bring them back.";
  if (!(await confirmIt({ title: "Erase everything?", text, action: "Erase everything", typed: WORD }))) return;
  try {
    await app.api.remove(app.path);
    app.onLeave("");
    toast("Everything of yours has been erased.", 10);
  } catch (error) {
    toast(error.message);
  }
}
