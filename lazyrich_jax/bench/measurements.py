"""The measurements: the exact solution and its rivals on every problem."""

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import numpy as np

from . import methods
from .measure import Row, difference, measure
from .problems import Problem, problem

GROUPS = (
    "value",
    "one-task",
    "function",
    "gradient",
    "learn",
    "size",
    "batch",
    "times",
    "lambda",
)
SIZES = ((3, 2, 2), (5, 5, 5), (8, 8, 8), (3, 5, 7), (5, 2, 5))
LARGE = 16  # units from which NumPy's calls take less than the arithmetic
STEP = 1e-3  # the learning rate of gradient descent

# Per card: TFLOP/s in double and single precision without tensor cores, TB/s of memory,
# from the makers' data sheets.
CEILINGS = {
    "H200": (34.0, 67.0, 4.8),
    "H100": (34.0, 67.0, 3.35),
    "A100": (9.7, 19.5, 2.0),
}


def measurements(only: Collection[str], quick: bool) -> Iterator[Row]:
    """The measurements of the groups in `only`, one after the other."""
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
    if "learn" in only:
        for n, count in (
            (3, batch),
            (5, batch),
            (8, batch // 5),
            (32, max(2, batch // 100)),
        ):
            sizes = (3, 2, 2) if n == 3 else (n, n, n)
            for networks in (1, count):
                p = problem(sizes, networks, 100)
                for name, call in (
                    ("exact", methods.exact_quantities()),
                    ("learn", methods.learn()),
                ):
                    yield _timed("learn", name, call, p)[0]
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
    yield _timed(group, "exact, decompositions", methods.decompositions(), p)[0]
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
    yield _timed("gradient", "exact, value", methods.exact(), p)[0]
    row, reference = _timed("gradient", "exact", methods.exact_gradient(), p)
    yield row
    # Only the slopes by the task are comparable: slopes by the weights differ in
    # directions that break the balance.
    reference = reference[2]
    for name, call, some in (
        ("diffrax 1e-8", methods.diffrax_gradient(1e-8), p),
        ("diffrax 1e-8, forward", methods.diffrax_forward(1e-8), p.first(20)),
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


def throughput(quick: bool, say: Callable[[Row], None]) -> dict[str, Any]:
    """Losses per second of many networks in one call, and their share of the limits."""
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
        say(row._replace(error=error))
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
        if not on_cpu:  # on a CPU the table has them
            one["rivals"] = _slower(p.first(batch // 10), reference, say)
        found[dtype] = one
    return found


def _operations(p: Problem) -> float:
    """The operations of one loss as XLA counts them, from counts at 64 and 32 times."""

    def count(times: int) -> float:
        ts = jax.ShapeDtypeStruct((times,), p.ts.dtype)
        lowered = methods.exact_of_arrays.lower(p.w1, p.w2, p.sigma, ts)
        cost = lowered.cost_analysis()
        return (cost or {}).get("flops", np.nan)

    return (count(64) - count(32)) / 32


def _slower(p: Problem, reference: Any, say: Callable[[Row], None]) -> dict[str, Any]:
    """Losses per second of the exact solution's rivals."""
    rivals = {"LAPACK kernel": methods.cholesky()}
    if p.ts.dtype == np.float64:
        rivals["diffrax 1e-8"] = methods.diffrax(1e-8)
    found = {}
    for name, call in rivals.items():
        row, losses = measure("throughput", name, functools.partial(call, p), p)
        error = difference(np.asarray(losses[:100]), reference)
        say(row._replace(error=error))
        found[name] = {"per_second": p.evaluations / row.best, "error": error}
    return found
