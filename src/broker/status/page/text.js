// How numbers, durations, moments and texts from outside are written.

const wholeNumber = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percentage = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const shortTime = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const zone = new Intl.DateTimeFormat("en", { timeZoneName: "longOffset" });

export const countText = (count) => wholeNumber.format(count);
export const rateText = (rate) => (rate > 0 && rate < 10 ? tenths : wholeNumber).format(rate);
export const shareText = (share) => percentage.format(share);
export const momentText = (milliseconds) => moment.format(milliseconds);
export const timeText = (milliseconds) => time.format(milliseconds);
export const shortTimeText = (milliseconds) => shortTime.format(milliseconds);

/** Say one of something, or several of them. */
export const plural = (count, noun) => `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Name the time zone of whoever looks, in which all times of day are. */
export function zoneText() {
  const offset = zone.formatToParts(Date.now()).find((part) => part.type === "timeZoneName").value;
  return offset.replace("GMT", "UTC").replace("+00:00", "");
}

export function durationText(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** Say how long something takes, from microseconds on. */
export function latencyText(seconds) {
  if (seconds < 0.01) return `${tenths.format(1_000 * seconds)} ms`;
  if (seconds < 1) return `${wholeNumber.format(1_000 * seconds)} ms`;
  return seconds < 10 ? `${tenths.format(seconds)} s` : durationText(seconds);
}

/** Say how long ago something was, in one unit: the title of the node has the moment itself. */
export function agoText(seconds) {
  if (seconds < 1) return "just now";
  return `${durationText(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

// Control and format characters, which include those that turn the direction of writing; spaces
// that are none; and letters and marks that show nothing. A joiner between two emoji is visible.
const INVISIBLE =
  /(?<!\p{Extended_Pictographic}\uFE0F?)\u200D|\u200D(?!\p{Extended_Pictographic})|(?!\u200D)[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFFA0\u{1D159}]|(?<!\p{Emoji})[\uFE00-\uFE0F]|[\u{E0100}-\u{E01EF}]/gu;

/** Return a text as pieces, each either to be shown or the code point of what shows nothing. */
export function pieces(text) {
  const found = [];
  let start = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (match.index > start) found.push({ text: text.slice(start, match.index) });
    found.push({ text: codePointText(match[0]), isInvisible: true });
    start = match.index + match[0].length;
  }
  if (start < text.length) found.push({ text: text.slice(start) });
  return found;
}

/** Return a text in which everything shows, for places where nothing can be marked. */
export const visible = (text) =>
  pieces(text)
    .map((piece) => (piece.isInvisible ? `[${piece.text}]` : piece.text))
    .join("");

const codePointText = (character) =>
  `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
