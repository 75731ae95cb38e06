r"""The gradient of the loss at one time, in closed form.

What `variation.vary` does forwards, from a change of the problem to that of the
solution, is done backwards here, from the error of the function to the answer to every
change at once: products of small matrices, of many networks and times in a block
(blocks.py). Rows are those that grow, are left over, and decay, as in `Tables`. The
growing ones of the modes always count as such here, left-over ones if they do.
docs/theory.md derives the formulas.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from .blocks import Apart, batched
from .frame import Frame
from .lanes import gain_of_decay
from .riccati import exponents, growth
from .tables import AbstractTables, Tables
from .values import Solved, contracted, same, solve, total


class GradientTables(AbstractTables):
    """`Tables`, and what else of the problem the gradient needs."""

    base: Tables
    lower: Float[Array, "rows columns ..."]
    echelon: Float[Array, "rows columns ..."]  # of the rows not chosen
    inverse: Float[Array, "columns columns ..."]
    place: Float[Array, "columns rows ..."]  # one where a column's row is
    chosen: Bool[Array, "rows ..."]
    spread: Float[Array, "more columns ..."]  # `lags`, also positive ones
    sizes_of_rates: Float[Array, "rates ..."]
    gaps: Float[Array, "rates rates ..."]  # of these

    def __init__(self, frame: Frame):
        m, count = frame.s.size, frame.rates.size
        shared = slice(0, m + (count > 2 * m))  # left-over rows share a rate
        self.base = Tables(frame)
        self.lower = by_kind(frame.lower, m)
        self.echelon = by_kind(frame.drop(frame.echelon), m)
        self.inverse = frame.inverse
        is_at = jnp.arange(count)[:, None] == frame.chosen[None]
        self.place = by_kind(is_at.astype(frame.lower.dtype), m).T
        self.chosen = by_kind(frame.is_chosen, m)
        self.spread = exponents(frame, growth(frame.rates))[shared]
        size, s = jnp.abs(frame.rates[shared]), frame.strengths[shared]
        self.sizes_of_rates = size
        sums = jnp.where(size > 0, size, 1.0)
        sums = jnp.where(size[None] > 0, size[:, None] + size[None], sums[:, None])
        self.gaps = jnp.abs(s[:, None] - s[None]) * ((s[:, None] + s[None]) / sums)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        return self.base.sizes


def excess_gradient(
    frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, "times parts"]:
    r"""The gradient of $|W_2 W_1 - \Sigma|^2 / 2$, as `flat`; at last that by time."""
    tables = jax.tree.map(lambda x: x[None], GradientTables(frame))
    return _gradients(tables, ts[None])[0]


def flat(
    lower: Float[Array, "rows columns"],
    core: Float[Array, "out in"],
    *numbers: Float[Array, ""],
) -> Float[Array, " parts"]:
    """Rows of Q0, correlation in its singular basis, balance, and maybe time."""
    parts = by_kind(lower, min(core.shape)), core, *numbers
    return jnp.concatenate([part.ravel() for part in parts])


def by_kind(rows: Shaped[Array, "rows *k"], modes: int) -> Shaped[Array, "rows *k"]:
    """Rows by falling rate as those that grow, are left over, and decay, by modes."""
    return jnp.concatenate([rows[: rows.shape[0] - modes], rows[::-1][:modes]])


class _Scales(eqx.Module):
    """Exponentials at a time."""

    grown: Float[Array, "rows columns ..."]  # e^{spread t}
    behind: Float[Array, "rows columns ..."]  # what was not chosen by what was
    root: Float[Array, "rows ..."]  # of the gain
    split: Bool[Array, "..."]  # see `variation._as_start`
    # Of every pair of sizes x, y of rates:
    less: Float[Array, "rates rates ..."]  # (1 - e^{-|x - y| t}) / |x - y|
    more: Float[Array, "rates rates ..."]  # (1 - e^{-(x + y) t}) / (x + y)
    apart: Float[Array, "rates rates ..."]  # e^{-|x - y| t}
    difference: Float[Array, "rates rates ..."]  # see `decay_difference`
    mixed: Float[Array, "rates rates ..."]  # see `mixed_difference`
    decay: Float[Array, "rates ..."]  # e^{-x t}


def _scales(apart: Apart, x: GradientTables, solved: Solved, t: Array) -> _Scales:
    base = x.base
    m, r, _ = x.sizes

    def of_rows():
        largest = jnp.log(jnp.finfo(t.dtype).max) / 4
        grown = jnp.exp(jnp.minimum(x.spread * t[None, None], largest))
        falling = jnp.broadcast_to(solved.shrink[None], (m, *solved.shrink.shape))
        grown = jnp.concatenate([grown[:m], *[grown[m:]] * r, falling])
        root = jnp.concatenate(
            [solved.root, *[solved.rest_root[None]] * r, solved.root]
        )
        return grown, root, x.echelon * jnp.minimum(grown, 1.0)

    def of_rates():
        rates = x.sizes_of_rates
        half, close = (
            jnp.exp(-rates / 2 * t[None]),
            jnp.exp(-x.gaps / 2 * t[None, None]),
        )
        return half, close

    grown, root, behind = apart(of_rows)
    half, close = apart(of_rates)

    def is_split():
        top = _largest(jnp.abs(behind[i]) for i in range(behind.shape[0]))
        most = _largest(grown[i] for i in range(grown.shape[0]))
        return _largest(most) > _largest(top) + 1e-30

    def of_pairs():
        rates, decay = x.sizes_of_rates, half * half
        less = gain_of_decay(x.gaps / 2, close, t[None, None])
        sums = rates[:, None] + rates[None]
        more = gain_of_decay(sums / 2, half[:, None] * half[None], t[None, None])
        gain = gain_of_decay(rates, decay, t[None])
        return less, more, close * close, decay, gain

    less, more, ratio, decay, gain = apart(of_pairs)

    def differences():
        rates = x.sizes_of_rates
        smaller = jnp.maximum(decay[:, None], decay[None])  # of the smaller rate
        far = jnp.maximum(gain[:, None], gain[None])
        far -= smaller * smaller * less * (1 + ratio) / 2
        mixed = gain[None] * decay[:, None] - gain[:, None] * decay[None]
        return _difference(rates, far, t), _mixed(rates, mixed, decay, t)

    return _Scales(
        grown,
        behind,
        root,
        apart(is_split),
        less,
        more,
        ratio,
        *apart(differences),
        decay,
    )


def _difference(rates: Array, far: Array, t: Array) -> Array:
    """`decay_difference` of every pair of rates; `far` is its numerator."""
    larger = jnp.maximum(rates[:, None], rates[None])
    smaller = jnp.minimum(rates[:, None], rates[None])
    near = 4 * larger * t < 1
    x, y = (2 * t * jnp.where(near, z, 0.0) for z in (larger, smaller))
    terms = [-((-1) ** k) / math.factorial(k + 1) for k in range(1, 16)]
    series = 2 * t * t * _divided(terms, x, y)
    return jnp.where(near, series, far / jnp.where(near, 1.0, larger))


def _mixed(rates: Array, far: Array, decay: Array, t: Array) -> Array:
    """`mixed_difference` of every pair of rates; `far` is its numerator."""
    a = rates * t[None]
    near = jnp.maximum(a[:, None], a[None]) < 1
    u, v = (jnp.where(near, z * z, 0.0) for z in (a[:, None], a[None]))
    terms = [1 / math.factorial(2 * k + 1) for k in range(1, 10)]
    series = t * t * decay[:, None] * decay[None] * _divided(terms, u, v)
    series *= jnp.where(near, a[None] - a[:, None], 0.0)
    return jnp.where(
        near, series, far / jnp.where(near, 1.0, rates[:, None] + rates[None])
    )


def _divided(terms: list[float], x: Array, y: Array) -> Array:
    """The sum of `terms[k]` times the sum of x^i y^j, i + j = k."""
    power, sums = jnp.ones_like(y), jnp.ones_like(x)
    series = jnp.zeros_like(sums * power)
    for term in terms:
        series += term * sums
        power = power * y
        sums = sums * x + power
    return series


def _largest(x) -> Array:
    """The largest of arrays."""
    return functools.reduce(jnp.maximum, list(x))


def _gradient(
    apart: Apart, x: GradientTables, t: Float[Array, "..."]
) -> Float[Array, "flat ..."]:
    base = x.base
    m, r, n = x.sizes
    up = slice(0, m + r)  # rows that grow, or are left over
    fall = slice(m + r, None)
    wide = base.right.shape[0] > base.left.shape[0]
    solved = solve(apart, base, t, with_inverse=True)
    scales = _scales(apart, x, solved, t)
    rest_grows = base.rate > 0
    cos, sin = base.cos[:, None], base.sin[:, None]
    other_cos, other_sin = base.cos[None], base.sin[None]

    def rows():
        """Of q, and of e^{-Wt} q."""
        grow, rest, down = solved.q(base)
        shrunk = jnp.where(rest_grows, solved.rest_decay, 1.0) / solved.rest_root
        still = [
            grow * solved.decay[:, None],
            solved.rest * shrunk[None, None],
            solved.fall * solved.inverse_root[:, None],
        ]
        return jnp.concatenate([grow, rest, down]), jnp.concatenate(still)

    q, still = apart(rows)

    def overlaps():
        """See `riccati._deviation`."""
        above = scales.behind * scales.root[:, None]
        start = x.inverse * solved.shrink[None]
        units = jnp.concatenate([solved.grow, solved.rest, solved.fall])
        overlap = crossed(above, units) + crossed(start, solved.start)
        late = 2 * base.v * (total(above * above) + total(start * start)) < 1
        late &= base.v > 0
        overlap = jnp.where(late[:, None], 2 * base.v[:, None] * overlap, 0.0)
        return overlap, late.astype(t.dtype)

    overlap, late = apart(overlaps)

    def distances():
        """Of rows that grow and were chosen from their limits, once they are `late`."""
        place = x.place[:, up]
        is_late = total(place * late[:, None]) > 0
        decay = jnp.concatenate([solved.decay, *[solved.rest_decay[None]] * r])
        rates = jnp.concatenate([base.kappa, *[base.rate[None]] * r])
        near = q[up] * (decay * decay)[:, None] - crossed(place, overlap)
        distance = jnp.where(is_late[:, None], near, q[up])
        return distance, is_late, jnp.where(is_late, 2 * rates, 0.0)

    distance, is_late, limit = apart(distances)

    def products():
        """P over its limit, on pairs of a row and one that grows; of others."""
        side = [jnp.where(x.chosen[i], distance, q[up]) for i in range(m + r)]
        grows = jnp.stack([total_of_products(q[i], s) for i, s in enumerate(side)])
        p = jnp.concatenate([grows, contracted(q[fall], q[up])])
        return p, contracted(q[m:], q[fall])

    p, quiet = apart(products)
    error = apart(lambda: _error(x, p, quiet, is_late, t))

    def sides():
        """Of the outputs and the inputs, in the singular basis: q and P."""
        both = jnp.concatenate([q, p], axis=1)
        grow, rest, down = both[:m], both[m : m + r], both[fall]
        outputs, inputs = cos * grow - sin * down, sin * grow + cos * down
        if wide:
            return outputs, jnp.concatenate([inputs, rest])
        return jnp.concatenate([outputs, rest]), inputs

    outputs, inputs = apart(sides)

    def pulled():
        """What the error is pulled with at the rows: twice the cotangent times both."""
        out, into = contracted(error, inputs.swapaxes(0, 1)), crossed(error, outputs)
        grow, down = sin * into[:m] + cos * out[:m], cos * into[:m] - sin * out[:m]
        pull = jnp.concatenate([grow, into[m:], out[m:], down])
        return pull[:, :n], pull[:, n:]

    y, pull = apart(pulled)
    core = apart(lambda: crossed(q, y))
    lower, above = _at_start(apart, x, solved, scales, y, core, t)

    def spans():
        spanned = jnp.where(rest_grows, q[m : m + r], still[m : m + r])
        return contracted(jnp.concatenate([spanned, still[fall]]), core)

    spanned = apart(spans)

    # Of pairs of the rows of two modes, and of a mode's and a left-over one.
    modes = slice(0, m)
    e = error[:m, :m]
    late_modes = is_late[:m]
    kappa, decay = base.kappa, scales.decay[:m]
    slow = (kappa[:, None] == 0) & (kappa[None] == 0)
    first = jnp.triu(jnp.ones((m, m), bool)).reshape(m, m, *[1] * t.ndim)
    decayed = apart(lambda: x.lower[up] * jnp.minimum(scales.grown[up], 1.0))

    def lack(i, j, smaller, least):
        both = scales.less[i, j] * (1 + scales.apart[i, j])
        return (1 + smaller * both) * least * least

    def two_grow():
        less, difference = scales.less[:m, :m], scales.difference[:m, :m]
        rising = contracted(lower[:m], x.lower[:m])
        falling = contracted(above[:m], decayed[:m])
        bend = crossed(p[:, :m], pull[:, :m]) / 2 + limit[:m, None] * pull[:m, :m]
        least = jnp.maximum(decay[:, None], decay[None])
        short = lack(modes, modes, jnp.minimum(kappa[:, None], kappa[None]), least)
        short = jnp.where(late_modes[:, None] & late_modes[None], short, 1.0)
        short = jnp.where(slow, 0.5, short)
        short *= cos * other_sin * e + sin * other_cos * e.swapaxes(0, 1)
        return less * jnp.where(first, rising, falling) + difference * bend - short

    def one_grows():
        more = scales.more[:m, :m]
        found = contracted(lower[:m], x.lower[fall]) + pull[fall, :m].swapaxes(0, 1)
        found *= more
        found += scales.mixed[:m, :m] * contracted(q[:m], spanned[r:])
        sums = kappa[:, None] + kappa[None]
        short = jnp.where(late_modes[:, None], decay[:, None] * decay[None], 1.0)
        short *= 2 * kappa[:, None] / jnp.where(slow, 1.0, sums)
        short = jnp.where(slow, 1.0, short)
        return found - short * (
            cos * other_cos * e - sin * other_sin * e.swapaxes(0, 1)
        )

    def none_grows():
        carried = contracted(y[fall], still[fall])
        carried *= jnp.where(first.swapaxes(0, 1), decay[:, None], decay[None])
        found = scales.less[:m, :m] * carried
        found -= scales.difference[:m, :m] * contracted(spanned[r:], still[fall]) / 2
        pulled = sin * other_cos * e + cos * other_sin * e.swapaxes(0, 1)
        return found + jnp.where(slow, pulled / 2, 0.0)

    grow_grow, grow_fall, fall_fall = (
        apart(f) for f in (two_grow, one_grows, none_grows)
    )

    def of_square():
        found = cos * (other_sin * (grow_grow + grow_grow.swapaxes(0, 1)))
        found += cos * other_cos * grow_fall
        found -= sin * other_cos * (fall_fall + fall_fall.swapaxes(0, 1))
        return found - sin * other_sin * grow_fall.swapaxes(0, 1)

    def of_balance():
        own = [(base.cos[i], base.sin[i]) for i in range(m)]
        return sum(
            (c - s) * (c + s) * (grow_grow[i, i] - fall_fall[i, i]) / 2
            - c * s * grow_fall[i, i]
            for i, (c, s) in enumerate(own)
        )

    found, lmda = apart(of_square), apart(of_balance)
    if r > 0:
        rest = slice(m, m + r)
        size, rest_decay = x.sizes_of_rates[m], scales.decay[m]
        late_rest = is_late[rest, None]
        slow = (kappa == 0) & (size == 0)
        answers = error[:, m:].swapaxes(0, 1) if wide else error[m:]

        def with_growing():
            e = other_cos * answers if wide else other_sin * answers
            pulls = pull[:m, rest].swapaxes(0, 1)
            rising = contracted(x.lower[rest], lower[:m])
            bend = crossed(p[:, rest], pull[:, :m]) + crossed(pull[:, rest], p[:, :m])
            bend = (
                bend / 2 + limit[None, :m] * pulls + limit[rest, None] * pull[rest, :m]
            )
            least = jnp.maximum(rest_decay[None], decay)
            short = lack(m, modes, jnp.minimum(size[None], kappa), least)
            short = jnp.where(late_modes[None] & late_rest, 2 * short[None], 2.0)
            both = scales.less[m, :m][None] * (
                rising + contracted(above[rest], decayed[:m])
            )
            both += scales.difference[m, :m][None] * bend - short * e
            one = scales.more[m, :m][None] * (rising + pull[rest, :m])
            one += scales.mixed[:m, m][None] * contracted(spanned[:r], q[:m])
            short = jnp.where(late_modes, decay * rest_decay[None], 1.0)
            short *= 2 * kappa / jnp.where(slow, 1.0, kappa + size[None])
            one -= jnp.where(slow, 1.0, short)[None] * e
            return jnp.where(rest_grows, both, one)

        def with_falling():
            e = -other_sin * answers if wide else other_cos * answers
            core = contracted(spanned[:r], still[fall])
            one = scales.more[m, :m][None] * (
                contracted(lower[rest], x.lower[fall]) + pull[fall, rest].swapaxes(0, 1)
            )
            one += scales.mixed[m, :m][None] * core
            short = jnp.where(late_rest, (decay * rest_decay[None])[None], 1.0)
            short *= (2 * size[None] / jnp.where(slow, 1.0, kappa + size[None]))[None]
            one -= short * e
            carried = contracted(y[rest], still[fall])
            carried += contracted(still[rest], y[fall])
            none = scales.less[m, :m][None] * rest_decay[None, None] * carried
            none -= scales.difference[m, :m][None] * core + jnp.where(
                slow[None], e, 0.0
            )
            return jnp.where(rest_grows, one, none)

        def own():
            difference = scales.difference[m, m]
            pairs = [(k, m + k) for k in range(r)]
            grow = [
                t * _dot(lower[i], x.lower[i])
                + difference * (_dot(p[:, i], pull[:, i]) / 2 + limit[i] * pull[i, i])
                for _, i in pairs
            ]
            none = [
                t * _dot(y[i], q[i]) - difference * _dot(still[i], spanned[k]) / 2
                for k, i in pairs
            ]
            grow, none = sum(grow), sum(none)
            return jnp.where(rest_grows, grow, none) * (-0.5 if wide else 0.5)

        rest_grow, rest_fall = apart(with_growing), apart(with_falling)
        if wide:
            more = (other_cos * rest_grow - other_sin * rest_fall).swapaxes(0, 1)
            found = jnp.concatenate([found, more], axis=1)
        else:
            more = other_sin * rest_grow + other_cos * rest_fall
            found = jnp.concatenate([found, more])
        lmda = lmda + apart(own)
    t_slope = apart(lambda: -total(total(y * y)))
    flat = [lower, found, lmda, t_slope]
    return jnp.concatenate([part.reshape(-1, *t.shape) for part in flat])


def _error(x, p, quiet, is_late, t):
    """The function's error, in the singular basis."""
    base = x.base
    m, r, _ = x.sizes
    cos, sin = base.cos[:, None], base.sin[:, None]
    other_cos, other_sin = base.cos[None], base.sin[None]
    grow, fall = p[:m, :m], p[m + r :, :m]
    error = cos * (other_sin * grow + other_cos * fall.swapaxes(0, 1))
    error -= sin * (other_sin * fall + other_cos * quiet[r:])
    error -= jnp.where(same(m, t), jnp.where(is_late[:m], 0.0, base.s)[None], 0.0)
    if r == 0:
        return error
    grow, fall = p[m : m + r, :m], quiet[:r]
    if base.right.shape[0] > base.left.shape[0]:
        rest = other_cos * grow - other_sin * fall
        return jnp.concatenate([error, rest.swapaxes(0, 1)], axis=1)
    return jnp.concatenate([error, other_sin * grow + other_cos * fall])


def _at_start(apart, x, solved, scales, y, core, t):
    r"""From what is pulled at the rows of q to the rows of Q0; `_as_start` backwards.

    Of what is there from the start, and of what falling rows have brought.
    """
    base = x.base
    m, r, _ = x.sizes
    up = slice(0, m + r)
    inverse = solved.inverse
    inside = scales.split & x.chosen

    def turned():
        return contracted(y, inverse), contracted(core, inverse)

    z, half = apart(turned)
    within = apart(lambda: contracted(inverse, half.swapaxes(0, 1)))

    def beyond():
        rest = jnp.where(base.rate < 0, solved.rest_decay, 1.0)
        freely = jnp.concatenate(
            [jnp.ones_like(solved.decay), *[rest[None]] * r, solved.decay]
        )
        found = freely[:, None] * z
        found -= scales.root[:, None] * contracted(solved.k, within.swapaxes(0, 1))
        return jnp.where(inside[:, None], 0.0, found)

    beyond = apart(beyond)
    grown = apart(lambda: beyond * scales.grown)

    def inner():
        found = crossed(x.inverse, solved.shrink[:, None] * within)
        below = found * solved.shrink[None] - crossed(x.echelon, grown)
        above = found * solved.shrink[:, None] - crossed(scales.behind, beyond)
        return tuple(jnp.where(scales.split, z, 0.0) for z in (below, above))

    below, above = apart(inner)

    def placed():
        place = x.place
        return grown + crossed(place, below), beyond[up] + crossed(place[:, up], above)

    return apart(placed)


def crossed(
    a: Float[Array, "k i ..."], b: Float[Array, "k j ..."]
) -> Float[Array, "i j ..."]:
    """`a.T @ b`."""
    return contracted(a.swapaxes(0, 1), b.swapaxes(0, 1))


def _dot(a, b):
    return total(a * b)


def total_of_products(a, b):
    if a.ndim == 1:
        return b @ a
    return total(a[c] * b[:, c] for c in range(a.shape[0]))


_gradients = batched(_gradient)
