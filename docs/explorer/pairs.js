// The two rows of a mode under weight decay, in closed form. docs/beyond.md, section 1.
//
// Strength s, half of the balance's size, weight decay and time give two solutions of
//   p' = (s - decay) p - l m,   m' = -(s + decay) m - l p,   l(t) = lmda / 2 e^{-2 decay t},
// and the integrals of their products. The falling solution starts at (l rho, 1), the growing one at (1, 0).
import { EPS, meanDecay } from "./linalg.js";

const STEPS = 12; // of the continued fraction, before its tail
const POINTS = 40; // of the tail's integral
const DROP = 38; // the integrands are left out below e^-38 of their maxima
const ORDER = 8; // of the powers of time, up to which a mode is
const EARLY = 0.01; // early, in units of its rates
const HALVINGS = 10;
const TINY = 1e-154;
const INVERSE_SQUARES = Array.from({ length: 100 }, (_, k) => 1 / (k * k));
const RULES = [36, 36, 32].map(gaussRule); // of the pieces of the growing solution's integral

/** The two solutions of a mode at t. An exponent is { rate, rest }: its parts' sum would lose digits late. */
export function pair(s, lmda, decay, t) {
  const sign = lmda >= 0 ? 1 : -1;
  const half = Math.abs(lmda) / 2;
  const later = half * Math.exp(-2 * decay * t);
  const start = falling(s, half, decay);
  const end = falling(s, later, decay);
  // The falling solution is e^{-(s + decay) t + shrink}.
  let shrink = phase(s + 2 * STEPS * decay, half, later, decay, t) + Math.log(end.tail / start.tail);
  for (let k = 0; k < STEPS; k++) shrink += Math.log(start.ratios[k] / end.ratios[k]);
  const [rho0, rho] = [start.ratios[0], end.ratios[0]];
  const [over, under] = [Math.max(s - decay, 0), Math.max(decay - s, 0)];
  const gap = Math.abs(s - decay);
  const reach = reached(gap, half, later, decay, t);
  // The part of the growing solution's p that is due to its m.
  const share = half ** 2 * rho * Math.exp((2 * under - 4 * decay) * t + shrink + reach);
  const kept = Math.log1p(-share);
  const mixed = (2 * under - over - 4 * decay) * t + (3 * shrink + reach - kept) / 2;
  // The square of `last` is rho0 (1 - e^{-x}), x = 2 (s + decay) t + more.
  const more = Math.log(rho0 / rho) - 2 * shrink + kept;
  const still = 1 - half ** 2 * start.ratios[1] * rho0; // 2 (s + decay) rho0
  let square = meanDecay(Math.max(2 * (s + decay) * t + more, 0)) * (still * t + more * rho0);
  if ((s + half + decay) * t < EARLY) square = earlySquare(s, half, decay, t);
  return {
    grow: { rate: s - decay, rest: kept - shrink },
    turn: { rate: gap - 2 * decay, rest: reach },
    across: lmda / 2,
    fall: { rate: -s - decay, rest: shrink },
    tilt: sign * later * rho,
    root: { rate: over, rest: (reach + kept - shrink) / 2 },
    mixed: sign * half * rho * Math.exp(mixed),
    last: Math.sqrt(Math.max(square, 0)),
  };
}

/** The integral of e^{-2 decay t'} / p^2 of the growing solution up to t, by powers of t. */
function earlySquare(strength, balance, rate, t) {
  const [s, half, decay] = [strength * t, balance * t, rate * t]; // in units of 1 / t
  const p = [1, s];
  for (let n = 0; n < ORDER - 2; n++) {
    let rise = (s ** 2 + 2 * decay * s) * p[n];
    for (let k = 0, term = half ** 2; k <= n; k++, term *= (-4 * decay) / k) rise += term * p[n - k];
    p.push((rise - 2 * decay * (n + 1) * p[n + 1]) / ((n + 1) * (n + 2)));
  }
  const inverse = []; // the integrand times p^2 is the exponential
  let total = 0;
  for (let n = 0, power = 1; n < ORDER; n++, power *= (-2 * decay) / n) {
    let term = power;
    for (let k = 1; k <= n; k++) {
      let square = 0;
      for (let j = 0; j <= k; j++) square += p[j] * p[k - j];
      term -= square * inverse[n - k];
    }
    inverse.push(term);
    total += term / (n + 1);
  }
  return t * total;
}

/** Ratios p / l m of falling solutions of the strengths s + 2k decay, by a continued fraction. */
export function falling(s, half, decay) {
  const strength = s + 2 * STEPS * decay;
  const size = strength + Math.hypot(strength, half) + TINY;
  const { mean, total } = tailIntegral(decay / (strength + TINY), half / size);
  const ratios = [];
  let ratio = mean / size;
  for (let k = STEPS - 1; k >= 0; k--) {
    ratio = 1 / (2 * s + (4 * k + 2) * decay + half ** 2 * ratio + TINY);
    ratios[k] = ratio;
  }
  return { ratios, tail: total };
}

/** The integral of e^{psi / width}, psi = tau sinh v / D - log D, D = cosh v + tau sinh v, and the mean of D^-2. */
function tailIntegral(width, tau) {
  const root = Math.sqrt(width + EPS);
  // Bounds of -psi: v^2 / (2 - tau + v), and v^2 / (2 - tau - (1 - tau) v) below zero.
  const end = (lin) => (lin + Math.sqrt(lin ** 2 + 4 * DROP * (2 - tau))) / 2;
  const low = -end(DROP * root * (1 - tau));
  const step = (end(DROP * root) - low) / (POINTS - 1);
  let total = 0;
  let mean = 0;
  for (let i = 0; i < POINTS; i++) {
    const x = low + step * i;
    const v = x * root;
    const halfSinh = sinhQuotient(v / 2);
    const slope = (v * halfSinh ** 2) / 2 + tau * sinhQuotient(v); // (D - 1) / v
    const d = 1 + v * slope;
    const weight = Math.exp(x * x * (slope ** 2 * logLack(v * slope) - halfSinh ** 2 / 2 / d));
    total += weight;
    mean += weight / (d * d);
  }
  return { mean: mean / total, total: total * step };
}

/** The change of (h - s log(s + h)) / 2 decay, h^2 = s^2 + l^2. */
function phase(s, half, later, decay, t) {
  const { fell, h } = lost(s, half, later, decay, t);
  return s * logQuotient(2 * decay, fell / (s + h || 1)) - fell;
}

/** The fall of h over 2 decay, and its value at t. */
function lost(s, half, later, decay, t) {
  const h = Math.hypot(s, later);
  const size = Math.hypot(s, half) + h || 1;
  return { fell: (half ** 2 * 2 * t * meanDecay(4 * decay * t)) / size, h };
}

/** The logarithm of half of the integral of e^{-gap x} I_0(omega(x)) from 0 to 2t.
 *
 * omega^2 = l^2 phi(x) phi(2t - x), phi(x) = (1 - e^{-2 decay x}) / 2 decay. The integrand is concave in its
 * logarithm, and omega is symmetric about t: the integral goes to t, of both exponentials.
 */
function reached(gap, half, later, decay, t) {
  const { top, highest, before, plateau, beyond } = window(gap, half, later, decay, t);
  const pieces = [[top, -before], [top, plateau], [top + plateau, beyond - plateau]];
  let total = 0;
  pieces.forEach(([start, length], piece) => {
    for (const { node, weight } of RULES[piece]) {
      const x = start + length * node * node; // most nodes near the piece's start
      const omega = Math.sqrt(square(x, half, decay, t));
      const value = Math.exp(-gap * 2 * t * x - highest + omega) * besselI0e(omega);
      total += value * (1 + Math.exp(-gap * 2 * t * (1 - 2 * x))) * Math.abs(length) * weight * node;
    }
  });
  return highest + Math.log(total) + Math.log(t);
}

/** omega^2 at the time 2tx. */
function square(x, half, decay, t) {
  const [from, to] = [x * 2 * t, (1 - x) * 2 * t];
  return half ** 2 * from * to * meanDecay(2 * decay * from) * meanDecay(2 * decay * to);
}

/** The integrand's maximum, in units of 2t, its logarithm, and how far it matters. */
function window(gap, half, later, decay, t) {
  const height = (x) => -gap * 2 * t * x + Math.sqrt(square(x, half, decay, t));
  const { fell, h } = lost(gap, half, later, decay, t);
  let top = gap + h === 0 ? 0 : logQuotient(2 * decay, fell / (gap + h));
  top = Math.min(top, t) / (2 * t);
  // Omega rises to a plateau, on which the exponential alone is left.
  const plateau = (5 + Math.log1p(half / (decay + 1 / t))) / (4 * decay * t);
  top = Math.min(top, plateau);
  const highest = height(top);
  const least = 1 / (100 * t * (gap + half + decay + 1 / t));
  const [before, beyond] = [[-1, top], [1, 0.5 - top]].map(([side, most]) => {
    let [near, far] = [Math.min(most, least), most];
    for (let k = 0; k < HALVINGS; k++) {
      const middle = Math.sqrt(near) * Math.sqrt(far);
      if (height(top + side * middle) < highest - DROP) far = middle;
      else near = middle;
    }
    return far;
  });
  return { top, highest, before, plateau: Math.min(plateau, beyond), beyond };
}

/** Nodes and weights of Gauss's rule on [0, 1]. */
function gaussRule(count) {
  return Array.from({ length: count }, (_, i) => {
    let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
    let slope = 1;
    for (let newton = 0; newton < 6; newton++) {
      let [previous, value] = [1, x];
      for (let k = 2; k <= count; k++) [previous, value] = [value, ((2 * k - 1) * x * value - (k - 1) * previous) / k];
      slope = (count * (x * value - previous)) / (x * x - 1);
      x -= value / slope;
    }
    return { node: (x + 1) / 2, weight: 2 / ((1 - x * x) * slope * slope) };
  });
}

/** e^-x I_0(x): its power series, and for large x its asymptotic one. */
export function besselI0e(x) {
  let [term, sum] = [1, 1];
  if (x < 20) {
    const quarter = (x * x) / 4;
    for (let k = 1; term > 1e-17 * sum; k++) sum += term *= quarter * INVERSE_SQUARES[k];
    return sum * Math.exp(-x);
  }
  for (let k = 1; term > 1e-17; k++) sum += term *= (2 * k - 1) ** 2 / (8 * k * x);
  return sum / Math.sqrt(2 * Math.PI * x);
}

/** log(1 + c x) / c for c, x >= 0. */
const logQuotient = (c, x) => (c * x < 1e-300 ? x : Math.log1p(c * x) / c);

/** (a / (1 + a) - log(1 + a)) / a^2 for a > -1. */
function logLack(a) {
  if (Math.abs(a) >= 0.1) return (a / (1 + a) - Math.log1p(a)) / (a * a);
  let series = 0;
  for (let k = 16; k >= 2; k--) series = series * a + (k % 2 ? 1 : -1) * (1 - 1 / k);
  return series;
}

/** sinh(v) / v. */
const sinhQuotient = (v) => (Math.abs(v) < 1e-150 ? 1 : Math.sinh(v) / v);
