// A problem's decomposition: the eigenbasis of F, and Q0 in echelon form. docs/theory.md, section 2.
//
// Rows are eigenvectors of F: the modes' growing ones, the left-over directions, the modes' decaying ones.
import { EPS, inner, mergeRepeated, norm, outer, singularBasis, squareNorm, transposed, vector, zeros } from "./linalg.js";

const HUGE = 1e3; // magnification of the pivot rows' errors from which it is ignored

/** The eigenbasis of F = [[-lmda/2, sigma^T], [sigma, lmda/2]]. */
export function spectrum(sigma, lmda) {
  const { left, s: given, right } = singularBasis(sigma);
  const [nOut, nIn] = [left.length, right.length];
  const s = mergeRepeated(given, Math.max(nIn, nOut));
  const half = Math.abs(lmda) / 2;
  const kappa = s.map((x) => Math.hypot(x, half));
  // Division finds the smaller: subtraction would lose it at large balances.
  const larger = kappa.map((k) => (k === 0 ? 1 : Math.sqrt((1 + half / k) / 2)));
  const smaller = s.map((x, i) => (kappa[i] === 0 ? 0 : x / (2 * kappa[i] * larger[i])));
  const rest = new Array(Math.abs(nOut - nIn)).fill((nOut > nIn ? lmda : -lmda) / 2);
  return {
    left, s, right, nIn, nOut,
    cos: lmda >= 0 ? larger : smaller,
    sin: lmda >= 0 ? smaller : larger,
    rates: Array.from([...kappa, ...rest, ...kappa.map((k) => -k)]),
  };
}

/** Q0 = [w1^T; w2] as rows of the eigenbasis. */
export function toRows(basis, w1, w2) {
  const { left, right, nIn, nOut, cos, sin } = basis;
  const m = cos.length;
  const inputs = outer(transposed(right), w1);
  const outputs = outer(transposed(left), transposed(w2));
  const grow = [];
  const decay = [];
  for (let i = 0; i < m; i++) {
    grow.push(inputs[i].map((x, k) => sin[i] * x + cos[i] * outputs[i][k]));
    decay.push(inputs[i].map((x, k) => cos[i] * x - sin[i] * outputs[i][k]));
  }
  return [...grow, ...inputs.slice(m, nIn), ...outputs.slice(m, nOut), ...decay];
}

/** Rows of the eigenbasis in the singular bases of inputs and of outputs. */
export function fromRows(basis, rows) {
  const { nIn, nOut, cos, sin } = basis;
  const m = cos.length;
  const last = nIn + nOut - m;
  const inputs = rows.slice(0, nIn);
  const outputs = [...rows.slice(0, m), ...rows.slice(m, nOut)];
  for (let i = 0; i < m; i++) {
    inputs[i] = rows[i].map((x, k) => sin[i] * x + cos[i] * rows[last + i][k]);
    outputs[i] = rows[i].map((x, k) => cos[i] * x - sin[i] * rows[last + i][k]);
  }
  return { inputs, outputs };
}

/** The block between outputs and inputs of a symmetric matrix of rows, in the singular bases. */
export function functionBlock(basis, p) {
  const { outputs } = fromRows(basis, p);
  return transposed(fromRows(basis, transposed(outputs)).inputs);
}

/** Row numbers from the fastest growing to the fastest decaying row. */
export function byFallingRate(modes, rows) {
  const order = Array.from({ length: rows }, (_, i) => i);
  return [...order.slice(0, rows - modes), ...order.reverse().slice(0, modes)];
}

/** Rotates rows to echelon form: rows = lower basis, with lower = echelon lower[pivots].
 *
 * Pivot rows are the first linearly independent ones in `order`. They are the modes that win at infinite time.
 * Columns are as many as pivots.
 */
export function eliminate(rows, order) {
  const hidden = rows[0].length;
  const count = rows.length;
  const most = Math.min(count, hidden);
  const noise = 4 * Math.sqrt(Math.max(count, hidden)) * EPS * Math.sqrt(squareNorm(rows));
  const lower = zeros(count, most);
  const echelon = zeros(count, most);
  const inverse = zeros(most, most);
  const basis = zeros(most, hidden);
  // The pivot rows' errors have the covariance spread spread^T, in units of noise.
  const spread = zeros(most, most);
  for (let i = 0; i < most; i++) spread[i][i] = 1;
  const pivots = [];
  for (const i of order) {
    let along = vector(most);
    const left = Array.from(rows[i]);
    for (let twice = 0; twice < 2; twice++) {
      const part = basis.map((b) => inner(b, left));
      for (let k = 0; k < most; k++) {
        along[k] += part[k];
        for (let h = 0; h < hidden; h++) left[h] -= part[k] * basis[k][h];
      }
    }
    let weights = rowTimes(along, inverse);
    const size = norm(left);
    const carried = rowTimes(weights, spread);
    const much = norm(carried);
    const room = pivots.length < most;
    if (room && size > noise * (1 + (much < HUGE ? much : 0))) {
      const k = pivots.length;
      along[k] += size;
      echelon[i][k] = 1;
      for (let j = 0; j < most; j++) inverse[k][j] = ((j === k ? 1 : 0) - weights[j]) / size;
      basis[k] = left.map((x) => x / size);
      pivots.push(i);
    } else {
      if (room && size > 0) {
        // The residual is attributed to the pivot rows' errors: nothing is dropped.
        const gain = spread.map((row) => inner(row, carried) / (1 + much * much));
        turn(basis, inverse.map((row) => inner(row, gain)), left, size);
        const factor = 1 / (1 + 1 / Math.sqrt(1 + much * much));
        for (let a = 0; a < most; a++) for (let b = 0; b < most; b++) spread[a][b] -= gain[a] * carried[b] * factor;
        along = Array.from(basis, (b) => inner(b, rows[i]));
        weights = rowTimes(along, inverse);
      }
      echelon[i] = weights;
    }
    lower[i] = along;
  }
  const used = (x) => x.map((row) => row.slice(0, pivots.length));
  return {
    lower: used(lower),
    echelon: used(echelon),
    inverse: used(inverse.slice(0, pivots.length)),
    pivots,
  };
}

function rowTimes(x, matrix) {
  const y = vector(matrix.length);
  for (let k = 0; k < x.length; k++) {
    if (x[k] === 0) continue;
    for (let j = 0; j < y.length; j++) y[j] += x[k] * matrix[k][j];
  }
  return y;
}

/** Rotates the basis by the outer product of `by` and a vector orthogonal to it. */
function turn(basis, by, vector, size) {
  const angle = by.map((x) => x * size);
  const cos = 1 / Math.sqrt(1 + inner(angle, angle));
  const back = rowTimesBasis(angle, basis).map((x) => (cos * cos) / (1 + cos) * x);
  const step = vector.map((x, h) => (cos * x) / size - back[h]);
  basis.forEach((row, k) => row.forEach((x, h) => (row[h] = x + angle[k] * step[h])));
}

function rowTimesBasis(x, basis) {
  const y = vector(basis[0].length);
  basis.forEach((row, k) => row.forEach((value, h) => (y[h] += x[k] * value)));
  return y;
}

/** The zero network stays zero. */
export function nothing({ nIn, nOut, s }) {
  const error = zeros(nOut, nIn);
  s.forEach((x, i) => (error[i][i] = -x));
  return { q: Array.from({ length: nIn + nOut }, () => vector(1)), error };
}
