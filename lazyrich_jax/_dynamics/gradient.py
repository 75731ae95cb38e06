r"""The loss and its gradient at one time, in closed form.

By the rows of Q0 it is that of `Adjoint`; that by the generator F is made of pairs of
its rows, and becomes one by the correlation and the balance. docs/theory.md derives it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .adjoint import Adjoint, Scales, crossed, evaluate_adjoint
from .blocks import Apart, batched
from .frame import Frame
from .tables import AdjointTables, by_kind
from .values import contracted, total


def excess_with_gradient(
    frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, "times parts"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$ and its gradient, as `flat`; at last that by time."""
    tables = jax.tree.map(lambda x: x[None], AdjointTables(frame))
    return _with_gradients(tables, ts[None])[0]


def flat(
    lower: Float[Array, "rows columns"],
    core: Float[Array, "out in"],
    *numbers: Float[Array, ""],
) -> Float[Array, " parts"]:
    """By rows of Q0, correlation in its singular basis, balance, and maybe time."""
    parts = by_kind(lower, min(core.shape)), core, *numbers
    return jnp.concatenate([part.ravel() for part in parts])


def _with_gradient(
    apart: Apart, x: AdjointTables, t: Float[Array, "..."]
) -> Float[Array, "parts ..."]:
    scales, a = evaluate_adjoint(apart, x, t)

    def of(*pairs):
        return [apart(lambda f=f: f(x, scales, a)) for f in pairs]

    pairs = of(_two_grow, _one_grows, _none_grows)
    core = apart(lambda: _of_modes(x, *pairs))
    lmda = apart(lambda: _of_balance(x, *pairs))
    if x.sizes[1] > 0:
        rest = of(_rest_grow, _rest_fall)
        core = jnp.concatenate([core, _of_rest(x, *rest)], axis=1 if x.is_wide else 0)
        lmda += apart(lambda: _of_rest_alone(x, scales, a, t))
    value = apart(lambda: total(total(a.error * a.error)) / 2)
    # The flow is that of the loss's gradient.
    slope = apart(lambda: -total(total(a.by_q * a.by_q)))
    return jnp.concatenate(
        [part.reshape(-1, *t.shape) for part in (value, a.lower, core, lmda, slope)]
    )


# The gradient by an entry of dF and its mirror image. Of the rows of two modes:


def _two_grow(x: AdjointTables, scales: Scales, a: Adjoint) -> Array:
    """Half of it: to be added to its transpose."""
    m = x.sizes[0]
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]
    rising = contracted(a.lower[:m], x.lower[:m])
    ratio = jnp.minimum(scales.grown[:m], 1.0)
    falling = contracted(a.above[:m], x.lower[:m] * ratio)
    found = scales.less[:m, :m] * jnp.where(_is_upper(e), rising, falling)
    bend = crossed(a.p[:, :m], a.by_p[:, :m]) / 2 + a.limit[:m, None] * a.by_p[:m, :m]
    found += scales.bend[:m, :m] * bend
    late = a.is_late[:m, None] & a.is_late[None, :m]
    lack = _lack(
        jnp.minimum(kappa[:, None], kappa[None]),
        jnp.maximum(decay[:, None], decay[None]),
        scales.less[:m, :m],
        scales.ratio[:m, :m],
    )
    lack = jnp.where(late, lack, jnp.where(_zero(kappa[:, None], kappa[None]), 0.5, 1))
    cos, sin, other_cos, other_sin = _angles(x)
    return found - lack * (cos * other_sin * e + sin * other_cos * e.swapaxes(0, 1))


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


def _of_modes(x: AdjointTables, up: Array, across: Array, down: Array) -> Array:
    """By the correlation within the modes, from that by two rows that grow, etc."""
    cos, sin, other_cos, other_sin = _angles(x)
    core = cos * (other_sin * (up + up.swapaxes(0, 1)) + other_cos * across)
    down = down + down.swapaxes(0, 1)
    return core - sin * (other_cos * down + other_sin * across.swapaxes(0, 1))


def _of_balance(x: AdjointTables, up: Array, across: Array, down: Array) -> Array:
    own = [(i, x.base.cos[i], x.base.sin[i]) for i in range(x.sizes[0])]
    terms = [
        (c - s) * (c + s) * (up[i, i] - down[i, i]) / 2 - c * s * across[i, i]
        for i, c, s in own
    ]
    return total(terms)


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


def _of_rest(x: AdjointTables, up: Array, down: Array) -> Array:
    """By the correlation beyond the modes."""
    _, _, cos, sin = _angles(x)
    if x.is_wide:
        return (cos * up - sin * down).swapaxes(0, 1)
    return sin * up + cos * down


def _of_rest_alone(x: AdjointTables, scales: Scales, a: Adjoint, t: Array) -> Array:
    """By the balance."""
    m, r, _ = x.sizes
    rest, bend = slice(m, m + r), scales.bend[m, m]
    rise = total(total(a.lower[rest] * x.lower[rest]))
    bent = total(total(a.p[:, rest] * a.by_p[:, rest])) / 2
    bent += total(a.limit[i] * a.by_p[i, i] for i in range(m, m + r))
    carried = total(total(a.by_q[rest] * a.q[rest]))
    spanned = total(total(a.still[:r] * a.spanned[:r])) / 2
    found = jnp.where(
        x.rest_grows, t * rise + bend * bent, t * carried - bend * spanned
    )
    return -found / 2 if x.is_wide else found / 2


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


_with_gradients = batched(_with_gradient)
