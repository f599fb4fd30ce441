// Where messages are: input, broker, output, dead letters, each with its own state.

import { now } from "./clock.js";
import { byId, listIn, partsOf, setForeign, setState, setText } from "./nodes.js";
import { countText, durationText, latencyText, plural, rateText } from "./text.js";

const STEADY = 0.05; // messages per second: what grows or shrinks by less is only counted so
const BROKER_STATES = {
  routing: ["good", "Routing"],
  paused: ["bad", "Paused"],
  blocked: ["bad", "Blocked"],
  stopping: ["warn", "Stopping"],
};

const stages = { input: "input", output: "output", dead_letter: "dead-letter" };
const parts = {};
const listQueues = {};
for (const [role, id] of Object.entries(stages)) {
  parts[role] = partsOf(byId(id));
  listQueues[role] = listIn(
    parts[role].queues,
    byId("queue-template"),
    (queue) => queue.name,
    (line, queue, isOnly) => {
      setForeign(line.name, queue.name);
      setText(line.messages, isOnly ? "" : known(queue.messages));
    },
  );
}

const known = (count) => (count === null ? "–" : countText(count));

/** Sum up what is known of several queues; null if it is known of none. */
function sum(queues, key) {
  const numbers = queues.map((queue) => queue[key]).filter((number) => number !== null);
  return numbers.length ? numbers.reduce((total, number) => total + number, 0) : null;
}

/** Name what the broker does: RabbitMQ may keep it from routing, though it consumes. */
const brokerState = ({ state, connections }) =>
  state === "routing" && connections.rabbitmq.state === "blocked" ? "blocked" : state;

/** Say in a tone and a word how a stage is: as the worst of its queues. */
function stateOf(role, queues, messages, isRouting) {
  const has = (state) => queues.some((queue) => queue.state === state);
  if (role === "input" && messages && !isRouting) return ["warn", "Waiting"];
  if (has("unread")) return role === "output" ? ["warn", "Nobody reads"] : ["bad", "Not consumed"];
  if (has("growing")) return ["warn", "Growing"];
  if (messages === null) return ["none", "Not known"];
  if (role === "dead_letter" && messages) return ["warn", "Inspect"];
  return ["good", messages ? "Flowing" : "Empty"];
}

function trendText(growth) {
  if (growth === null || Math.abs(growth) < STEADY) return "";
  return growth > 0 ? `▲ growing by ${rateText(growth)}/s` : `▼ shrinking by ${rateText(-growth)}/s`;
}

function showStage(role, status) {
  const stage = parts[role];
  const queues = status.queues.filter((queue) => queue.role === role);
  const totals = {
    messages: sum(queues, "messages"),
    consumers: sum(queues, "consumers"),
    growth: sum(queues, "growth"),
  };
  const [tone, word] = stateOf(role, queues, totals.messages, brokerState(status) === "routing");
  stage.node.dataset.tone = tone;
  setState(stage.state, tone, word);
  setText(stage.messages, known(totals.messages));
  setText(stage.readers, totals.consumers === null ? "–" : plural(totals.consumers, "consumer"));
  setText(stage.trend, trendText(totals.growth));
  listQueues[role](queues, queues.length === 1);
}

/** Show what nobody can receive yet, if anything is held at all. */
function showHeld({ seconds, messages, earliest_deadline: deadline }) {
  byId("held").hidden = seconds === 0 && !messages;
  setText(byId("held-messages"), messages === null ? "not known" : countText(messages));
  const left = deadline === null ? null : (Date.parse(deadline) - now) / 1_000;
  setText(byId("held-until"), left === null ? "" : `first due in ${durationText(left)}`);
}

export function showPipeline(status) {
  for (const role of Object.keys(stages)) showStage(role, status);
  const broker = byId("broker");
  const [tone, word] = BROKER_STATES[brokerState(status)];
  broker.dataset.tone = tone;
  setState(broker.querySelector(".state"), tone, word);
  setText(byId("in-flight"), countText(status.in_flight));
  setText(byId("received-rate"), rateText(status.rates.received));
  setText(byId("published-rate"), rateText(status.rates.published));
  const oldest = status.oldest_in_flight_seconds;
  setText(byId("oldest"), oldest === null ? "" : `oldest taken ${latencyText(oldest)} ago`);
  showHeld(status.held);
}
