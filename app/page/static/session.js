/** The token: in this tab's session storage only, gone with the tab. */

const KEY = "personalseg.session";
const MASKS_DUE = "personalseg.masks-due";

/** A token that the address carries (`/#token=…`) is taken out of it at once, and out of the history with it. */
export function takeTokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/** @returns {{token: string, userId: string, isReadOnly?: boolean} | null} */
export function storedSession() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

export const storeSession = (session) => sessionStorage.setItem(KEY, JSON.stringify(session));

export function forgetSession() {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(MASKS_DUE);
}

/** Whether the masks that follow an adaptation are still to be made. */
export const areMasksDue = () => sessionStorage.getItem(MASKS_DUE) !== null;

export const noteMasksDue = (areDue) => (areDue ? sessionStorage.setItem(MASKS_DUE, "yes") : sessionStorage.removeItem(MASKS_DUE));
