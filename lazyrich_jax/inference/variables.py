"""The free variables of a design: ranges of numbers, and choices among options."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from .. import _checks, _dtypes


class Choice:
    """A variable of `lazyrich_jax.inference.design` that takes one of some options.

    **Arguments:**

    - `options`: numbers, or arrays of one shape.

    **Raises:** `ValueError` for no options and for options of different shapes.
    """

    def __init__(self, options: Iterable[Any]):
        arrays = [np.asarray(option) for option in options]
        _checks.require(
            len(arrays) > 0, "`options` must hold at least one, but was empty."
        )
        shapes = {array.shape for array in arrays}
        _checks.require(
            len(shapes) == 1,
            f"`options` must have one shape, but their shapes were {sorted(shapes)}.",
        )
        self.options: Shaped[np.ndarray, "options ..."] = np.stack(arrays)


def orders(count: int, *, most: int = 720) -> Choice:
    """All orders of some tasks: the free variable `order` of a sequence of tasks.

    **Arguments:**

    - `count`: the number of tasks.
    - `most`: the largest allowed number of orders.

    **Raises:** `ValueError` for more orders than `most`.
    """
    count = _checks.size("count", count)
    number = math.factorial(count)
    _checks.require(
        number <= most,
        f"`count` must be of tasks with at most {most} orders, but {count} tasks have "
        f"{number}; `most` allows more.",
    )
    return Choice(itertools.permutations(range(count)))


class Range(NamedTuple):
    """A variable between two bounds, which are flat, with words on what sets them."""

    shape: tuple[int, ...]
    low: Float[np.ndarray, " entries"]
    high: Float[np.ndarray, " entries"]
    set_low: str = "its range"
    set_high: str = "its range"

    def within(self, most: float, what: str) -> "Range":
        """The part of the range with sizes of at most `most`, which `what` allows."""
        tight_low, tight_high = self.low < -most, self.high > most
        return self._replace(
            low=np.maximum(self.low, -most),
            high=np.minimum(self.high, most),
            set_low=what if tight_low.any() else self.set_low,
            set_high=what if tight_high.any() else self.set_high,
        )


class Variables:
    r"""All free variables, and their map from the unit box.

    A coordinate u from 0 to 1 is linear in $\mathrm{asinh}(x / w)$. The width w is the
    bound nearest to zero, so that the map is nearly logarithmic, or one percent of the
    largest one if the range has zero.
    """

    def __init__(self, ranges: Mapping[str, Range], choices: Mapping[str, Choice]):
        self.ranges, self.choices = dict(ranges), dict(choices)
        empty = np.zeros(0)
        low = [r.low for r in self.ranges.values()]
        high = [r.high for r in self.ranges.values()]
        self.low, self.high = (np.concatenate([empty, *x]) for x in (low, high))
        sizes = np.abs(self.low), np.abs(self.high)
        nearest, largest = np.minimum(*sizes), np.maximum(*sizes)
        has_zero = self.low * self.high <= 0
        self._width = np.where(has_zero, 0.01 * largest, nearest)
        self._first = np.arcsinh(self.low / self._width)
        self._span = np.arcsinh(self.high / self._width) - self._first

    @property
    def size(self) -> int:
        """The number of continuous numbers."""
        return self.low.size

    @property
    def options(self) -> list[dict[str, np.ndarray]]:
        """All combinations of choices."""
        names = list(self.choices)
        each = [[np.asarray(x) for x in self.choices[name].options] for name in names]
        return [dict(zip(names, x, strict=True)) for x in itertools.product(*each)]

    def at(self, u: Float[np.ndarray, " numbers"]) -> tuple[np.ndarray, np.ndarray]:
        """The numbers at a point of the unit box, and their slopes by it."""
        v = self._first + u * self._span
        x = np.clip(self._width * np.sinh(v), self.low, self.high)
        x = np.where(u <= 0, self.low, np.where(u >= 1, self.high, x))
        return x, self._width * np.cosh(v) * self._span

    def split(self, x: Any) -> dict[str, Any]:
        """Flat numbers as variables."""
        values, place = {}, 0
        for name, r in self.ranges.items():
            values[name] = x[place : place + r.low.size].reshape(r.shape)
            place += r.low.size
        return values

    def points(self, count: int) -> Float[np.ndarray, "count numbers"]:
        """Evenly spread points of the unit box.

        They are the additive recurrence with the powers of a generalised golden ratio,
        without its first point: a goal may be symmetric about the centre.
        """
        if self.size == 0:
            return np.zeros((1, 0))
        ratio = 2.0
        for _ in range(60):
            ratio = (1 + ratio) ** (1 / (self.size + 1))
        steps = ratio ** -np.arange(1.0, self.size + 1)
        return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1

    def grid(self, count: int) -> Float[np.ndarray, "points numbers"]:
        """A regular grid over the unit box, of about `count` points."""
        if self.size == 0:
            return np.zeros((1, 0))
        side = max(2, round(count ** (1 / self.size)))
        axes = np.meshgrid(*[np.linspace(0, 1, side)] * self.size, indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=1)


def parsed(free: Any) -> tuple[dict[str, Range], dict[str, Choice]]:
    """Ranges and choices by name, checked."""
    _checks.instance("free", free, Mapping, 'such as {"lmda": (-5.0, 5.0)}')
    _checks.require(len(free) > 0, "`free` must name a variable, but it was empty.")
    ranges, choices = {}, {}
    for name, given in free.items():
        if isinstance(given, Choice):
            choices[name] = given
        else:
            ranges[name] = _range(f"free[{name!r}]", given)
    return ranges, choices


def _range(name: str, given: Any) -> Range:
    _checks.require(
        isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2,
        f"`{name}` must be a pair (low, high) or a `Choice`, but it was {given!r}.",
    )
    bounds = []
    for word, value in zip(("low", "high"), given, strict=True):
        array = _dtypes.as_real(name, value)
        known = _checks.known(array)
        if known is None:
            raise TypeError(f"`{name}` must be concrete, but it was traced.")
        bounds.append(np.asarray(known, float))
        _checks.require(
            bool(np.isfinite(known).all()),
            f"`{name}` must have finite bounds, but its {word} one was {value}.",
        )
    try:
        low, high = np.broadcast_arrays(*bounds)
    except ValueError:
        raise ValueError(
            f"`{name}` must have bounds of fitting shapes, but they were "
            f"{bounds[0].shape} and {bounds[1].shape}."
        ) from None
    _checks.require(
        low.size > 0 and bool((low < high).all()),
        f"`{name}` must have a low bound below its high one, but they were {given[0]} "
        f"and {given[1]}.",
    )
    return Range(low.shape, low.ravel(), high.ravel())


def arguments(function: Callable, *, after: int = 0) -> tuple[list[str], bool]:
    """The names of a callable's keyword arguments, and whether it takes any name.

    The first `after` arguments are left out, and others must not be needed by position.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())[after:]
    except (TypeError, ValueError):  # of a C function
        return [], True
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    names = [p.name for p in parameters if p.kind in kinds]
    return names, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def needed(function: Callable, *, after: int = 0) -> list[str]:
    """The names of a callable's arguments without a default, but for the first ones."""
    names, _ = arguments(function, after=after)
    if not names:
        return []
    parameters = inspect.signature(function).parameters
    return [n for n in names if parameters[n].default is inspect.Parameter.empty]


def as_arrays(values: Mapping[str, Any], dtype: Any) -> dict[str, Array]:
    """Variables as arrays; numbers that aren't whole get `dtype`."""
    return {
        name: jnp.asarray(x, dtype if np.asarray(x).dtype.kind == "f" else None)
        for name, x in values.items()
    }
