// Why? Several explanations of one tag, box or pixel side by side, what was alike in training, and how far to trust it.

import { post } from "./api.js";
import { $, complain, el, tell } from "./dom.js";

let running = null;
let asker = null;

/** Put away what is explained, and stop what is on its way; the focus goes back to who asked. */
export function end() {
  running?.abort();
  running = null;
  if ($("why").hidden) return;
  const inside = $("why").contains(document.activeElement);
  $("why").hidden = true;
  if (inside && asker?.isConnected) asker.focus();
}

document.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });

/** Ask, and show the answer in its own part of the page. */
export async function explain(item, model, question, words) {
  running?.abort();
  asker = document.activeElement;
  const mine = (running = new AbortController());
  const room = $("why");
  const bar = el("progress", { "aria-label": "Explaining" });
  const close = el("button", { type: "button", onclick: end }, "Close");
  const head = el("div", { class: "bar" }, el("h2", {}, `Why ${words}?`), el("span", { class: "spacer" }), close);
  room.replaceChildren(head, el("p", { class: "hint" }, "Several methods look; that takes some seconds."), bar);
  room.hidden = false;
  room.scrollIntoView({ behavior: "smooth", block: "start" });
  tell(`Explaining ${words}`);
  const fields = [["model", model.name], ...Object.entries(question), ["file", item.file]];
  try {
    const answer = await post("v1/explain", fields, (share) => { if (share < 1) bar.value = share; else bar.removeAttribute("value"); }, mine.signal);
    room.replaceChildren(head, ...shown(answer));
    room.focus({ preventScroll: true });
    room.scrollIntoView({ behavior: "smooth", block: "start" });
    tell(`Explained: ${answer.words}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    room.hidden = true;
    complain(`No explanation of ${words}: ${error.message}`);
  }
}

const png = (base64, alt) => el("img", { src: `data:image/png;base64,${base64}`, alt });

function shown(answer) {
  const seen = el("figure", { class: "method" }, png(answer.seen, "What the network sees"),
    el("figcaption", {}, el("strong", {}, "What the network sees"), el("span", { class: "words" }, answer.words)));
  const cards = answer.methods.map((method) => {
    const [first, ...others] = method.pictures;
    const more = others.length
      ? el("details", {}, el("summary", {}, `${others.length} more`), ...others.map((one) =>
          el("figure", {}, png(one.image, one.title), el("figcaption", {}, [one.title, one.detail].filter(Boolean).join(": ")))))
      : null;
    return el("figure", { class: "method", "data-method": method.method }, first && png(first.image, `${method.method}: ${first.title}`),
      el("figcaption", {}, el("strong", {}, method.method.replaceAll("_", " ")),
        el("span", { class: "words" }, first?.detail ?? ""), el("span", { class: "trust" }, method.trust)), more);
  });
  const parts = [el("div", { class: "methods" }, seen, ...cards)];
  if (answer.neighbours?.length) {
    const near = answer.neighbours.map((one) => el("figure", {}, png(one.image, one.name),
      el("figcaption", {}, el("strong", {}, one.label || one.name), ` ${one.cosine.toFixed(3)}`)));
    parts.push(el("h3", {}, "Most alike of what it was trained on"), el("div", { class: "neighbours" }, ...near),
      el("p", { class: "trust" }, answer.neighbours_trust));
  }
  const refused = Object.entries(answer.refused ?? {});
  if (refused.length)
    parts.push(el("details", {}, el("summary", {}, "Not for this network"), ...refused.map(([name, reason]) => el("p", {}, `${name}: ${reason}`))));
  return parts;
}
