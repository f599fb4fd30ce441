// The agents: searched, filtered and sorted by the broker, a page at a time.

import { byId, listIn, setForeign, setState, setText, setTime, setTitle } from "./nodes.js";
import { readJson } from "./reading.js";
import { countText, latencyText, shareText } from "./text.js";

const SEARCH_PAUSE = 250; // ms without a key after which the search is sent
const PAUSE = 2_000; // ms between two readings, at least
const SHOWN = 25; // on a page
const CAPABILITIES_SHOWN = 6; // of an agent; the title of the node has all

const search = byId("search");
const table = byId("agents-table");
const filter = byId("state-filter");
const previous = byId("previous");
const nextPage = byId("next");

let sort = "state";
let isReversed = false;
let offset = 0;
let listed = 0; // that match, on all pages
let reading = new AbortController();
let next;

const showRows = listIn(
  byId("agents"),
  byId("agent-template"),
  (agent) => agent.agent_id,
  (parts, agent) => {
    setForeign(parts.name, agent.agent_name);
    setForeign(parts.id, agent.agent_id);
    setTitle(parts.name, agent.agent_name); // long ones are cut
    setTitle(parts.id, agent.agent_id);
    setState(parts.state, agent.is_online ? "good" : "none", agent.is_online ? "Online" : "Offline");
    setText(parts.source, agent.source === null ? "" : `by ${agent.source}`);
    showTime(parts.seen, agent.last_seen);
    showTime(parts.message, agent.last_message_at);
    setText(parts.routed, countText(agent.routed));
    setText(parts.share, agent.routed ? shareText(agent.share) : "");
    showCapabilities(parts.capabilities, agent.capabilities);
    const { outstanding, answer_seconds: seconds } = agent;
    setText(parts.outstanding, outstanding === null ? "–" : countText(outstanding));
    setText(parts.answer, seconds === null ? "–" : latencyText(seconds));
  },
);

function showTime(node, iso) {
  if (iso === null) setText(node, "–");
  else setTime(node, iso);
}

function showCapabilities(node, capabilities) {
  const shown = capabilities.slice(0, CAPABILITIES_SHOWN).join(" · ");
  const more = capabilities.length - CAPABILITIES_SHOWN;
  setForeign(node, more > 0 ? `${shown} · +${countText(more)}` : shown);
  setTitle(node, capabilities.join(", "));
}

/** Tell whether the routing policy follows which messages are answered: then it says so of all. */
const followsAnswers = (agents) =>
  agents.some((agent) => agent.outstanding !== null || agent.answer_seconds !== null);

const shownState = () => filter.querySelector(":checked").value;

function noteText({ known, matching, agents }, searched) {
  const all = `${countText(known)} known`;
  const isFiltered = searched !== "" || shownState() !== "all";
  if (matching === 0) return isFiltered ? `None of ${all} matches` : "No agent is known yet";
  const range = `${countText(offset + 1)}–${countText(offset + agents.length)}`;
  return isFiltered ? `${range} of ${countText(matching)} matching, ${all}` : `${range} of ${all}`;
}

function showPage(list, searched) {
  listed = list.matching;
  table.classList.toggle("following", followsAnswers(list.agents));
  showRows(list.agents);
  setText(byId("agents-note"), noteText(list, searched));
  previous.setAttribute("aria-disabled", offset === 0);
  nextPage.setAttribute("aria-disabled", offset + SHOWN >= listed);
}

/** Read the agents now, and again and again after a pause; an earlier reading is given up. */
export async function askForAgents() {
  clearTimeout(next);
  reading.abort();
  const mine = new AbortController();
  reading = mine;
  const searched = search.value.trim();
  const startedAt = performance.now();
  const query = new URLSearchParams({ search: searched, sort, offset, limit: SHOWN });
  if (isReversed) query.set("reverse", "true");
  if (shownState() !== "all") query.set(shownState(), "true");
  const list = await readJson(`agents?${query}`, mine.signal).catch(() => null);
  if (mine.signal.aborted) return;
  if (list === null) {
    setText(byId("agents-note"), "The agents could not be loaded; retrying.");
  } else if (list.agents.length === 0 && offset > 0) {
    offset = 0; // fewer match than before
    askForAgents();
    return;
  } else {
    showPage(list, searched);
  }
  // A list that takes the broker long is asked for less often.
  next = setTimeout(askAgain, Math.max(PAUSE, 10 * (performance.now() - startedAt)));
}

function askAgain() {
  if (document.hidden) next = setTimeout(askAgain, PAUSE);
  else askForAgents();
}

function turnTo(wanted) {
  if (wanted < 0 || (wanted > 0 && wanted >= listed)) return;
  offset = wanted;
  askForAgents();
}

search.addEventListener("input", () => {
  offset = 0;
  clearTimeout(next);
  next = setTimeout(askForAgents, SEARCH_PAUSE);
});
filter.addEventListener("change", () => turnTo(0));
previous.addEventListener("click", () => turnTo(offset - SHOWN));
nextPage.addEventListener("click", () => turnTo(offset + SHOWN));

table.tHead.addEventListener("click", ({ target }) => {
  const wanted = target.closest("button")?.dataset.sort;
  if (wanted === undefined) return;
  isReversed = wanted === sort && !isReversed;
  sort = wanted;
  for (const heading of table.tHead.querySelectorAll("th")) heading.removeAttribute("aria-sort");
  // Names begin with A, everything else with the most or the latest.
  const isAscending = (sort === "name") !== isReversed;
  target.closest("th").setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  turnTo(0);
});
