"""The time at which an aligned mode is learned."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import safe_hypot
from .._xla import compiled
from .modes import mode_arguments, overlaps


def time_to_reach(
    fraction: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""The time at which an aligned mode reaches `fraction * s`.

    It inverts `aligned_modes`. With $c = (f - a_0/s) / (1 - f)$ and K, p, m as in
    `aligned_modes`, $z = e^{Kt} - 1$ solves
    $p^2z^2 + (p^2 + m^2 - Kc)z = Kc$. For $\lambda = 0$ this is
    $\frac1{2s} \ln \frac{f (s - a_0)}{a_0 (1 - f)}$ (Theorem 2.2.2 of Domine's thesis).
    Reversal learning is `a0 = -s`: its time diverges as $\lambda \to 0$.

    **Arguments:**

    - `fraction`: from 0 to below 1, any shape.
    - `s`, `a0`, `lmda`: as for `aligned_modes`.

    **Returns:** times, of shape `fraction.shape + s.shape`. They are zero if the mode
    starts at or beyond `fraction * s`, and infinite if it never reaches it (`s = 0`; or
    `lmda = 0`, with `a0` zero or opposite in sign to `s`). For inputs of variance c
    pass `s / c` and divide the times by c.

    **Raises:** `ValueError` for a fraction outside of [0, 1) (traced: NaN).
    """
    fraction = _dtypes.as_real("fraction", fraction)
    fraction = _checks.checked(
        "fraction",
        fraction,
        "be at least 0 and less than 1",
        lambda f: (f >= 0) & (f < 1),
    )
    return _reached(*mode_arguments(fraction, s, a0, lmda))


@compiled
def _reached(
    f: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> Float[Array, "..."]:
    f = jnp.where((f >= 0) & (f < 1), f, jnp.nan)
    still = s == 0
    s = jnp.where(still, 1.0, s)
    rate = safe_hypot(lmda, 2 * s)
    plus, minus, _ = overlaps(s, a0, lmda)
    ratio = a0 / s
    target = rate * ((f - ratio) / (1 - f))
    ahead = ~(target <= 0)
    target = jnp.where(ahead, target, 1.0)
    # p^2 + m^2 - Kc, from the wrong sign without its cancellation at small f.
    back = jnp.where(ratio < 0, ratio, -1.0)
    rest = lmda * (1 + back) * (lmda * (1 - back) / (plus + minus - rate * back))
    passing = rest - rate * (f / (1 - f)) * (1 - back)
    gap = jnp.where(ratio < 0, passing, plus + minus - target)
    never = plus == 0  # lambda = 0, from zero or the wrong sign
    plus = jnp.where(never, 1.0, plus)
    root = safe_hypot(gap, 2 * jnp.sqrt(plus) * jnp.sqrt(target))
    easy = gap >= 0  # `root - gap` would cancel
    quick = 2 * target / jnp.where(easy, gap + root, 1.0)
    slow = (root - gap) / jnp.where(easy, 1.0, 2 * plus)
    time = jnp.log1p(jnp.where(easy, quick, slow)) / rate
    endless = jnp.where(jnp.isnan(f), jnp.nan, jnp.inf)
    time = jnp.where(ahead, jnp.where(never, endless, time), 0.0)
    return jnp.where(still, endless, time)
