// One answer of the broker.

const TIMEOUT = 10_000; // ms that an answer may take

/** Return an answer; rejects if there is none in time, or it is not the one that was hoped for. */
export async function readJson(url, givenUp = new AbortController().signal) {
  const signal = AbortSignal.any([givenUp, AbortSignal.timeout(TIMEOUT)]);
  const response = await fetch(url, { signal, cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}
