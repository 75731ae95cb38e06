// The state of the explorer: what it may be, its presets, and its text in a link.
import { feasibleBalances } from "./problem.js";

export const DEFAULT = {
  task: "hierarchy", // or "random", "matrix"
  levels: 3,
  inputs: 4,
  outputs: 4,
  taskSeed: 1,
  matrix: [[2, 0], [0, 1]],
  width: "balanced", // or "wide"
  start: "random", // or "aligned", "reversed"
  hidden: 8,
  lmda: 0,
  scale: 0.1,
  seed: 2,
  inputScale: 0.1,
  outputScale: 0.1,
  weightDecay: 0,
  duration: 60,
  early: false, // a time axis that is finer near zero
  progress: 0.5, // the shown time, as a part of the axis
};

const CHOICES = {
  task: ["hierarchy", "random", "matrix"],
  width: ["balanced", "wide"],
  start: ["random", "aligned", "reversed"],
};
// Lowest and highest values of the numbers; those of the first line are integers.
const WHOLE = { levels: [1, 3], inputs: [1, 8], outputs: [1, 8], taskSeed: [1, 9999], hidden: [1, 8], seed: [1, 9999] };
const REAL = {
  lmda: [-20, 20], scale: [0.001, 2], inputScale: [0.001, 20], outputScale: [0.001, 20],
  weightDecay: [0, 1], duration: [0.1, 1000], progress: [0, 1],
};

const funnel = { task: "random", inputs: 6, outputs: 2, taskSeed: 6, hidden: 2, scale: 0.1, start: "random" };
export const PRESETS = {
  rich: {
    title: "Rich",
    text: "λ = 0 and small weights. The modes are learned one after the other, in steps. Both representations and the kernel take the structure of the task.",
    state: { lmda: 0, scale: 0.01, duration: 80, progress: 0.33 },
  },
  lazy: {
    title: "Lazy",
    text: "A large λ. The function is learned fast, all modes at one rate. The representation of the outputs and the kernel hardly move.",
    state: { lmda: 15, scale: 0.03, duration: 4, progress: 0.4 },
  },
  delayed: {
    title: "Delayed rich",
    text: "Six inputs, two hidden units and a negative λ. The input layer is large but spans only two directions. It learns a part of the task lazily and turns later: the kernel moves with the rest of the loss.",
    state: { ...funnel, lmda: -8, duration: 30, early: true, progress: 0.75 },
  },
  stuck: {
    title: "Reversal, stuck",
    text: "The network has learned the negative of the task. At λ = 0 every mode is unlearned to zero. This is a saddle, and the network stays there.",
    state: { start: "reversed", lmda: 0, duration: 40, progress: 0.03 },
  },
  freed: {
    title: "Reversal, freed",
    text: "The network has learned the negative of the task. The balance λ = 0.1 keeps its weights off the saddle, and every mode is learned again.",
    state: { start: "reversed", lmda: 0.1, duration: 40, progress: 0.4 },
  },
  wide: {
    title: "Wide",
    text: "The limit of wide random layers. The sum of both scales is the laziness. There are no saddles.",
    state: { width: "wide", inputScale: 0.02, outputScale: 0.5, duration: 40, progress: 0.4 },
  },
  decay: {
    title: "Lazy, then rich",
    text: "A lazy start with weight decay. The function is learned at once. The balance decays, and the representations turn rich much later, at almost no loss.",
    state: {
      task: "matrix", matrix: [[3, 0.5, 0], [0, 2, 0.5], [0.5, 0, 1]], hidden: 3, lmda: 12, scale: 0.3,
      weightDecay: 0.02, duration: 200, early: true, progress: 0.85,
    },
  },
};

/** A state with a preset's values. */
export const preset = (name) => allowed({ ...DEFAULT, ...PRESETS[name].state });

/** The sizes [in, hidden, out]; a wide network stands for any hidden size of at least in + out. */
export function sizesOf(state) {
  if (state.task === "hierarchy") return [2 ** state.levels, state.hidden, 2 ** state.levels];
  if (state.task === "matrix") return [state.matrix[0].length, state.hidden, state.matrix.length];
  return [state.inputs, state.hidden, state.outputs];
}

/** The state with every value in its range, and a balance that the sizes allow. */
export function allowed(state) {
  const found = { ...DEFAULT };
  for (const [name, choices] of Object.entries(CHOICES)) {
    if (choices.includes(state[name])) found[name] = state[name];
  }
  for (const [name, [least, most]] of Object.entries({ ...WHOLE, ...REAL })) {
    const value = name in WHOLE ? Math.round(state[name]) : Number(state[name]);
    if (Number.isFinite(value)) found[name] = Math.min(Math.max(value, least), most);
  }
  if (matrixFault(state.matrix) === null) found.matrix = state.matrix;
  found.early = state.early === true;
  if (found.width === "wide" && found.start === "aligned") found.start = "random";
  const { least, most } = feasibleBalances(...sizesOf(found));
  found.lmda = Math.min(Math.max(found.lmda, least), most);
  return found;
}

/** Why a matrix is no task of the explorer; null if it is one. */
export function matrixFault(matrix) {
  if (!Array.isArray(matrix) || matrix.length < 1 || matrix.length > 8) return "The matrix must have 1 to 8 rows.";
  const columns = matrix[0].length;
  if (columns < 1 || columns > 8) return "The matrix must have 1 to 8 columns.";
  if (matrix.some((row) => row.length !== columns)) return "All rows must have as many numbers as the first one.";
  if (matrix.some((row) => row.some((x) => !Number.isFinite(x) || Math.abs(x) > 1000))) {
    return "Every entry must be a number of at most 1000 in size.";
  }
  return null;
}

/** Rows by lines or semicolons, entries by spaces or commas. */
export function parseMatrix(text) {
  const rows = text.split(/[;\n]/).map((row) => row.trim()).filter((row) => row !== "");
  return rows.map((row) => row.split(/[\s,]+/).filter((x) => x !== "").map(Number));
}

/** The text of a state: all that differs from the default. */
export function toHash(state) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(DEFAULT)) {
    const text = (x) => (name === "matrix" ? x.map((row) => row.join(" ")).join(";") : String(x));
    if (name in state && text(state[name]) !== text(value)) query.set(name, text(state[name]));
  }
  return query.toString();
}

/** The state of a text; bad values count as missing. */
export function fromHash(hash) {
  const state = {};
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name === "matrix") state.matrix = parseMatrix(text);
    else if (name === "early") state.early = text === "true";
    else state[name] = name in WHOLE || name in REAL ? Number(text || NaN) : text;
  }
  return allowed(state);
}
