// The sentence at the top, and the checks with what to do at 3 a.m.

import { byId, listIn, setForeign, setState, setText } from "./nodes.js";

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

const ICONS = {
  none: ["#8b949e", ""],
  good: ["#1a7f4b", "M4.5 8.5l2.3 2.3 4.7-5"],
  warn: ["#b7791f", "M8 4v5M8 11.3v.4"],
  bad: ["#c5352b", "M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"],
};
const icon = document.querySelector("link[rel=icon]");

export const showLost = () => show(LOST);

export function showVerdict(status) {
  show(status.verdict);
  const isConsequence = (check) => Number(CONSEQUENCES.has(check.name));
  showChecks(
    status.checks.toSorted((one, other) => isConsequence(one) - isConsequence(other)),
    status,
  );
}

let announced = "";

/** Let it be read out, unless it differs from the last one only in numbers, which always change. */
function announce(word, why) {
  const kind = word.replace(/[\d,.]+/g, "");
  if (kind === announced) return;
  announced = kind;
  setForeign(byId("announced"), `${word}. ${why}`);
}

function show({ tone, word, why }) {
  setForeign(byId("verdict-word"), word);
  setForeign(byId("verdict-why"), why);
  announce(word, why);
  const title = `${byId("verdict-word").textContent} · ${byId("broker-name").textContent}`;
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
    const fails = check.problem !== null && check.is_known;
    const holds = check.problem === null;
    const tone = holds ? "good" : check.is_known ? "bad" : "none";
    setState(parts.state, tone, holds && check.name === "alarm" ? "no alarm" : check.name);
    setForeign(parts.problem, check.problem ?? "ok");
    parts.problem.classList.toggle("unseen", !fails);
    parts.help.hidden = !fails;
    setText(parts.advice, fails ? adviceFor(check.name, status) : "");
    setText(parts.title, check.name);
    parts.chapter.href = `runbook#${encodeURIComponent(check.name)}`;
    parts.node.classList.toggle("fails", fails);
  },
);
