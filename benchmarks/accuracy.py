"""Measures the errors of the exact solution and writes them to docs/accuracy.md.

The reference is the arbitrary-precision oracle of the tests, over their whole table of
cases. Run `python -m benchmarks.accuracy` from the root of the repository (about ten
minutes).
"""

import collections
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax._riccati.echelon import by_falling_rate
from tests import cases, oracle

ATTACKS = 120
ROUNDING = 1e-15
SCALES = (1e-12, 1e-8, 1e-4, 0.1, 1.0, 30.0, 1e3)
BALANCES = (0.0, 1e-300, -1e-300, 1e-12, -1e-12, 1e-4, 1.0, -1.0, 300.0, -1e5, 1e5)
VARIANCES = (1e-6, 1.0, 1e6)
TASKS = ("random", "gaps of 1e-12", "equal", "rank one", "ill-conditioned")
DERIVATIVE_TIMES = np.array([1e-4, 0.05, 0.5, 2.0, 6.0])
TEXT = """# Measured accuracy

Written by `python -m benchmarks.accuracy` with {versions}, on CPU. Every entry is the
largest relative error, in the Frobenius norm at one time. The reference is an
evaluation in sufficiently many digits (`tests/oracle.py`), which shares no formula with
the library.

Values of $QQ^\\top$ at the times {times}, for every feasible
lambda in {lmdas} and scale in {scales} ({count} networks). Single
precision: the same networks rounded, at times with $\\kappa t \\le 100$.

| sizes (in, hidden, out) | double | single |
|---|---|---|
{values}

Degenerate tasks, at lambda in 0, 1, -10:

| task | double | single |
|---|---|---|
{special}

Backward errors of the values, for {attacks} draws of sizes, of scales
({attack_scales}), of lambda
({attack_lmdas}), of the inputs' variance
({variances}) and of tasks
({tasks}), each at six times up to 100 over the largest
rate. The backward error is the change of weights and correlation, relative
to their norms, that makes the result exact. It is estimated as 1e-15 times the forward
error, divided by the change of $QQ^\\top$ under random changes of 1e-15 of those norms
(the largest of three), or by 1e-15 of $QQ^\\top$ itself where that is larger:

| error | median | 90 % | largest |
|---|---|---|---|
| backward | {backward} |
| forward, relative to $QQ^\\top$ | {forward} |

The forward error is the backward error times the conditioning of the problem: {above}
of the {draws} values have one above 1e-11. Near a saddle rounding of the weights grows
as $e^{{2st}}$ in any computation. {saddles} draws start at a saddle up to rounding
and are left out. The solution stays at the saddle. The given weights differ from it by
rounding, and may leave it at late times.

First derivatives of $QQ^\\top$ along random directions, at the times
{derivative_times}, lambda in 0, 1, -1 where feasible, scale 0.4. The reference is
differences in 160 digits:

| sizes | weights | correlation | time |
|---|---|---|---|
{derivatives}
"""


def value_error(network, task, ts, dtype):
    """The error of `qqt` for a network and task rounded to `dtype`."""
    network, task = jax.tree.map(lambda x: x.astype(dtype), (network, task))
    w1, w2 = (np.asarray(w, float) for w in network.weights)
    x, y = np.asarray(task.x, float), np.asarray(task.y, float)
    sigma, variance = y.T @ x / len(x), np.sum(x * x) / x.size
    lmda = np.trace(w2.T @ w2 - w1 @ w1.T) / len(w1)
    if dtype == jnp.float32:
        kappa = np.hypot(np.linalg.norm(sigma, 2), lmda * variance / 2)
        ts = ts[ts * kappa <= 100]
    expected = oracle.qqt(w1, w2, sigma, lmda, ts, variance)
    return oracle.relative_error(lr.ExactSolution(network, task).qqt(ts), expected)


def derivative_errors(network, task):
    """The errors of the slopes along both weights, the correlation and time."""
    ts = DERIVATIVE_TIMES
    sigma = np.asarray(task.input_output_correlation)
    w1, w2 = (np.asarray(w) for w in network.weights)
    point = w1, w2, sigma, ts

    @jax.jit
    def slope(point, change):
        def qqt(w1, w2, sigma, ts):
            start = lr.LinearNetwork((w1, w2))
            return lr.ExactSolution(start, lr.Task.from_correlation(sigma)).qqt(ts)

        return jax.jvp(qqt, point, change)[1]

    rng = np.random.default_rng(0)
    errors = []
    for moved in ((0, 1), (2,), (3,)):
        change = tuple(
            np.ones_like(x)
            if i == 3 and i in moved
            else rng.normal(size=x.shape) * (i in moved)
            for i, x in enumerate(point)
        )
        expected, _ = oracle.slopes(*point, change)
        errors.append(oracle.relative_error(slope(point, change), expected))
    return errors


def attacked(rng):
    """Forward and backward errors of a random problem from the whole range.

    The last result is whether its start is a saddle up to rounding.
    """
    while True:
        sizes = list(cases.SIZES.values())[rng.integers(len(cases.SIZES))]
        lmda = BALANCES[rng.integers(len(BALANCES))]
        if cases.feasible(sizes, lmda):
            break
    scale, variance = (x[rng.integers(len(x))] for x in (SCALES, VARIANCES))
    kind = TASKS[rng.integers(len(TASKS))]
    k = min(sizes[0], sizes[2])
    strengths = {
        "random": np.sort(rng.uniform(0.1, 2.0, k))[::-1],
        "gaps of 1e-12": 1 + 1e-12 * np.arange(k)[::-1],
        "equal": np.ones(k),
        "rank one": np.eye(k)[0],
        "ill-conditioned": 10.0 ** (-3.0 * np.arange(k)),
    }[kind]
    task = cases.make_task(sizes, strengths, variance, seed=int(rng.integers(1000)))
    # Times scale with the rates for inputs of variance one: no variance is harder.
    network = cases.balanced(
        sizes, lmda / variance, scale / variance**0.5, int(rng.integers(1000))
    )
    w1, w2 = (np.asarray(w) for w in network.weights)
    sigma, c = np.asarray(task.input_output_correlation), float(task.input_variance)
    ts = np.array([0.0, 1e-3, 0.1, 1.0, 10.0, 100.0]) / np.hypot(strengths[0], lmda / 2)
    solution = lr.ExactSolution(network, task)
    found, frame = np.asarray(solution.qqt(ts)), solution.frame
    expected = oracle.qqt(w1, w2, sigma, oracle.balance(w1, w2), ts, c)
    error = np.linalg.norm(found - expected, axis=(1, 2))
    size = np.linalg.norm(expected, axis=(1, 2))
    answer = ROUNDING * size
    for _ in range(3):
        v1, v2, other = (oracle.perturbed(x, ROUNDING, rng) for x in (w1, w2, sigma))
        moved = oracle.qqt(v1, v2, other, oracle.balance(v1, v2), ts, c)
        answer = np.maximum(answer, np.linalg.norm(moved - expected, axis=(1, 2)))
    first = by_falling_rate(frame.s.size, frame.rates.size)[: frame.pivots.size]
    saddle = bool(np.any(frame.pivots != first))
    return error / size, ROUNDING * error / answer, saddle


def quantiles(errors):
    """Quantiles as cells of the table."""
    return " | ".join(f"{x:.1e}" for x in np.quantile(errors, (0.5, 0.9, 1.0)))


def attack_cells(rng):
    """The numbers for the text on backward errors."""
    draws = [attacked(rng) for _ in range(ATTACKS)]
    plain = [draw[:2] for draw in draws if not draw[2]]
    forward, backward = (np.concatenate(x) for x in zip(*plain, strict=True))
    return {
        "attacks": ATTACKS,
        "saddles": ATTACKS - len(plain),
        "backward": quantiles(backward),
        "forward": quantiles(forward),
        "above": np.sum(forward > 1e-11),
        "draws": forward.size,
    }


def main():
    """Measure and write."""
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    attacks = attack_cells(rng)
    print(attacks, flush=True)
    rows = collections.defaultdict(lambda: np.zeros(2))
    table = list(cases.table())
    for kinds in (table, list(cases.special())):
        for name, network, task in kinds:
            kind = (
                f"{name.rsplit(' ', 2)[0]} {network.sizes}"
                if kinds is table
                else name.rsplit(" ", 1)[0]
            )
            found = [
                value_error(network, task, cases.TIMES, dtype)
                for dtype in (jnp.float64, jnp.float32)
            ]
            print(name, *(f"{e:.1e}" for e in found), flush=True)
            rows[kinds is table, kind] = np.maximum(rows[kinds is table, kind], found)
    lines = {True: [], False: []}
    for (in_table, kind), (double, single) in rows.items():
        lines[in_table].append(f"| {kind} | {double:.1e} | {single:.1e} |")
    target = cases.sigma(32, 32)
    many = cases.network((32, 32, 32), 1.0, 0.1, target)
    task = lr.Task.from_correlation(target)
    found = [
        value_error(many, task, np.array([0.0, 0.3, 3.0, 30.0]), dtype)
        for dtype in (jnp.float64, jnp.float32)
    ]
    lines[True].append(
        f"| many units (32, 32, 32), lambda 1 | {found[0]:.1e} | {found[1]:.1e} |"
    )
    derivatives = []
    for kind, sizes in cases.SIZES.items():
        worst = np.zeros(3)
        for lmda in (0.0, 1.0, -1.0):
            if cases.feasible(sizes, lmda):
                target = cases.sigma(sizes[2], sizes[0])
                network = cases.network(sizes, lmda, 0.4, target)
                task = lr.Task.from_correlation(target)
                worst = np.maximum(worst, derivative_errors(network, task))
        print(kind, worst, flush=True)
        cells = " | ".join(f"{e:.1e}" for e in worst)
        derivatives.append(f"| {kind} {sizes} | {cells} |")
    text = TEXT.format(
        versions=f"jax {jax.__version__}",
        times=", ".join(f"{t:g}" for t in cases.TIMES),
        lmdas=", ".join(f"{x:g}" for x in cases.LMDAS),
        scales=", ".join(f"{x:g}" for x in cases.SCALES),
        count=len(table),
        **attacks,
        attack_scales=", ".join(f"{x:g}" for x in SCALES),
        attack_lmdas=", ".join(f"{x:g}" for x in BALANCES),
        variances=", ".join(f"{x:g}" for x in VARIANCES),
        tasks=", ".join(TASKS),
        derivative_times=", ".join(f"{t:g}" for t in DERIVATIVE_TIMES),
        values="\n".join(lines[True]),
        special="\n".join(lines[False]),
        derivatives="\n".join(derivatives),
    )
    path = pathlib.Path(__file__).parents[1] / "docs" / "accuracy.md"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
