"""Fits: their recovery of the truth, the coverage of their intervals, and their cost.

Run `python -m benchmarks.inference`; `--draws N` sets the number of data sets, and
`--only`, `--sizes`, `--regime` and `--noise` choose among the tables and their rows.
"""

import argparse
import resource
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax import inference

SIZES = {"5-5-5": (5, 5, 5), "3-2-2": (3, 2, 2), "2-2-3": (2, 2, 3)}
REGIMES = {"rich": 0.0, "between": 0.5, "lazy": 30.0, "negative": -30.0}
LAWS = {"relative": inference.Relative(0.01), "additive": inference.Additive()}
UNKNOWN = ("lmda", "scale", "rate")


def experiment(
    sizes: tuple[int, int, int],
    noise: inference.AbstractNoise,
    *,
    learned: bool = False,
) -> inference.Experiment:
    """A loss curve of 100 times of a random network on a random task.

    With `learned` most of the loss is learned, otherwise a few percent of it.
    """
    n_in, hidden, n_out = sizes
    keys = jax.random.split(jax.random.key(0))
    task = lr.Task.random_regression(n_in, n_out, 40, key=keys[0])
    if learned:
        sigma = jax.random.normal(keys[0], (n_out, n_in))
        task = lr.Task.from_correlation(sigma)
    start = lr.LambdaBalanced()(*sizes, key=keys[1]).function
    times = jnp.linspace(0, 8, 100)
    return inference.Experiment(
        task, times, hidden_size=hidden, start=start, scale=0.3, noise=noise
    )


def feasible(lmda: float, sizes: tuple[int, int, int]) -> bool:
    """Whether sizes allow this balance."""
    n_in, hidden, n_out = sizes
    return not (lmda > 0 and hidden > n_out) and not (lmda < 0 and hidden > n_in)


def cpu() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def truths_of(
    sizes: tuple[int, int, int], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Random balances, scales and rates, (draws, 3)."""
    found = []
    for _ in range(draws):
        scale, rate = np.exp(rng.uniform(-2, 0)), np.exp(rng.uniform(-0.7, 0.7))
        lmda = np.sinh(rng.uniform(-4, 4)) * scale**2
        found.append((lmda if feasible(lmda, sizes) else -lmda, scale, rate))
    return np.array(found)


def recovery(sizes: tuple[int, int, int], draws: int) -> str:
    """Loss curves without noise: how many fits are exact, up to rounding."""
    found = 0
    made = experiment(sizes, inference.Relative(0.01))
    for numbers in truths_of(sizes, draws, np.random.default_rng(5)):
        truth = dict(zip(UNKNOWN, numbers, strict=True))
        fit = inference.fit(made, made.predict(**truth), UNKNOWN)
        found += fit.success and fit.deviance < 1e-8
    return f"{found} of {draws}"


def curves(sizes: tuple[int, int, int], draws: int, *, learned: bool) -> str:
    """Curves without noise: how many are missed; with noise: the same, and seconds.

    With noise a curve is missed if its deviance is above the truth's by more than one.
    """
    made, rng = experiment(sizes, LAWS["relative"], learned=learned), np.random
    truths = truths_of(sizes, draws, rng.default_rng(7))
    predict = jax.jit(
        jax.vmap(lambda x: made.predict(**dict(zip(UNKNOWN, x, strict=True))))
    )
    clean = np.asarray(predict(jnp.asarray(truths)))
    missed = inference.fit_curves(made, clean, UNKNOWN).deviance.values
    noisy = clean * np.exp(0.01 * rng.default_rng(0).normal(size=clean.shape))
    inference.fit_curves(made, noisy, UNKNOWN)  # repeated trials compile, too
    start = time.perf_counter()
    found = inference.fit_curves(made, noisy, UNKNOWN).deviance.values
    took = time.perf_counter() - start
    above = found - np.sum((100 * np.log(noisy / clean)) ** 2, axis=1)
    return (
        f"{np.sum(missed > 1e-8)} of {draws} missed, {np.sum(missed > 0.01)} by more "
        f"than 0.01; with noise {np.sum(above > 1)} missed in {took:.1f} s"
    )


def steps(rate: float, draws: int) -> list[str]:
    """Estimates of a balance of 1.5 from descent, by the flow and the law of steps."""
    task = lr.Task.from_correlation(jnp.diag(jnp.array([2.0, 1.0])))
    times = np.linspace(0, round(10 / rate), 101).astype(int)
    bounds = {"lmda": (0.0, np.inf)}
    texts = []
    for law in (False, True):
        given = {"rate": rate, "scale": 0.3, "steps": law}
        made = inference.Experiment(task, times, noise=LAWS["relative"], **given)
        network = made.network(lmda=1.5)
        descent = lr.GradientDescent(learning_rate=rate)
        path = lr.learn(network, task, times * rate, dynamics=descent)
        loss = np.asarray(path.loss)
        plain = inference.Experiment(task, times, **given)
        found = inference.fit(plain, loss, UNKNOWN[:2], bounds=bounds)
        off, ends = abs(float(found.values["lmda"]) - 1.5), []
        for draw in range(draws):
            e = 0.01 * np.random.default_rng(draw).normal(size=loss.shape)
            found = inference.fit(made, loss * np.exp(e), UNKNOWN[:2], bounds=bounds)
            ends += found.intervals()["lmda"]
        inside = sum(low <= 1.5 <= high for low, high in ends)
        name = "steps" if law else "flow"
        texts.append(
            f"{name}: without noise off by {off:.2g}; {inside} of {len(ends)} "
            f"intervals hold 1.5, from {np.min(ends):.4f} to {np.max(ends):.4f}"
        )
    return texts


def coverage(
    sizes: tuple[int, int, int],
    lmda: float,
    noise: inference.AbstractNoise,
    draws: int,
    *,
    learned: bool,
) -> str:
    """How often the 95 % intervals of each number contain it.

    An interval that is unbounded, to infinity or to zero for a positive number, counts
    as any other. Bounded ones are counted again.
    """
    made = experiment(sizes, noise, learned=learned)
    # The lazy branch relaxes at |lmda| times the rate: within the times, or at once.
    rate = 1 / max(1.0, abs(lmda)) if learned else 1.0
    truth = {"lmda": lmda, "scale": 0.3, "rate": rate}
    clean = np.asarray(made.predict(**truth))
    rng = np.random.default_rng(1)
    inside, bounded = np.zeros((2, draws, 3), bool)
    for draw in range(draws):
        e = 0.01 * rng.normal(size=clean.shape)
        relative = isinstance(noise, inference.Relative)
        data = clean * np.exp(e) if relative else clean + e * clean[0]
        fit = inference.fit(made, data, UNKNOWN)
        for i, (name, segments) in enumerate(fit.intervals().items()):
            inside[draw, i] = any(low <= truth[name] <= high for low, high in segments)
            ends = np.ravel(segments)
            end = np.isinf(ends) if name == "lmda" else np.isinf(ends) | (ends == 0)
            bounded[draw, i] = not end.any()
    return ", ".join(
        f"{name} {inside[:, i].sum()} (bounded: {(inside & bounded)[:, i].sum()} of "
        f"{bounded[:, i].sum()})"
        for i, name in enumerate(UNKNOWN)
    )


def cost(sizes: tuple[int, int, int]) -> str:
    """CPU and wall seconds of the first fit, the next one, and 1000 curves."""
    made = experiment(sizes, inference.Relative(0.01))
    data = made.simulate(lmda=0.5, rate=0.7, key=jax.random.key(1))
    texts = []
    for name in ("first fit", "next fit"):
        before, start = cpu(), time.perf_counter()
        inference.fit(made, data, UNKNOWN)
        texts.append(f"{name} {cpu() - before:.2f} / {time.perf_counter() - start:.2f}")
    keys = jax.random.split(jax.random.key(2), 1000)
    rng = np.random.default_rng(0)
    scales, lmdas = np.exp(rng.uniform(-2, 0, 1000)), np.exp(rng.uniform(-3, 2, 1000))
    draw = jax.jit(jax.vmap(lambda k, s, m: made.simulate(key=k, scale=s, lmda=m)))
    curves = np.asarray(draw(keys, jnp.asarray(scales), jnp.asarray(lmdas)))
    for name in ("first 1000 curves", "next 1000 curves"):
        before, start = cpu(), time.perf_counter()
        inference.fit_curves(made, curves, UNKNOWN)
        texts.append(f"{name} {cpu() - before:.2f} / {time.perf_counter() - start:.2f}")
    return ", ".join(texts)


def information(sizes: tuple[int, int, int], observe: str) -> str:
    """Seconds for the Fisher information of two numbers at 10,000 points."""
    base = experiment(sizes, inference.Additive(0.01))
    made = inference.Experiment(
        base.task,
        jnp.linspace(0, 8, 40),
        observe=observe,
        hidden_size=sizes[1],
        start=base.known["function"],
        noise=inference.Additive(0.01),
    )
    points = np.random.default_rng(0).uniform(0.1, 1.0, (2, 10_000))
    texts = []
    for name in ("first", "next"):
        before, start = cpu(), time.perf_counter()
        inference.fisher(made, ("lmda", "scale"), lmda=points[0], scale=points[1])
        texts.append(f"{name} {cpu() - before:.2f} / {time.perf_counter() - start:.2f}")
    return ", ".join(texts)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument(
        "--only", choices=("recovery", "curves", "steps", "coverage", "cost")
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--regime", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--noise", nargs="+", choices=LAWS, default=list(LAWS))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")  # from ambiguous signs
    shapes = {name: SIZES[name] for name in options.sizes}
    if options.only in (None, "cost"):
        print("CPU / wall seconds:")
        for name, sizes in shapes.items():
            print(f"  {name}: {cost(sizes)}", flush=True)
        for observe in ("loss", "function"):
            text = information((5, 5, 5), observe)
            print(f"  5-5-5, 10,000 points of Fisher's information, {observe}: {text}")
    if options.only in (None, "recovery"):
        print("Exact fits (deviance below 1e-8) of loss curves without noise:")
        for name, sizes in shapes.items():
            print(f"  {name}: {recovery(sizes, options.draws)}", flush=True)
    if options.only in (None, "curves"):
        for learned in (True, False):
            part = "most" if learned else "a few percent"
            print(f"1000 curves, {part} of the loss learned:")
            for name, sizes in shapes.items():
                print(f"  {name}: {curves(sizes, 1000, learned=learned)}", flush=True)
    if options.only in (None, "steps"):
        print("Descent at the rate 0.005:", *steps(0.005, 4), sep="\n  ")
    if options.only in (None, "coverage"):
        for learned in (True, False):
            part = "most of the loss" if learned else "a few percent of the loss"
            print(f"Of {options.draws} 95 % intervals, those with the truth.")
            print(f"1 % noise, {part} learned:")
            for name, sizes in shapes.items():
                for regime in options.regime:
                    lmda = REGIMES[regime]
                    if not feasible(lmda, sizes):
                        continue
                    for law in options.noise:
                        text = coverage(
                            sizes, lmda, LAWS[law], options.draws, learned=learned
                        )
                        print(f"  {name}, {regime}, {law}: {text}", flush=True)


if __name__ == "__main__":
    main()
