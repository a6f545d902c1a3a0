/** Numbers, times and stages in words. Pure functions. */

/** `count` with its noun: "1 photo", "22 photos". */
export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** A name inside a sentence, whatever the direction it is written in. */
export const quoted = (name) => `“\u2068${name}\u2069”`;

/** A share in [0, 1] as a percentage; small ones keep a decimal. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} %`;
}

/** Seconds as people say them: "40 s", "3 min", "1 h 5 min". */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const date = (text) => new Date(text).toLocaleString("en", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

const STAGES = {
  fetching: "Fetching the base model",
  loading: "Loading the base model",
  resuming: "Going on after an interruption",
  looking: "Looking through your photos",
  aligning: "Getting used to your light and colours",
  labelling: "Finding what it is sure of",
  training: "Learning from your photos",
  checking: "Checking that it has become better",
  segmenting: "Segmenting your photos",
};

/** What a job does now. */
export function stageName(stage) {
  if (!stage) return "Starting";
  return STAGES[stage] ?? stage.charAt(0).toUpperCase() + stage.slice(1).replaceAll("_", " ");
}

/** Class names of Pascal VOC are written together; people's are not. */
const CLASSES = { aeroplane: "airplane", diningtable: "dining table", pottedplant: "potted plant", tvmonitor: "screen" };

export const className = (name) => CLASSES[name] ?? name.replaceAll("_", " ");

/** A sentence of the service, with class names as people write them. */
export const sentence = (text) => text.replace(/\b(diningtable|pottedplant|tvmonitor)\b/g, (name) => CLASSES[name]);
