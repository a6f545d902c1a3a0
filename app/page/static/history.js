/** The photo that is looked at is a step of the browser's history: Back leads to the gallery, and a page loaded anew shows the photo again. */

let ownSteps = 0;
let onMove = (_imageId) => {};

/** The photo of the step that the browser is at, or null. */
export const photoInHistory = () => history.state?.photo ?? null;

/** This photo is shown now. */
export function enterPhoto(imageId) {
  if (photoInHistory()) history.replaceState({ photo: imageId }, "");
  else history.pushState({ photo: imageId }, "");
}

/** No photo is shown any more; who has not gone back themselves is taken there. */
export function leavePhoto() {
  if (!photoInHistory()) return;
  ownSteps += 1;
  history.back();
}

/** Tell of the person's own steps, back and forward: the photo to show, or null. @param {(imageId: string | null) => void} listener */
export function followHistory(listener) {
  onMove = listener;
}

addEventListener("popstate", () => {
  if (ownSteps) ownSteps -= 1;
  else onMove(photoInHistory());
});
