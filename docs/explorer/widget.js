// The view in a notebook, where Python computes (lazyrich_jax/_explore.py).
import { createControls } from "./controls.js";
import { element } from "./dom.js";
import { createView } from "./view.js";

const NAMES = [
  "width", "hidden", "start", "lmda", "scale", "seed", "inputScale", "outputScale", "weightDecay", "duration", "early",
];

/** Python's message, with matrices as arrays of rows. */
function decoded({ loss, qqt, inputs, outputs, ts, ...rest }) {
  const numbers = (view) => new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  const [losses, values, n] = [numbers(loss), numbers(qqt), inputs + outputs];
  const block = (i, [from, to], [left, right]) =>
    Array.from({ length: to - from }, (_, row) => {
      const start = (i * n + from + row) * n;
      return Array.from(values.subarray(start + left, start + right));
    });
  const [above, below] = [[0, inputs], [inputs, n]];
  const frames = ts.map((_, i) => ({
    loss: losses[i],
    function: block(i, below, above),
    inputRepresentation: block(i, above, above),
    outputRepresentation: block(i, below, below),
  }));
  const last = ts.length - 1;
  return { ...rest, ts, frames, progress: ts.map((_, i) => i / last), timeAt: (part) => ts[Math.round(part * last)] };
}

function render({ model, el }) {
  const controlsRoot = element("form", { "aria-label": "Network and learning" });
  const viewRoot = element("section", { className: "view", "aria-label": "Course of learning" });
  controlsRoot.addEventListener("submit", (event) => event.preventDefault());
  el.classList.add("lazyrich");
  // JupyterLab takes the arrow keys otherwise: by its shortcuts, or further up in the notebook.
  el.dataset.lmSuppressShortcuts = "true";
  el.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(element("div", { className: "panes" }, element("div", {}, controlsRoot), viewRoot));
  let state = model.get("state");
  let progress = 0.5;
  let isWaiting = false;
  let isLate = false;
  const view = createView(viewRoot, { onProgress: (part) => (progress = part) });
  const prefix = `lazyrich-${Math.random().toString(36).slice(2)}`;
  const controls = createControls(controlsRoot, { onChange: change, names: NAMES, prefix });

  function send() {
    [isWaiting, isLate] = [true, false];
    model.set("state", state);
    model.save_changes();
  }

  // While Python computes, only the latest state waits.
  function change(name, value) {
    state = { ...state, [name]: value };
    controls.show(state);
    if (isWaiting) isLate = true;
    else send();
  }

  function show() {
    isWaiting = false;
    if (isLate) return send();
    const course = decoded(model.get("course"));
    state = course.state;
    controls.show(state);
    view.show(course, progress);
  }

  model.on("change:course", show);
  show();
}

export default { render };
