/** The beginning: a session, from the address or from this tab; then the app, or the form to sign in. */

import { Api } from "./api.js";
import { App } from "./app.js";
import { el, fill, loadIcons } from "./dom.js";
import { Health } from "./health.js";
import { forgetSession, storeSession, storedSession, takeTokenFromAddress } from "./session.js";
import { showSignIn, signIn } from "./signin.js";

const main = document.getElementById("main");
const bar = document.getElementById("bar");
const health = new Health(document.getElementById("banner"));
let app = null;

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
  const token = takeTokenFromAddress();
  if (token === null) {
    const session = storedSession();
    return session ? open(session) : showSignIn(main, { onSession: open });
  }
  end();
  fill(main, el("p", { class: "narrow soft", role: "status" }, "Signing in …"));
  try {
    await signIn(token, main, open);
  } catch (error) {
    // The address has it no more: where it may still be good, it stands in the form for another try.
    if (error.status === 401) showSignIn(main, { message: "The token of this link is unknown, expired or revoked.", onSession: open });
    else showSignIn(main, { message: error.message, token, onSession: open });
  }
}

const actions = el("div", { class: "row" });
bar.append(el("span", { class: "spring" }), health.dot, actions);
addEventListener("hashchange", () => location.hash.includes("token=") && begin());
// Without its icons the page says everything in words.
loadIcons().catch(() => {});
begin();
