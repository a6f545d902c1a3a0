/** The beginning: a session, from the address or from this tab; then the app, or the form to sign in. */

import { Api } from "./api.js";
import { App } from "./app.js";
import { el, fill, loadIcons, toast } from "./dom.js";
import { Health } from "./health.js";
import { isWelcome } from "./linking.js";
import { forgetSession, storeSession, storedSession, takeTokenFromAddress } from "./session.js";
import { callerOf, enter, showSignIn } from "./signin.js";

const main = document.getElementById("main");
const bar = document.getElementById("bar");
const health = new Health(document.getElementById("banner"));
let app = null;
/** Links that have been followed. */
let begun = 0;

function open(session) {
  end();
  storeSession(session);
  const isReadOnly = Boolean(session.isReadOnly);
  document.body.toggleAttribute("data-read-only", isReadOnly);
  // What an ended session asked for may be answered late: that ends no other.
  const leaveOwn = (message) => own === app && leave(message);
  const lost = () => leaveOwn(["Your token is no longer valid: it has expired or was revoked. Sign in again.", own.underWay && `${own.underWay} Add what is missing again then.`].filter(Boolean).join(" "));
  const api = new Api(session.token, lost);
  const own = new App({ api, userId: session.userId, isReadOnly, main, bar: actions, health, tray: document.getElementById("tray"), onLeave: leaveOwn });
  app = own;
  app.start();
}

/** Everything of the session is let go. */
function end() {
  forgetSession();
  app?.stop();
  app = null;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  fill(actions);
  fill(main);
}

/** Back to the form. */
function leave(message = "") {
  end();
  showSignIn(main, { message, onSession: open });
}

async function begin() {
  const turn = (begun += 1);
  const token = takeTokenFromAddress();
  const session = storedSession();
  // What there is goes on behind the question whether to leave it.
  if (session && !app) open(session);
  if (token === null) return session || showSignIn(main, { onSession: open });
  if (!session) fill(main, el("p", { class: "narrow soft", role: "status" }, "Signing in …"));
  try {
    const caller = await callerOf(token);
    const isWanted = await isWelcome(caller, storedSession(), app?.underWay ?? "");
    if (turn !== begun) return; // another link has been followed meanwhile
    if (isWanted) {
      end();
      await enter(caller, main, open, () => turn === begun);
    } else if (!app) showSignIn(main, { onSession: open });
  } catch (error) {
    if (turn !== begun) return;
    // The address has it no more: where it may still be good, it stands in the form for another try.
    const isUnknown = error.status === 401;
    const message = isUnknown ? "The token of this link is unknown, expired or revoked." : error.message;
    if (app) toast(message);
    else showSignIn(main, { message, token: isUnknown ? "" : token, onSession: open });
  }
}

const actions = el("div", { class: "row" });
bar.append(el("span", { class: "spring" }), health.dot, actions);
addEventListener("hashchange", () => location.hash.includes("token=") && begin());
// Without its icons the page says everything in words.
loadIcons().catch(() => {});
begin();
