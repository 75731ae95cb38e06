// The page: presets, controls, the view, the link and the Python lines.
import { createControls } from "./controls.js";
import { element } from "./dom.js";
import { framesOf, timeAt } from "./frames.js";
import { pythonLines } from "./python.js";
import { allowed, DEFAULT, fromHash, matrixFault, parseMatrix, preset, PRESETS, sizesOf, toHash } from "./state.js";
import { createView } from "./view.js";

const FINE = 161; // times of a course
const COARSE = [17, 81]; // while a slider is dragged: the fewest and the most
const WORK = [3, 6]; // milliseconds for them in a frame: more times below the first, fewer above the second
const REST = 200; // milliseconds after which a course is made finer, and the link written

const $ = (id) => document.getElementById(id);
let state = location.hash.length > 1 ? fromHash(location.hash) : preset("rich");
let chosen = location.hash.length > 1 ? null : "rich";
let coarse = 41;
let pending = 0;
let resting = 0;

const view = createView($("view"), {
  onProgress(progress) {
    state = { ...state, progress };
    rest();
  },
});
const controls = createControls($("controls"), { onChange: change, parse });

function parse(text) {
  const matrix = parseMatrix(text);
  return { matrix, error: matrixFault(matrix) };
}

function change(name, value, isDone) {
  state = allowed({ ...state, [name]: value });
  chosen = null;
  show(isDone);
}

/** Shows the state: at once on few times, and after a rest on many. */
function show(isDone) {
  controls.show(state);
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    const began = performance.now();
    const course = framesOf(state, coarse);
    const took = performance.now() - began;
    // As many times as this device has the time for.
    if (took > WORK[1]) coarse = Math.max(COARSE[0], coarse - 8);
    if (took < WORK[0]) coarse = Math.min(COARSE[1], coarse + 8);
    view.show(course, state.progress);
  });
  rest(isDone);
}

function rest(isDone = false) {
  clearTimeout(resting);
  resting = setTimeout(() => {
    view.show(framesOf(state, FINE), state.progress);
    if (isDone) view.say();
    describe();
  }, REST);
}

/** What follows from the state but is not drawn: texts, the link, the Python lines. */
function describe() {
  const [nIn, hidden, nOut] = sizesOf(state);
  const isWide = state.width === "wide";
  const more = [hidden > nOut && "outputs", hidden > nIn && "inputs"].filter(Boolean);
  const balances = { outputs: "λ ≤ 0", inputs: "λ ≥ 0" };
  const bound = more.length === 2 ? "λ = 0" : balances[more[0]];
  $("sizes").textContent = isWide
    ? `A network of ${nIn} inputs, at least ${nIn + nOut} hidden units and ${nOut} outputs.`
    : `A network of ${nIn}-${hidden}-${nOut} units.` +
      (bound ? ` It has more hidden units than ${more.join(" and ")}: these sizes allow ${bound} only.` : "");
  // The text keeps its place when a slider moves: what is below must stay under the finger.
  if (chosen) $("story").textContent = PRESETS[chosen].text;
  $("story").style.visibility = chosen ? "visible" : "hidden";
  for (const button of $("presets").children) button.setAttribute("aria-pressed", String(button.value === chosen));
  const hash = toHash(state) || `task=${DEFAULT.task}`;
  if (location.hash !== `#${hash}`) history.replaceState(null, "", `#${hash}`);
  const t = Number(timeAt(state.progress, state).toPrecision(6));
  $("python").textContent = pythonLines(state, t);
}

for (const [name, { title }] of Object.entries(PRESETS)) {
  const button = element("button", { type: "button", value: name }, title);
  button.addEventListener("click", () => {
    state = preset(name);
    chosen = name;
    show(true);
    describe();
  });
  $("presets").append(button);
}

for (const [id, text] of [["copy-link", () => location.href], ["copy-python", () => $("python").textContent]]) {
  $(id).addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      $("copied").textContent = "Copied.";
    } catch {
      $("copied").textContent = "The browser does not allow copying: select the text instead.";
    }
  });
}

addEventListener("hashchange", () => {
  state = fromHash(location.hash);
  chosen = null;
  show(true);
});
show(true);
describe();
