/** Photos out of a drop or a picker, folders included. */

const PHOTO = /\.(jpe?g|png|webp|hei[cf]|tiff?)$/i;

/** A file to send. `fromFolder` files that are no photos are left out without a word to the service. */
export class Picked {
  constructor(file, path, fromFolder) {
    this.file = file;
    this.path = path;
    this.fromFolder = fromFolder;
  }
}

/** What the service keeps as the photo's name: its path below the folder that was picked, as the client and the terminal send it. */
export const sentName = ({ file, path, fromFolder }) => (fromFolder ? path.slice(path.indexOf("/") + 1) : file.name);

const looksLikePhoto = ({ file }) => file.type.startsWith("image/") || PHOTO.test(file.name);

/** In place of a file or folder that this computer does not give: a link to nowhere, no permission. */
export const UNREADABLE = Symbol("unreadable");

/** @param {(Picked | UNREADABLE)[]} picked @returns {{photos: Picked[], leftOut: number, unreadable: number}} */
export function sortOut(picked) {
  const read = picked.filter((entry) => entry !== UNREADABLE);
  const photos = read.filter((entry) => !entry.fromFolder || (!entry.file.name.startsWith(".") && looksLikePhoto(entry)));
  return { photos, leftOut: read.length - photos.length, unreadable: picked.length - read.length };
}

/** What an `<input type=file>` holds, without what lies in a hidden folder of the chosen one. */
export function pickedByInput(input) {
  const isHidden = (path) => path.split("/").slice(1, -1).some((folder) => folder.startsWith("."));
  return [...input.files].filter((file) => !isHidden(file.webkitRelativePath)).map((file) => new Picked(file, file.webkitRelativePath || file.name, Boolean(file.webkitRelativePath)));
}

/** What was dropped, hidden folders of a folder left out; must be called in the event itself, the rest may take its time. */
export function pickedByDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  return Promise.all(entries.map(([entry, file]) => (entry ? walk(entry, false) : file ? [new Picked(file, file.name, false)] : []))).then((found) => found.flat());
}

/** @returns {Promise<(Picked | UNREADABLE)[]>} what cannot be read is counted, the rest is still taken */
async function walk(entry, fromFolder) {
  const found = [];
  try {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [new Picked(file, entry.fullPath.replace(/^\//, ""), fromFolder)];
    }
    const reader = entry.createReader();
    // A reader gives a folder's entries in parts, and an empty part at the end.
    for (let part = await readPart(reader); part.length; part = await readPart(reader)) {
      for (const child of part) {
        if (child.isFile || !child.name.startsWith(".")) found.push(...(await walk(child, true)));
      }
    }
  } catch {
    found.push(UNREADABLE);
  }
  return found;
}

const readPart = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
