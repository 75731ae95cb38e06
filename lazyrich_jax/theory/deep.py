r"""Aligned modes of networks of any depth."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes


def deep_modes(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, " hidden"],
    *,
    rtol: Real[ArrayLike, ""] | None = None,
) -> Float[Array, "..."]:
    r"""The modes of an aligned network of $L \ge 2$ layers, balanced or not.

    A mode is the product of one strength for each layer, $a = w_1 \cdots w_L$, with
    $\dot w_l = (s - a) \prod_{k \ne l} w_k$ and $w_{l+1}^2 - w_l^2 = \lambda_l$
    conserved. One strength therefore determines the others. With equal strengths
    $\dot a = L a^{2 - 2/L} (s - a)$ (Saxe et al. 2014). For two layers the modes equal
    `aligned_modes`. For more layers no explicit solution is known. The equation of the
    smallest strength w, with the limit $w_+$, is integrated (Dopri8) in the variable
    $\log((w - w_-) / (w_+ - w))$. It is not stiff in this variable, and for two layers
    of equal strength it is linear.

    **Arguments:**

    - `ts`: finite times, any shape, in units of learning rate x step.
    - `s`, `a0`: the limits and the initial values of the modes, of any sign, scalars or
      vectors of one length.
    - `lmda`: the balance of every hidden layer, as in `LinearNetwork.lmda`, one fewer
      than layers; zeros for equal strengths.
    - `rtol`: the tolerance of a step; 1e-11 in double precision, 1e-5 in single.

    **Returns:** the modes, of shape `ts.shape + s.shape`. Modes without balance
    (`lmda` zero, or the smallest strength twice) that start with the opposite sign of
    `s` end at the saddle 0, and never leave it. At the saddle the derivative by `a0` is
    one-sided, from above. First derivatives in reverse mode are available.

    **Raises:** `ValueError` for negative or infinite times, modes of different shapes,
    and `lmda` that is not a vector of at least one entry. Traced bad values give NaN.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    ts = jnp.linspace(0, 20, 50)
    s = jnp.array([2.0, 1.0])
    a = lr.theory.deep_modes(ts, s, 0.1, lmda=jnp.zeros(2))  # three layers
    print(a.shape)  # (50, 2)
    ```
    """
    ts = _checks.as_times("ts", ts, infinite=False)
    s, a0 = _dtypes.as_real("s", s), _dtypes.as_real("a0", a0)
    lmda = _dtypes.as_real("lmda", lmda)
    s, a0, lmda = (
        _checks.finite(name, value)
        for name, value in (("s", s), ("a0", a0), ("lmda", lmda))
    )
    _checks.require(
        lmda.ndim == 1 and lmda.size > 0,
        "`lmda` must hold the balance of every hidden layer, one entry fewer than "
        "there are layers (`jnp.zeros(2)` for three of equal strength), but its shape "
        f"was {lmda.shape}. A network of one layer has `shallow_modes`.",
    )
    _checks.require(
        s.ndim <= 1 and a0.ndim <= 1 and (s.shape == a0.shape or s.ndim != a0.ndim),
        "`s` and `a0` must be scalars or vectors of one length, but their shapes were "
        f"{s.shape} and {a0.shape}.",
    )
    ts, s, a0, lmda = _dtypes.promoted(ts=ts, s=s, a0=a0, lmda=lmda)
    dtype = ts.dtype
    tolerance = 1e-11 if jnp.finfo(dtype).bits > 32 else 1e-5
    tolerance = _checks.as_scalar("rtol", tolerance if rtol is None else rtol)
    tolerance = _checks.positive("rtol", tolerance)
    modes = s.shape or a0.shape
    if ts.size == 0:
        return jnp.zeros(ts.shape + modes, dtype)
    s, a0 = (jnp.atleast_1d(jnp.broadcast_to(x, modes)) for x in (s, a0))
    a = _integrated(ts.ravel(), s, a0, lmda, tolerance.astype(dtype))
    return a.reshape(*ts.shape, *modes)


@eqx.filter_jit
def _integrated(
    ts: Float[Array, " times"],
    s: Float[Array, " modes"],
    a0: Float[Array, " modes"],
    lmda: Float[Array, " hidden"],
    rtol: Float[Array, ""],
) -> Float[Array, "times modes"]:
    import diffrax  # takes half a second: imported on first use

    equation = _Equation(s, a0, lmda)
    arguments = jnp.concatenate([ts, s, a0, lmda, rtol[None]])
    ok = jnp.all(jnp.isfinite(arguments))
    ts, rtol = jnp.where(ok, ts, 0.0), jnp.where(ok, rtol, 1e-5)
    order = jnp.argsort(ts)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(equation.velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=ts[order][-1],
        dt0=None,
        y0=equation.y0,
        saveat=diffrax.SaveAt(ts=ts[order]),
        # Steps end at the times: interpolation is less accurate than the steps.
        stepsize_controller=diffrax.ClipStepSizeController(
            diffrax.PIDController(rtol=rtol, atol=rtol), step_ts=ts[order]
        ),
        max_steps=2**16,
    )
    (y,) = jax.tree.leaves(solution.ys)
    return jnp.where(ok, equation.modes(ts, y[jnp.argsort(order)]), jnp.nan)


class _Equation:
    """The equation of the smallest strength w of each mode, in `deep_modes`' variable.

    The sign of `s` is divided out.
    """

    def __init__(
        self,
        s: Float[Array, " modes"],
        a0: Float[Array, " modes"],
        lmda: Float[Array, " hidden"],
    ):
        # The squared strengths minus the smallest squared strength.
        offset = jnp.sort(jnp.concatenate([jnp.zeros(1, lmda.dtype), jnp.cumsum(lmda)]))
        offset = (offset[1:] - offset[0])[:, None]
        self.sign = jnp.where(s < 0, -1.0, 1.0)
        self.s = self.sign * s
        end = _strength(self.s, offset)
        self.start = start = _strength(self.sign * a0, offset)
        # Strengths that are equal up to rounding are equal.
        noise = 16 * jnp.finfo(s.dtype).eps * (start**2)[None]
        offset = offset - jax.lax.stop_gradient(jnp.where(offset > noise, 0.0, offset))
        self.offset = offset
        # A mode that starts at zero without balance stays there. Its derivative by the
        # start, from above, grows like the product of two equal strengths.
        rate = jnp.where(jnp.all(offset[1:] > 0), 2 * s, 0.0)
        self.rate = rate * jnp.prod(_root(offset[1:]), axis=0)
        self.beside = jnp.where((start == 0) & (offset[0] == 0), a0, 0.0)
        # A mode without balance ends at zero if it starts with the opposite sign of s,
        # or if s is zero.
        self.to_zero = (offset[0] == 0) & ((start <= 0) | (self.s == 0))
        self.end = end = jnp.where(self.to_zero, 0.0, end)
        # w_- is zero near a saddle at zero, else it lies beyond the start.
        small = (start > 0) & (start < end / 2) & (start**2 > offset[0])
        self.low = jnp.where(small, 0.0, 2 * start - end)
        ratio = jnp.where(small, start, 1.0) / jnp.where(small, end - start, 1.0)
        self.y0 = jnp.where(small, jnp.log(ratio), 0.0)

    def strength(self, y: Float[Array, " modes"]) -> Float[Array, " modes"]:
        return self.low * jax.nn.sigmoid(-y) + self.end * jax.nn.sigmoid(y)

    def velocity(self, t, y: Float[Array, " modes"], args) -> Float[Array, " modes"]:
        y = jnp.maximum(y, self.y0)  # a stage of too long a step may fall below y0
        w = self.strength(y)
        others = _root(w[None] ** 2 + self.offset)
        product = jnp.prod(others, axis=0)
        free = product * _slope(w, self.end, self.offset)
        # The ratio of the two smallest strengths is 1, but has derivatives.
        ratio = others[0] / jnp.where(w == 0, 1.0, jnp.abs(w))
        ratio = jnp.where(w == 0, 1.0, ratio) * jnp.prod(others[1:], axis=0)
        to_saddle = ratio * jnp.where(self.start > 0, -1.0, 1.0)
        to_saddle *= self.s - w * product
        return jnp.where(self.to_zero, to_saddle, free) / jax.nn.sigmoid(y)

    def modes(
        self, ts: Float[Array, " times"], y: Float[Array, "times modes"]
    ) -> Float[Array, "times modes"]:
        w = jax.vmap(self.strength)(y)
        a = w * jnp.prod(_root(w[:, None] ** 2 + self.offset[None]), axis=1)
        limit = 0.99 * jnp.log(jnp.finfo(a.dtype).max)
        grown = jnp.exp(jnp.minimum(self.rate[None] * ts[:, None], limit))
        return self.sign[None] * a + self.beside[None] * grown


def _strength(
    a: Float[Array, " modes"], offset: Float[Array, "others #modes"]
) -> Float[Array, " modes"]:
    """The smallest strength w whose product with sqrt(w^2 + offset) is `a`."""
    layers = 1 + offset.shape[0]
    square = jnp.abs(jax.lax.stop_gradient(a))
    goal = 2 * jnp.log(jnp.where(square > 0, square, 1.0))
    above = jax.lax.stop_gradient(offset)

    def newton(_, x):  # in x = log w^2: convex, so that the iterates fall from above
        q = jnp.exp(x)[None]
        value = x + jnp.sum(jnp.log(q + above), axis=0)
        return x - (value - goal) / (1 + jnp.sum(q / (q + above), axis=0))

    x = jax.lax.fori_loop(0, 60, newton, goal / layers)
    w = jnp.where(square > 0, jnp.sign(a) * jnp.exp(x / 2), 0.0)
    w = jax.lax.stop_gradient(w)
    # A last step gives `w` its derivatives.
    slope = _slope(w, w, offset)
    product = w * jnp.prod(_root(w[None] ** 2 + offset), axis=0)
    return w - (product - a) / jnp.where(slope > 0, slope, 1.0)


def _slope(
    w: Float[Array, " modes"],
    v: Float[Array, " modes"],
    offset: Float[Array, "others #modes"],
) -> Float[Array, " modes"]:
    """(a(v) - a(w)) / (v - w) for a(w) = w prod sqrt(w^2 + offset), term by term."""
    at_w, at_v = (_root(x[None] ** 2 + offset) for x in (w, v))
    total = at_w + at_v
    ratio = (w + v)[None] / jnp.where(total > 0, total, 1.0)
    result, before = jnp.ones_like(w), v
    for i in range(offset.shape[0]):
        result = result * at_w[i] + before * ratio[i]
        before = before * at_v[i]
    return result


def _root(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square root, with zero derivative at zero."""
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
