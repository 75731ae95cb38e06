"""The independent numbers of a change of the problem, and their order in a vector.

The numbers are a change of the rows of Q0 and of the entries of the generator F in its
eigenbasis: one block for each pair of kinds of rows.
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..frame import Frame


def flat(
    frame: Frame,
    lower: Float[Array, "rows columns"],
    generator: Float[Array, "rows rows"],
) -> Float[Array, " numbers"]:
    """Rows of Q0, and the independent entries of F in its eigenbasis, as one vector."""
    m, r, _ = _sizes(frame)
    grow, rest, fall = slice(m), slice(m, m + r), slice(m + r, None)
    kinds = (grow, grow), (grow, fall), (fall, fall), (rest, grow), (rest, fall)
    parts = (
        lower,
        *[generator[pair] for pair in kinds],
        generator[m, m : m + (r > 0)],
    )
    return jnp.concatenate([part.ravel() for part in parts])


def unflat(
    frame: Frame, numbers: Float[Array, " numbers"]
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows rows"]]:
    """The inverse of `flat`."""
    x = Numbers(numbers, _sizes(frame))
    rest = jnp.diag(jnp.broadcast_to(x.rest, (x.sizes[1],)))
    above, below = x.rest_grow, x.rest_fall
    return x.lower, jnp.block(
        [
            [x.grow, above.T, x.across],
            [above, rest, below],
            [x.across.T, below.T, x.fall],
        ]
    )


class Numbers(eqx.Module):
    """A change, in the order of `flat`, or many on the last axes."""

    numbers: Float[Array, "numbers ..."]
    sizes: tuple[int, int, int] = eqx.field(static=True)

    @property
    def lower(self) -> Float[Array, "rows columns ..."]:
        """Of the rows of Q0."""
        return self._part(0)

    @property
    def grow(self) -> Float[Array, "modes modes ..."]:
        """Of F between growing rows."""
        return self._part(1)

    @property
    def across(self) -> Float[Array, "modes modes ..."]:
        """Of F between growing rows and decaying ones."""
        return self._part(2)

    @property
    def fall(self) -> Float[Array, "modes modes ..."]:
        """Of F between decaying rows."""
        return self._part(3)

    @property
    def rest_grow(self) -> Float[Array, "rest modes ..."]:
        """Of F between left-over rows and growing ones."""
        return self._part(4)

    @property
    def rest_fall(self) -> Float[Array, "rest modes ..."]:
        """Of F between left-over rows and decaying ones."""
        return self._part(5)

    @property
    def rest(self) -> Float[Array, "some ..."]:
        """Of the rate that left-over rows share, if there are any."""
        return self._part(6)

    def _part(self, i: int) -> Array:
        shapes = _shapes(*self.sizes)
        start = sum(math.prod(shape) for shape in shapes[:i])
        part = self.numbers[start : start + math.prod(shapes[i])]
        return part.reshape(*shapes[i], *self.numbers.shape[1:])


def count_of_numbers(frame: Frame) -> int:
    """The length of the vectors of one network or, with a leading axis, of many."""
    m, n = frame.s.shape[-1], frame.lower.shape[-1]
    return length(m, frame.rates.shape[-1] - 2 * m, n)


def length(m: int, r: int, n: int) -> int:
    """The length of the vectors, for m modes, r left-over directions and n columns."""
    return sum(math.prod(shape) for shape in _shapes(m, r, n))


def _sizes(frame: Frame) -> tuple[int, int, int]:
    m = frame.s.size
    return m, frame.rates.size - 2 * m, frame.lower.shape[1]


def _shapes(m: int, r: int, n: int) -> tuple[tuple[int, ...], ...]:
    modes, rest = (m, m), (r, m)
    return (2 * m + r, n), modes, modes, modes, rest, rest, (int(r > 0),)
