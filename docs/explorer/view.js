// The view of a course: charts over time, matrices at a time, and the time itself.
import { drawLines, drawMatrix, themeOf } from "./charts.js";
import { element, short } from "./dom.js";
import { kernelOf, modesOf, movedFrom } from "./measures.js";

const CHARTS = [
  { name: "loss", title: "Loss" },
  { name: "modes", title: "Modes", note: "dotted: singular values of the task" },
  { name: "moved", title: "Distance from the start" },
];
const MATRICES = [
  { name: "target", title: "Target" },
  { name: "function", title: "Function", note: "W₂W₁" },
  { name: "inputRepresentation", title: "Inputs", note: "W₁ᵀW₁" },
  { name: "outputRepresentation", title: "Outputs", note: "W₂W₂ᵀ" },
  { name: "kernel", title: "Tangent kernel" },
];
const MOVED = [
  { name: "kernel", text: "kernel", colour: 0 },
  { name: "inputs", text: "inputs", colour: 1, dash: [8, 4] },
  { name: "outputs", text: "outputs", colour: 2, dash: [2, 3] },
];
const PLAY = 8000; // milliseconds for the whole axis
const SILENCE = 700; // milliseconds of rest before the numbers are said

const most = (x) => x.reduce((top, row) => Math.max(top, ...row.map(Math.abs)), 0);

/** The view in `root`. `onProgress` hears of every change of the shown part of the axis.
 *
 * `show(course, progress)` shows a course (frames.js). Without `at` the frame next to the time is shown.
 */
export function createView(root, { onProgress = () => {} } = {}) {
  const panels = panelsIn(root);
  const { slider, play, time, status, table, numbers } = controlsIn(root);
  const charts = panels.loss.closest(".charts");
  let course = null;
  let progress = 0;
  let pending = 0;
  let playing = 0;
  let saying = 0;

  const shown = () => {
    const step = Math.round(progress * (course.ts.length - 1));
    const at = course.at ? course.timeAt(progress) : course.ts[step];
    return { at, frame: course.at ? course.at(at) : course.frames[step] };
  };

  function draw() {
    pending = 0;
    if (!course || panels.loss.clientWidth === 0) return;
    const { at, frame } = shown();
    charts.tabIndex = charts.scrollWidth > charts.clientWidth ? 0 : -1; // keys scroll it on a phone
    const theme = themeOf(root);
    const modes = modesOf(frame.function, course.left, course.right, course.strengths.length);
    const moved = movedFrom(course.frames[0], frame);
    drawCharts(panels, theme, course, progress);
    const kernel = kernelOf(frame);
    for (const { name } of MATRICES) {
      const matrix = { ...frame, target: course.target, kernel }[name];
      drawMatrix(panels[name], theme, matrix, course.sizes[name]);
    }
    slider.value = String(Math.round(progress * slider.max));
    time.textContent = `t = ${short(at)}`;
    slider.setAttribute("aria-valuetext", time.textContent);
    if (numbers.open) fill(table, { at, frame, modes, moved, strengths: course.strengths });
  }

  const request = () => (pending ||= requestAnimationFrame(draw));

  /** Says the numbers of the shown time after a rest, to those who don't see the charts. */
  function say() {
    clearTimeout(saying);
    saying = setTimeout(() => {
      const { at, frame } = shown();
      const { left, right, strengths } = course;
      const modes = modesOf(frame.function, left, right, strengths.length);
      const learned = modes.filter((mode, k) => mode > strengths[k] / 2 && strengths[k] > 1e-9 * strengths[0]);
      const { kernel } = movedFrom(course.frames[0], frame);
      status.textContent =
        `At time ${short(at)} the loss is ${short(frame.loss)}, ${learned.length} of ${modes.length} modes are more ` +
        `than half learned, and the kernel's distance from the start is ${short(kernel)}.`;
    }, SILENCE);
  }

  function go(to) {
    progress = Math.min(Math.max(to, 0), 1);
    onProgress(progress);
    request();
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.textContent = "Play";
    say();
  }

  play.addEventListener("click", () => {
    if (playing) return stop();
    const from = progress < 1 ? progress : 0;
    let began = null;
    const step = (now) => {
      began ??= now;
      go(from + (now - began) / PLAY);
      if (progress < 1) playing = requestAnimationFrame(step);
      else stop();
    };
    play.textContent = "Pause";
    playing = requestAnimationFrame(step);
  });
  slider.addEventListener("input", () => {
    if (playing) stop();
    go(slider.value / slider.max);
  });
  slider.addEventListener("change", say);
  numbers.addEventListener("toggle", request);
  new ResizeObserver(request).observe(panels.loss);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", request);
  return {
    show(next, at) {
      course = { ...next, ...summaryOf(next) };
      progress = at;
      request();
    },
    say,
  };
}

/** What the charts need of all frames. */
function summaryOf({ frames, left, right, strengths, target }) {
  const modes = frames.map((frame) => modesOf(frame.function, left, right, strengths.length));
  const moved = frames.map((frame) => movedFrom(frames[0], frame));
  const last = frames[frames.length - 1];
  const top = (name) => Math.max(most(frames[0][name]), most(last[name]));
  const [inputs, outputs] = [top("inputRepresentation"), top("outputRepresentation")];
  return {
    modes,
    moved,
    sizes: {
      target: most(target), function: most(target),
      inputRepresentation: inputs, outputRepresentation: outputs, kernel: inputs + outputs,
    },
  };
}

function drawCharts(panels, theme, course, cursor) {
  const { progress, ts, frames, modes, moved, strengths } = course;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => ({ part, text: short(course.timeAt(part)) }));
  const common = { progress, cursor, ticks, ts };
  const loss = frames.map((frame) => frame.loss);
  drawLines(panels.loss, theme, {
    ...common, lines: [{ values: loss, colour: 0 }], least: 0, most: Math.max(...loss) || 1,
  });
  const top = Math.max(...strengths, ...modes.flat()) || 1;
  const bottom = Math.min(...modes.flat());
  drawLines(panels.modes, theme, {
    ...common,
    lines: strengths.map((_, k) => ({ values: modes.map((row) => row[k]), colour: k })),
    levels: strengths.map((value, k) => ({ value, colour: k })),
    least: bottom < -0.02 * top ? bottom : 0, // small negative values go below the axis
    most: top,
  });
  const lines = MOVED.map(({ name, colour, dash }) => ({ values: moved.map((x) => x[name]), colour, dash }));
  drawLines(panels.moved, theme, { ...common, lines, least: 0, most: 1 });
}

function panelsIn(root) {
  const panels = {};
  const figure = (kind) => ({ name, title, note }) => {
    panels[name] = element("canvas", { role: "img", "aria-label": kind === "chart" ? `${title} over time` : [title, note].join(" ").trim() });
    const caption = element("figcaption", {}, title);
    if (note) caption.append(element("small", {}, ` ${note}`));
    if (name === "moved") caption.append(legend());
    return element("figure", { className: kind }, caption, panels[name]);
  };
  root.append(
    element("div", { className: "charts", role: "group", "aria-label": "Charts" }, ...CHARTS.map(figure("chart"))),
    element("div", { className: "matrices" }, ...MATRICES.map(figure("matrix"))),
    element(
      "p", { className: "scale" },
      element("span", { className: "low" }), " negative ", element("span", { className: "middle" }), " zero ",
      element("span", { className: "high" }), " positive",
    ),
  );
  return panels;
}

function legend() {
  const items = MOVED.map(({ text, name }) => element("span", { className: `key ${name}` }, text));
  return element("span", { className: "legend" }, ...items);
}

function controlsIn(root) {
  const found = {
    play: element("button", { type: "button" }, "Play"),
    slider: element("input", { type: "range", min: 0, max: 1000, step: 5, "aria-label": "Time" }),
    time: element("output", { "aria-live": "off" }), // the slider says it
    status: element("p", { className: "hidden", role: "status", "aria-live": "polite" }),
    table: element("table", {}),
  };
  found.numbers = element("details", {}, element("summary", {}, "Numbers at this time"), found.table);
  root.prepend(element("div", { className: "time" }, found.play, found.slider, found.time));
  root.append(found.numbers, found.status);
  return found;
}

function fill(table, { at, frame, modes, moved, strengths }) {
  const row = (name, ...values) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...values.map((x) => element("td", {}, x)));
  table.replaceChildren(
    row("time", short(at)),
    row("loss", frame.loss.toPrecision(6)),
    ...modes.map((x, k) => row(`mode ${k + 1}`, `${x.toPrecision(6)} of ${strengths[k].toPrecision(6)}`)),
    ...MOVED.map(({ name, text }) => row(`distance of ${text} from the start`, moved[name].toPrecision(4))),
  );
}
