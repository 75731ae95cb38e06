r"""The solution of many networks at many times, a block of them at a time.

The formulas of riccati.py without what a loss or a function does not need, for two
layouts. Small matrices have their lanes, networks and times, on the last axes: a vector
unit works on several of these at once, whatever the matrices' sizes. Large ones are
matrices. A block is so small that its intermediate results stay in the cache.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

from .._linalg import dot, over, square_norm, triangle
from .frame import Frame
from .lanes import gain_of_decay
from .riccati import exponents, gaps, growth

LARGEST = 20  # columns of matrices with lanes on the last axes
FEW = 64  # lanes that aren't worth a loop
# Bytes of K in a block: of lanes, and of matrices, which wait for calls.
_CACHE, _LARGE_CACHE = 250_000, 1_000_000

# Calls a function, and keeps what it returns: `_kept`.
Apart = Callable[[Callable[[], Any]], Any]


class Tables(eqx.Module):
    """What does not depend on time, of one network or, on the last axes, of many.

    Rows are named by what they do: a mode has one that grows and one that decays, and
    left-over directions share a rate. "By modes" are columns in the place of the
    chosen growing row, zero where that was not chosen.
    """

    grow: Float[Array, "modes columns ..."]  # rows of Q0
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    lags: Float[Array, "more columns ..."]  # exponents of rows that don't decay
    v: Float[Array, "columns ..."]  # growth of the chosen rows
    kappa: Float[Array, "modes ..."]
    rate: Float[Array, "..."]  # of left-over directions
    # The rows that were not chosen, and the start, by the chosen rows, by modes.
    grow_echelon: Float[Array, "modes modes ..."]
    rest_echelon: Float[Array, "rest modes ..."]
    fall_echelon: Float[Array, "modes modes ..."]
    inverse: Float[Array, "columns modes ..."]
    mode_lags: Float[Array, "more modes ..."]  # as `lags`, by modes
    next_lags: Float[Array, "modes ..."]  # from a mode to the next
    unchosen: tuple[Float[Array, "modes ..."], ...]  # squares of these four
    chosen: Bool[Array, "more ..."]  # modes, left-over directions
    settles: Bool[Array, "modes ..."]  # what `_overlap` leaves out is zero
    s: Float[Array, "modes ..."]
    cos: Float[Array, "modes ..."]
    sin: Float[Array, "modes ..."]
    left: Float[Array, "out out ..."]
    right: Float[Array, "in in ..."]

    def __init__(self, frame: Frame):
        m = frame.s.size
        count = frame.rates.size
        rest = slice(m, count - m)
        self.grow, self.rest = frame.lower[:m], frame.lower[rest]
        self.fall = frame.lower[::-1][:m]
        shared = slice(0, m + (count > 2 * m))  # left-over rows share a rate
        self.lags = jnp.minimum(exponents(frame, growth(frame.rates))[shared], 0.0)
        self.v = growth(frame.chosen_rates)
        self.kappa = frame.rates[:m]
        self.rate = frame.rates[m] if count > 2 * m else jnp.zeros_like(self.v[0])
        to_modes = frame.chosen[:, None] == jnp.arange(m)[None]
        to_modes = to_modes.astype(frame.lower.dtype)
        echelon = dot(frame.drop(frame.echelon), to_modes)
        self.grow_echelon, self.rest_echelon = echelon[:m], echelon[rest]
        self.fall_echelon = echelon[::-1][:m]
        self.inverse = dot(frame.inverse, to_modes)
        gap = gaps(frame)[shared, :m]
        up = frame.rates[shared, None] > 0
        self.mode_lags = jnp.minimum(jnp.where(up, gap, -self.kappa[None]), 0.0)
        self.next_lags = jnp.append(jnp.diagonal(self.mode_lags, -1)[: m - 1], 0.0)
        parts = self.inverse, self.fall_echelon, self.rest_echelon, self.grow_echelon
        self.unchosen = tuple(jnp.sum(part * part, axis=0) for part in parts)
        self.chosen = frame.is_chosen[: count - m]
        self.settles = self.chosen[:m]
        if frame.lower.shape[1] >= m:
            self.settles &= jnp.all(self.grow_echelon == 0, axis=0)
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin
        self.left, self.right = frame.left, frame.right

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        return self.grow.shape[0], self.rest.shape[0], self.grow.shape[1]


def excess(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$; nothing cancels as it vanishes."""
    return _excesses(_stacked(frame), ts[None])[0]


def product(
    frame: Frame, ts: Float[Array, " times"], part: str
) -> Float[Array, "times rows columns"]:
    r"""A `part` of $QQ^\top$, in the units.

    "qqt" (all of it), "inputs", "outputs" or "function".
    """
    return _PRODUCTS[part](_stacked(frame), ts[None])[0]


def _stacked(frame: Frame) -> Tables:
    return jax.tree.map(lambda x: x[None], Tables(frame))


def _batched(one: Callable[[Apart, Tables, Array], Array]) -> Callable[..., Array]:
    """`one` of every network at every time, (networks, times, ...).

    What it is mapped over becomes more networks, or more times of the same ones.
    """

    @custom_vmap
    def of_all(x: Tables, ts: Float[Array, "networks times"]) -> Array:
        if ts.size <= FEW:
            return _as_matrices(one, x, ts)
        return jax.lax.platform_dependent(
            x,
            ts,
            cpu=functools.partial(_in_blocks, one),
            default=functools.partial(_as_matrices, one),
        )

    @of_all.def_vmap
    def _(size: int, batched: Any, x: Tables, ts: Array) -> tuple[Array, bool]:
        if not any(jax.tree.leaves(batched[0])):
            networks, times = ts.shape[1:]
            more = jnp.moveaxis(ts, 0, 1).reshape(networks, size * times)
            found = of_all(x, more)
            found = found.reshape(networks, size, times, *found.shape[2:])
            return jnp.moveaxis(found, 1, 0), True

        def flat(has_axis: bool, x: Array) -> Array:
            x = x if has_axis else jnp.broadcast_to(x[None], (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        found = of_all(*jax.tree.map(flat, tuple(batched), (x, ts)))
        return found.reshape(size, -1, *found.shape[1:]), True

    return of_all


def _as_matrices(
    one: Callable[[Apart, Tables, Array], Array], x: Tables, ts: Array
) -> Array:
    of_network = jax.vmap(functools.partial(one, lambda f: f()), in_axes=(None, 0))
    return jax.vmap(of_network)(x, ts)


def _in_blocks(
    one: Callable[[Apart, Tables, Array], Array], x: Tables, ts: Array
) -> Array:
    networks, times = ts.shape
    m, r, n = jax.tree.map(lambda a: a[0], x).sizes
    small = n <= LARGEST
    most = _CACHE if small else _LARGE_CACHE
    most //= (2 * m + r + n) * n * ts.dtype.itemsize
    if small:  # not a power of two, which would share cache lines
        most = max((most + 8) // 16 * 16, 16) - 8
    else:
        most = max(most, 4)
    by_network = times < min(networks, 32)  # the last axis
    if by_network:
        per_network = _even(networks, most)
        per_time = min(times, max(most // per_network, 1))
    else:
        per_time = _even(times, most)
        per_network = min(networks, max(most // per_time, 1))
    across, down = -(-networks // per_network), -(-times // per_time)

    def block(network: Array, time: Array, go: Array) -> Array:
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=network)
        part = jax.tree.map(lambda a: cut(a, slice_size=per_network), x)
        t = cut(ts, slice_size=per_network)
        t = jax.lax.dynamic_slice_in_dim(t, time, per_time, axis=1)
        if not small:
            return _as_matrices(one, part, t)
        axis = -2 if by_network else -1
        part = jax.tree.map(
            lambda a: jnp.expand_dims(jnp.moveaxis(a, 0, -1), axis), part
        )
        t = t.T if by_network else t
        found = one(functools.partial(_kept, go), part, t)
        return jnp.moveaxis(found, (-1, -2) if by_network else (-2, -1), (0, 1))

    def visit(i: Array, found: Array) -> Array:
        # The last blocks overlap those before them.
        network = jnp.minimum(i // down * per_network, networks - per_network)
        time = jnp.minimum(i % down * per_time, times - per_time)
        start = (network, time, *[0] * (found.ndim - 2))
        return jax.lax.dynamic_update_slice(found, block(network, time, i >= 0), start)

    shape = jax.eval_shape(block, 0, 0, True).shape[2:]
    found = jnp.zeros((networks, times, *shape), ts.dtype)
    return jax.lax.fori_loop(0, across * down, visit, found)


def _even(count: int, most: int) -> int:
    """The size of pieces of `count`, at most so large, that overlap little."""
    pieces = -(-count // most)
    size = -(-count // pieces)
    if pieces > 1 and most >= 8:
        size = -(-(size + 8) // 16) * 16 - 8
    return min(size, count, most)


def _kept(go: Bool[Array, ""], function: Callable[[], Any]) -> Any:
    """The result of a function, made once; `go` is true, which XLA must not know.

    XLA would make a result again in every loop that uses it, with all it is made of: on
    a CPU it has dropped `optimization_barrier` when it decides that. It doesn't look
    into a condition.
    """

    def never() -> Any:
        shapes = jax.eval_shape(function)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    return jax.lax.cond(go, function, never)


class _Solved(eqx.Module):
    """K with orthonormal columns, by what its rows do, and what else q is made of."""

    grow: Float[Array, "modes columns ..."]
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    start: Float[Array, "columns columns ..."]
    decay: Float[Array, "modes ..."]  # e^{-kappa t}
    root: Float[Array, "modes ..."]  # of the gain
    inverse_root: Float[Array, "modes ..."]
    rest_decay: Float[Array, "..."]
    rest_root: Float[Array, "..."]

    def q(self, x: Tables) -> tuple[Array, Array, Array]:
        """The rows of q that grow, are left over, and decay."""
        down = self.decay * self.inverse_root
        rest_down = jnp.where(x.rate < 0, self.rest_decay, 1.0) / self.rest_root
        return (
            self.grow * self.inverse_root[:, None],
            self.rest * rest_down[None, None],
            self.fall * down[:, None],
        )


def _solve(apart: Apart, x: Tables, t: Float[Array, "..."]) -> _Solved:
    m, r, n = x.sizes

    def scales():
        decay, rest_decay = jnp.exp(-x.kappa * t[None]), jnp.exp(-jnp.abs(x.rate) * t)
        root = jnp.sqrt(gain_of_decay(x.kappa, decay, t[None]))
        rest_root = jnp.sqrt(gain_of_decay(jnp.abs(x.rate), rest_decay, t))
        shrink, lag = jnp.exp(-x.v * t[None]), jnp.exp(x.lags * t[None, None])
        return shrink, lag, decay, root, 1 / root, rest_decay, rest_root

    shrink, lag, *scaled = apart(scales)
    _, root, _, _, rest_root = scaled

    def entries():
        return (
            x.grow * root[:, None] * lag[:m],
            x.rest * rest_root[None, None] * lag[m:],
            x.fall * root[:, None] * shrink[None],
            jnp.where(_same(n, t), shrink[None], 0.0),
        )

    grow, rest, fall, start = apart(entries)
    split = m, m + r, 2 * m + r
    if t.ndim == 0:
        k = jnp.concatenate([grow, rest, fall, start])
        grow, rest, fall, start = jnp.split(over(k, triangle(k)), split)
    else:
        grow, rest, fall, start = _orthonormal(apart, grow, rest, fall, start)
    return _Solved(grow, rest, fall, start, *scaled)


def _orthonormal(
    apart: Apart, grow: Array, rest: Array, fall: Array, start: Array
) -> tuple[Array, ...]:
    """K with orthonormal columns of the same span, the last one first.

    By modified Gram-Schmidt, a vector of lanes at a time. A column has no entries above
    its chosen row, which isn't above the row of its own number, nor in the start above
    that; K is ordered so that column c is zero from row `rows[c]` on.
    """
    m, r, n = grow.shape[0], rest.shape[0], start.shape[0]
    both = min(m, n)

    def ordered():
        pairs = jnp.stack([grow[:both][::-1], start[:both][::-1]], axis=1)
        pairs = pairs.reshape(2 * both, *pairs.shape[2:])
        return jnp.concatenate([fall, rest, grow[both:], start[both:][::-1], pairs])

    k = apart(ordered)
    rows = [m + r + n - c + max(m - c, 0) for c in range(n)]
    units = []
    for late in reversed(range(n)):
        k, unit = _without_last(apart, k, rows[late])
        padding = [(0, rows[0] - rows[late]), *[(0, 0)] * (unit.ndim - 1)]
        units.insert(0, jnp.pad(unit, padding))

    def by_kind():
        k = jnp.stack(units, axis=1)
        fall, rest, k = k[:m], k[m : m + r], k[m + r :]
        single, pairs = k[: m + n - 2 * both], k[m + n - 2 * both :]
        grow, start = pairs[::2][::-1], pairs[1::2][::-1]
        if n > m:
            start = jnp.concatenate([start, single[::-1]])
        elif m > n:
            grow = jnp.concatenate([grow, single])
        return grow, rest, fall, start

    return apart(by_kind)


def _without_last(
    apart: Apart, k: Float[Array, "rows columns ..."], rows: int
) -> tuple[Float[Array, "rows fewer ..."], Float[Array, "some ..."]]:
    """The last column made a unit vector, and the others without their part along it.

    Only the first `rows` are not zero in it.
    """
    last = k.shape[1] - 1

    def normalised():
        column = k[:rows, last]
        return column * jax.lax.rsqrt(_total(column * column))[None]

    unit = apart(normalised)
    if last == 0:
        return k, unit
    along = apart(lambda: _total(unit[:, None] * k[:rows, :last]))

    def others():
        left = k[:rows, :last] - unit[:, None] * along[None]
        return jnp.concatenate([left, k[rows:, :last]])

    return apart(others), unit


def _excess(apart: Apart, x: Tables, t: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$; nothing cancels as it vanishes."""
    m = x.sizes[0]
    solved = _solve(apart, x, t)
    wide = x.right.shape[0] > x.left.shape[0]
    slow = apart(lambda: _overlap(x, solved, t))

    def sides():
        grow, rest, fall = solved.q(x)
        # A mode's part of the inputs (where inputs are left over, of the outputs). Once
        # it is `late`, its distance from the limit: all that is left is small.
        late = x.settles & _is_late(x, solved, t)
        mine, theirs = (x.cos, -x.sin) if wide else (x.sin, x.cos)
        falls, grows = theirs[:, None] * fall, mine[:, None] * grow
        distant = falls + (solved.decay * solved.decay)[:, None] * grows
        distant -= (2 * x.kappa * mine)[:, None] * slow
        near = jnp.where(late[:, None], distant, falls + grows)
        at = falls + grows
        # The other's. The limit is that of what was chosen: the rest is as it is.
        mine, theirs = (x.sin, x.cos) if wide else (x.cos, -x.sin)
        grows = jnp.concatenate([mine[:, None] * grow, rest])
        falls = jnp.concatenate([theirs[:, None] * fall, jnp.zeros_like(rest)])
        limited = jnp.where(x.chosen[:, None], grows, 0.0)
        free = jnp.where(x.chosen[:, None], falls, falls + grows)
        return late, at, near, limited, free

    late, at, near, limited, free = apart(sides)

    def errors():
        found = _contracted(limited, near) + _contracted(free, at)
        missing = jnp.where(_same(m, t), jnp.where(late, 0.0, x.s)[None], 0.0)
        return jnp.concatenate([found[:m] - missing, found[m:]])

    error = apart(errors)
    if t.ndim == 0:
        return square_norm(error) / 2
    error = error.reshape(-1, *t.shape)
    return apart(lambda: _total(error * error) / 2)


def _overlap(
    x: Tables, solved: _Solved, t: Float[Array, "..."]
) -> Float[Array, "modes columns ..."]:
    """The part of K that was not chosen, with what it would be made of by the others.

    `others.T @ above[:, mode]` of `riccati.solve`, for every mode.
    """
    m, r, n = x.sizes
    fall = solved.fall * solved.root[:, None]
    found = _contracted(x.fall_echelon.swapaxes(0, 1), fall.swapaxes(0, 1))
    found += _contracted(x.inverse.swapaxes(0, 1), solved.start.swapaxes(0, 1))
    found *= solved.decay[:, None]
    if r > 0:
        lag = jnp.exp(x.mode_lags[m] * t[None]) * solved.rest_root[None]
        rest = _contracted(x.rest_echelon.swapaxes(0, 1), solved.rest.swapaxes(0, 1))
        found += rest * lag[:, None]
    if n < m:
        lag = jnp.exp(x.mode_lags[:m] * t[None, None]) * solved.root[:, None]
        above = (x.grow_echelon * lag).swapaxes(0, 1)
        found += _contracted(above, solved.grow.swapaxes(0, 1))
    return found


def _is_late(
    x: Tables, solved: _Solved, t: Float[Array, "..."]
) -> Bool[Array, "modes ..."]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    What was not chosen is then small against what was, in this column.
    """
    m, r, _ = x.sizes
    gain = solved.root[-1] * solved.root[-1]  # the largest
    start, fall, rest, grow = x.unchosen
    bound = solved.decay * solved.decay * (start + gain[None] * fall)
    if r > 0:
        bound += (
            jnp.exp(x.mode_lags[m] * t[None]) * solved.rest_root[None]
        ) ** 2 * rest
    bound += jnp.exp(2 * x.next_lags * t[None]) * gain[None] * grow
    return 2 * x.kappa * bound < 1


def _product(
    part: str, apart: Apart, x: Tables, t: Float[Array, "..."]
) -> Float[Array, "rows columns ..."]:
    """A part of Q Q^T."""
    m = x.sizes[0]
    solved = _solve(apart, x, t)
    n_in, n_out = x.right.shape[0], x.left.shape[0]

    def inputs():
        grow, rest, fall = solved.q(x)
        found = x.sin[:, None] * grow + x.cos[:, None] * fall
        return jnp.concatenate([found, rest]) if n_in > m else found

    def outputs():
        grow, rest, fall = solved.q(x)
        found = x.cos[:, None] * grow - x.sin[:, None] * fall
        return jnp.concatenate([found, rest]) if n_out > m else found

    def in_units(basis, rows):
        rows = apart(rows)
        return apart(lambda: _contracted(basis, rows.swapaxes(0, 1)))

    factors = []
    if part != "outputs":
        factors.append(in_units(x.right, inputs))
    if part != "inputs":
        factors.append(in_units(x.left, outputs))
    if part == "qqt":
        factors = [apart(lambda: jnp.concatenate(factors))]
    return apart(lambda: _contracted(factors[-1], factors[0]))


def _contracted(
    a: Float[Array, "i c ..."], b: Float[Array, "j c ..."]
) -> Float[Array, "i j ..."]:
    """`a @ b.T`, in lanes written out."""
    if max(a.ndim, b.ndim) == 2:
        return dot(a, b.T)
    return _total(a[:, None, c] * b[None, :, c] for c in range(a.shape[1]))


def _same(n: int, t: Float[Array, "..."]) -> Bool[Array, "n n ..."]:
    """Which entries of a matrix are on its diagonal."""
    return jnp.eye(n, dtype=bool).reshape(n, n, *[1] * t.ndim)


def _total(terms: Iterable[Array]) -> Array:
    """The sum, written out: a vector of lanes at a time."""
    return functools.reduce(jnp.add, list(terms))


_excesses = _batched(_excess)
_PRODUCTS = {
    part: _batched(functools.partial(_product, part))
    for part in ("qqt", "inputs", "outputs", "function")
}
