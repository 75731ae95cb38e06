// A state's course: its loss and QQ^T at the times of the axis.
import { Solution } from "./exact.js";
import { problemOf } from "./problem.js";

const EARLY = 6; // e-foldings of time along an axis that is finer near zero

/** The time at a part of the axis, and its inverse. */
export function timeAt(progress, { duration, early }) {
  return early ? (duration * Math.expm1(EARLY * progress)) / Math.expm1(EARLY) : duration * progress;
}

/** The frames that the view shows: `count` times, and at each the loss and the parts of QQ^T. */
export function framesOf(state, count) {
  const solution = new Solution(problemOf(state));
  const progress = Array.from({ length: count }, (_, i) => i / (count - 1));
  return {
    progress,
    ts: progress.map((x) => timeAt(x, state)),
    at: (t) => solution.at(t),
    timeAt: (part) => timeAt(part, state),
    frames: progress.map((x) => solution.at(timeAt(x, state))),
    target: solution.target,
    strengths: solution.strengths,
    left: solution.left,
    right: solution.right,
  };
}
