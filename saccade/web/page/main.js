// The page: what comes in, which models look, and what is shown.

import { get, post } from "./api.js";
import { $, complain, el, tell } from "./dom.js";
import { film } from "./film.js";
import * as many from "./many.js";
import { result } from "./result.js";
import { end as endWhy, explain } from "./why.js";

const LEAST = 0.05; // things that are less sure are not asked for
const AT_ONCE = 3; // uploads
const FILMS = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|flv|ts|ogv|3gp)$/i;

const state = {
  score: 0.5, // how sure a thing must be to be shown
  opacity: 0.6, // of maps of labels
  sort: { column: 0, down: false },
  current: null,
  listeners: new Set(), // of what is on the page and shows the above
  changed() {
    for (const listener of state.listeners) listener();
    if (items.length > 1) refresh();
  },
};
const items = [];
let stopping = new AbortController(); // ends all that is on its way
let service = { models: [], limits: {}, links: false };

/** The models that look: one, or two beside each other. */
function chosen() {
  const names = [$("model").value, $("beside").value].filter(Boolean);
  return [...new Set(names)].map((name) => service.models.find((model) => model.name === name));
}

/** Take in files, and open the first of them. */
function add(files) {
  const taken = [];
  for (const file of files) {
    if (file.size > service.limits.body * 0.999) {
      complain(`${file.name} has ${megabytes(file.size)}; the service takes ${megabytes(service.limits.body)} at a time.`);
      continue;
    }
    const kind = file.type.startsWith("video/") || FILMS.test(file.name) ? "film" : "picture";
    taken.push({ file, name: ownName(file.name || "pasted.png", taken), kind, url: URL.createObjectURL(file), results: new Map() });
  }
  if (!taken.length) return;
  items.push(...taken);
  open(taken[0]);
  ask(taken.slice(1));
}

/** A name that no other has: of two files of one name the second is called "x (2).jpg". */
function ownName(name, besides) {
  const known = new Set([...items, ...besides].map((item) => item.name));
  const [, stem, suffix] = name.match(/^(.*?)(\.[^.]*)?$/s);
  let own = name;
  for (let n = 2; known.has(own); n++) own = `${stem} (${n})${suffix ?? ""}`;
  return own;
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Ask the chosen models about pictures that they were not asked about, a few at a time. */
async function ask(asked) {
  const models = chosen();
  const waiting = asked.filter((item) => item.kind === "picture").flatMap((item) => models.map((model) => [item, model]));
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await askOne(...next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function askOne(item, model) {
  const known = item.results.get(model.name);
  if (!items.includes(item) || (known && !known.again)) return;
  const answer = {};
  item.results.set(model.name, answer);
  const showProgress = (share) => {
    answer.bar?.setAttribute("value", share);
    if (share >= 1) answer.bar?.removeAttribute("value");
  };
  try {
    const fields = [["model", model.name], ["score", LEAST], ["files", item.file]];
    answer.prediction = (await post("v1/predict", fields, showProgress, stopping.signal)).results[0].prediction;
    tell(`${item.name}: ${many.summary(model, answer.prediction, state.score).words}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    answer.error = error.message;
    answer.again = [0, 429, 503, 504].includes(error.status);
    complain(`${item.name}: ${error.message}`);
  }
  if (state.current === item && chosen().includes(model)) cardOf(model)?.replaceWith(card(item, model));
  refresh();
}

/** Make an item the one that is shown. */
function open(item) {
  endWhy();
  state.current = item;
  show(item);
  refresh();
  ask([item]);
  const { top } = $("work").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) $("work").scrollIntoView({ behavior: "smooth", block: "start" });
}

function show(item) {
  state.listeners.clear();
  const boxes = chosen().map((model) => card(item, model));
  $("work").replaceChildren(...boxes);
  $("work").classList.toggle("two", boxes.length > 1);
}

const cardOf = (model) => [...$("work").children].find((one) => one.dataset.model === model.name);

/** What one model says of an item, or how far it is. */
function card(item, model) {
  if (item.kind === "film") {
    item.films ??= new Map();
    const again = () => { item.films.delete(model.name); show(item); };
    if (!item.films.has(model.name)) item.films.set(model.name, film(item, model, again, stopping.signal));
    return item.films.get(model.name);
  }
  const answer = item.results.get(model.name);
  const why = (question, words) => explain(item, model, question, words);
  if (answer?.prediction) return result(item, model, answer.prediction, state, why);
  const box = el("article", { class: "result", "data-model": model.name }, el("h2", {}, model.name));
  if (answer?.error) {
    box.append(el("p", { class: "wrong" }, answer.error));
    if (answer.again) box.append(el("button", { type: "button", onclick: () => open(item) }, "Ask again"));
    return box;
  }
  const bar = el("progress", { "aria-label": `Sending ${item.name}` });
  if (answer) answer.bar = bar;
  box.append(el("img", { class: "waiting", src: item.url, alt: item.name }), bar);
  return box;
}

function refresh() {
  $("many").hidden = items.length < 2;
  if (items.length > 1) many.table(items, chosen(), state, open);
}

function clear() {
  stopping.abort();
  stopping = new AbortController();
  endWhy();
  for (const item of items) URL.revokeObjectURL(item.url);
  items.length = 0;
  state.current = null;
  state.listeners.clear();
  $("work").replaceChildren();
  $("alerts").replaceChildren();
  refresh();
  $("choose").focus();
}

/** A model was chosen: what is shown is asked of it too. */
function choose() {
  if ($("beside").value === $("model").value) $("beside").value = "";
  if (!state.current) return;
  open(state.current);
  ask(items);
}

function fillModels() {
  const option = (model) => el("option", { value: model.name }, `${model.name} (${model.network})`);
  $("model").replaceChildren(...service.models.map(option));
  $("beside").replaceChildren(el("option", { value: "" }, "none"), ...service.models.map(option));
  $("beside").closest("label").hidden = service.models.length < 2;
  $("model").addEventListener("change", choose);
  $("beside").addEventListener("change", choose);
}

async function fillExamples() {
  const names = await get("v1/examples");
  $("examples").replaceChildren(...names.map((name) => {
    const take = async () => {
      try {
        const blob = await get(`v1/examples/${name}`, { as: "blob" });
        add([new File([blob], name, { type: blob.type })]);
      } catch (error) {
        complain(`${name}: ${error.message}`);
      }
    };
    const isFilm = FILMS.test(name);
    const button = el("button", { type: "button", class: "example", "aria-label": `Example: ${name}`, onclick: take }, isFilm ? "▶ film" : "");
    if (!isFilm) get(`v1/examples/${name}`, { as: "blob" }).then((blob) => button.append(el("img", { src: URL.createObjectURL(blob), alt: "" }))).catch(() => button.append(name));
    return button;
  }));
}

function listen() {
  const drop = $("drop");
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });
  $("choose").addEventListener("change", () => { add($("choose").files); $("choose").value = ""; });
  $("clear").addEventListener("click", clear);
  $("csv").addEventListener("click", () => many.csv(pictures(), chosen(), state.score));
  $("coco").addEventListener("click", () => many.coco(pictures(), chosen().find((model) => model.task === "detect"), state.score));
  $("photograph").addEventListener("click", photograph);
  $("link-form").addEventListener("submit", (event) => { event.preventDefault(); follow($("link").value.trim()); });
}

const pictures = () => items.filter((item) => item.kind === "picture");

/** Ask about a link: the service fetches it, and the page shows what was said. */
async function follow(link) {
  if (!link) return;
  const name = decodeURIComponent(link.split(/[?#]/)[0].split("/").pop() || link);
  if (FILMS.test(name)) {
    const item = { name, link, kind: "film", url: "", results: new Map() };
    items.push(item);
    open(item);
    return;
  }
  const bar = el("progress", { "aria-label": `Fetching ${name}` });
  $("link-form").append(bar);
  try {
    // The picture itself is needed here too, to be drawn on; other sites' pictures are not this page's to read.
    const body = new URLSearchParams({ link });
    const blob = await get("v1/fetch", { method: "POST", as: "blob", body });
    add([new File([blob], name, { type: blob.type })]);
    $("link").value = "";
  } catch (error) {
    complain(`${name}: ${error.message}`);
  }
  bar.remove();
}

async function photograph() {
  const dialog = $("camera"), finder = $("finder");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    complain(error.name === "NotAllowedError" ? "The browser may not use the camera; allow it, or choose a file." : "There is no camera here; choose a file.");
    return;
  }
  finder.srcObject = stream;
  await finder.play();
  dialog.showModal();
  const end = () => { stream.getTracks().forEach((track) => track.stop()); finder.srcObject = null; };
  dialog.addEventListener("close", end, { once: true });
  $("camera-close").onclick = () => dialog.close();
  $("shoot").onclick = () => {
    const canvas = el("canvas", { width: finder.videoWidth, height: finder.videoHeight });
    canvas.getContext("2d").drawImage(finder, 0, 0);
    canvas.toBlob((blob) => { add([new File([blob], "photograph.jpg", { type: "image/jpeg" })]); dialog.close(); }, "image/jpeg", 0.92);
  };
}

async function begin() {
  listen();
  try {
    service = await get("v1/models");
    fillModels();
    $("link-form").hidden = !service.links;
    await fillExamples();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    complain(error.message);
  }
}

begin();
