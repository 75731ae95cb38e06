"""A fit of a table, and its report."""

import argparse
import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import plot
from ..inference import Fit, Relative, fit
from ..inference.compare import EQUAL
from ..inference.identified import rank
from ..inference.words import ANY_START, faults
from .options import Question, questions
from .steps import said_of_steps
from .table import Table, read

Bounds = Mapping[str, tuple[float, float]]

FILES = "report.md", "fit.json", "fit.png"


class Candidate(NamedTuple):
    """A fitted model, and what a warning said about it."""

    fit: Fit
    bounds: Bounds
    warnings: tuple[str, ...]

    @property
    def criterion(self) -> float:
        """Akaike's criterion, up to a constant of the data: less is better."""
        found = self.fit
        count = found.observations
        misfit = found.deviance
        if not found.known_noise:
            misfit = count * math.log(max(misfit, 1e-300) / count)
        return misfit + 2 * rank(found.hessian)


def prepare(options: argparse.Namespace, data: Path) -> tuple[Table, list[Question]]:
    """The table `data`, and what is asked of it.

    **Raises:** `ValueError` or `TypeError` for faults of the table or the options.
    """
    table = read(data)
    return table, questions(options, table)


def run(prepared: tuple[Table, list[Question]], out: Path) -> str:
    """Fit a table, write the report into the folder `out`, and return its summary.

    **Raises:** as `lazyrich_jax.inference.fit`.
    """
    table, asked = prepared
    candidates = [_fitted(question, table) for question in asked]
    least = min(c.criterion for c in candidates)
    # Of models that the data don't tell apart, the simplest is first.
    candidates.sort(
        key=lambda c: (max(c.criterion - least, EQUAL), len(c.fit.labels), c.criterion)
    )
    best = candidates[0] = _with_intervals(candidates[0])
    (out / "report.md").write_text(_report(table, candidates), encoding="utf-8")
    text = json.dumps(_numbers(table, candidates), indent=2)
    (out / "fit.json").write_text(f"{text}\n", encoding="utf-8")
    _draw(best.fit, table).savefig(out / "fit.png", dpi=160)
    return "\n".join(
        [_printed(best.fit), *said_of_steps(table, best.fit), *best.warnings]
    )


def _printed(found: Fit) -> str:
    """The fit in words, with the command's options."""
    return str(found).replace(ANY_START, "`--start any`")


def _fitted(question: Question, table: Table) -> Candidate:
    experiment = question.experiment
    n_in, _, n_out = experiment.sizes
    data = table.data((n_in, n_out), experiment.x.shape[0])
    with _texts() as texts:
        found = fit(experiment, data, question.unknown, bounds=question.bounds)
    return Candidate(found, question.bounds, tuple(texts))


def _with_intervals(candidate: Candidate) -> Candidate:
    """The candidate with its intervals found, and with what these warn of."""
    with _texts() as texts:
        candidate.fit.intervals()
    return candidate._replace(warnings=(*candidate.warnings, *texts))


@contextlib.contextmanager
def _texts() -> Iterator[list[str]]:
    """The texts of all warnings inside, for the report."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    option = "`--bounds lmda=0:inf`"
    texts += dict.fromkeys(
        str(w.message).replace('`bounds={"lmda": (0, inf)}`', option) for w in caught
    )


def _model(found: Fit) -> str:
    """The model in words."""
    experiment = found.experiment
    sizes = "-".join(str(n) for n in experiment.sizes)
    start = {
        "aligned": "a start aligned with the task",
        "function": "an unknown start function",
    }[experiment.start]
    kind = {
        "balanced": "λ-balanced layers",
        "wide": "wide random layers",
        "shallow": "one layer",
        "lazy": "the lazy limit (rate stands for rate × |λ|)",
    }[experiment.model]
    return f"a linear {sizes} network, {kind}, {start}, white inputs"


def _report(table: Table, candidates: list[Candidate]) -> str:
    best = candidates[0]
    found = best.fit
    experiment = found.experiment
    clock = f"{table.times[0]:g} to {table.times[-1]:g}"
    refuted = [
        "The theory does not describe the data. What follows holds for it alone."
    ]
    parts = [
        f"# Fit of {table.path.name}",
        f"{len(table.times)} rows, {table.clock} {clock}; "
        f"{', '.join(c.text for c in table.columns)}.",
        f"Model: {_model(found)}. Its loss is half the squared error, the sum over "
        "outputs and the mean over samples.",
        f"```\n{_printed(found)}\n```",
        "![data, theory and residuals](fit.png)",
        "## What is identified",
        *(refuted if faults(found) else []),
        "\n".join(f"- {line}" for line in identified(found, best.bounds)),
    ]
    parts += said_of_steps(table, found)
    if best.warnings:
        parts.append("\n".join(f"- {text}" for text in best.warnings))
    if len(candidates) > 1:
        parts += ["## Models tried", _table_of(candidates)]
    known = {
        name: np.array2string(np.asarray(value), precision=4).removesuffix(".")
        for name, value in experiment.known.items()
        if name not in found.unknown and np.all(np.isfinite(value))
    }
    text = ", ".join(f"{name} = {value}" for name, value in known.items())
    if text:
        parts += ["## Taken as known", f"{text}."]
    return "\n\n".join(parts) + "\n"


def identified(found: Fit, bounds: Bounds) -> list[str]:
    """What the data say about each number within its bounds, in words."""
    return [
        f"{label} {_in_words(label.split('[')[0], pieces, bounds)}."
        for label, pieces in found.intervals().items()
    ]


def _in_words(name: str, pieces: list[tuple[float, float]], bounds: Bounds) -> str:
    signed = name in ("lmda", "function")
    least, most = bounds.get(name, (-math.inf if signed else 0.0, math.inf))
    positive = least >= 0 or not signed
    low, high = min(x for x, _ in pieces), max(x for _, x in pieces)
    # Beyond the bounds nothing was tried.
    no_least = low <= least or math.isclose(low, least, rel_tol=1e-6)
    no_most = high >= most or math.isclose(high, most, rel_tol=1e-6)
    if name == "lmda" and len(pieces) == 2 and pieces[0][1] < 0 < pieces[1][0]:
        if no_least and no_most:
            return f"is at least {min(-pieces[0][1], pieces[1][0]):.3g} in size"
        return "is determined up to its sign"
    if no_least and no_most:
        return "is not determined"
    one_of = f"in one of {len(pieces)} ranges"
    several = f", {one_of}" if len(pieces) > 1 else ""
    if no_least:
        return f"is at most {high:.3g}{several}"
    if no_most:
        return f"is at least {low:.3g}{several}"
    if several:
        return f"is {one_of}"
    if name == "lmda" and low < 0 < high:
        return f"is at most {max(-low, high):.3g} in size"
    if positive and high > math.e**2 * low:
        return f"is known roughly, from {low:.3g} to {high:.3g}"
    return "is determined"


def _table_of(candidates: list[Candidate]) -> str:
    lines = [
        "| sizes | unknown numbers | noise | correlation of residuals | AIC |",
        "|---|---:|---:|---:|---:|",
    ]
    least = min(c.criterion for c in candidates)
    for candidate in candidates:
        found = candidate.fit
        sizes = "-".join(str(n) for n in found.experiment.sizes)
        noise = ", ".join(f"{x:.2g}" for x in found.noise.values())
        lines.append(
            f"| {sizes} | {len(found.labels)} | {noise} | {found.correlation:.2f} | "
            f"{candidate.criterion - least:.1f} |"
        )
    lines.append("")
    lines.append(
        "AIC is Akaike's criterion less its least value. Below "
        f"{EQUAL:g} models are equal, and the simplest is taken."
    )
    return "\n".join(lines)


def _numbers(table: Table, candidates: list[Candidate]) -> dict[str, Any]:
    best = candidates[0]
    found = best.fit

    def listed(values):
        return {name: np.asarray(x).tolist() for name, x in values.items()}

    return {
        "data": table.path.name,
        "model": found.experiment.model,
        "start": found.experiment.start,
        "sizes": list(found.experiment.sizes),
        "observe": list(found.experiment.observe),
        "unknown": list(found.unknown),
        "values": listed(found.values),
        "intervals": {
            label: [[_finite(x) for x in piece] for piece in pieces]
            for label, pieces in found.intervals().items()
        },
        "as good": [listed(values) for values in found.alternatives],
        "noise": dict(found.noise),
        "deviance": found.deviance,
        "freedom": found.freedom,
        "p value": _finite(found.p_value),
        "correlation of residuals": found.correlation,
        "starts": {"all": found.starts, "reached": found.reached},
        "success": found.success,
        "warnings": list(best.warnings),
        "models tried": [
            {"sizes": list(c.fit.experiment.sizes), "criterion": c.criterion}
            for c in candidates
        ],
    }


def _finite(x: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return float(x) if math.isfinite(x) else None


def _draw(found: Fit, table: Table):
    """Data with the fit, above residuals, for each observable."""
    from matplotlib.figure import Figure

    observe = found.experiment.observe
    figure = Figure(figsize=(4.8 * len(observe), 5.4), layout="constrained")
    axes = figure.subplots(
        2, len(observe), sharex=True, height_ratios=(3, 2), squeeze=False
    )
    for i, name in enumerate(observe):
        plot.fit(found, observable=name, ax=axes[0, i])
        plot.residuals(found, observable=name, ax=axes[1, i])
        axes[0, i].set(xlabel="", title=f"{name} and fit")
        if isinstance(found.experiment.noise[i], Relative):
            axes[0, i].set_yscale("log")
        axes[1, i].set(xlabel=table.clock, ylabel="residual / noise")
    return figure
