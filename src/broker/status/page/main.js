// Shows what the broker tells of itself: its status from `events`, once a second; its history and
// its agents are read by the modules that show them.

import { askForAgents } from "./agents.js";
import { askForHistory } from "./chart.js";
import { setClock } from "./clock.js";
import { showConnections } from "./connections.js";
import { showDeadLetters } from "./dead-letters.js";
import { byId, setForeign, setText } from "./nodes.js";
import { showOutcomes } from "./outcomes.js";
import { showPipeline } from "./pipeline.js";
import { readJson } from "./reading.js";
import { durationText, momentText, zoneText } from "./text.js";
import { showLost, showVerdict } from "./verdict.js";

const LOST_AFTER = 4_000; // ms without a status after which the broker does not answer
const RECONNECT_AFTER = 10_000; // ms after which a stream that says nothing is given up
const POLL_AFTER = 2_500; // ms without a status after which it is asked for

let stream = null;
let connectedAt = 0;
let heardAt = performance.now();
let lastStatusAt = null; // as a time of day, for whoever looks
let isLost = false;
let isPolling = false;

function showStatus(status) {
  const startedAt = Date.parse(status.started_at);
  setClock(startedAt + 1_000 * status.uptime_seconds);
  setForeign(byId("broker-name"), status.broker_name);
  setForeign(byId("broker-id"), status.broker_id);
  setForeign(
    byId("program"),
    `version ${status.version} · up for ${durationText(status.uptime_seconds)}`,
  );
  byId("program").title = `since ${momentText(startedAt)}`;
  showVerdict(status);
  showPipeline(status);
  showConnections(status);
  showOutcomes(status.messages);
  showDeadLetters(status.dead_letters);
}

function heard(status) {
  showStatus(status);
  const wasAway = isLost || lastStatusAt === null;
  heardAt = performance.now();
  lastStatusAt = new Date();
  if (isLost) setLost(false);
  if (wasAway) {
    askForAgents();
    askForHistory();
  }
}

function connect() {
  stream?.close();
  connectedAt = performance.now();
  stream = new EventSource("events");
  stream.addEventListener("status", (event) => heard(JSON.parse(event.data)));
  // An EventSource gives up for good when it gets an answer that is no stream: try anew instead.
  stream.addEventListener("error", () => {
    stream?.close();
    stream = null;
  });
}

/** Ask for one status: the broker may well answer, and only the stream be held up by a proxy. */
async function poll() {
  isPolling = true;
  const status = await readJson("status").catch(() => null); // `watch` says what that means
  isPolling = false;
  if (status !== null) heard(status);
}

function setLost(lost) {
  isLost = lost;
  document.body.classList.toggle("lost", lost);
  byId("lost").hidden = !lost;
  byId("checks").hidden = lost;
  if (lost) showLost();
}

function watch() {
  const now = performance.now();
  if (stream === null || now - Math.max(heardAt, connectedAt) > RECONNECT_AFTER) connect();
  if (now - heardAt > POLL_AFTER && !isPolling) poll();
  if (now - heardAt <= LOST_AFTER) return;
  if (!isLost) setLost(true);
  const silence = `No response for ${durationText((now - heardAt) / 1_000)}. `;
  const figures =
    lastStatusAt === null
      ? "There is no data yet."
      : `The data below is from ${momentText(lastStatusAt)}.`;
  setText(byId("silence"), silence + figures);
}

setText(byId("zone"), `· times are local (${zoneText()})`);
connect();
setInterval(watch, 1_000);
