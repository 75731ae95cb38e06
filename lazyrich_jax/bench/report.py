"""The measurements, as a table, a file and a plot."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import __version__
from . import methods
from .measure import Row, difference, measure
from .problems import Problem, problem

SIZES = ((3, 2, 2), (5, 5, 5), (8, 8, 8), (3, 5, 7), (5, 2, 5))
LARGE = 16  # units, from which on a call of NumPy takes less than the arithmetic
STEP = 1e-3  # of gradient descent
WHAT = {  # groups that have rivals
    "value": "loss",
    "one-task": "loss, one task for all",
    "function": "function",
    "gradient": "gradient",
}
PANELS: dict[str, tuple[str, Callable[[Row], float]]] = {  # of the plot, by group
    "size": ("n (n-n-n network)", lambda row: int(row.sizes.split("-")[0])),
    "batch": ("networks (5-5-5)", lambda row: row.batch),
    "times": ("times", lambda row: row.times),
    "lambda": (r"$\lambda$", lambda row: row.lmda),
}
GROUPS = *WHAT, *PANELS
FILES = "results.json", "table.md", "speed.png"

# (compute in double and single precision, TFLOP/s; memory, TB/s) of cards, from their
# makers' data sheets, without tensor cores.
CEILINGS = {
    "H200": (34.0, 67.0, 4.8),
    "H100": (34.0, 67.0, 3.35),
    "A100": (9.7, 19.5, 2.0),
}


def run(
    out: Path,
    *,
    only: Collection[str] = GROUPS,
    quick: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Measure, print the table, and write it to `table.md`, and `results.json`.

    And `speed.png`, where what it shows is among `only` (some of `GROUPS`). Needs
    double precision. Returns `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in _measurements(only, quick):
        rows.append(row)
        say(_line(row))
    about = _about()
    throughput = _throughput(quick, say)
    result = {
        **about,
        "throughput": throughput,
        "rows": [row._asdict() | {"us": row.microseconds} for row in rows],
    }
    (out / FILES[0]).write_text(json.dumps(result, indent=1) + "\n")
    text = table(rows, about, throughput)
    (out / FILES[1]).write_text(text)
    say("\n" + text)
    if set(PANELS) <= {row.group for row in rows}:
        draw(rows, about, out / FILES[2])
    return out


def _measurements(only: Collection[str], quick: bool) -> Iterator[Row]:
    batch = 100 if quick else 1000
    more = () if quick else (7, 12, 16, 32, 64, 128)
    for sizes in SIZES:
        p, is_main = problem(sizes, batch, 100), sizes == (5, 5, 5)
        if "value" in only:
            yield from _rivals("value", p, is_main)
        if "one-task" in only:
            yield from _rivals("one-task", p.with_one_task(), is_main)
    if "function" in only:
        for sizes in ((5, 5, 5), (8, 8, 8)):
            yield from _functions(problem(sizes, batch, 100))
    if "gradient" in only:
        yield from _gradients(problem((5, 5, 5), batch, 100))
    if "size" in only:
        for n in sorted((2, 3, 4, 5, 6, 8, *more)):
            count = max(2, batch // max(1, (n // 5) ** 3))
            yield from _few("size", problem((n, n, n), count, 100))
    if "batch" in only:
        for count in (1, 10, 100) if quick else (1, 10, 100, 1000, 10_000):
            yield from _few("batch", problem((5, 5, 5), count, 100))
    if "times" in only:
        for times in (1, 10, 100) if quick else (1, 10, 100, 1000):
            yield from _few("times", problem((5, 5, 5), batch, times))
    if "lambda" in only:
        for lmda in (0.0, 1.0, 10.0, 100.0):
            yield from _few("lambda", problem((5, 5, 5), batch, 100, lmda))


def _rivals(group: str, p: Problem, all_of_them: bool) -> Iterator[Row]:
    row, reference = _timed(group, "exact", methods.exact(), p)
    yield row
    rivals: dict[str, tuple[Callable[[Problem], Any], Problem]] = {
        "LAPACK kernel": (methods.cholesky(), p),
        "diffrax 1e-8": (methods.diffrax(1e-8), p),
    }
    if all_of_them:
        rivals |= {
            "NumPy formula": (methods.formula(), p.first(5)),
            "diffrax 1e-6": (methods.diffrax(1e-6), p),
            "diffrax 1e-10": (methods.diffrax(1e-10), p),
            f"descent {STEP:g}": (methods.descent(STEP), p.first(100)),
        }
    for name, (call, some) in rivals.items():
        yield _timed(group, name, call, some, reference)[0]


def _functions(p: Problem) -> Iterator[Row]:
    row, reference = _timed("function", "exact", methods.exact_functions(), p)
    yield row
    kernel = methods.cholesky(loss=False)
    yield _timed("function", "LAPACK kernel", kernel, p, reference)[0]


def _gradients(p: Problem) -> Iterator[Row]:
    p = p.first(max(10, p.w1.shape[0] // 5))
    yield _timed("gradient", "exact, value", methods.exact(), p)[0]
    row, reference = _timed("gradient", "exact", methods.exact_gradient(), p)
    yield row
    # The weights' slopes differ in directions that break the balance.
    reference = reference[2]
    some = p.first(20)
    for name, call in (
        ("diffrax 1e-8", methods.diffrax_gradient(1e-8)),
        ("diffrax 1e-8, forward", methods.diffrax_forward(1e-8)),
    ):
        row, found = _timed("gradient", name, call, some)
        yield row._replace(error=difference(found[2], reference))


def _few(group: str, p: Problem) -> Iterator[Row]:
    row, reference = _timed(group, "exact", methods.exact(), p)
    yield row
    yield _timed(group, "LAPACK kernel", methods.cholesky(), p, reference)[0]
    yield _timed(group, "diffrax 1e-8", methods.diffrax(1e-8), p, reference)[0]
    if p.sigma.shape[1] >= LARGE:
        some = p.first(1)
        yield _timed(group, "NumPy formula", methods.formula(), some, reference)[0]


def _timed(
    group: str,
    method: str,
    call: Callable[[Problem], Any],
    p: Problem,
    reference: Any = None,
) -> tuple[Row, Any]:
    return measure(group, method, functools.partial(call, p), p, reference)


def _throughput(quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Losses per second of many networks in one call, and of what is possible."""
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    batch = 20_000 if quick or on_cpu else 1_000_000
    whole = problem((5, 5, 5), batch, 100)
    reference = methods.formula()(whole.first(100))
    found: dict[str, Any] = {"device": device.device_kind, "batch": batch, "times": 100}
    for dtype in ("float32", "float64"):
        p = whole.rounded(dtype)
        arrays = p.w1, p.w2, p.sigma, p.ts
        compiled = methods.exact_of_arrays.lower(*arrays).compile()
        call = functools.partial(compiled, *arrays)
        row, losses = measure("throughput", "exact", call, p)
        error = difference(np.asarray(losses[:100]), reference)
        say(_line(row._replace(error=error)))
        memory = compiled.memory_analysis()
        assert memory is not None
        operations = _operations(p.first(1))
        output = memory.output_size_in_bytes
        per_second = p.evaluations / row.best
        one = {
            "per_second": per_second,
            "memory_over_output": (memory.temp_size_in_bytes + output) / output,
            "operations_per_loss": operations,
            "error": error,
        }
        for name, (double, single, bandwidth) in CEILINGS.items():
            if name in device.device_kind:
                ceiling = double if dtype == "float64" else single
                one["of_arithmetic"] = per_second * operations / (ceiling * 1e12)
                width = np.dtype(dtype).itemsize
                one["of_bandwidth"] = per_second * width / (bandwidth * 1e12)
        if not on_cpu:  # there the table has them
            one["rivals"] = _slower(p.first(batch // 10), reference, say)
        found[dtype] = one
    return found


def _operations(p: Problem) -> float:
    """Of a loss, as XLA counts them: of many times over those of fewer."""

    def count(times: int) -> float:
        ts = jax.ShapeDtypeStruct((times,), p.ts.dtype)
        lowered = methods.exact_of_arrays.lower(p.w1, p.w2, p.sigma, ts)
        cost = lowered.cost_analysis()
        return (cost or {}).get("flops", np.nan)

    return (count(64) - count(32)) / 32


def _slower(p: Problem, reference: Any, say: Callable[[str], None]) -> dict[str, Any]:
    """Losses per second of the exact solution's rivals."""
    rivals = {"LAPACK kernel": methods.cholesky()}
    if p.ts.dtype == np.float64:
        rivals["diffrax 1e-8"] = methods.diffrax(1e-8)
    found = {}
    for name, call in rivals.items():
        row, losses = measure("throughput", name, functools.partial(call, p), p)
        error = difference(np.asarray(losses[:100]), reference)
        say(_line(row._replace(error=error)))
        found[name] = {"per_second": p.evaluations / row.best, "error": error}
    return found


def _about() -> dict[str, Any]:
    names = "jax", "jaxlib", "equinox", "diffrax", "numpy"
    versions = {name: importlib.metadata.version(name) for name in names}
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions | {"lazyrich_jax": __version__},
    }


def _line(row: Row) -> str:
    error = "" if row.error is None else f"  error {row.error:.0e}"
    return (
        f"{row.group:<9} {row.sizes:<9} {row.batch:>6} x {row.times:<5} "
        f"lambda {row.lmda:<5g} {row.method:<22} {row.microseconds:10.4g} us  "
        f"first {row.first:6.2f} s{error}"
    )


def _where(about: dict[str, Any]) -> str:
    if about["platform"] == "cpu":
        return f"cpu ({about['cores']} {about['machine']} cores)"
    return about["device"]


def table(rows: list[Row], about: dict[str, Any], throughput: dict[str, Any]) -> str:
    """The groups that have rivals, as Markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        f"Measured {about['date']} on {_where(about)}, {versions}; a network at a "
        "time, in double precision, in one run. Errors are over the largest value; "
        "first results include compilation.",
        "",
        "| sizes | what | method | µs | × exact | error | first (s) |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        is_large = row.group == "size" and int(row.sizes.split("-")[0]) >= LARGE
        if row.group not in WHAT and not is_large:
            continue
        mine = next(
            r
            for r in rows
            if (r.group, r.method, r.sizes) == (row.group, "exact", row.sizes)
        )
        ratio = row.microseconds / mine.microseconds
        error = "" if row.error is None else f"{row.error:.0e}"
        what = WHAT.get(row.group, "loss")
        lines.append(
            f"| {row.sizes} | {what} | {row.method} | {row.microseconds:.3g} | "
            f"{ratio:.3g} | {error} | {row.first:.2f} |"
        )
    lines += ["", f"{throughput['batch']} networks x {throughput['times']} times:", ""]
    for dtype in ("float32", "float64"):
        one = throughput[dtype]
        text = (
            f"- {dtype}: {one['per_second']:.2g} losses per second; memory "
            f"{one['memory_over_output']:.2g} times the output; error "
            f"{one['error']:.0e}"
        )
        if "of_arithmetic" in one:
            text += (
                f"; {one['of_arithmetic']:.1%} of the card's arithmetic, "
                f"{one['of_bandwidth']:.1%} of its bandwidth for the losses alone"
            )
        for name, rival in one.get("rivals", {}).items():
            text += f"; {name} {rival['per_second']:.2g} (error {rival['error']:.0e})"
        lines.append(text + ".")
    if about["platform"] == "cpu":
        lines.append(
            "- On a GPU: unmeasured in this run; `lazyrich bench` there measures it."
        )
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], about: dict[str, Any], path: Path) -> None:
    """Cost against size, batch, times and balance, where the losses are right."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
    colours = {
        "exact": "C0",
        "LAPACK kernel": "C1",
        "diffrax 1e-8": "C2",
        "NumPy formula": "C3",
    }
    for ax, (group, (label, key)) in zip(axes, PANELS.items(), strict=True):
        largest = 0
        for method, colour in colours.items():
            some = [r for r in rows if (r.group, r.method) == (group, method)]
            some = [r for r in some if (r.error or 0) < 0.1]  # not what overflows
            x, y = [key(r) for r in some], [r.microseconds for r in some]
            if some:
                ax.plot(x, y, "o-", color=colour, label=method)
                largest = max(x)
        ax.set(xlabel=label, yscale="log")
        if group == "lambda":
            ax.set_xscale("symlog", linthresh=1)
            ax.set_xlim(-0.3, None)
        else:
            ax.set_xscale("log")
        if group == "size":
            sizes = [n for n in (2, 4, 8, 16, 32, 64, 128) if n <= largest]
            ax.set_xticks(sizes, sizes, minor=False)
            ax.minorticks_off()
    axes[0].set_ylabel("µs for a network at a time")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
    )
    figure.suptitle(f"The loss, float64, {_where(about)}, {about['date']}", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
