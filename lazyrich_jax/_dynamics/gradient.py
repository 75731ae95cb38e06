r"""The slopes of the loss at one time, in closed form.

By the rows of Q0 they are those of `Adjoint`; those by the generator F are of pairs of
its rows. docs/theory.md derives them. All of every network at every time would be many
times what is asked for: they are multiplied with a change, or a cotangent, block by
block.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .adjoint import Adjoint, Scales, evaluate_adjoint
from .blocks import Apart, batched, of_one, total
from .frame import Frame, Problem
from .operation import Operation, for_each
from .products import matrix_times_vectors, vectors_times_matrix
from .riccati import settled
from .tables import AdjointTables, by_kind
from .values import contracted, crossed


def slopes(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, "times numbers"]:
    r"""Of $|W_2 W_1 - \Sigma|^2 / 2$, by what is `flat`."""
    return _slopes_at_times(_stacked(frame), ts[None])[0]


def slope_by_time(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    """How the loss falls: the flow is that of its gradient."""
    return _slope_by_time(_stacked(frame), ts[None])[0]


def _stacked(frame: Frame) -> AdjointTables:
    return jax.tree.map(lambda x: x[None], AdjointTables(frame))


def flat(
    frame: Frame,
    lower: Float[Array, "rows columns"],
    generator: Float[Array, "rows rows"],
) -> Float[Array, " numbers"]:
    """Rows of Q0, and what is not zero by its symmetry in F, in its eigenbasis."""
    m, r = frame.s.size, frame.rates.size - 2 * frame.s.size
    grow, rest, fall = slice(m), slice(m, m + r), slice(m + r, None)
    pairs = by_kind(by_kind(generator, m).T, m).T
    kinds = (grow, grow), (grow, fall), (fall, fall), (rest, grow), (rest, fall)
    parts = (
        by_kind(lower, m),
        *[pairs[pair] for pair in kinds],
        pairs[m, m : m + (r > 0)],
    )
    return jnp.concatenate([part.ravel() for part in parts])


def unflat(
    frame: Frame, numbers: Float[Array, " numbers"]
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows rows"]]:
    """The inverse of `flat`."""
    m, r = frame.s.size, frame.rates.size - 2 * frame.s.size
    shapes = frame.lower.shape, (m, m), (m, m), (m, m), (r, m), (r, m), (int(r > 0),)
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    parts = jnp.split(numbers, ends[:-1])
    parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    lower, up, across, down, above, below, own = parts
    rest = jnp.diag(jnp.broadcast_to(own, (r,)))
    pairs = jnp.block(
        [[up, above.T, across], [above, rest, below], [across.T, below.T, down]]
    )
    return by_kind(lower, m), by_kind(by_kind(pairs, m).T, m).T


def _slopes(
    apart: Apart, x: AdjointTables, t: Float[Array, "..."]
) -> list[Float[Array, "numbers ..."]]:
    scales, a = evaluate_adjoint(apart, x, t)
    pairs = [functools.partial(_two_grow, apart), _one_grows, _none_grows]
    if x.sizes[1] > 0:
        pairs += [_rest_grow, _rest_fall, functools.partial(_of_rest_alone, t)]
    parts = [a.lower, *[apart(lambda f=f: f(x, scales, a)) for f in pairs]]
    return [part.reshape(-1, *t.shape) for part in parts]


def _slopes_together(
    apart: Apart, x: AdjointTables, t: Float[Array, "..."]
) -> Float[Array, "numbers ..."]:
    return jnp.concatenate(_slopes(apart, x, t))


def _by_time(
    apart: Apart, x: AdjointTables, t: Float[Array, "..."]
) -> Float[Array, "..."]:
    a = evaluate_adjoint(apart, x, t)[1]
    return apart(lambda: -total(total(row * row) for row in a.by_q))


# The gradient by an entry of dF and its mirror image. Of the rows of two modes:


def _two_grow(apart: Apart, x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """Half of it: to be added to its transpose."""
    m = x.sizes[0]
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]

    def carried():
        rising = contracted(a.lower[:m], x.lower[:m])
        ratio = jnp.minimum(scales.grown[:m], 1.0)
        falling = contracted(a.above[:m], x.lower[:m] * ratio)
        return scales.less[:m, :m] * jnp.where(_is_upper(e), rising, falling)

    def bent():
        bend = crossed(a.p[:, :m], a.by_p[:, :m]) / 2
        bend += a.limit[:m, None] * a.by_p[:m, :m]
        return scales.bend[:m, :m] * bend

    carry, bend = apart(carried), apart(bent)
    late = a.is_late[:m, None] & a.is_late[None, :m]
    lack = _lack(
        jnp.minimum(kappa[:, None], kappa[None]),
        jnp.maximum(decay[:, None], decay[None]),
        scales.less[:m, :m],
        scales.ratio[:m, :m],
    )
    lack = jnp.where(late, lack, jnp.where(_zero(kappa[:, None], kappa[None]), 0.5, 1))
    cos, sin, other_cos, other_sin = _angles(x)
    pull = cos * other_sin * e + sin * other_cos * e.swapaxes(0, 1)
    return carry + bend - lack * pull


def _one_grows(x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    m, r, _ = x.sizes
    fall = slice(m + r, None)
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]
    found = contracted(a.lower[:m], x.lower[fall]) + a.by_p[fall, :m].swapaxes(0, 1)
    found *= scales.more[:m, :m]
    found += scales.mixed[:m, :m] * contracted(a.q[:m], a.spanned[r:])
    both = decay[:, None] * decay[None]
    lean = _lean(kappa[:, None], kappa[None], both, a.is_late[:m, None])
    cos, sin, other_cos, other_sin = _angles(x)
    return found - lean * (cos * other_cos * e - sin * other_sin * e.swapaxes(0, 1))


def _none_grows(x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """Half of it: to be added to its transpose."""
    m, r, _ = x.sizes
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]
    found = contracted(a.by_q[m + r :], a.still[r:])
    found *= jnp.where(_is_upper(e), decay[None], decay[:, None])
    found *= scales.less[:m, :m]
    found -= scales.bend[:m, :m] * contracted(a.spanned[r:], a.still[r:]) / 2
    cos, sin, other_cos, other_sin = _angles(x)
    pulled = sin * other_cos * e + cos * other_sin * e.swapaxes(0, 1)
    return found + jnp.where(_zero(kappa[:, None], kappa[None]), pulled / 2, 0.0)


# Of left-over rows and a mode's:


def _rest_grow(x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """The mode's row that grows."""
    m, r, _ = x.sizes
    rest = slice(m, m + r)
    rate, rest_decay = x.rates[m:], scales.decay[m:]
    kappa, decay = x.base.kappa, scales.decay[:m]
    late, rest_late = a.is_late[None, :m], a.is_late[rest, None]
    rising = contracted(x.lower[rest], a.lower[:m])
    # If left-over rows grow:
    falling = contracted(a.above[rest], x.lower[:m] * jnp.minimum(scales.grown[:m], 1))
    both = scales.less[None, m, :m] * (rising + falling)
    bend = crossed(a.p[:, rest], a.by_p[:, :m]) + crossed(a.by_p[:, rest], a.p[:, :m])
    bend = bend / 2 + a.limit[None, :m] * a.by_p[:m, rest].swapaxes(0, 1)
    bend += a.limit[rest, None] * a.by_p[rest, :m]
    both += scales.bend[None, m, :m] * bend
    slower = jnp.maximum(rest_decay, decay)
    lack = jnp.minimum(rate, kappa), slower, scales.less[m, :m], scales.ratio[m, :m]
    lack = jnp.where(late & rest_late, 2 * _lack(*lack)[None], 2.0)
    # If not:
    one = scales.more[None, m, :m] * (rising + a.by_p[rest, :m])
    one += scales.mixed[:m, m][None] * contracted(a.spanned[:r], a.q[:m])
    lean = _lean(kappa[None], rate[None], (decay * rest_decay)[None], late)
    _, _, cos, sin = _angles(x)
    pulled = (cos if x.is_wide else sin) * _rest_error(x, a)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, both - lack * pulled, one - lean * pulled)


def _rest_fall(x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """The mode's row that decays."""
    m, r, _ = x.sizes
    rest, fall = slice(m, m + r), slice(m + r, None)
    rate, rest_decay = x.rates[m:, None], scales.decay[m:, None]
    kappa, decay = x.base.kappa[None], scales.decay[None, :m]
    spanned = contracted(a.spanned[:r], a.still[r:])
    # If left-over rows grow:
    one = contracted(a.lower[rest], x.lower[fall]) + a.by_p[fall, rest].swapaxes(0, 1)
    one = scales.more[None, m, :m] * one + scales.mixed[None, m, :m] * spanned
    lean = _lean(rate, kappa, decay * rest_decay, a.is_late[rest, None])
    # If not:
    none = contracted(a.by_q[rest], a.still[r:]) + contracted(a.still[:r], a.by_q[fall])
    none = scales.less[None, m, :m] * rest_decay * none
    none -= scales.bend[None, m, :m] * spanned
    slow = jnp.where(_zero(kappa, rate), 1.0, 0.0)
    _, _, cos, sin = _angles(x)
    pulled = (-sin if x.is_wide else cos) * _rest_error(x, a)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, one - lean * pulled, none - slow * pulled)


def _of_rest_alone(t: Array, x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """The rate they share."""
    m, r, _ = x.sizes
    rest, bend = slice(m, m + r), scales.bend[m, m]
    rise = total(total(a.lower[rest] * x.lower[rest]))
    bent = total(total(a.p[:, rest] * a.by_p[:, rest])) / 2
    bent += total(a.limit[i] * a.by_p[i, i] for i in range(m, m + r))
    carried = total(total(a.by_q[rest] * a.q[rest]))
    spanned = total(total(a.still[:r] * a.spanned[:r])) / 2
    fall = t * carried - bend * spanned
    return jnp.where(x.rest_grows, t * rise + bend * bent, fall)


def _angles(x: AdjointTables) -> tuple[Array, Array, Array, Array]:
    """The cosines and sines of a pair's first and second modes."""
    cos, sin = x.base.cos, x.base.sin
    return cos[:, None], sin[:, None], cos[None], sin[None]


def _rest_error(x: AdjointTables, a: Adjoint) -> Array:
    """The function's error beyond the modes, by left-over directions."""
    m = x.sizes[0]
    return a.error[:, m:].swapaxes(0, 1) if x.is_wide else a.error[m:]


def _lack(smaller: Array, decay: Array, less: Array, ratio: Array) -> Array:
    """What `Scales.bend` of late rows that grow lacks of 1 over their rates."""
    return (1 + smaller * less * (1 + ratio)) * decay * decay


def _lean(grows: Array, other: Array, both: Array, late: Array) -> Array:
    """How the limit leans on a row that doesn't grow; once it is late, what is left."""
    zero = _zero(grows, other)
    share = 2 * grows / jnp.where(zero, 1.0, grows + other)
    return jnp.where(zero, 1.0, share * jnp.where(late, both, 1.0))


def _zero(a: Array, b: Array) -> Bool[Array, "..."]:
    """Where both rates are: there |F| has no derivative, and Sigma is half of its."""
    return (a == 0) & (b == 0)


def _is_upper(x: Float[Array, "m m ..."]) -> Bool[Array, "m m ..."]:
    """The pairs whose second row grows no faster."""
    upper = jnp.triu(jnp.ones(x.shape[:2], bool))
    return upper.reshape(*x.shape[:2], *[1] * (x.ndim - 2))


def _numbers(m: int, r: int, n: int) -> int:
    """How many are `flat`."""
    return (2 * m + r) * n + 3 * m * m + 2 * r * m + (r > 0)


_slopes_at_times = batched(
    "lazyrich_slopes", _slopes_together, lambda x: (_numbers(*of_one(x).sizes),)
)
_slope_by_time = batched("lazyrich_slope_by_time", _by_time, lambda x: ())


# Products of `slopes` of many networks with vectors, the last argument. Their own
# derivatives (differentiable.py) are by the problem.


def _of_frames(frame: Frame) -> int:
    m, n = frame.s.shape[-1], frame.lower.shape[-1]
    return _numbers(m, frame.rates.shape[-1] - 2 * m, n)


def _jvps(on_cpu: bool, _: Problem, frame: Frame, ts: Array, v: Array) -> Array:
    x, ts, v = _prepared(frame, ts, v)
    return matrix_times_vectors(_slopes, on_cpu, x, ts, v)


def _vjps(on_cpu: bool, _: Problem, frame: Frame, ts: Array, v: Array) -> Array:
    x, ts, v = _prepared(frame, ts, v)
    return vectors_times_matrix(_slopes, _of_frames(frame), on_cpu, x, ts, v)


def _prepared(frame: Frame, ts: Array, v: Array) -> tuple[AdjointTables, Array, Array]:
    frame, ts, v = for_each((frame, ts, v))
    x = jax.vmap(AdjointTables)(frame)
    return x, jax.vmap(settled)(frame, ts), v


def _more_vectors(
    size: int, is_mapped: Any, problem: Problem, frame: Frame, ts: Array, v: Array
) -> Any:
    """What only vectors are mapped over, as more of them, the last axis."""
    if any(jax.tree.leaves(is_mapped[:-1])):
        return None

    def apart(found: Array) -> Array:
        return jnp.moveaxis(found.reshape(*found.shape[:-1], size, -1), -2, 0)

    v = jnp.moveaxis(v, 0, -2)
    return (problem, frame, ts, v.reshape(*v.shape[:-2], -1)), apart


# `slopes @ changes`, (networks, numbers, vectors), and `weights @ slopes`, (networks,
# times, vectors).
jvps = Operation(
    "lazyrich_jvp",
    lambda problem, frame, ts, v: (ts.shape[1], v.shape[2]),
    functools.partial(_jvps, True),
    functools.partial(_jvps, False),
    _more_vectors,
)
vjps = Operation(
    "lazyrich_vjp",
    lambda problem, frame, ts, v: (_of_frames(frame), v.shape[2]),
    functools.partial(_vjps, True),
    functools.partial(_vjps, False),
    _more_vectors,
)
