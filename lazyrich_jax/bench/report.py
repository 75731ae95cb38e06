"""Reports of the measurements: a table, a file and a plot."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax

from .. import __version__
from .._xla import threads
from .measure import Row
from .measurements import GROUPS, LARGE, measurements, throughput

WHAT = {  # groups in the table
    "value": "loss",
    "one-task": "loss, one task for all",
    "function": "function",
    "gradient": "gradient",
    "learn": "loss and QQᵀ",
}
PANELS: dict[str, tuple[str, Callable[[Row], float]]] = {  # panels of the plot
    "size": ("n (n-n-n network)", lambda row: int(row.sizes.split("-")[0])),
    "batch": ("networks (5-5-5)", lambda row: row.batch),
    "times": ("times", lambda row: row.times),
    "lambda": (r"$\lambda$", lambda row: row.lmda),
}
FILES = "results.json", "table.md", "speed.png"


def run(
    out: Path,
    *,
    only: Collection[str] = GROUPS,
    quick: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Measure, print the table, and write `table.md` and `results.json`.

    If `only` (some of `GROUPS`) includes all groups of the plot, `speed.png` is written
    too. JAX must have double precision enabled. Returns `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in measurements(only, quick):
        rows.append(row)
        say(_line(row))
    about = _about()
    many = throughput(quick, lambda row: say(_line(row)))
    result = {
        **about,
        "throughput": many,
        "rows": [row._asdict() | {"us": row.microseconds} for row in rows],
    }
    (out / FILES[0]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = table(rows, about, many)
    (out / FILES[1]).write_text(text, encoding="utf-8")
    say("\n" + text)
    if set(PANELS) <= {row.group for row in rows}:
        draw(rows, about, out / FILES[2])
    return out


def _about() -> dict[str, Any]:
    names = "jax", "jaxlib", "equinox", "diffrax", "numpy"
    versions = {name: importlib.metadata.version(name) for name in names}
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "platform": device.platform,
        "cores": threads.cores(),
        "machine": platform.machine(),
        "instructions": instructions(),
        "python": platform.python_version(),
        "versions": versions | {"lazyrich_jax": __version__},
    }


def instructions() -> str:
    """The largest known set of vector instructions that XLA may use here."""
    asked = re.search(r"--xla_cpu_max_isa=(\w+)", os.environ.get("XLA_FLAGS", ""))
    if asked:
        return asked[1]
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else []
    known = ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("asimd", "NEON")
    return next((name for flag, name in known if flag in flags), "unknown instructions")


def _line(row: Row) -> str:
    error = "" if row.error is None else f"  error {row.error:.0e}"
    return (
        f"{row.group:<9} {row.sizes:<9} {row.batch:>6} x {row.times:<5} "
        f"lambda {row.lmda:<5g} {row.method:<22} {row.microseconds:10.4g} us  "
        f"first {row.first:6.2f} s{error}"
    )


def _where(about: dict[str, Any]) -> str:
    if about["platform"] == "cpu":
        return (
            f"cpu ({about['cores']} {about['machine']} cores, {about['instructions']})"
        )
    return about["device"]


def table(rows: list[Row], about: dict[str, Any], many: dict[str, Any]) -> str:
    """The rows of the table's groups, and the throughput, as Markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        f"Measured {about['date']} on {_where(about)}, {versions}. Times are for one "
        "network at one time, in double precision, in one run. Errors are over the "
        "largest value. First results include compilation.",
        "",
        "| sizes | what | method | µs | × exact | error | first (s) |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        is_large = row.group == "size" and int(row.sizes.split("-")[0]) >= LARGE
        if row.group not in WHAT and not is_large:
            continue
        alike = [r for r in rows if (r.group, r.sizes) == (row.group, row.sizes)]
        if row.group == "learn":
            alike = [r for r in alike if r.batch == row.batch]
        mine = next(r for r in alike if r.method == "exact")
        ratio = row.microseconds / mine.microseconds
        error = "" if row.error is None else f"{row.error:.0e}"
        what = WHAT.get(row.group, "loss")
        what += f", {row.batch} x {row.times}" if row.group == "learn" else ""
        lines.append(
            f"| {row.sizes} | {what} | {row.method} | {row.microseconds:.3g} | "
            f"{ratio:.3g} | {error} | {row.first:.2f} |"
        )
    lines += ["", f"{many['batch']} networks x {many['times']} times:", ""]
    for dtype in ("float32", "float64"):
        one = many[dtype]
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
    """Draw times against size, batch, number of times and balance.

    Methods whose losses are wrong are left out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
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
            some = [r for r in some if (r.error or 0) < 0.1]  # without overflows
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
    axes[0].set_ylabel("µs for one network at one time")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
    )
    figure.suptitle(f"The loss, float64, {_where(about)}, {about['date']}", fontsize=10)
    figure.savefig(path, dpi=150)
