// The solution under weight decay, all modes together. docs/beyond.md, section 1.
import { byFallingRate, eliminate, functionBlock, nothing, spectrum, toRows } from "./frame.js";
import { map, meanDecay, outer, over, triangle } from "./linalg.js";
import { falling, pair } from "./pairs.js";

const CUT = 30; // larger exponents belong to rows that don't depend on the column

/** The part of the balance that is left. */
export const balanceAt = (t, weightDecay) => Math.exp(-2 * weightDecay * t);

/** A problem whose method `solved(t)` returns q with P = q q^T, and the function's error. */
export function decayingProblem(w1, w2, sigma, lmda, weightDecay) {
  // The rows are (v, u) and (v, -u) over sqrt(2), whatever the balance.
  const basis = spectrum(sigma, 0);
  basis.cos = basis.s.map(() => Math.SQRT1_2);
  basis.sin = basis.cos;
  const m = basis.s.length;
  const rows = toRows(basis, w1, w2);
  const last = rows.length - m;
  basis.s.forEach((s, i) => {
    const tilt = (lmda / 2) * falling(s, Math.abs(lmda) / 2, weightDecay).ratios[0];
    rows[i] = rows[i].map((x, k) => x - tilt * rows[last + i][k]);
  });
  const order = byFallingRate(m, rows.length);
  const found = eliminate(rows, order);
  // Rows before a column's pivot don't depend on it: not by rounding, either.
  const lower = map(found.lower, (x, i, k) => (order.indexOf(i) >= order.indexOf(found.pivots[k]) ? x : 0));
  const problem = { ...basis, ...found, lower, lmda, weightDecay };
  problem.solved = (t) => solved(problem, t);
  return problem;
}

function solved(problem, t) {
  const { lower, pivots, s, lmda, weightDecay } = problem;
  if (pivots.length === 0) return nothing(problem);
  const m = s.length;
  const last = lower.length - m;
  // Equal strengths share their pair.
  const pairs = [];
  s.forEach((x, i) => pairs.push(i > 0 && x === s[i - 1] ? pairs[i - 1] : pair(x, lmda, weightDecay, t)));
  const rest = leftOver(problem, t);
  const roots = lower.map((_, i) => (i < m ? pairs[i].root : i < last ? rest.root : { rate: 0, rest: 0 }));
  // Every column is divided by the growth of its pivot row.
  const by = pivots.map((i) => (roots[i].rate * t + roots[i].rest > 0 ? roots[i] : { rate: 0, rest: 0 }));
  const shrink = by.map(({ rate, rest }) => Math.exp(-rate * t - rest));
  const times = (row, x) =>
    row.map((value, k) => value * Math.exp(Math.min((x.rate - by[k].rate) * t + (x.rest - by[k].rest), CUT)));
  const k = lower.map((row, i) => times(row, roots[i]));
  const y = lower.map((row, i) => (i < m ? times(row, pairs[i].grow) : times(row, rest.grow)));
  pairs.forEach((x, i) => {
    const fall = lower[last + i];
    const falls = times(fall, x.fall);
    const turned = times(lower[i], x.turn);
    k[i] = k[i].map((value, j) => value + x.mixed * fall[j] * shrink[j]);
    k[last + i] = fall.map((value, j) => x.last * value * shrink[j]);
    y[i] = y[i].map((value, j) => value + x.tilt * falls[j]);
    y[last + i] = falls.map((value, j) => value - x.across * turned[j]);
  });
  const start = pivots.map((_, i) => Array.from(pivots, (_, j) => (j === i ? shrink[i] : 0)));
  const q = over(y, triangle([...k, ...start]));
  const error = functionBlock(problem, outer(q, q));
  s.forEach((x, i) => (error[i][i] -= x));
  return { q, error };
}

/** Left-over directions grow or fall with the balance alone: their factor, and the root of its square's integral. */
function leftOver({ nIn, nOut, lmda, weightDecay }, t) {
  const spent = t * meanDecay(2 * weightDecay * t);
  const total = (nOut > nIn ? lmda : -lmda) * spent;
  const up = Math.max(total, 0);
  const gain = Math.log(spent) + Math.log(meanDecay(2 * up - total)) + up;
  return { grow: { rate: -weightDecay, rest: total / 2 }, root: { rate: 0, rest: gain / 2 } };
}
