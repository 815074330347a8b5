// A film: a job with progress, then the annotated film and a timeline of what was said.

import { events, get, headers, post } from "./api.js";
import { complain, download, el, percent, rgb, svg, tell } from "./dom.js";

const ROWS = 8; // classes on a timeline
const BINS = 240; // moments on it

// Films that the service looks at for this page; when the page goes, nobody comes for them.
const begun = new Map();
addEventListener("pagehide", () => { for (const [path, headers] of begun) fetch(path, { method: "DELETE", headers, keepalive: true }); });

/** Elements for a film, which fill as it is looked at; `again` is called when a person wants another try, and `ended`
 * stops it. */
export function film(item, model, again, ended) {
  const words = el("p", { class: "count" }, "sending");
  const bar = el("progress", { max: 1, value: 0, "aria-label": `Looking at ${item.name}` });
  const stop = el("button", { type: "button" }, "Stop");
  const box = el("article", { class: "result film", "data-model": model.name, "aria-label": `${item.name}, seen by ${model.name}` },
    el("h2", {}, model.name, " ", el("small", {}, model.network)), words, bar, stop);
  const control = new AbortController();
  stop.addEventListener("click", () => control.abort());
  ended.addEventListener("abort", () => control.abort());
  look(item, model, box, words, bar, control.signal).catch((error) => {
    bar.remove();
    stop.remove();
    words.textContent = error.name === "AbortError" ? "stopped" : error.message;
    if (error.name !== "AbortError") complain(`${item.name}: ${error.message}`);
    box.append(el("button", { type: "button", onclick: again }, "Again"));
  }).then(() => stop.remove());
  return box;
}

async function look(item, model, box, words, bar, signal) {
  const source = item.file ? ["file", item.file] : ["link", item.link];
  const job = await post("v1/jobs", [["model", model.name], source], (share) => { bar.value = share; }, signal);
  const path = `v1/jobs/${encodeURIComponent(job.id)}`;
  begun.set(path, headers());
  try {
    let last = job;
    for await (const told of events(`${path}/events`, signal)) {
      last = told;
      words.textContent = told.state === "waiting" ? "waiting for its turn" : `${told.frames.toLocaleString("en")}${told.count ? ` of ${told.count.toLocaleString("en")}` : ""} frames`;
      if (told.count) bar.value = Math.min(1, told.frames / told.count);
      else bar.removeAttribute("value");
    }
    if (last.state !== "done") throw new Error(last.error?.message ?? `the film was ${last.state}`);
    const [text, blob] = await Promise.all([get(`${path}/lines`, { as: "text", signal }), get(`${path}/film`, { as: "blob", signal })]);
    const frames = text.trim().split("\n").map((line) => JSON.parse(line));
    bar.remove();
    words.textContent = `${frames.length.toLocaleString("en")} frames${last.error ? `; ${last.error.message}` : ""}`;
    box.append(...finished(item, model, frames, blob, text));
    tell(`${item.name} was looked at`);
  } finally {
    begun.delete(path);
    get(path, { method: "DELETE" }).catch(() => {});
  }
}

function finished(item, model, frames, blob, text) {
  const video = el("video", { controls: true, playsinline: true, src: URL.createObjectURL(blob), "aria-label": `${item.name}, drawn on` });
  const stem = item.name.replace(/\.[^.]*$/, "") || "film";
  return [
    video, timeline(model, frames, video),
    el("div", { class: "bar" },
      el("button", { type: "button", onclick: () => download(`${stem}-predicted.mp4`, "video/mp4", blob) }, "The film"),
      el("button", { type: "button", onclick: () => download(`${stem}-predicted.jsonl`, "application/jsonl", text) }, "A line of JSON a frame")),
  ];
}

/** How much of each class there is in a frame, 0 to 1. */
function amounts(model, frame) {
  const found = new Map();
  if (model.task === "classify") for (const { class: name, score } of frame.top) found.set(name, score);
  if (model.task === "detect") for (const { class: name, score } of frame.things) found.set(name, Math.max(score, found.get(name) ?? 0));
  if (model.task === "segment") for (const [name, count] of Object.entries(frame.pixels)) found.set(name, count / (frame.height * frame.width));
  return found;
}

/** A row a class, time to the right, the fuller the surer; a click goes there. */
function timeline(model, frames, video) {
  const last = frames.at(-1).seconds || 1;
  const count = Math.min(BINS, frames.length);
  const bins = Array.from({ length: count }, () => new Map());
  frames.forEach((frame, n) => {
    const bin = bins[Math.floor((n * count) / frames.length)];
    for (const [name, amount] of amounts(model, frame)) bin.set(name, Math.max(amount, bin.get(name) ?? 0));
  });
  const totals = new Map();
  for (const bin of bins) for (const [name, amount] of bin) totals.set(name, (totals.get(name) ?? 0) + amount);
  const names = [...totals].sort((one, other) => other[1] - one[1]).slice(0, ROWS).map(([name]) => name);
  const box = el("div", { class: "timeline", role: "group", "aria-label": "When what was seen" });
  for (const name of names) {
    const colour = model.colours[model.classes.indexOf(name)];
    const cells = bins.map((bin, n) => bin.has(name) && svg("rect", { x: n, y: 0, width: 1.02, height: 1, fill: rgb(colour), "fill-opacity": bin.get(name).toFixed(3) })).filter(Boolean);
    const strip = svg("svg", { viewBox: `0 0 ${count} 1`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: when it was seen` }, ...cells);
    const go = el("button", { type: "button", title: `Go to where ${name} is surest` }, name);
    go.addEventListener("click", () => {
      const best = frames.reduce((one, other) => ((amounts(model, other).get(name) ?? 0) > (amounts(model, one).get(name) ?? 0) ? other : one));
      video.currentTime = best.seconds;
    });
    strip.addEventListener("click", (event) => {
      const bounds = strip.getBoundingClientRect();
      video.currentTime = ((event.clientX - bounds.left) / bounds.width) * last;
    });
    box.append(el("div", { class: "row", "data-class": name }, go, strip));
  }
  if (!names.length) box.append(el("p", { class: "hint" }, "Nothing was seen in it."));
  const cursor = el("div", { class: "cursor" });
  const track = el("div", { class: "track" }, cursor);
  box.append(track);
  video.addEventListener("timeupdate", () => { cursor.style.left = percent(Math.min(1, video.currentTime / last), 2).replace(" ", ""); });
  return box;
}
