"""A fit of a table, and its report."""

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import plot
from ..inference import Fit, Relative, fit
from .options import Question, questions
from .table import Table, read

FILES = "report.md", "fit.json", "fit.png"


class Candidate(NamedTuple):
    """A fitted model, and what a warning said about it."""

    fit: Fit
    warnings: tuple[str, ...]

    @property
    def criterion(self) -> float:
        """Bayes' information criterion, up to a constant: less is better."""
        found = self.fit
        count = found.observations
        misfit = found.deviance
        if not found.known_noise:
            misfit = count * math.log(max(misfit, 1e-300) / count)
        return misfit + len(found.labels) * math.log(count)


def prepare(options: argparse.Namespace, data: Path) -> tuple[Table, list[Question]]:
    """The table `data`, and what is asked of it.

    **Raises:** `ValueError` or `TypeError` for faults of the table or the options.
    """
    table = read(data)
    return table, questions(options, table)


def run(prepared: tuple[Table, list[Question]], out: Path) -> Fit:
    """Fit a table, and write the report into the folder `out`.

    **Raises:** as `lazyrich_jax.inference.fit`.
    """
    table, asked = prepared
    candidates = [_fitted(question, table) for question in asked]
    candidates.sort(key=lambda c: c.criterion)
    best = candidates[0]
    (out / "report.md").write_text(_report(table, candidates), encoding="utf-8")
    text = json.dumps(_numbers(table, candidates), indent=2)
    (out / "fit.json").write_text(f"{text}\n", encoding="utf-8")
    _draw(best.fit, table).savefig(out / "fit.png", dpi=160)
    return best.fit


def _fitted(question: Question, table: Table) -> Candidate:
    experiment = question.experiment
    n_in, _, n_out = experiment.sizes
    data = table.data((n_in, n_out), experiment.x.shape[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = fit(experiment, data, question.unknown, bounds=question.bounds)
    return Candidate(found, tuple(str(w.message) for w in caught))


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
    parts = [
        f"# Fit of {table.path.name}",
        f"{len(table.times)} rows, {table.clock} {clock}; "
        f"{', '.join(c.text for c in table.columns)}.",
        f"Model: {_model(found)}. Its loss is half the squared error, the sum over "
        "outputs and the mean over samples.",
        f"```\n{found}\n```",
        "![data, theory and residuals](fit.png)",
        "## What is identified",
        "\n".join(f"- {line}" for line in _identified(found)),
    ]
    if best.warnings:
        parts.append("\n".join(f"- {text}" for text in best.warnings))
    if len(candidates) > 1:
        parts += ["## Models tried", _table_of(candidates)]
    known = {
        name: np.array2string(np.asarray(value), precision=4)
        for name, value in experiment.known.items()
        if name not in found.unknown and np.all(np.isfinite(value))
    }
    text = ", ".join(f"{name} = {value}" for name, value in known.items())
    if text:
        parts += ["## Taken as known", f"{text}."]
    return "\n\n".join(parts) + "\n"


def _identified(found: Fit) -> list[str]:
    """What the data say about each number, in words."""
    lines = []
    for label, pieces in found.intervals().items():
        ends = [end for piece in pieces for end in piece]
        low, high = min(ends), max(ends)
        signed = label == "lmda" or label.startswith("function")
        if all(math.isfinite(x) for x in ends) and (signed or low > 0):
            text = "is determined"
            if label == "lmda" and len(pieces) == 2 and pieces[0][1] < 0:
                text += " up to its sign"
            elif len(pieces) > 1:
                text += f" up to a choice of {len(pieces)} ranges"
            elif label == "lmda" and low < 0 < high:
                text = f"is at most {max(-low, high):.3g} in size"
            elif not signed and high > math.e**2 * low:
                text = "is known roughly"
        elif not signed and math.isfinite(high):
            text = f"has an upper bound only, {high:.3g}"
        elif not signed and low > 0:
            text = f"has a lower bound only, {low:.3g}"
        elif label == "lmda" and len(pieces) > 1:
            sizes = [min(abs(a), abs(b)) for a, b in pieces]
            text = f"has a lower bound of its size only, {min(sizes):.3g}"
        else:
            text = "is not determined"
        lines.append(f"{label} {text}.")
    return lines


def _table_of(candidates: list[Candidate]) -> str:
    lines = [
        "| sizes | unknown numbers | noise | correlation of residuals | BIC |",
        "|---|---:|---:|---:|---:|",
    ]
    for candidate in candidates:
        found = candidate.fit
        sizes = "-".join(str(n) for n in found.experiment.sizes)
        noise = ", ".join(f"{x:.2g}" for x in found.noise.values())
        lines.append(
            f"| {sizes} | {len(found.labels)} | {noise} | {found.correlation:.2f} | "
            f"{candidate.criterion - candidates[0].criterion:.1f} |"
        )
    lines.append("")
    lines.append(
        "BIC is Bayes' information criterion, relative to the best. A difference of "
        "less than about 6 is no evidence."
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
