// Small helpers to make elements. Text is always set as text: names from outside never become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML with properties, listeners (onclick ...), data-*, aria-* and children. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

export const rgb = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;

/** Black or white, whichever is easier to read on a colour. */
export function ink(colour) {
  const linear = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000" : "#fff";
}

/** Hand a file to the person. */
export function download(name, type, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Say something to those who listen, and do not look. */
export function tell(words) {
  $("status").textContent = words;
}

/** Say what went wrong, until it is put away. */
export function complain(words) {
  const box = el("div", { class: "alert" }, el("span", {}, words));
  box.append(el("button", { type: "button", "aria-label": "Put away", onclick: () => box.remove() }, "×"));
  $("alerts").append(box);
}
