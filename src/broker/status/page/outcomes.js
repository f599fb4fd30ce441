// What was decided about messages: traffic apart from housekeeping, and nothing that is zero.

import { byId, listIn, setForeign, setShare, setText } from "./nodes.js";
import { countText } from "./text.js";

const TRAFFIC = {
  routed: "Routed to an agent",
  no_agent_online: "Answered: no agent online",
  only_sender_online: "Answered: only the sender online",
  receiver_offline: "Answered: receiver offline",
  no_capable_agent: "Answered: no capable agent online",
  held: "Held for a receiver",
  held_again: "Held again",
  forwarded: "Errors forwarded",
  dead_lettered: "Dead-lettered",
};
const HOUSEKEEPING = {
  registered: "Agents registered",
  disconnected: "Agents disconnected",
  advertised: "Server advertisements",
  replicated: "Registry changes of other brokers",
};

const countsIn = (id) =>
  listIn(
    byId(id),
    byId("count-template"),
    (row) => row.key,
    (parts, { label, count }, total) => {
      setForeign(parts.label, label);
      setText(parts.count, countText(count));
      setShare(parts.node, count / total);
    },
  );
const showTraffic = countsIn("traffic");
const showHousekeeping = countsIn("housekeeping");

export function showOutcomes({ outcomes, received, redelivered }) {
  const rows = Object.keys({ ...TRAFFIC, ...HOUSEKEEPING, ...outcomes })
    .map((key) => ({ key, count: outcomes[key] ?? 0, label: TRAFFIC[key] ?? HOUSEKEEPING[key] ?? key }))
    .filter((row) => row.count > 0);
  const isHousekeeping = (row) => row.key in HOUSEKEEPING;
  const traffic = rows.filter((row) => !isHousekeeping(row));
  const housekeeping = rows.filter(isHousekeeping);
  const total = rows.reduce((sum, row) => sum + row.count, 0);
  byId("no-outcomes").hidden = rows.length > 0;
  byId("traffic-table").hidden = traffic.length === 0;
  byId("housekeeping-table").hidden = housekeeping.length === 0;
  showTraffic(traffic, total);
  showHousekeeping(housekeeping, total);
  setText(byId("received-total"), countText(received));
  setText(byId("redelivered-total"), countText(redelivered));
}
