// The exact solution of two-layer learning, in double precision. docs/theory.md and docs/beyond.md derive it.
import { balanceAt, decayingProblem } from "./decay.js";
import { byFallingRate, eliminate, fromRows, functionBlock, nothing, spectrum, toRows } from "./frame.js";
import { dot, map, meanDecay, outer, over, scaled, squareNorm, transposed, triangle } from "./linalg.js";

/** The gradient flow of a start on a task.
 *
 * `sigma` is the input-output correlation, (out, in), of inputs of the given variance. `w1`, (hidden, in), and
 * `w2`, (out, hidden), are balanced weights. QQ^T of the network exceeds theirs by `shift` on inputs and falls
 * below theirs by it on outputs: zero for balanced networks, a scale of a layer for wide ones.
 * The method `at(t)` returns the loss, the function, both representations and the modes, at any time t >= 0.
 */
export class Solution {
  constructor({ sigma, variance = 1, w1, w2, lmda, shift = 0, weightDecay = 0 }) {
    const root = Math.sqrt(variance);
    const [v1, v2] = [scaled(w1, root), scaled(w2, root)];
    this.variance = variance;
    this.shift = variance * shift;
    this.weightDecay = weightDecay;
    if (weightDecay > 0) {
      this.problem = decayingProblem(v1, v2, sigma, variance * lmda, weightDecay);
    } else {
      this.problem = constantProblem(v1, v2, sigma, variance * lmda);
    }
    const { left, s, right } = this.problem;
    this.strengths = s.map((x) => x / variance);
    this.left = left;
    this.right = right;
    this.target = scaled(sigma, 1 / variance);
    this.start = [...transposed(v1), ...v2];
  }

  at(t) {
    const { problem, variance } = this;
    const { nIn, nOut } = problem;
    // Infinity, and zero times a rate, need no special case with finite positive times.
    const time = Math.min(Math.max(t, 1e-290), 1e102);
    const { q, error } = this.weightDecay > 0 ? problem.solved(time) : solved(problem, time);
    const rows = t === 0 ? this.start : inUnits(problem, q);
    const shift = this.shift * balanceAt(time, this.weightDecay);
    const inputs = outer(rows.slice(0, nIn), rows.slice(0, nIn));
    const outputs = outer(rows.slice(nIn), rows.slice(nIn));
    return {
      loss: squareNorm(error) / (2 * variance),
      function: scaled(outer(rows.slice(nIn), rows.slice(0, nIn)), 1 / variance),
      inputRepresentation: map(inputs, (x, i, j) => (x + (i === j ? shift : 0)) / variance),
      outputRepresentation: map(outputs, (x, i, j) => (x - (i === j ? shift : 0)) / variance),
    };
  }
}

/** Rows of the eigenbasis by inputs and outputs, inputs first. */
function inUnits(problem, q) {
  const { inputs, outputs } = fromRows(problem, q);
  return [...dot(problem.right, inputs), ...dot(problem.left, outputs)];
}

function constantProblem(w1, w2, sigma, lmda) {
  const basis = spectrum(sigma, lmda);
  const m = basis.s.length;
  const rows = toRows(basis, w1, w2);
  const problem = { ...basis, ...eliminate(rows, byFallingRate(m, rows.length)) };
  const strength = (i) => (i < m ? problem.s[i] : i >= rows.length - m ? problem.s[i - rows.length + m] : 0);
  const growth = (i) => Math.max(problem.rates[i], 0);
  // w_i - v_k for rows i and pivot rows k, v the pivots' growth. Positive ones belong to independent rows.
  const exponents = (rate) =>
    rows.map((_, i) =>
      problem.pivots.map((k) => {
        const [w, v] = [rate(i), growth(k)];
        const both = (strength(i) - strength(k)) * ((strength(i) + strength(k)) / (w + v));
        return Math.min(w > 0 && v > 0 ? both : w - v, 0);
      }),
    );
  problem.grown = exponents(growth);
  problem.moved = exponents((i) => problem.rates[i]);
  return problem;
}

/** q with P = q q^T, and the function's error, at one time. docs/theory.md, section 2. */
function solved(problem, t) {
  const { lower, echelon, inverse, pivots, rates, s, grown, moved } = problem;
  if (pivots.length === 0) return nothing(problem);
  const isPivot = new Set(pivots);
  const gain = rates.map((w) => Math.sqrt(t * meanDecay(2 * Math.abs(w) * t)));
  const growth = pivots.map((k) => Math.max(rates[k], 0));
  const shrink = growth.map((v) => Math.exp(-v * t));
  const start = pivots.map((_, k) => pivots.map((_, j) => (j === k ? shrink[k] : 0)));
  const k = map(lower, (x, i, j) => x * Math.exp(grown[i][j] * t) * gain[i]);
  const others = [...k.filter((_, i) => !isPivot.has(i)), ...start];
  const r = triangle([...k, ...start]);
  const q = over(map(lower, (x, i, j) => x * Math.exp(moved[i][j] * t)), r);
  const rest = over(others, r);
  // P - 2W on the pivot rows: P e^{-2wt} - q (N R^-1)^T (N Y^-1) 2w, without cancellation.
  const above = [
    ...map(echelon, (x, i, j) => x * Math.exp(grown[i][j] * t) * gain[i]).filter((_, i) => !isPivot.has(i)),
    ...map(inverse, (x, i, j) => x * Math.exp(-growth[j] * t)),
  ];
  const deviation = outer(q, q);
  const onPivots = pivots.map((i) => q[i]);
  const spread = dot(outer(onPivots, rest), above);
  for (let j = 0; j < pivots.length; j++) {
    const w = growth[j];
    let size = 0;
    for (const row of above) size += row[j] * row[j];
    for (let i = 0; i < pivots.length; i++) {
      const p = deviation[pivots[i]][pivots[j]];
      const late = p * Math.exp(-2 * w * t) - spread[i][j] * 2 * w;
      deviation[pivots[i]][pivots[j]] = 2 * w * size < 1 ? late : p - (i === j ? 2 * w : 0);
    }
  }
  const error = functionBlock(problem, deviation);
  // Modes whose growing row is no pivot never reach their singular value.
  s.forEach((x, i) => (error[i][i] -= isPivot.has(i) ? 0 : x));
  return { q, error };
}
