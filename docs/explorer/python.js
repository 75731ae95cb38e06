// The Python lines that compute a state's numbers.
import { problemOf } from "./problem.js";

const SHORT = 88; // characters of a line

function array(x) {
  const rows = x.map((row) => `[${row.map(number).join(", ")}]`);
  const line = `jnp.array([${rows.join(", ")}])`;
  if (line.length < SHORT - 16) return line;
  return `jnp.array([\n${rows.map((row) => `    ${row},\n`).join("")}])`;
}

// JavaScript's shortest text of a number is read back as the same number.
const number = (x) => (Number.isInteger(x) && Math.abs(x) < 1e15 ? `${Object.is(x, -0) ? 0 : x}.0` : String(x));

/** A program that prints the loss and the function of a state at time t. */
export function pythonLines(state, t) {
  const problem = problemOf(state);
  const task =
    state.task === "hierarchy"
      ? `task = lr.Task.hierarchy(levels=${state.levels})`
      : `sigma = ${array(problem.sigma)}\ntask = lr.Task.from_correlation(sigma)`;
  const { inputScale, outputScale, weightDecay } = state;
  const network = problem.isWide
    ? `function = ${array(problem.function)}\n` +
      `network = lr.wide_network(function, input_scale=${inputScale}, output_scale=${outputScale})`
    : `w1 = ${array(problem.w1)}\nw2 = ${array(problem.w2)}\nnetwork = lr.LinearNetwork((w1, w2))`;
  const decay = weightDecay > 0 ? `, weight_decay=${weightDecay}` : "";
  return `import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import lazyrich_jax as lr

${task}
${network}
solution = lr.ExactSolution(network, task${decay})
t = ${t}
print(solution.loss(t))
print(solution.function(t))
`;
}
