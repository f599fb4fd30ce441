// Throughput and confirms over time, from the broker's own history: it is there when one comes.

import { byId, partsOf, setText } from "./nodes.js";
import { readJson } from "./reading.js";
import { latencyText, rateText, shortTimeText, timeText } from "./text.js";

const PAUSE = 2_000; // ms between two readings, at least
const MARKS = 6; // times of day below the chart
const WIDTH = 300; // steps of the series, and units of the drawing

const plot = byId("plot");
const cursor = byId("cursor");
const rates = partsOf(byId("rates-panel"));
const confirms = partsOf(byId("confirm-panel"));
const span = byId("span");
for (let mark = 0; mark < MARKS; mark += 1) byId("times").append(document.createElement("span"));

let series = null;
let pointed = null; // steps from the end, while somebody points at one
let reading = new AbortController();
let next;

/** Return the next larger number of one digit and zeros that can be halved, as the top of an axis. */
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((one) => one >= number * 0.999);
}

/** Draw numbers as a line, which is broken where there is none; the latest is at the right. */
function line(numbers, top) {
  const first = WIDTH - numbers.length;
  const height = (number) => (99 - (98 * number) / top).toFixed(2);
  let isOpen = false;
  return numbers
    .map((number, index) => {
      if (number === null) {
        isOpen = false;
        return "";
      }
      const x = first + index;
      // A flat piece per step: it was that much for so long, and one alone can be seen, too.
      const piece = `${isOpen ? "L" : "M"}${x} ${height(number)}H${x + 1}`;
      isOpen = true;
      return piece;
    })
    .join("");
}

function draw() {
  const { received, published, confirm_seconds: latencies } = series;
  const most = roundUp(Math.max(1, ...received, ...published));
  setText(rates.top, `${rateText(most)}/s`);
  setText(rates.middle, rateText(most / 2));
  const taken = line(received, most);
  rates.in.setAttribute("d", taken);
  rates.area.setAttribute("d", taken ? `${taken}V99H${WIDTH - received.length}Z` : "");
  rates.out.setAttribute("d", line(published, most));
  const longest = roundUp(Math.max(0.001, ...latencies));
  setText(confirms.top, latencyText(longest));
  confirms.confirm.setAttribute("d", line(latencies, longest));
  const until = Date.parse(series.until);
  const length = WIDTH * series.step_seconds * 1_000;
  [...byId("times").children].forEach((mark, index) => {
    const at = until - length * (1 - index / (MARKS - 1));
    setText(mark, series.until === null ? "" : shortTimeText(at));
  });
}

/** Say the figures of one step: the one that is pointed at, or the latest. */
function showFigures() {
  const count = series.received.length;
  const back = Math.min(pointed ?? 0, Math.max(0, count - 1));
  const at = count - 1 - back;
  const has = count > 0;
  const latency = has ? series.confirm_seconds[at] : null;
  const figures = {
    in: has ? `${rateText(series.received[at])}/s` : "–",
    out: has ? `${rateText(series.published[at])}/s` : "–",
    confirm: latency === null ? "–" : latencyText(latency),
  };
  for (const [name, text] of Object.entries(figures)) setText(byId(`read-${name}`), text);
  const ended = Date.parse(series.until) - back * series.step_seconds * 1_000;
  const when = !has ? "no data yet" : pointed === null ? "now" : `at ${timeText(ended)}`;
  setText(byId("read-at"), when);
  cursor.hidden = pointed === null || !has;
  cursor.style.setProperty("--at", (WIDTH - back - 0.5) / WIDTH);
  plot.setAttribute("aria-valuemax", Math.max(0, count - 1));
  plot.setAttribute("aria-valuenow", Math.max(0, at));
  plot.setAttribute(
    "aria-valuetext",
    has ? `${when}: in ${figures.in}, out ${figures.out}, confirm ${figures.confirm}` : when,
  );
}

function point(back) {
  pointed = back === null ? null : Math.max(0, Math.min(back, series.received.length - 1));
  showFigures();
}

/** Read the series now, and again and again after a pause; an earlier reading is given up. */
export async function askForHistory() {
  clearTimeout(next);
  reading.abort();
  const mine = new AbortController();
  reading = mine;
  const startedAt = performance.now();
  const wanted = span.querySelector(":checked").value;
  const read = await readJson(`history?span=${wanted}`, mine.signal).catch(() => null);
  if (mine.signal.aborted) return;
  if (read !== null) {
    series = read;
    draw();
    showFigures();
  }
  next = setTimeout(askAgain, Math.max(PAUSE, 10 * (performance.now() - startedAt)));
}

function askAgain() {
  if (document.hidden) next = setTimeout(askAgain, PAUSE);
  else askForHistory();
}

const KEYS = {
  ArrowLeft: () => (pointed ?? -1) + 1,
  ArrowRight: () => (pointed ?? 1) - 1,
  PageUp: () => (pointed ?? -1) + 30,
  PageDown: () => (pointed ?? 1) - 30,
  Home: () => WIDTH,
  End: () => 0,
  Escape: () => null,
};

plot.addEventListener("keydown", (event) => {
  const target = KEYS[event.key];
  if (target === undefined || series === null) return;
  event.preventDefault();
  point(target());
});
plot.addEventListener("pointermove", ({ clientX }) => {
  if (series === null) return;
  const { left, width } = rates.node.querySelector("svg").getBoundingClientRect();
  point(WIDTH - 1 - Math.floor(((clientX - left) / width) * WIDTH));
});
for (const ending of ["pointerleave", "blur"]) {
  plot.addEventListener(ending, () => series !== null && point(null));
}
span.addEventListener("change", () => {
  pointed = null;
  askForHistory();
});
