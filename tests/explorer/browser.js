// In a browser: compares with the library's numbers, and uses the page as a reader would.
import { PRESETS } from "../explorer/state.js";
import { differences } from "./states.js";

const FRAMES = 90; // of a drag

const frame = document.getElementById("page");
const errors = [];
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const settled = () => pause(400);
const nextFrame = (window) => new Promise((resolve) => window.requestAnimationFrame(resolve));

async function opened(hash) {
  frame.src = "about:blank";
  await pause(50);
  frame.src = `../explorer/index.html${hash}`;
  await new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
  frame.contentWindow.addEventListener("error", (event) => errors.push(event.message));
  await settled();
  return frame.contentDocument;
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
  return { median: between[FRAMES / 2], slowest: between[FRAMES - 1] };
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

async function used() {
  const document = await opened("");
  const found = { unnamed: unnamed(document), presets: {} };
  for (const [name, { text }] of Object.entries(PRESETS)) {
    document.querySelector(`button[value=${name}]`).click();
    await settled();
    found.presets[name] = {
      isTold: document.getElementById("story").textContent === text,
      said: document.querySelector("[role=status].hidden").textContent,
      hash: frame.contentWindow.location.hash.slice(1),
      python: document.getElementById("python").textContent,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      isDrawn: [...document.querySelectorAll("canvas")].every(hasInk),
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

async function answer() {
  const reference = await (await fetch("/reference.json")).json();
  const compared = differences(reference);
  return {
    compared,
    used: await used(),
    refused: await refused(),
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
