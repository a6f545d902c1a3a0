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

const looksLikePhoto = ({ file }) => file.type.startsWith("image/") || PHOTO.test(file.name);

/** @returns {{photos: Picked[], leftOut: number}} */
export function sortOut(picked) {
  const photos = picked.filter((entry) => !entry.fromFolder || (!entry.file.name.startsWith(".") && looksLikePhoto(entry)));
  return { photos, leftOut: picked.length - photos.length };
}

/** What an `<input type=file>` holds. */
export function pickedByInput(input) {
  return [...input.files].map((file) => new Picked(file, file.webkitRelativePath || file.name, Boolean(file.webkitRelativePath)));
}

/** What was dropped; must be called in the event itself, the rest may take its time. */
export function pickedByDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  return Promise.all(entries.map(([entry, file]) => (entry ? walk(entry, false) : file ? [new Picked(file, file.name, false)] : []))).then((found) => found.flat());
}

async function walk(entry, fromFolder) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [new Picked(file, entry.fullPath.replace(/^\//, ""), fromFolder)];
  }
  const found = [];
  const reader = entry.createReader();
  // A reader gives a folder's entries in parts, and an empty part at the end.
  for (let part = await readPart(reader); part.length; part = await readPart(reader)) {
    for (const child of part) found.push(...(await walk(child, true)));
  }
  return found;
}

const readPart = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
