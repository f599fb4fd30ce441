// Shows what the broker tells of itself: its status from `events`, once a second, and its agents
// from `agents`. Whatever comes from there enters the document by `textContent`, never as markup,
// and nodes are changed where they stand, so that nothing flickers and no selection is lost.

const LOST_AFTER = 4_000; // ms without a status after which the broker does not answer
const RECONNECT_AFTER = 10_000; // ms after which a stream that says nothing is given up
const POLL_AFTER = 2_500; // ms without a status after which it is asked for
const REQUEST_TIMEOUT = 10_000; // ms that an answer may take
const SEARCH_PAUSE = 250; // ms without a key after which the search is sent
const AGENTS_PAUSE = 2_000; // ms between two readings of the agents, at least
const AGENTS_SHOWN = 200;
const CAPABILITIES_SHOWN = 6; // of an agent; the title of the node has all
const LATEST_SHOWN = 6; // dead letters
const HISTORY = 60; // seconds

// -- What to do at 3 a.m. ------------------------------------------------------------------------

const LOST = {
  tone: "bad",
  word: "The broker does not answer",
  why: "Retrying every second. Messages wait in RabbitMQ.",
};

const ADVICE = {
  running: () =>
    "If this is unexpected, check what manages the process (systemd, Docker, Kubernetes).",
  rabbitmq: () =>
    "Check that RabbitMQ runs, and that AMQP_URL or RABBITMQ_HOST, the user and the password " +
    "are right. The broker keeps retrying.",
  alarm: () =>
    "Free memory or disk space on the RabbitMQ node; rabbitmq-diagnostics alarms shows which. " +
    "The broker then continues automatically.",
  server: () =>
    "Check that the central server runs, and that WEBSOCKET_URL and the token are right. The " +
    "broker keeps retrying.",
  registry: ({ connections }) =>
    connections.server.state === "connected"
      ? "Check that the central server sends status updates (AGENT_STATUS_UPDATE)."
      : "It recovers with the connection to the central server.",
  consumers: ({ connections, registry }) => {
    if (connections.rabbitmq.state === "connecting") {
      return "They recover with the connection to RabbitMQ.";
    }
    return registry.is_fresh
      ? "If a reason is shown, fix it; other queues are still consumed. The broker keeps retrying."
      : "The input queue is consumed again as soon as the registry is fresh.";
  },
  queues: () =>
    "Start the node that has it, release it, or make room in it. Messages for it wait, and the " +
    "broker keeps retrying.",
};
const CONSEQUENCES = new Set(["registry", "consumers"]); // listed after what causes them

const adviceFor = (name, status) =>
  ADVICE[name]?.(status) ?? "See the end of the broker's log for details.";

/** Say in words and a tone whether the broker works; no figure in it that changes by itself. */
function verdictOf(status) {
  const { rabbitmq, server } = status.connections;
  if (status.state === "stopping") {
    return {
      tone: "warn",
      word: "Stopping",
      why: "The broker finishes the messages it holds, then exits. New messages wait in RabbitMQ.",
    };
  }
  if (rabbitmq.state === "connecting") {
    return {
      tone: "bad",
      word: "Paused: no connection to RabbitMQ",
      why: "Nothing is routed. No message is lost: messages wait in their queues.",
    };
  }
  if (rabbitmq.state === "blocked") {
    return {
      tone: "bad",
      word: "Paused: RabbitMQ blocks publishing",
      why: "RabbitMQ is short of memory or disk space. Messages wait in their queues.",
    };
  }
  if (status.state === "paused") {
    const reason =
      server.state !== "connected"
        ? ": no connection to the central server"
        : status.registry.is_fresh
          ? ""
          : ": the online agents are not known";
    return {
      tone: "bad",
      word: `Paused${reason}`,
      why: "Nothing is routed. No message is lost: messages wait in the input queue.",
    };
  }
  if (!status.ready) {
    return {
      tone: "warn",
      word:
        server.state === "connected"
          ? "Routing, but a check fails"
          : "Routing, but without the central server",
      why:
        server.state === "connected"
          ? "Messages are routed. See the failed checks below."
          : "Messages are routed by the last known status, until it is stale.",
    };
  }
  if (status.registry.online === 0) {
    return {
      tone: "warn",
      word: "Routing, but no agent is online",
      why: "Senders get an error back. The central server reports which agents are online.",
    };
  }
  return { tone: "good", word: "Routing", why: "Messages are routed, and all checks pass." };
}

const CONNECTION_STATES = {
  connected: { tone: "good", word: "Connected" },
  connecting: { tone: "bad", word: "Connecting" },
  blocked: { tone: "bad", word: "Blocked" },
};

const OUTCOMES = {
  routed: "Routed to an agent",
  no_agent_online: "Answered: no agent online",
  only_sender_online: "Answered: only the sender online",
  receiver_offline: "Answered: receiver offline",
  no_capable_agent: "Answered: no capable agent online",
  held: "Held for a receiver",
  held_again: "Held again",
  forwarded: "Errors forwarded",
  registered: "Agents registered",
  disconnected: "Agents disconnected",
  advertised: "Server advertisements",
  replicated: "Registry changes replicated",
  dead_lettered: "Dead-lettered",
};

// -- Texts ---------------------------------------------------------------------------------------

const wholeNumber = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percentage = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const rateText = (rate) => (rate > 0 && rate < 10 ? tenths : wholeNumber).format(rate);

function durationText(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

const answerText = (seconds) =>
  seconds < 10 ? `${tenths.format(seconds)} s` : durationText(seconds);

/** Say how long ago something was, in one unit: the title of the node has the moment itself. */
function agoText(seconds) {
  if (seconds < 1) return "just now";
  return `${durationText(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

// -- Nodes ---------------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

function partsOf(node) {
  const parts = { node };
  for (const part of node.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return parts;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setState(node, tone, word) {
  if (node.dataset.tone !== tone) node.dataset.tone = tone;
  setText(node, word);
}

/** Show when something was, by the broker's clock: that of whoever looks may be wrong. */
function setTime(node, iso, now) {
  const at = Date.parse(iso);
  if (node.dateTime !== iso) {
    node.dateTime = iso;
    node.title = moment.format(at);
  }
  setText(node, agoText((now - at) / 1_000));
}

/** Return a function that keeps a parent's children in step with a list of entries. */
function listIn(parent, template, keyOf, fill) {
  const shown = new Map();
  return (entries, context) => {
    const keys = new Set(entries.map(keyOf));
    for (const [key, parts] of shown) {
      if (!keys.has(key)) {
        parts.node.remove();
        shown.delete(key);
      }
    }
    entries.forEach((entry, index) => {
      const key = keyOf(entry, index);
      let parts = shown.get(key);
      if (parts === undefined) {
        parts = partsOf(template.content.firstElementChild.cloneNode(true));
        shown.set(key, parts);
      }
      fill(parts, entry, context);
      if (parent.children[index] !== parts.node) {
        parent.insertBefore(parts.node, parent.children[index] ?? null);
      }
    });
  };
}

function fillCount(parts, { label, count, isCode }, total) {
  setText(parts.label, label);
  parts.label.classList.toggle("code", Boolean(isCode));
  setText(parts.count, wholeNumber.format(count));
  parts.node.classList.toggle("none", count === 0);
  const share = total ? count / total : 0;
  parts.node.style.setProperty("--share", share < 0.01 ? 0 : share); // no specks
}

// -- The verdict ---------------------------------------------------------------------------------

const ICONS = {
  none: ["#8b949e", ""],
  good: ["#1a7f4b", "M4.5 8.5l2.3 2.3 4.7-5"],
  warn: ["#b7791f", "M8 4v5M8 11.3v.4"],
  bad: ["#c5352b", "M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"],
};
const icon = document.querySelector("link[rel=icon]");

function showVerdict({ tone, word, why }) {
  setText(byId("verdict-word"), word);
  setText(byId("verdict-why"), why);
  const title = `${word} · ${byId("broker-name").textContent}`;
  if (document.title !== title) document.title = title;
  const verdict = byId("verdict");
  if (verdict.dataset.tone === tone) return;
  verdict.dataset.tone = tone;
  const [colour, mark] = ICONS[tone];
  const drawing =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">` +
    `<circle cx="8" cy="8" r="8" fill="${colour}"/>` +
    `<path d="${mark}" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>`;
  icon.href = `data:image/svg+xml,${encodeURIComponent(drawing)}`;
}

const showChecks = listIn(
  byId("checks"),
  byId("check-template"),
  (check) => check.name,
  (parts, check, status) => {
    const fails = check.problem !== null;
    if (fails) setState(parts.state, "bad", check.name);
    else setState(parts.state, "good", check.name === "alarm" ? "no alarm" : check.name);
    setText(parts.problem, fails ? check.problem : "ok");
    parts.problem.classList.toggle("unseen", !fails);
    setText(parts.advice, fails ? adviceFor(check.name, status) : "");
    parts.node.classList.toggle("fails", fails);
  },
);

// -- The figures ---------------------------------------------------------------------------------

const received = document.querySelector("[aria-labelledby=received-heading] .spark");
const published = document.querySelector("[aria-labelledby=published-heading] .spark");

function drawSpark(svg, history, most) {
  const counts = history.slice(-HISTORY);
  const first = HISTORY - counts.length;
  const points = counts.map(
    (count, index) => `${first + index} ${(97 - (94 * count) / most).toFixed(1)}`,
  );
  const line = points.length ? `M${points.join("L")}` : "";
  const area = points.length ? `${line}V100H${first}Z` : "";
  svg.querySelector(".line").setAttribute("d", line);
  svg.querySelector(".area").setAttribute("d", area);
}

const peakText = (history) =>
  `peak ${wholeNumber.format(Math.max(0, ...history))} in the last minute`;

function showRates(rates) {
  // One scale for both, so that they can be compared.
  const most = Math.max(1, ...rates.received_history, ...rates.published_history);
  setText(byId("received-rate"), rateText(rates.received));
  setText(byId("published-rate"), rateText(rates.published));
  setText(byId("received-note"), peakText(rates.received_history));
  setText(byId("published-note"), peakText(rates.published_history));
  drawSpark(received, rates.received_history, most);
  drawSpark(published, rates.published_history, most);
}

function showMessages(status) {
  setText(byId("in-flight"), wholeNumber.format(status.in_flight));
  setText(byId("received-total"), wholeNumber.format(status.messages.received));
  setText(byId("redelivered-total"), wholeNumber.format(status.messages.redelivered));
}

function showRegistry({ online, known, is_fresh: isFresh, age_seconds: age }) {
  setText(byId("online"), wholeNumber.format(online));
  setText(byId("known"), wholeNumber.format(known));
  const stale = age === null ? "Unknown" : "Stale";
  setState(byId("registry-state"), isFresh ? "good" : "bad", isFresh ? "Fresh" : stale);
  setText(byId("registry-age"), age === null ? "none yet" : agoText(age));
}

const connections = { rabbitmq: partsOf(byId("rabbitmq")), server: partsOf(byId("server")) };

function showConnection(parts, connection, now) {
  const { tone, word } = CONNECTION_STATES[connection.state];
  setState(parts.state, tone, word);
  setText(parts.since, `for ${durationText((now - Date.parse(connection.since)) / 1_000)}`);
  parts.since.title = `since ${moment.format(Date.parse(connection.since))}`;
  setText(parts.peer, connection.peer);
  setText(parts.reconnects, wholeNumber.format(connection.reconnects));
  setText(parts.error, connection.error ?? "none since the start");
  parts.error.classList.toggle("muted", connection.error === null);
}

// -- Outcomes and dead letters -------------------------------------------------------------------

const countsIn = (id) => listIn(byId(id), byId("count-template"), (row) => row.key, fillCount);
const showOutcomeCounts = countsIn("outcomes");
const showReasonCounts = countsIn("reasons");

function showOutcomes(outcomes) {
  const counts = new Map(Object.keys(OUTCOMES).map((outcome) => [outcome, 0]));
  for (const [outcome, count] of Object.entries(outcomes)) counts.set(outcome, count);
  const rows = [...counts].map(([key, count]) => ({ key, count, label: OUTCOMES[key] ?? key }));
  showOutcomeCounts(rows, rows.reduce((sum, row) => sum + row.count, 0));
}

const showLatest = listIn(
  byId("latest"),
  byId("latest-template"),
  (_, index) => index,
  (parts, note, now) => {
    setText(parts.reason, note.reason);
    setText(parts.queue, note.queue);
    setTime(parts.at, note.at, now);
  },
);

function showDeadLetters({ by_reason: byReason, latest }, now) {
  const rows = Object.entries(byReason)
    .filter(([, count]) => count > 0)
    .map(([key, count]) => ({ key, count, label: key, isCode: true }))
    .sort((one, other) => other.count - one.count);
  byId("no-dead-letters").hidden = rows.length > 0;
  byId("dead-letters").hidden = rows.length === 0;
  showReasonCounts(rows, rows.reduce((sum, row) => sum + row.count, 0));
  showLatest(latest.slice(0, LATEST_SHOWN), now);
}

// -- The status ----------------------------------------------------------------------------------

let brokerTime = Date.now(); // ms, by the broker's clock, at the last status

function showStatus(status) {
  brokerTime = Date.parse(status.started_at) + 1_000 * status.uptime_seconds;
  setText(byId("broker-name"), status.broker_name);
  setText(byId("broker-id"), status.broker_id);
  setText(
    byId("program"),
    `version ${status.version} · up for ${durationText(status.uptime_seconds)}`,
  );
  byId("program").title = `since ${moment.format(Date.parse(status.started_at))}`;
  showVerdict(verdictOf(status));
  const isConsequence = (check) => Number(CONSEQUENCES.has(check.name));
  showChecks(
    status.checks.toSorted((one, other) => isConsequence(one) - isConsequence(other)),
    status,
  );
  showRates(status.rates);
  showMessages(status);
  showRegistry(status.registry);
  showConnection(connections.rabbitmq, status.connections.rabbitmq, brokerTime);
  showConnection(connections.server, status.connections.server, brokerTime);
  showOutcomes(status.messages.outcomes);
  showDeadLetters(status.dead_letters, brokerTime);
}

// -- Reading it ----------------------------------------------------------------------------------

async function readJson(url, givenUp = new AbortController().signal) {
  const signal = AbortSignal.any([givenUp, AbortSignal.timeout(REQUEST_TIMEOUT)]);
  const response = await fetch(url, { signal, cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

let stream = null;
let connectedAt = 0;
let heardAt = performance.now();
let lastStatusAt = null; // as a time of day, for whoever looks
let isLost = false;
let isPolling = false;

function heard(status) {
  showStatus(status);
  const wasAway = isLost || lastStatusAt === null;
  heardAt = performance.now();
  lastStatusAt = new Date();
  if (isLost) setLost(false);
  if (wasAway) askForAgents();
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
  if (lost) showVerdict(LOST);
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
      : `The data below is from ${moment.format(lastStatusAt)}.`;
  setText(byId("silence"), silence + figures);
}

// -- Agents --------------------------------------------------------------------------------------

const search = byId("search");
const agentsTable = byId("agents-table");
let asking = new AbortController();
let nextAsking;

const showAgents = listIn(
  byId("agents"),
  byId("agent-template"),
  (agent) => agent.agent_id,
  (parts, agent, now) => {
    setText(parts.name, agent.agent_name);
    setText(parts.id, agent.agent_id);
    parts.name.title = agent.agent_name; // long ones are cut
    parts.id.title = agent.agent_id;
    setState(parts.state, agent.is_online ? "good" : "none", agent.is_online ? "Online" : "Offline");
    if (agent.last_seen === null) setText(parts.seen, "–");
    else setTime(parts.seen, agent.last_seen, now);
    setText(parts.share, percentage.format(agent.share));
    setText(parts.routed, `(${wholeNumber.format(agent.routed)})`);
    showCapabilities(parts.capabilities, agent.capabilities);
    const { outstanding, answer_seconds: seconds } = agent;
    setText(parts.outstanding, outstanding === null ? "–" : wholeNumber.format(outstanding));
    setText(parts.answer, seconds === null ? "–" : answerText(seconds));
  },
);

function showCapabilities(node, capabilities) {
  const shown = capabilities.slice(0, CAPABILITIES_SHOWN).join(" · ");
  const more = capabilities.length - CAPABILITIES_SHOWN;
  setText(node, more > 0 ? `${shown} · +${wholeNumber.format(more)}` : shown);
  const all = capabilities.join(", ");
  if (node.title !== all) node.title = all;
}

/** Tell whether the routing policy follows which messages are answered: then it says so of all. */
const followsAnswers = (agents) =>
  agents.some((agent) => agent.outstanding !== null || agent.answer_seconds !== null);

function agentsText({ known, matching, agents }, searched) {
  const [shown, found, all] = [agents.length, matching, known].map(wholeNumber.format);
  if (searched === "") return agents.length < known ? `Showing ${shown} of ${all}` : `${all} known`;
  return matching === 0 ? `None of ${all} matches` : `Showing ${shown} of ${found} matching`;
}

/** Read the agents now, and again and again after a pause; an earlier reading is given up. */
async function askForAgents() {
  clearTimeout(nextAsking);
  asking.abort();
  const reading = new AbortController();
  asking = reading;
  const searched = search.value.trim();
  const startedAt = performance.now();
  const query = new URLSearchParams({ search: searched, limit: AGENTS_SHOWN });
  const list = await readJson(`agents?${query}`, reading.signal).catch(() => null);
  if (reading.signal.aborted) return;
  if (list === null) {
    setText(byId("agents-note"), "The agents could not be loaded; retrying.");
  } else {
    agentsTable.classList.toggle("following", followsAnswers(list.agents));
    showAgents(list.agents, brokerTime);
    setText(byId("agents-note"), agentsText(list, searched));
  }
  // A list that takes the broker long is asked for less often.
  const pause = Math.max(AGENTS_PAUSE, 10 * (performance.now() - startedAt));
  nextAsking = setTimeout(askAgain, pause);
}

function askAgain() {
  if (document.hidden || isLost) nextAsking = setTimeout(askAgain, AGENTS_PAUSE);
  else askForAgents();
}

search.addEventListener("input", () => {
  clearTimeout(nextAsking);
  nextAsking = setTimeout(askForAgents, SEARCH_PAUSE);
});

// -- Go ------------------------------------------------------------------------------------------

connect();
setInterval(watch, 1_000);
