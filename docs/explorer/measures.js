// Numbers of a course: modes, and how far kernel and representations have moved.

const product = (x, y) => x.reduce((sum, row, i) => sum + row.reduce((part, value, j) => part + value * y[i][j], 0), 0);
const trace = (x) => x.reduce((sum, row, i) => sum + row[i], 0);

/** The diagonal of U^T A V. */
export function modesOf(matrix, left, right, count) {
  return Array.from({ length: count }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < matrix.length; i++) {
      for (let j = 0; j < matrix[i].length; j++) sum += left[i][k] * matrix[i][j] * right[j][k];
    }
    return sum;
  });
}

/** The tangent kernel on unit inputs, I (x) W1^T W1 + W2 W2^T (x) I. */
export function kernelOf({ inputRepresentation: inner, outputRepresentation: outer }) {
  const [n, m] = [inner.length, outer.length];
  const kernel = [];
  for (let row = 0; row < n * m; row++) {
    const [i, a] = [Math.floor(row / n), row % n];
    const values = new Array(n * m).fill(0);
    for (let b = 0; b < n; b++) values[i * n + b] += inner[a][b];
    for (let j = 0; j < m; j++) values[j * n + a] += outer[i][j];
    kernel.push(values);
  }
  return kernel;
}

/** The inner product of two tangent kernels, from the representations. */
function kernelProduct(x, y) {
  const [a, b] = [x.inputRepresentation, y.inputRepresentation];
  const [c, d] = [x.outputRepresentation, y.outputRepresentation];
  return c.length * product(a, b) + trace(a) * trace(d) + trace(b) * trace(c) + a.length * product(c, d);
}

/** One minus the cosine between a frame's matrices and the first frame's. */
export function movedFrom(first, frame) {
  const distance = (of) => {
    const sizes = of(first, first) * of(frame, frame);
    return sizes > 0 ? Math.max(0, 1 - of(first, frame) / Math.sqrt(sizes)) : 0;
  };
  return {
    kernel: distance(kernelProduct),
    inputs: distance((x, y) => product(x.inputRepresentation, y.inputRepresentation)),
    outputs: distance((x, y) => product(x.outputRepresentation, y.outputRepresentation)),
  };
}
