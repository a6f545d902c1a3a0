/** Following a link that signs in: who made it, others may send, so that their reader adds photos to a gallery that is not theirs. */

import { confirmIt } from "./dialogs.js";

const THIS_MACHINE = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * Whether to sign in by the link: asked, unless it leads to the gallery that is open and breaks nothing off, or, where none is open, to a
 * service on this very machine.
 * @param {{userId: string | null, name: string}} caller @param {{userId: string} | null} session @param {string} underWay what would be broken off
 */
export async function isWelcome(caller, session, underWay) {
  const isOpen = session !== null && session.userId === caller.userId;
  if (session ? isOpen && !underWay : THIS_MACHINE.test(location.hostname)) return true;
  const [title, text] = questionOf(caller, isOpen);
  const stay = session && !isOpen ? "You are signed in to another gallery." : "";
  const broken = underWay && `${underWay} What has not arrived will not be added.`;
  return confirmIt({ title, text: [text, stay, broken].filter(Boolean).join(" "), action: "Open it", otherwise: session ? "Stay here" : "Not now", kind: "primary" });
}

function questionOf(caller, isOpen) {
  if (isOpen) return ["Open this gallery anew?", "This link signs you in to the gallery that is open already."];
  if (caller.userId) return [`Open the gallery of ${caller.name}?`, "This link signs you in to it. What you add is stored there, and whoever made the link can see it."];
  return ["Sign in as the service?", "This link holds a service token, which may act for any user."];
}
