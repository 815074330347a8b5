// One picture and what one model says of it: drawn on the picture, and as a list beside it.

import { el, ink, percent, rgb, svg } from "./dom.js";
import * as labels from "./labels.js";
import { picture as maskPicture } from "./masks.js";

const LEAST = 420; // pixels on the screen that a small picture is enlarged to

/** Elements for a prediction. `why(target, words)` is called with the fields of a question, and what it is about. */
export function result(item, model, prediction, state, why) {
  const draw = { classify: tags, detect: things, segment: pixels, image_to_image: image }[model.task];
  const box = el("article", { class: "result", "data-model": model.name, "aria-label": `${item.name}, seen by ${model.name}` });
  const head = el("h2", {}, model.name, " ", el("small", {}, model.network));
  box.append(head);
  draw(box, item, model, prediction, state, why);
  return box;
}

/** The picture on a frame as large as the screen has room for, on which other things lie. */
function stage(item, size) {
  const img = el("img", { src: item.url, alt: item.name, draggable: "false" });
  const frame = el("div", { class: "frame" }, img);
  const fit = (height, width) => {
    frame.style.aspectRatio = `${width} / ${height}`;
    frame.style.width = `min(100%, ${Math.max(width, LEAST)}px, calc(70vh * ${width} / ${height}))`;
    if (width < LEAST / 3) img.style.imageRendering = "pixelated";
  };
  if (size) fit(...size);
  else img.addEventListener("load", () => fit(img.naturalHeight, img.naturalWidth));
  img.addEventListener("error", () => {
    img.remove();
    frame.append(el("p", { class: "no-picture" }, "This browser cannot show that kind of file; what the model says is below."));
  });
  return frame;
}

function tags(box, item, model, prediction, state, why) {
  const list = el("ol", { class: "answers" });
  for (const { class: name, score } of prediction.top) {
    const bar = el("span", { class: "bar-of" });
    bar.style.setProperty("--share", score);
    list.append(el("li", {}, answer(`Why ${name}?`, () => why({ target: name }, name), bar,
      el("span", { class: "name" }, name), el("span", { class: "score", "data-score": score }, percent(score)))));
  }
  box.append(el("div", { class: "pair" }, stage(item), el("div", { class: "panel" }, list, hint("Click a class to see why."))));
}

function answer(label, click, ...parts) {
  return el("button", { type: "button", class: "answer", title: label, onclick: click }, ...parts);
}

const hint = (words) => el("p", { class: "hint" }, words);

function things(box, item, model, prediction, state, why) {
  const { height, width } = prediction;
  const frame = stage(item, [height, width]);
  const sheet = svg("svg", { class: "overlay", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "What was found" });
  const list = el("ol", { class: "answers" });
  const count = el("output", { class: "count" });
  const counts = new Map();
  const rows = prediction.things.map((thing, n) => {
    const nth = (counts.get(thing.class) ?? 0) + 1;
    counts.set(thing.class, nth);
    const colour = model.colours[model.classes.indexOf(thing.class)];
    const ask = () => why({ target: thing.class, thing: nth }, `${thing.class}, ${percent(thing.score)}`);
    const group = drawn(thing, n, colour, model, [height, width], ask);
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = rgb(colour);
    const row = el("li", { "data-n": n }, answer(`Why ${thing.class}?`, ask, swatch,
      el("span", { class: "name" }, thing.class), el("span", { class: "score", "data-score": thing.score }, percent(thing.score))));
    for (const one of [group, row]) {
      const lit = (on) => [group, row].forEach((other) => other.classList.toggle("lit", on));
      one.addEventListener("pointerenter", () => lit(true));
      one.addEventListener("pointerleave", () => lit(false));
      one.addEventListener("focusin", () => lit(true));
      one.addEventListener("focusout", () => lit(false));
    }
    return { thing, group, row };
  });
  // Large things first, so that small ones lie on them and can be pointed at.
  const area = ({ thing: { bbox } }) => bbox[2] * bbox[3];
  sheet.append(...[...rows].sort((one, other) => area(other) - area(one)).map(({ group }) => group));
  list.append(...rows.map(({ row }) => row));
  const apply = () => {
    let shown = 0;
    for (const { thing, group, row } of rows) {
      const enough = thing.score >= state.score;
      group.classList.toggle("unsure", !enough);
      row.hidden = !enough;
      shown += enough;
    }
    const less = rows.length - shown;
    count.textContent = `${shown} ${shown === 1 ? "thing" : "things"} at least ${percent(state.score, 0)} sure${less ? `, ${less} less` : ""}`;
  };
  const slider = el("input", { type: "range", min: 0.05, max: 1, step: 0.01, value: state.score, class: "threshold",
    oninput: (event) => { state.score = Number(event.target.value); state.changed(); } });
  state.listeners.add(() => { slider.value = state.score; apply(); });
  apply();
  frame.append(sheet);
  box.append(el("div", { class: "pair" }, frame, el("div", { class: "panel" },
    el("label", { class: "slider" }, "How sure at least ", slider), count, list,
    hint(rows.length ? "Point at a thing to find it; click it to see why." : "Nothing was found at all."))));
}

/** A thing on the picture: its mask, box, keypoints and name. */
function drawn(thing, n, colour, model, [height, width], ask) {
  const [x, y, w, h] = thing.bbox;
  const group = svg("g", { class: "thing", "data-n": n, tabindex: 0, role: "button",
    "aria-label": `${thing.class}, ${percent(thing.score)}`, onclick: ask,
    onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); ask(); } } });
  if (thing.segmentation?.counts !== undefined) {
    const mask = maskPicture(thing.segmentation, thing.bbox, colour, 0.45);
    if (mask) group.append(svg("image", { class: "mask", ...mask, preserveAspectRatio: "none" }));
  }
  const box = { x, y, width: w, height: h };
  const line = rgb(colour), hem = ink(colour);
  group.append(svg("rect", { ...box, class: "hem", stroke: hem }), svg("rect", { ...box, class: "box", stroke: line }));
  if (thing.keypoints && model.skeleton) group.append(...skeleton(thing, model.skeleton, line, hem, Math.max(height, width)));
  const size = Math.max(height, width) / 34;
  const text = `${thing.class} ${percent(thing.score, 0)}`;
  const tall = 1.3 * size, wide = (0.56 * text.length + 0.6) * size;
  const top = y >= tall ? y - tall : Math.min(y + h, height - tall);
  const left = Math.max(0, Math.min(x, width - wide));
  group.append(svg("rect", { class: "plate", x: left, y: top, width: wide, height: tall, fill: line }),
    svg("text", { x: left + 0.3 * size, y: top + 0.97 * size, "font-size": size, fill: hem }, text));
  return group;
}

function skeleton(thing, { edges }, line, hem, longest) {
  const points = [];
  for (let n = 0; n < thing.keypoints.length; n += 3) points.push([thing.keypoints[n], thing.keypoints[n + 1]]);
  const bones = edges.map(([from, to]) => svg("line", { class: "bone", x1: points[from][0], y1: points[from][1], x2: points[to][0], y2: points[to][1], stroke: line }));
  const dots = points.map(([cx, cy], n) => svg("circle", { class: "keypoint", cx, cy, r: longest / 160, fill: line, stroke: hem, "data-score": thing.keypoint_scores?.[n] }));
  return [...bones, ...dots];
}

function pixels(box, item, model, prediction, state, why) {
  const { height, width } = prediction;
  const frame = stage(item, [height, width]);
  const canvas = el("canvas", { class: "overlay labels", role: "img", "aria-label": "The class of each pixel" });
  const clear = model.classes[0].toLowerCase() === "background" ? 0 : null;
  const under = el("output", { class: "count" }, " ");
  const list = el("ol", { class: "answers" });
  let map = null;
  const ready = labels.decode(prediction.labels).then((decoded) => {
    map = decoded;
    labels.paint(canvas, map, model.colours, clear);
  });
  frame.ready = ready;
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - bounds.left) / bounds.width) * width);
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * height);
    return [Math.max(0, Math.min(height - 1, row)), Math.max(0, Math.min(width - 1, column))];
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!map) return;
    const [row, column] = place(event);
    const label = map.values[row * width + column];
    under.textContent = `${label === 255 ? "none" : model.classes[label]} at row ${row}, column ${column}`;
  });
  canvas.addEventListener("click", (event) => {
    const [row, column] = place(event);
    why({ pixel: `${row},${column}` }, `the pixel at row ${row}, column ${column}`);
  });
  const total = height * width;
  for (const [name, count] of Object.entries(prediction.pixels)) {
    const label = model.classes.indexOf(name);
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = label === clear ? "transparent" : rgb(model.colours[label]);
    const row = el("li", {}, answer(`Why ${name}?`, () => why({ target: name }, name), swatch,
      el("span", { class: "name" }, name), el("span", { class: "score", "data-pixels": count }, percent(count / total))));
    const only = (label) => map && labels.paint(canvas, map, model.colours, clear, label);
    row.addEventListener("pointerenter", () => only(label));
    row.addEventListener("pointerleave", () => only(null));
    row.addEventListener("focusin", () => only(label));
    row.addEventListener("focusout", () => only(null));
    list.append(row);
  }
  const opacity = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: state.opacity, class: "opacity",
    oninput: (event) => { state.opacity = Number(event.target.value); state.changed(); } });
  const apply = () => { opacity.value = state.opacity; canvas.style.opacity = state.opacity; };
  state.listeners.add(apply);
  apply();
  frame.append(canvas);
  box.append(el("div", { class: "pair" }, frame, el("div", { class: "panel" },
    el("label", { class: "slider" }, "How opaque ", opacity), under, list,
    hint("Point at a class to see it alone; click it, or a pixel, to see why."))));
}

function image(box, item, model, prediction) {
  const frame = stage(item, [prediction.height, prediction.width]);
  const made = el("img", { class: "overlay made", src: `data:image/png;base64,${prediction.image}`, alt: "What was made of it" });
  frame.append(made);
  const slider = el("input", { type: "range", min: 0, max: 100, value: 50, class: "wipe",
    oninput: (event) => { made.style.clipPath = `inset(0 0 0 ${event.target.value}%)`; } });
  made.style.clipPath = "inset(0 0 0 50%)";
  box.append(el("div", { class: "pair" }, frame, el("div", { class: "panel" },
    el("label", { class: "slider" }, "Before and after ", slider), hint("Move the slider: what came is on the left, what was made on the right."))));
}
