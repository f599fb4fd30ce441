// The connections to RabbitMQ and to the central server, and the registry that comes from there.

import { now } from "./clock.js";
import { byId, partsOf, setForeign, setState, setText, setTime } from "./nodes.js";
import { agoText, countText, durationText, momentText, plural } from "./text.js";

const STATES = {
  connected: { tone: "good", word: "Connected" },
  connecting: { tone: "bad", word: "Connecting" },
  blocked: { tone: "bad", word: "Blocked" },
};

const parts = { rabbitmq: partsOf(byId("rabbitmq")), server: partsOf(byId("server")) };

function showConnection(shown, connection) {
  const { tone, word } = STATES[connection.state];
  setState(shown.state, tone, word);
  setText(shown.since, `for ${durationText((now - Date.parse(connection.since)) / 1_000)}`);
  shown.since.title = `since ${momentText(Date.parse(connection.since))}`;
  setForeign(shown.peer, connection.peer);
  setText(
    shown.losses,
    connection.lost + connection.failed_tries === 0
      ? "never lost"
      : `lost ${plural(connection.lost, "time")}, ${plural(connection.failed_tries, "failed try")}`
          .replace(/trys$/, "tries"),
  );
  shown.failure.hidden = connection.error === null;
  if (connection.error === null) return;
  // What is over is not to be read as the state of now.
  const isPast = connection.state !== "connecting";
  setText(shown.failed, isPast ? "Last error, over" : "Error");
  shown.error.classList.toggle("muted", isPast);
  setForeign(shown.error, connection.error);
  if (connection.error_at !== null) setTime(shown.at, connection.error_at);
}

function showRegistry({ online, known, is_fresh: isFresh, age_seconds: age }) {
  setText(byId("online"), countText(online));
  setText(byId("known"), countText(known));
  const stale = age === null ? "Unknown" : "Stale";
  setState(byId("registry-state"), isFresh ? "good" : "bad", isFresh ? "Fresh" : stale);
  setText(byId("registry-age"), age === null ? "no update yet" : `updated ${agoText(age)}`);
}

export function showConnections({ connections, registry }) {
  showConnection(parts.rabbitmq, connections.rabbitmq);
  showConnection(parts.server, connections.server);
  showRegistry(registry);
}
