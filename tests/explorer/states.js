// The states at which the explorer and the library are compared: all presets, and 200 random ones.
import { Solution } from "../explorer/exact.js";
import { generator, problemOf } from "../explorer/problem.js";
import { pythonLines } from "../explorer/python.js";
import { allowed, DEFAULT, fromHash, preset, PRESETS, toHash } from "../explorer/state.js";

const RANDOM = 200;
// Sizes, width and weight decay: the library compiles each once.
const GROUPS = [
  { sizes: [8, 8, 8], width: "balanced", decays: false },
  { sizes: [6, 2, 2], width: "balanced", decays: false },
  { sizes: [2, 3, 5], width: "balanced", decays: false },
  { sizes: [3, 3, 3], width: "balanced", decays: true },
  { sizes: [8, 1, 8], width: "wide", decays: false },
  { sizes: [3, 1, 2], width: "wide", decays: true },
];

/** A random state of a group. */
function randomState(i) {
  const { sizes, width, decays } = GROUPS[i % GROUPS.length];
  const { uniform } = generator(i + 1);
  const among = (...choices) => choices[Math.floor(uniform() * choices.length)];
  const between = (least, most) => least * (most / least) ** uniform();
  const isHierarchy = sizes[0] === 8 && uniform() < 0.5;
  // Near a reversal's saddle the rounding of the weights decides: balances are zero or not tiny.
  const size = among(0, between(0.01, 20));
  return allowed({
    ...DEFAULT, width,
    task: isHierarchy ? "hierarchy" : "random",
    inputs: sizes[0], hidden: sizes[1], outputs: sizes[2],
    taskSeed: 1 + Math.floor(99 * uniform()),
    seed: 1 + Math.floor(99 * uniform()),
    start: width === "wide" ? among("random", "reversed") : among("random", "random", "aligned", "reversed"),
    lmda: among(-1, 1) * size,
    scale: between(0.01, 2),
    inputScale: between(0.01, 10),
    outputScale: between(0.01, 10),
    weightDecay: decays ? among(0, between(0.003, 0.5)) : 0,
    duration: between(0.3, 300),
    progress: uniform(),
  });
}

const times = (duration) => [0, 1e-3, 0.05, 0.2, 0.5, 1].map((part) => part * duration);
const plain = (x) => x.map((row) => Array.from(row));

/** Every state with its matrices, its times and its Python lines. */
export function cases() {
  const presets = Object.keys(PRESETS).map((name) => ({ name, state: preset(name) }));
  const random = Array.from({ length: RANDOM }, (_, i) => ({ name: `random ${i}`, state: randomState(i) }));
  return [...presets, ...random].map(({ name, state }) => {
    const problem = problemOf(state);
    const { sigma, variance, w1, w2 } = problem;
    return {
      name, state, variance, isWide: problem.isWide, hash: toHash(state),
      sigma: plain(sigma), function: plain(problem.function), w1: plain(w1), w2: plain(w2),
      ts: times(state.duration), python: pythonLines(state, state.duration / 4),
    };
  });
}

/** The largest difference from the library's numbers, relative to one or the largest number, by state. */
export function differences(reference) {
  return reference.map(({ name, hash, state, ts, loss, qqt }) => {
    const link = fromHash(hash);
    const solution = new Solution(problemOf(link));
    const found = ts.map((t) => solution.at(t));
    const parts = [
      [found.map((x) => [x.loss]), loss.map((x) => [x])],
      [found.flatMap(rowsOf), qqt.flat()],
    ];
    const difference = Math.max(...parts.map(([x, y]) => distance(x, y)));
    const isKept = JSON.stringify(link) === JSON.stringify(state);
    return { name, difference, isKept };
  });
}

/** QQ^T's rows. */
function rowsOf({ function: across, inputRepresentation: inputs, outputRepresentation: outputs }) {
  const above = inputs.map((row, j) => [...row, ...across.map((x) => x[j])]);
  return [...above, ...across.map((row, i) => [...row, ...outputs[i]])];
}

function distance(x, y) {
  let [far, size] = [0, 1];
  x.forEach((row, i) =>
    row.forEach((value, j) => {
      const apart = Math.abs(value - y[i][j]);
      far = apart <= far ? far : apart; // NaN stays
      size = Math.max(size, Math.abs(y[i][j]));
    }),
  );
  return far / size;
}
