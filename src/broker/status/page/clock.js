// The broker's clock at its last status: that of whoever looks may be wrong.

export let now = Date.now(); // ms

export function setClock(milliseconds) {
  now = milliseconds;
}
