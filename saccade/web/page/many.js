// Many pictures: a table to sort, and files of what was said.

import { $, download, el, percent } from "./dom.js";

/** The best class, how many things, or the largest class, and how sure. */
export function summary(model, prediction, score) {
  if (!prediction) return { words: "", number: -1 };
  if (model.task === "classify") return { words: prediction.class, number: prediction.score };
  if (model.task === "detect") {
    const sure = prediction.things.filter((thing) => thing.score >= score);
    const counts = new Map();
    for (const { class: name } of sure) counts.set(name, (counts.get(name) ?? 0) + 1);
    return { words: [...counts].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name)).join(", ") || "nothing", number: sure.length };
  }
  if (model.task === "segment") {
    const [[name, count] = ["nothing", 0]] = Object.entries(prediction.pixels);
    return { words: name, number: count / (prediction.height * prediction.width) };
  }
  return { words: `${prediction.width} × ${prediction.height} pixels`, number: 0 };
}

const NUMBER = { classify: "sure", detect: "things", segment: "share", image_to_image: "" };

/** Fill the table. `models` are those that look; `open` shows one picture. */
export function table(items, models, state, open) {
  const columns = [["name", (item) => item.name.toLowerCase(), (item) => item.name]];
  for (const model of models) {
    const told = (item) => summary(model, item.results.get(model.name)?.prediction, state.score);
    const number = (item) => {
      const value = told(item).number;
      return value < 0 ? "" : model.task === "detect" ? String(value) : model.task === "image_to_image" ? "" : percent(value);
    };
    columns.push([model.name, (item) => told(item).words, (item) => item.results.get(model.name)?.error ?? told(item).words]);
    columns.push([NUMBER[model.task], (item) => told(item).number, number, "number"]);
  }
  const { column, down } = state.sort;
  const value = columns[Math.min(column, columns.length - 1)][1];
  const sorted = [...items].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
  });
  const head = columns.map(([title, , , kind], n) => el("th", { class: kind, scope: "col", "aria-sort": n === column ? (down ? "descending" : "ascending") : "none" },
    el("button", { type: "button", onclick: () => { state.sort = { column: n, down: n === column ? !down : kind === "number" }; table(items, models, state, open); } }, title)));
  const rows = sorted.map((item) => el("tr", { "data-name": item.name, class: item === state.current ? "open" : null },
    el("td", {}, el("button", { type: "button", class: "thumb", "aria-label": `Show ${item.name}`, onclick: () => open(item) },
      item.kind === "film" ? "▶" : el("img", { src: item.url, alt: "", loading: "lazy" }))),
    ...columns.map(([, , text, kind]) => el("td", { class: kind }, text(item)))));
  $("table").replaceChildren(el("thead", {}, el("tr", {}, el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "picture")), ...head)), el("tbody", {}, ...rows));
  $("many-title").textContent = `${items.length} ${items.length === 1 ? "picture" : "pictures"}`;
  $("coco").hidden = !models.some((model) => model.task === "detect");
}

const cell = (value) => {
  let text = String(value ?? "");
  // A spreadsheet would take these for formulas.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** A row a picture, thing or class. */
export function csv(items, models, score) {
  const rows = [["name", "model", "class", "score", "x", "y", "width", "height", "pixels", "error"]];
  for (const item of items)
    for (const model of models) {
      const { prediction, error } = item.results.get(model.name) ?? {};
      const start = [item.name, model.name];
      if (!prediction) rows.push([...start, "", "", "", "", "", "", "", error ?? ""]);
      else if (model.task === "classify") rows.push([...start, prediction.class, prediction.score]);
      else if (model.task === "detect")
        for (const thing of prediction.things) { if (thing.score >= score) rows.push([...start, thing.class, thing.score, ...thing.bbox]); }
      else if (model.task === "segment")
        for (const [name, count] of Object.entries(prediction.pixels)) rows.push([...start, name, "", "", "", "", "", count]);
    }
  download("predictions.csv", "text/csv", rows.map((row) => [...row, ...Array(10 - row.length).fill("")].map(cell).join(",")).join("\r\n") + "\r\n");
}

/** What a detector found, in COCO's format. */
export function coco(items, model, score) {
  const keypoints = model.skeleton && {
    keypoints: model.skeleton.names,
    skeleton: model.skeleton.edges.map(([from, to]) => [from + 1, to + 1]),
  };
  const content = {
    info: {}, licenses: [], images: [],
    categories: model.classes.map((name, n) => ({ id: n + 1, name, ...keypoints })),
    annotations: [],
  };
  for (const item of items) {
    const prediction = item.results.get(model.name)?.prediction;
    if (!prediction) continue;
    const image = content.images.length + 1;
    content.images.push({ id: image, file_name: item.name, height: prediction.height, width: prediction.width });
    for (const { class: name, ...thing } of prediction.things)
      if (thing.score >= score)
        content.annotations.push({ id: content.annotations.length + 1, image_id: image, category_id: model.classes.indexOf(name) + 1, ...thing });
  }
  download("found.json", "application/json", JSON.stringify(content, null, 1) + "\n");
}
