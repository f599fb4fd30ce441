// The latest dead letters, each with the command that shows it.

import { byId, listIn, setForeign, setText, setTime } from "./nodes.js";
import { countText } from "./text.js";

const SHOWN = 6;
const COPIED = 2_000; // ms for which a button says that it has copied

// What comes from outside and may be pasted into a shell: no quotes, nothing that a terminal obeys.
const SAFE_ID = /^[\w.:@/+=-]{1,255}$/;
const SAFE_REASON = /^\w+$/;

function commandFor({ reason, message_id: id }) {
  const command = "broker dead-letters";
  if (id !== null && SAFE_ID.test(id)) return `${command} show --id=${id}`;
  return SAFE_REASON.test(reason) ? `${command} show --reason ${reason} --newest 1` : `${command} list`;
}

const showReasons = listIn(
  byId("reasons"),
  byId("reason-template"),
  ([reason]) => reason,
  (parts, [reason, count]) => {
    setForeign(parts.reason, reason);
    setText(parts.count, countText(count));
  },
);

const showLatest = listIn(
  byId("latest"),
  byId("letter-template"),
  (_, index) => index,
  (parts, note) => {
    setForeign(parts.reason, note.reason);
    setForeign(parts.sender, note.sender ?? "an unknown sender");
    parts.sender.classList.toggle("muted", note.sender === null);
    setForeign(parts.queue, note.queue);
    setForeign(parts.error, note.error);
    setTime(parts.at, note.at);
    setText(parts.command, commandFor(note));
  },
);

export function showDeadLetters({ by_reason: byReason, latest }) {
  const reasons = Object.entries(byReason)
    .filter(([, count]) => count > 0)
    .sort(([, one], [, other]) => other - one);
  byId("no-dead-letters").hidden = reasons.length > 0;
  byId("dead-letters").classList.toggle("some", reasons.length > 0);
  showReasons(reasons);
  showLatest(latest.slice(0, SHOWN));
}

byId("latest").addEventListener("click", async ({ target }) => {
  if (target.dataset.part !== "copy") return;
  const command = target.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(command.textContent);
    setText(target, "Copied");
  } catch {
    // Browsers allow it only on loopback and with TLS.
    getSelection().selectAllChildren(command);
    setText(target, "Selected");
  }
  setTimeout(() => setText(target, "Copy"), COPIED);
});
