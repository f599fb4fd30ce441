// How the document is changed. Whatever comes from outside enters it by `textContent`, never as
// markup, and nodes are changed where they stand, so that nothing flickers and no selection is lost.

import { now } from "./clock.js";
import { agoText, momentText, pieces, visible } from "./text.js";

export const byId = (id) => document.getElementById(id);

export function partsOf(node) {
  const parts = { node };
  for (const part of node.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return parts;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const shownIn = new WeakMap();

/** Show a text from outside, with what is invisible in it made visible. */
export function setForeign(node, text) {
  if (shownIn.get(node) === text) return;
  shownIn.set(node, text);
  node.replaceChildren(
    ...pieces(text).map((piece) => {
      if (!piece.isInvisible) return piece.text;
      const mark = document.createElement("span");
      mark.className = "invisible";
      mark.textContent = piece.text;
      return mark;
    }),
  );
}

export function setTitle(node, text) {
  const title = visible(text);
  if (node.title !== title) node.title = title;
}

export function setState(node, tone, word) {
  if (node.dataset.tone !== tone) node.dataset.tone = tone;
  setText(node, word);
}

/** Show how long ago something was; the title has the moment itself. */
export function setTime(node, iso) {
  const at = Date.parse(iso);
  if (node.dateTime !== iso) {
    node.dateTime = iso;
    node.title = momentText(at);
  }
  setText(node, agoText((now - at) / 1_000));
}

export function setShare(node, share) {
  node.style.setProperty("--share", share < 0.01 ? 0 : share); // no specks
}

/** Return a function that keeps a parent's children in step with a list of entries. */
export function listIn(parent, template, keyOf, fill) {
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
