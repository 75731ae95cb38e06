// Small dense matrices: arrays of rows. Singular values are ml-matrix's.
import { SingularValueDecomposition } from "./vendor/ml-matrix.js";

export const EPS = 2 ** -52;

export const vector = (n) => new Array(n).fill(0);

export function zeros(rows, columns) {
  const x = [];
  for (let i = 0; i < rows; i++) x.push(vector(columns));
  return x;
}

export function eye(n) {
  const x = zeros(n, n);
  for (let i = 0; i < n; i++) x[i][i] = 1;
  return x;
}

export function map(x, f) {
  const y = zeros(x.length, x.length ? x[0].length : 0);
  for (let i = 0; i < y.length; i++) for (let j = 0; j < y[i].length; j++) y[i][j] = f(x[i][j], i, j);
  return y;
}

export const scaled = (x, by) => map(x, (value) => by * value);

export function transposed(x) {
  const y = zeros(x[0].length, x.length);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < x[0].length; j++) y[j][i] = x[i][j];
  return y;
}

export function dot(x, y) {
  const inner = y.length;
  const columns = inner ? y[0].length : 0;
  const z = zeros(x.length, columns);
  for (let i = 0; i < x.length; i++) {
    for (let k = 0; k < inner; k++) {
      const a = x[i][k];
      if (a === 0) continue;
      for (let j = 0; j < columns; j++) z[i][j] += a * y[k][j];
    }
  }
  return z;
}

/** x y^T. */
export function outer(x, y) {
  const z = zeros(x.length, y.length);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < y.length; j++) z[i][j] = inner(x[i], y[j]);
  return z;
}

export function inner(x, y) {
  let sum = 0;
  for (let k = 0; k < x.length; k++) sum += x[k] * y[k];
  return sum;
}

export const norm = (x) => Math.sqrt(inner(x, x));
export const squareNorm = (x) => x.reduce((sum, row) => sum + inner(row, row), 0);

/** Full left and right singular vectors (as columns), and falling singular values. */
export function singularBasis(x) {
  const found = new SingularValueDecomposition(x.map((row) => Array.from(row)), { autoTranspose: true });
  const modes = Math.min(x.length, x[0].length);
  const columns = (m) => transposed(m.to2DArray()).slice(0, modes);
  return {
    left: transposed(completed(columns(found.leftSingularVectors), x.length)),
    s: Array.from(found.diagonal.slice(0, modes)),
    right: transposed(completed(columns(found.rightSingularVectors), x[0].length)),
  };
}

/** Orthonormal rows, completed to a basis of dimension n. */
function completed(rows, n) {
  const basis = rows.slice();
  while (basis.length < n) {
    // The unit vector farthest from the rows so far.
    const left = Array.from({ length: n }, (_, i) => 1 - basis.reduce((sum, b) => sum + b[i] * b[i], 0));
    const row = vector(n);
    row[left.indexOf(Math.max(...left))] = 1;
    for (let twice = 0; twice < 2; twice++) {
      for (const b of basis) {
        const part = inner(b, row);
        for (let i = 0; i < n; i++) row[i] -= part * b[i];
      }
    }
    const size = norm(row);
    basis.push(row.map((value) => value / size));
  }
  return basis;
}

/** Singular values that are equal up to rounding made equal, tiny ones zero. */
export function mergeRepeated(s, size) {
  const tolerance = 4 * size * EPS * s[0];
  const merged = vector(s.length);
  for (let i = 0; i < s.length; ) {
    let j = i + 1;
    while (j < s.length && s[j - 1] - s[j] <= tolerance) j++;
    let mean = 0;
    for (let k = i; k < j; k++) mean += s[k] / (j - i);
    merged.fill(mean > tolerance ? mean : 0, i, j);
    i = j;
  }
  return merged;
}

/** The lower triangular L of x = QL, positive on its diagonal, Q orthonormal.
 *
 * Each Householder reflection maps a column, the last one first, onto the row in which it is largest:
 * small rows and small products of columns keep their digits.
 */
export function triangle(x) {
  const rows = x.length;
  const n = x[0].length;
  const columns = transposed(x).reverse();
  const free = new Uint8Array(rows).fill(1);
  const pivots = [];
  const v = vector(rows);
  for (let j = 0; j < n; j++) {
    let pivot = -1;
    let square = 0;
    for (let i = 0; i < rows; i++) {
      v[i] = free[i] ? columns[j][i] : 0;
      square += v[i] * v[i];
      if (free[i] && (pivot < 0 || Math.abs(v[i]) > Math.abs(v[pivot]))) pivot = i;
    }
    const size = Math.sqrt(square);
    v[pivot] += v[pivot] < 0 ? -size : size;
    const half = size * Math.abs(v[pivot]);
    if (half > 0) {
      for (let k = j; k < n; k++) {
        const part = inner(columns[k], v) / half;
        for (let i = 0; i < rows; i++) columns[k][i] -= part * v[i];
      }
    }
    free[pivot] = 0;
    pivots.push(pivot);
  }
  const low = zeros(n, n);
  for (let i = 0; i < n; i++) {
    const sign = columns[i][pivots[i]] < 0 ? -1 : 1;
    for (let j = i; j < n; j++) low[n - 1 - i][n - 1 - j] = sign * columns[j][pivots[i]];
  }
  return low;
}

/** x L^-1 for lower triangular L, by substitution. */
export function over(x, low) {
  const n = low.length;
  return x.map((row) => {
    const y = row.slice();
    for (let j = n - 1; j >= 0; j--) {
      for (let i = j + 1; i < n; i++) y[j] -= y[i] * low[i][j];
      y[j] /= low[j][j];
    }
    return y;
  });
}

/** (1 - e^-x) / x for x >= 0. */
export const meanDecay = (x) => (x < 1e-300 ? 1 : -Math.expm1(-x) / x);
