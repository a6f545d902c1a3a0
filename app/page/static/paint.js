/** Pixels of the overlays. Pure functions on arrays. */

const INSIDE = 165;
const EDGE = [255, 255, 255, 235];
const EDGES_PER_WIDTH = 700;
const BACKGROUND = 0;
const TO_BACKGROUND = [255, 255, 255, 210];
const UNSURE = [245, 158, 11];

/**
 * Classes as colours with a white edge, which shows on every photo; what is not `only` (a class id) stays clear.
 * @param {Uint8Array} labels @returns {Uint8ClampedArray} RGBA
 */
export function paintLabels(labels, width, colors, only = null) {
  const rgba = new Uint8ClampedArray(labels.length * 4);
  const reach = Math.max(1, Math.round(width / EDGES_PER_WIDTH));
  for (let index = 0, at = 0; index < labels.length; index += 1, at += 4) {
    const label = labels[index];
    const color = colors[label];
    if (label === BACKGROUND || !color || (only !== null && label !== only)) continue;
    rgba.set(isEdge(labels, index, width, label, reach) ? EDGE : [...color, INSIDE], at);
  }
  return rgba;
}

function isEdge(labels, index, width, label, reach) {
  const column = index % width;
  return (
    (column >= reach && labels[index - reach] !== label) ||
    (column < width - reach && labels[index + reach] !== label) ||
    (index >= width * reach && labels[index - width * reach] !== label) ||
    (index + width * reach < labels.length && labels[index + width * reach] !== label)
  );
}

/** Only what the two see differently: in the colour of what it has become, white where it has become background. */
export function paintChanges(before, after, colors, only = null) {
  const rgba = new Uint8ClampedArray(after.length * 4);
  for (let index = 0, at = 0; index < after.length; index += 1, at += 4) {
    const label = after[index];
    if (label === before[index] || (only !== null && label !== only && before[index] !== only)) continue;
    rgba.set(label === BACKGROUND ? TO_BACKGROUND : [...(colors[label] ?? UNSURE), 255], at);
  }
  return rgba;
}

/** The less sure, the stronger the amber. @param {ArrayLike<number>} confidence 0–255 */
export function paintConfidence(confidence) {
  const rgba = new Uint8ClampedArray(confidence.length * 4);
  for (let index = 0, at = 0; index < confidence.length; index += 1, at += 4) {
    rgba[at] = UNSURE[0];
    rgba[at + 1] = UNSURE[1];
    rgba[at + 2] = UNSURE[2];
    rgba[at + 3] = 235 * (1 - confidence[index] / 255) ** 0.7;
  }
  return rgba;
}

/** The share of pixels whose class differs. */
export function differing(one, other) {
  let count = 0;
  for (let index = 0; index < one.length; index += 1) count += one[index] === other[index] ? 0 : 1;
  return count / Math.max(1, one.length);
}
