// In a browser: compares with the library's numbers, and uses the page as a reader would.
import { PRESETS } from "../explorer/state.js";
import { differences } from "./states.js";

const FRAMES = 90; // of a drag

const frame = document.getElementById("page");
const errors = [];
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
/** Waits until a condition holds, and tells whether it did in time. */
async function until(condition, most = 400) {
  for (let tries = 0; tries < most; tries++, await pause(50)) if (condition()) return true;
  return false;
}
const nextFrame = (window) => new Promise((resolve) => window.requestAnimationFrame(resolve));

async function opened(hash) {
  for (const place of ["about:blank", `../explorer/index.html${hash}`]) {
    const isLoaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
    frame.src = place;
    await isLoaded;
  }
  frame.contentWindow.addEventListener("error", (event) => errors.push(event.message));
  const document = frame.contentDocument;
  await until(() => document.getElementById("python").textContent !== "");
  return document;
}

/** The times between frames while a slider is dragged. */
async function dragged(hash, name) {
  const document = await opened(hash);
  const slider = document.getElementById(`field-${name}`);
  const between = [];
  let last = await nextFrame(frame.contentWindow);
  for (let i = 0; i < FRAMES; i++) {
    slider.value = String(Number(slider.min) + ((slider.max - slider.min) * i) / FRAMES);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    const now = await nextFrame(frame.contentWindow);
    between.push(now - last);
    last = now;
  }
  between.sort((a, b) => a - b);
  return { fastest: between[FRAMES / 10], median: between[FRAMES / 2], slowest: between[FRAMES - 1] };
}

/** Buttons and fields without a name, and ids that occur twice. */
function unnamed(document) {
  const controls = [...document.querySelectorAll("button, input, select, textarea, canvas")];
  const name = (x) => x.getAttribute("aria-label") || x.textContent.trim() || x.labels?.[0]?.textContent;
  const ids = [...document.querySelectorAll("[id]")].map((x) => x.id);
  return [
    ...controls.filter((x) => !name(x) && x.tagName !== "SELECT").map((x) => x.outerHTML),
    ...controls.filter((x) => x.tagName === "SELECT" && !x.labels.length).map((x) => x.outerHTML),
    ...ids.filter((id, i) => ids.indexOf(id) !== i),
  ];
}

/** Sliders whose text stays the same after a step, as a key makes it. */
async function stuck(document) {
  const sliders = [...document.querySelectorAll(".field:not([hidden]) input[type=range], .time input")];
  const found = [];
  const input = (slider) => slider.dispatchEvent(new Event("input", { bubbles: true }));
  for (const slider of sliders) {
    const [before, place] = [slider.getAttribute("aria-valuetext"), slider.value];
    if (place === slider.max) slider.stepDown();
    else slider.stepUp();
    input(slider);
    const isMoved = await until(() => slider.getAttribute("aria-valuetext") !== before, 20);
    if (!isMoved) found.push(slider.id || slider.getAttribute("aria-label"));
    slider.value = place;
    input(slider);
  }
  return found;
}

async function used() {
  const document = await opened("");
  const live = [...document.querySelectorAll("output, [aria-live], [role=status]")];
  const charts = document.querySelector(".charts");
  const found = {
    unnamed: unnamed(document),
    // Moving numbers are not said, and keys reach what scrolls.
    live: live.filter((x) => x.getAttribute("aria-live") !== "off").map((x) => x.id || x.className),
    isReached: await until(() => charts.scrollWidth > charts.clientWidth && charts.tabIndex === 0),
    stuck: await stuck(document),
    presets: {},
  };
  for (const [name, { text }] of Object.entries(PRESETS)) {
    const status = document.querySelector("[role=status].hidden");
    status.textContent = "";
    document.querySelector(`button[value=${name}]`).click();
    const isSaid = await until(() => status.textContent !== "");
    found.presets[name] = {
      isSaid,
      isTold: document.getElementById("story").textContent === text,
      said: status.textContent,
      hash: frame.contentWindow.location.hash.slice(1),
      python: document.getElementById("python").textContent,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      isDrawn: await until(() => [...document.querySelectorAll("canvas")].every(hasInk)),
    };
  }
  return found;
}

/** Whether a canvas has more than one colour. */
function hasInk(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size > 1;
}

/** A bad matrix is refused in words, and a link leads to its state. */
async function refused() {
  const document = await opened("#task=matrix&matrix=1 2;3 4&hidden=2&lmda=0.5");
  const field = document.getElementById("field-matrix");
  const text = field.value;
  field.value = "1 2\n3";
  field.dispatchEvent(new Event("input", { bubbles: true }));
  return { text, fault: document.getElementById("field-matrix-fault").textContent };
}

/** The view of a notebook, with a model in the place of Python's. */
async function noted() {
  const { default: widget } = await import("./widget.js");
  const model = {
    values: await (await fetch("/tests/widget.json")).json(),
    handlers: [],
    sent: [],
    get: (name) => model.values[name],
    set: (name, value) => (model.values[name] = value),
    on: (_, handler) => model.handlers.push(handler),
    save_changes: () => model.sent.push(model.values.state),
  };
  for (const name of ["loss", "qqt"]) {
    model.values.course[name] = new DataView(Float64Array.from(model.values.course[name]).buffer);
  }
  const root = document.body.appendChild(document.createElement("div"));
  root.style.width = "900px";
  root.append(Object.assign(document.createElement("style"), { textContent: model.values.css }));
  widget.render({ model, el: root });
  const slider = root.querySelector("[id$=lmda]");
  for (const place of ["500", "600", "700"]) {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
  }
  const isDrawn = await until(() => [...root.querySelectorAll("canvas")].every(hasInk));
  // The notebook's own shortcuts don't hear the keys of sliders.
  const heard = [];
  document.addEventListener("keydown", (event) => heard.push(event.key));
  slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  const first = model.sent.map((state) => state.lmda);
  // Python answers the first change: the last one follows.
  model.handlers.forEach((handler) => handler());
  return { isDrawn, heard, first, then: model.sent.map((state) => state.lmda), unnamed: unnamed(root) };
}

async function answer() {
  const reference = await (await fetch("/reference.json")).json();
  const compared = differences(reference);
  return {
    compared,
    used: await used(),
    refused: await refused(),
    noted: await noted(),
    frames: {
      balance: await dragged("#task=hierarchy", "lmda"),
      weightDecay: await dragged("#task=random&inputs=8&outputs=8&lmda=2&weightDecay=0.1", "weightDecay"),
    },
    errors,
  };
}

addEventListener("error", (event) => errors.push(event.message));
answer()
  .catch((error) => ({ failed: String(error.stack ?? error) }))
  .then((result) => fetch("/result", { method: "POST", body: JSON.stringify(result) }));
