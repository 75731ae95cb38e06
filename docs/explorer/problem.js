// From a state of the explorer to the matrices of a learning problem.
import { dot, map, scaled, singularBasis, transposed, vector, zeros } from "./linalg.js";

/** Numbers in [0, 1) from a seed (mulberry32), and normal ones (Box and Muller). */
export function generator(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, matrix: (rows, columns) => map(zeros(rows, columns), normal) };
}

/** The semantic hierarchy's input-output correlation, of 2^levels items and as many attributes. */
function hierarchy(levels) {
  const items = 2 ** levels;
  const sigma = [new Array(items).fill(1 / items)];
  for (let level = 0; level < levels; level++) {
    const half = items >> (level + 1);
    for (let branch = 0; branch < 2 ** level; branch++) {
      const row = vector(items);
      row.fill(1 / items, 2 * half * branch, 2 * half * branch + half);
      row.fill(-1 / items, 2 * half * branch + half, 2 * half * (branch + 1));
      sigma.push(row);
    }
  }
  return { sigma, variance: 1 / items };
}

/** The correlation, (out, in), and the inputs' variance of a state's task. */
export function taskOf(state) {
  if (state.task === "hierarchy") return hierarchy(state.levels);
  if (state.task === "matrix") return { sigma: state.matrix.map((row) => Array.from(row)), variance: 1 };
  const draw = generator(state.taskSeed).matrix(state.outputs, state.inputs);
  return { sigma: scaled(draw, 1 / Math.sqrt(state.inputs)), variance: 1 };
}

/** The task, and balanced weights with the shift of a wide network: the arguments of `Solution`.
 *
 * `function` is the network's function at the start. `isWide` tells whether the network is wide.
 */
export function problemOf(state) {
  const { sigma, variance } = taskOf(state);
  const { weightDecay } = state;
  const isWide = state.width === "wide";
  const start = startFunction(state, scaled(sigma, 1 / variance));
  if (isWide) {
    const { inputScale, outputScale } = state;
    const member = wide(start, inputScale, outputScale);
    return { sigma, variance, weightDecay, function: start, isWide, ...member };
  }
  const [w1, w2] = balanced(start, state.hidden, state.lmda);
  return { sigma, variance, weightDecay, function: start, isWide, w1, w2, lmda: state.lmda, shift: 0 };
}

/** The function W2 W1 of the start. */
function startFunction(state, target) {
  const [nOut, nIn] = [target.length, target[0].length];
  if (state.start === "reversed") return scaled(target, -1);
  if (state.width === "wide") return zeros(nOut, nIn);
  const square = state.scale ** 2;
  if (state.start === "aligned") {
    const { left, right } = singularBasis(target);
    const modes = Math.min(nIn, nOut, state.hidden);
    return scaled(dot(map(left, (x, _, j) => (j < modes ? x : 0)), across(transposed(right), nOut)), square);
  }
  const draw = generator(state.seed);
  const first = draw.matrix(state.hidden, nIn);
  return scaled(dot(draw.matrix(nOut, state.hidden), first), square);
}

/** The rows of a matrix, cut or filled with zeros to `count`. */
function across(x, count) {
  return Array.from({ length: count }, (_, i) => x[i] ?? vector(x[0].length));
}

/** The weights of a function's largest modes with W2^T W2 - W1 W1^T = lmda I. */
export function balanced(start, hidden, lmda) {
  const { left, s, right } = singularBasis(start);
  const [nOut, nIn] = [left.length, right.length];
  const w1 = zeros(hidden, nIn);
  const w2 = zeros(nOut, hidden);
  for (let k = 0; k < hidden; k++) {
    // Hidden units beyond the modes have weights in the larger layer only.
    const strength = s[k] ?? 0;
    const larger = Math.sqrt((Math.abs(lmda) + Math.hypot(lmda, 2 * strength)) / 2);
    const smaller = larger === 0 ? 0 : strength / larger;
    const [a, b] = lmda >= 0 ? [smaller, larger] : [larger, smaller];
    for (let j = 0; a > 0 && j < nIn; j++) w1[k][j] = a * right[j][k];
    for (let i = 0; b > 0 && i < nOut; i++) w2[i][k] = b * left[i][k];
  }
  return [w1, w2];
}

/** The balanced weights that stand for a wide network, and their shift. docs/theory.md, section 7. */
function wide(start, inputScale, outputScale) {
  const laziness = inputScale + outputScale;
  // The one of the larger scale: nothing cancels where the other one is subtracted.
  if (outputScale >= inputScale) {
    const [w1, w2] = outward(start, laziness);
    return { w1, w2, lmda: laziness, shift: inputScale };
  }
  const [v2, v1] = outward(transposed(start), laziness);
  return { w1: transposed(v1), w2: transposed(v2), lmda: -laziness, shift: -outputScale };
}

/** The weights of a function and a positive balance with as many hidden units as outputs, W2 symmetric. */
function outward(start, lmda) {
  const { left, s, right } = singularBasis(start);
  const roots = left.map((_, k) => Math.sqrt(Math.hypot(s[k] ?? 0, lmda / 2) + lmda / 2));
  const inner = map(zeros(left.length, right.length), (_, i, j) => (i === j ? s[i] / roots[i] : 0));
  const w1 = dot(dot(left, inner), transposed(right));
  const w2 = dot(map(left, (x, _, k) => x * roots[k]), transposed(left));
  return [w1, w2];
}

/** The balances that sizes allow: at most `most`, at least `least`. */
export function feasibleBalances(nIn, hidden, nOut) {
  return { least: hidden > nIn ? 0 : -Infinity, most: hidden > nOut ? 0 : Infinity };
}
