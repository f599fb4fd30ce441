// Reloads the page if one of its parts could not be loaded: a network that changes meanwhile is
// enough, as browsers ask for no part twice. A classic script that comes first and needs no other.

"use strict";

const LONGEST_PAUSE = 10; // s
const ANSWER_TIMEOUT = 5_000; // ms

let isIncomplete = false;
let tries = history.state?.tries ?? 0; // survives a reload

function say(when) {
  const notice = document.getElementById("incomplete");
  if (notice === null) return; // not parsed yet
  notice.hidden = false;
  const text = "The page could not be loaded completely.";
  notice.textContent = `${text} ${when}`;
  document.getElementById("announced").textContent = text;
}

function reloadAfterPause() {
  let left = Math.min(2 ** tries, LONGEST_PAUSE);
  tries += 1;
  history.replaceState({ tries }, "");
  say(`Retrying in ${left} s.`);
  const countdown = setInterval(() => {
    left -= 1;
    if (left > 0) return say(`Retrying in ${left} s.`);
    clearInterval(countdown);
    reload();
  }, 1_000);
}

/** Reload if the broker answers: else the browser would show a page that does not retry. */
async function reload() {
  say("Retrying…");
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT);
  const response = await fetch("", { signal, cache: "no-store", redirect: "manual" }).catch(
    () => null,
  );
  // A redirect is a proxy's that wants a login.
  if (response?.ok || response?.type === "opaqueredirect") location.reload();
  else reloadAfterPause();
}

document.addEventListener(
  "error",
  ({ target }) => {
    if (isIncomplete || !target.matches("script, link[rel=stylesheet]")) return;
    isIncomplete = true;
    reloadAfterPause();
  },
  true, // these events do not bubble
);

window.addEventListener("load", () => {
  if (!isIncomplete) history.replaceState(null, "");
});
