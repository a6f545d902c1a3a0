/** Signing in: with a user's token, or with a service token, which picks or makes a user. */

import { Api, ApiError, userPath } from "./api.js";
import { button, el, fill, problem } from "./dom.js";
import { date } from "./format.js";

const TOKEN_SECONDS = 12 * 3600;
const USERS_SHOWN = 50;
const UNKNOWN_TOKEN = "This token is unknown, expired or revoked.";

/**
 * Show the form in `place`; `onSession` gets `{token, userId}`.
 * @param {{message?: string, token?: string, onSession: (session: {token: string, userId: string}) => void}} options
 */
export function showSignIn(place, { message = "", token = "", onSession }) {
  const input = el("input", { type: "password", id: "token", name: "token", autocomplete: "off", spellcheck: "false", required: true, placeholder: "pseg_usr_… or pseg_svc_…" });
  input.value = token;
  const trouble = el("div", {}, message && problem(message));
  const submit = el("button", { type: "submit", class: "button primary wide" }, "Sign in");
  const form = el(
    "form",
    { class: "stack", on: { submit: (event) => send(event) } },
    el("div", { class: "field" }, el("label", { for: "token" }, "Token"), input),
    trouble,
    submit,
  );
  async function send(event) {
    event.preventDefault();
    submit.disabled = true;
    fill(trouble);
    try {
      await enter(await callerOf(input.value.trim()), place, onSession);
    } catch (error) {
      fill(trouble, problem(error.status === 401 ? UNKNOWN_TOKEN : error.message));
      input.focus();
    }
    submit.disabled = false;
  }
  fill(
    place,
    el(
      "div",
      { class: "card narrow stack" },
      el("h1", {}, "Your photos, your model"),
      el("p", { class: "soft" }, "personalseg segments your photos with a model that adapts itself to you. No labels, no training data but your own photos."),
      form,
      el("p", { class: "soft small" }, "The token stays in this tab and is forgotten with it. ", el("a", { href: "docs" }, "How to get one")),
    ),
  );
  input.focus();
}

/**
 * Whose token it is; raises ApiError.
 * @returns {Promise<{token: string, api: Api, userId: string | null, isReadOnly: boolean, name: string}>} `userId`, `name`: of a user's token
 */
export async function callerOf(token) {
  // A browser sends no such header: "…" of a token that was shortened for the eye.
  if (!/^[!-~]+$/.test(token)) throw new ApiError(401, "unauthorized", UNKNOWN_TOKEN);
  const api = new Api(token);
  const { kind, user_id: userId } = await api.get("v1/me");
  const name = userId ? nameOf(await api.get(userPath(userId))) : "";
  return { token, api, userId, isReadOnly: kind === "read_only", name };
}

/**
 * Go on from there: with a user's token to their photos, with a service token to the question whose, which is left unasked where `isStill`
 * says no when it could be; raises ApiError.
 */
export async function enter({ token, api, userId, isReadOnly }, place, onSession, isStill = () => true) {
  if (userId) return onSession({ token, userId, isReadOnly });
  const users = await api.all("v1/users");
  if (isStill()) showUsers(place, api, onSession, users);
}

/** Ids begin with the time: those of one minute differ at their end. */
const nameOf = (user) => user.external_id ?? `Unnamed, …${user.id.slice(-8)}`;

/** With a service token: which user? */
function showUsers(place, api, onSession, users) {
  const trouble = el("div");
  // From here on the page holds a token of this one user, for half a day: the service token is let go.
  let isBusy = false;
  /** A second click while the first is on its way would make a second user, or a second token. */
  const open = async (step) => {
    if (isBusy) return;
    isBusy = true;
    try {
      onSession(await step());
    } catch (error) {
      fill(trouble, problem(error.message));
    }
    isBusy = false;
  };
  const enter = (userId) => open(async () => {
    const { token } = await api.post(`${userPath(userId)}/tokens`, { expires_in_seconds: TOKEN_SECONDS });
    return { token, userId };
  });
  const name = el("input", { type: "text", id: "new-name", maxlength: 255, placeholder: "A name of your own, or none", autocomplete: "off" });
  const create = (event) => {
    event.preventDefault();
    open(async () => {
      const user = await api.post("v1/users", name.value.trim() ? { external_id: name.value.trim() } : {});
      return { token: user.token, userId: user.id };
    });
  };
  const list = el("ul", { class: "users" });
  const search = el("input", { type: "search", id: "find-user", placeholder: "Find by name or id", on: { input: () => show() } });
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = users.filter((user) => `${user.external_id ?? ""} ${user.id}`.toLowerCase().includes(wanted)).reverse();
    fill(
      list,
      ...found.slice(0, USERS_SHOWN).map((user) => el("li", {}, el("button", { type: "button", class: "user", on: { click: () => enter(user.id) } }, el("b", {}, nameOf(user)), el("span", { class: "soft small" }, `since ${date(user.created_at)}`)))),
      !found.length && el("li", { class: "soft small" }, "Nobody of this name."),
      found.length > USERS_SHOWN && el("li", { class: "soft small" }, `${found.length - USERS_SHOWN} more: search for them.`),
    );
  };
  show();
  const heading = el("h1", { tabindex: -1 }, "Whose photos?");
  fill(
    place,
    el(
      "div",
      { class: "card narrow stack" },
      heading,
      el("p", { class: "soft" }, "This is a service token: it may act for any user. Choose one; the page then holds a token of that user only."),
      trouble,
      users.length > 0 && el("div", { class: "field" }, el("label", { for: "find-user" }, "Users"), users.length > 8 && search, list),
      el("form", { class: "field", on: { submit: create } }, el("label", { for: "new-name" }, "New user"), el("div", { class: "row new-user" }, name, el("button", { type: "submit", class: "button primary" }, "Create"))),
      button("Another token", () => showSignIn(place, { onSession }), { kind: "quiet" }),
    ),
  );
  heading.focus();
}
