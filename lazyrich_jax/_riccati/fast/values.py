r"""Values of the solution: the loss, parts of $QQ^\top$, and Q.

In: `Constants` and times. Out: arrays (networks, times, ...). The formulas are those of
reference/solution.py, without quantities that are not asked for. A function here works
on one matrix, or on many with networks and times on the last axes. `kept` marks results
that are used more than once: they are computed once.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import dot, gain_of_decay, square_norm
from ..._xla import kept
from ..batching.blocks import batched, long_total, of_one, total
from ..frame import Frame
from .constants import Constants
from .thin_qr import orthonormal, orthonormal_matrix


def excess(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$, without cancellation near zero."""
    return losses(_stacked(frame), ts[None])[0]


def product(
    frame: Frame, ts: Float[Array, " times"], part: str
) -> Float[Array, "times rows columns"]:
    r"""A `part` of $QQ^\top$ in the basis of the units.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    return products[part](_stacked(frame), ts[None])[0]


def factor(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, "times n columns"]:
    r"""$Q$ by units and the frame's columns; `@ frame.basis` gives the hidden units."""
    return _factors(_stacked(frame), ts[None])[0]


def _stacked(frame: Frame) -> Constants:
    return jax.tree.map(lambda x: x[None], Constants(frame))


class AtTime(eqx.Module):
    """Exponentials that depend on rates and time only."""

    shrink: Float[Array, "columns ..."]  # e^{-v t}
    lag: Float[Array, "more columns ..."]  # e^{`lags` t}
    decay: Float[Array, "modes ..."]  # e^{-kappa t}
    root: Float[Array, "modes ..."]  # root of the gain of growing rows
    inverse_root: Float[Array, "modes ..."]
    rest_decay: Float[Array, "..."]
    rest_root: Float[Array, "..."]
    # Under weight decay: e^{-sink t}, e^{-fall t} and the root of falling rows' gain.
    falls: tuple[Array, Array, Array] | None = None

    @property
    def fall_root(self) -> Float[Array, "modes ..."]:
        """Root of the gain of falling rows."""
        return self.root if self.falls is None else self.falls[2]

    @property
    def factors(self) -> tuple[Float[Array, "modes ..."], Float[Array, "modes ..."]]:
        """The factors from K to q of rows that grow and of rows that fall."""
        if self.falls is None:
            return self.inverse_root, self.decay * self.inverse_root
        sunk, fallen, root = self.falls
        return sunk * self.inverse_root, fallen / root

    @property
    def largest_gains(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The largest gain of rows that grow and of rows that fall."""
        last = self.fall_root[-1] * self.fall_root[-1]
        if self.falls is None:
            return last, last
        return jnp.max(self.root * self.root, axis=0), last


class Solved(eqx.Module):
    """K with orthonormal columns, its rows by kind, and the factors that make it q."""

    grow: Float[Array, "modes columns ..."]
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    start: Float[Array, "columns columns ..."]
    inverse: Float[Array, "some columns ..."]  # inv(R), if asked for
    at: AtTime

    def q(self, x: Constants) -> tuple[Array, Array, Array]:
        """The rows of q that grow, are left over, and decay."""
        at = self.at
        up, down = at.factors
        rest_down = jnp.where(x.rate < 0, at.rest_decay, 1.0) / at.rest_root
        return (
            self.grow * up[:, None],
            self.rest * rest_down[None, None],
            self.fall * down[:, None],
        )


def at_time(x: Constants, t: Float[Array, "..."]) -> AtTime:
    """The exponentials, and the roots of the gains, at the times `t`."""
    decay, rest_decay = jnp.exp(-x.kappa * t[None]), jnp.exp(-jnp.abs(x.rate) * t)
    shrink, lag = jnp.exp(-x.v * t[None]), jnp.exp(x.lags * t[None, None])
    rest_root = jnp.sqrt(gain_of_decay(jnp.abs(x.rate), rest_decay, t))
    rate, changed, falls = x.kappa, decay, None
    if x.falls is not None:
        sunk, fallen = (jnp.exp(-y * t[None]) for y in (x.falls.sink, x.falls.fall))
        rate, changed = x.kappa + x.falls.sink, decay * sunk
        gain = gain_of_decay(x.falls.fall, fallen, t[None])
        falls = sunk, fallen, jnp.sqrt(gain)
    root = jnp.sqrt(gain_of_decay(rate, changed, t[None]))
    return AtTime(shrink, lag, decay, root, 1 / root, rest_decay, rest_root, falls)


def solve(
    x: Constants,
    t: Float[Array, "..."],
    at: AtTime,
    with_inverse: bool = False,
) -> Solved:
    """K = (orthonormal) R at one time."""
    m, _, n = x.sizes

    def above():
        """K by kinds of rows, without the start, which is diagonal."""
        return (
            x.grow * at.root[:, None] * at.lag[:m],
            x.rest * at.rest_root[None, None] * at.lag[m:],
            x.fall * at.fall_root[:, None] * at.shrink[None],
        )

    if t.ndim == 0:
        (grow, rest, fall), inverse = orthonormal_matrix(above(), at.shrink)
        start = at.shrink[:, None] * inverse
    else:
        unit = jnp.where(same(n, t), jnp.ones_like(t), 0.0)[: n if with_inverse else 0]

        def entries():
            return *above(), jnp.where(same(n, t), at.shrink[None], 0.0)

        found = orthonormal(entries, unit, x.sizes)
        grow, rest, fall, start, inverse = found
    return Solved(grow, rest, fall, start, inverse, at)


def _excess(x: Constants, t: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$, without cancellation near zero."""
    m = x.sizes[0]
    solved = solve(x, t, kept(lambda: at_time(x, t)))
    wide = x.right.shape[0] > x.left.shape[0]
    slow = _overlap(x, solved, t)

    def sides():
        grow, rest, fall = solved.q(x)
        # `at` has each mode's row of the inputs (of the outputs if inputs are left
        # over). `near` has its distance from the limit once it is late: all terms are
        # small.
        late = x.settles & _is_late(x, solved, t)
        mine, theirs = (x.cos, -x.sin) if wide else (x.sin, x.cos)
        falls, grows = theirs[:, None] * fall, mine[:, None] * grow
        distant = falls + (solved.at.decay * solved.at.decay)[:, None] * grows
        distant -= (2 * x.kappa * mine)[:, None] * slow
        near = jnp.where(late[:, None], distant, falls + grows)
        at = falls + grows
        # The rows of the other side. Only pivot rows have a limit.
        mine, theirs = (x.sin, x.cos) if wide else (x.cos, -x.sin)
        grows = jnp.concatenate([mine[:, None] * grow, rest])
        falls = jnp.concatenate([theirs[:, None] * fall, jnp.zeros_like(rest)])
        limited = jnp.where(x.is_pivot[:, None], grows, 0.0)
        free = jnp.where(x.is_pivot[:, None], falls, falls + grows)
        return late, at, near, limited, free

    late, at, near, limited, free = kept(sides)

    def errors():
        found = contracted(limited, near) + contracted(free, at)
        lost = 0.0 if x.falls is None else x.falls.lost
        missing = jnp.where(same(m, t), jnp.where(late, lost, x.s)[None], 0.0)
        return jnp.concatenate([found[:m] - missing, found[m:]])

    error = kept(errors)
    if t.ndim == 0:
        return square_norm(error) / 2
    error = error.reshape(-1, *t.shape)
    return long_total(lambda i: error[i] * error[i], len(error)) / 2


def _overlap(
    x: Constants, solved: Solved, t: Float[Array, "..."]
) -> Float[Array, "modes columns ..."]:
    """Overlap of K's non-pivot rows with their expression in the pivot rows.

    It is `others.T @ above[:, mode]` in `reference.solution`, for every mode.
    """
    m, r, n = x.sizes
    fall = kept(lambda: solved.fall * solved.at.fall_root[:, None])
    falling = kept(lambda: crossed(x.fall_echelon, fall))

    def with_start():
        start = crossed(x.inverse, solved.start)
        return (falling + start) * solved.at.decay[:, None]

    found = kept(with_start)
    if r > 0:
        lag = jnp.exp(x.mode_lags[m] * t[None]) * solved.at.rest_root[None]
        found += crossed(x.rest_echelon, solved.rest) * lag[:, None]
    if n < m:
        lag = jnp.exp(x.mode_lags[:m] * t[None, None]) * solved.at.root[:, None]
        found += crossed(x.grow_echelon * lag, solved.grow)
    return kept(lambda: found)


def _is_late(
    x: Constants, solved: Solved, t: Float[Array, "..."]
) -> Bool[Array, "modes ..."]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    The bound is on the mode's column of `above` in `reference.solution`.
    """
    m, r, _ = x.sizes
    gain, fall_gain = solved.at.largest_gains
    start, fall, rest, grow = x.square_sums
    bound = solved.at.decay * solved.at.decay * (start + fall_gain[None] * fall)
    if r > 0:
        bound += (
            jnp.exp(x.mode_lags[m] * t[None]) * solved.at.rest_root[None]
        ) ** 2 * rest
    bound += jnp.exp(2 * x.next_lags * t[None]) * gain[None] * grow
    return 2 * x.kappa * bound < 1


def _product(
    part: str, x: Constants, t: Float[Array, "..."]
) -> Float[Array, "rows columns ..."]:
    """A part of Q Q^T in the basis of the units."""
    inputs, outputs = of_part(part, x, solve_rows(x, t))
    if part == "qqt":
        both = kept(lambda: jnp.concatenate([*inputs, *outputs]))
        return kept(lambda: contracted(both, both))
    return kept(lambda: contracted((outputs or inputs)[0], (inputs or outputs)[0]))


def _factor(x: Constants, t: Float[Array, "..."]) -> Float[Array, "rows columns ..."]:
    """Q by units and the frame's columns."""
    inputs, outputs = of_part("qqt", x, solve_rows(x, t))
    return kept(lambda: jnp.concatenate([*inputs, *outputs]))


Rows = Callable[[], tuple[Array, Array, Array]]  # that grow, are left over, and decay


def solve_rows(x: Constants, t: Float[Array, "..."]) -> Rows:
    """The rows of q."""
    solved = solve(x, t, kept(lambda: at_time(x, t)))
    return lambda: solved.q(x)


def of_part(part: str, x: Constants, rows: Rows) -> tuple[list[Array], list[Array]]:
    """`rows` by the input units and by the output units of a part of Q Q^T.

    An empty list stands for units that are not in it.
    """
    m = x.sizes[0]
    n_in, n_out = x.right.shape[0], x.left.shape[0]

    def inputs():
        grow, rest, fall = rows()
        found = x.sin[:, None] * grow + x.cos[:, None] * fall
        return jnp.concatenate([found, rest]) if n_in > m else found

    def outputs():
        grow, rest, fall = rows()
        found = x.cos[:, None] * grow - x.sin[:, None] * fall
        return jnp.concatenate([found, rest]) if n_out > m else found

    def in_units(basis, found):
        found = kept(found)
        return kept(lambda: contracted(basis, found.swapaxes(0, 1)))

    return (
        [in_units(x.right, inputs)] if part != "outputs" else [],
        [in_units(x.left, outputs)] if part != "inputs" else [],
    )


def contracted(
    a: Float[Array, "i c ..."], b: Float[Array, "j c ..."]
) -> Float[Array, "i j ..."]:
    """`a @ b.T`; for lanes the sum is written out."""
    return dot(a, b.T) if max(a.ndim, b.ndim) == 2 else _written_out(a, b)


@jax.custom_vjp
def _written_out(a: Array, b: Array) -> Array:
    return total(a[:, None, c] * b[None, :, c] for c in range(a.shape[1]))


def _transposes(args: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    # JAX would transpose each term for itself, into sums that fill no vectors.
    a, b = args
    by_a = _written_out(slope, b.swapaxes(0, 1))
    by_b = _written_out(slope.swapaxes(0, 1), a.swapaxes(0, 1))
    return _summed_like(a, by_a), _summed_like(b, by_b)


def _summed_like(x: Array, slope: Array) -> Array:
    """The sum over lanes that share one `x`."""
    pairs = enumerate(zip(x.shape, slope.shape, strict=True))
    shared = tuple(i for i, (one, many) in pairs if one != many)
    return jnp.sum(slope, axis=shared, keepdims=True)


_written_out.defvjp(lambda a, b: (_written_out(a, b), (a, b)), _transposes)


def crossed(
    a: Float[Array, "k i ..."], b: Float[Array, "k j ..."]
) -> Float[Array, "i j ..."]:
    """`a.T @ b`; for lanes the sum is written out."""
    return contracted(a.swapaxes(0, 1), b.swapaxes(0, 1))


def same(n: int, t: Float[Array, "..."]) -> Bool[Array, "n n ..."]:
    """The mask of a matrix's diagonal."""
    return jnp.eye(n, dtype=bool).reshape(n, n, *[1] * t.ndim)


def shape_of(part: str, x: Constants | Frame) -> tuple[int, int]:
    """The shape of a part of Q Q^T."""
    n_in, n_out = x.right.shape[-1], x.left.shape[-1]
    count = {"inputs": n_in, "outputs": n_out, "qqt": n_in + n_out}
    return (n_out, n_in) if part == "function" else (count[part], count[part])


losses = batched("lazyrich_excess", _excess, lambda x: ())
_factors = batched(
    "lazyrich_factor",
    _factor,
    lambda x: (x.right.shape[-1] + x.left.shape[-1], of_one(x).sizes[2]),
)
products = {
    part: batched(
        f"lazyrich_{part}",
        functools.partial(_product, part),
        functools.partial(shape_of, part),
    )
    for part in ("qqt", "inputs", "outputs", "function")
}
