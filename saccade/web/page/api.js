// The service: questions with progress, and errors in its own words.

import { $ } from "./dom.js";

let key = sessionStorage.getItem("key") ?? "";

/** What the service says when it does not answer. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** GET, or what else is said; asks for a key where one is needed. */
export async function get(path, { method = "GET", as = "json", signal, body } = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { method, headers: headers(), signal, body });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw silent();
    }
    if (response.ok) return response.status === 204 ? null : response[as]();
    const refused = refusal(response.status, await response.text());
    if (response.status !== 401) throw refused;
    await askForKey(refused.message);
  }
}

/** POST a form; `progress` is handed the share of it that is sent. */
export async function post(path, fields, progress = () => {}, signal = undefined) {
  for (;;) {
    const [status, text] = await send(path, fields, progress, signal);
    if (status >= 200 && status < 300) return JSON.parse(text);
    const refused = refusal(status, text);
    if (status !== 401) throw refused;
    await askForKey(refused.message);
  }
}

function send(path, fields, progress, signal) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => resolve([request.status, request.responseText]);
    request.onerror = () => reject(silent());
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** The events of a stream, one by one. (EventSource cannot show a key.) */
export async function* events(path, signal) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw refusal(response.status, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find((one) => one.startsWith("data: "));
      if (line) yield JSON.parse(line.slice(6));
    }
  }
}

function refusal(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return new Refused(status, code, message);
  } catch {
    return new Refused(status, "unknown", `the service answered ${status}`);
  }
}

const silent = () => new Refused(0, "silent", "the service does not answer; is it running, and the file within its limits?");

function askForKey(words) {
  const dialog = $("key-dialog");
  $("key-words").textContent = words;
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      key = $("key").value.trim();
      sessionStorage.setItem("key", key);
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}
