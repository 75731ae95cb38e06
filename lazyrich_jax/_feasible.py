"""The balances that the sizes of a network allow."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _checks


def feasible_lmda(
    lmda: Float[Array, "*modes"], sizes: tuple[int, ...], *, throw: bool = False
) -> Float[Array, "*modes"]:
    """`lmda`, which sizes (in, hidden, out) must allow; other values are refused.

    Traced ones become NaN; with `throw` they stop the program. `W2.T W2 - W1 W1.T =
    lmda I` needs rank `hidden` of `W2` where `lmda > 0` and of `W1` where `lmda < 0`
    (generalises Domine et al. 2025, theorem on dimensions). Different balances of the
    modes have no such need.
    """
    in_size, hidden_size, out_size = sizes
    text = _checks.sizes_text(sizes)
    bounds = []
    if lmda.ndim == 0 and hidden_size > out_size:
        bounds.append(("positive", "out_size", 1))
    if lmda.ndim == 0 and hidden_size > in_size:
        bounds.append(("negative", "in_size", -1))
    values = _checks.known(lmda)
    if values is not None:
        _checks.finite("lmda", lmda)
        for word, side, sign in bounds:
            _checks.require(
                bool(sign * values <= 0),
                f"`lmda` must not be {word} for sizes {text}, but it was "
                f"{float(values)}: a {word} balance needs `hidden_size <= {side}`.",
            )
        return lmda
    good = jnp.all(jnp.isfinite(lmda))
    for _, _, sign in bounds:
        good &= sign * lmda <= 0
    if throw:
        lmda = _checks.error_if(
            lmda,
            ~good,
            f"`lmda` must be finite and feasible for sizes {text} (positive needs "
            "`hidden_size <= out_size`, negative needs `hidden_size <= in_size`), but "
            "a traced value was not; `throw=False` gives such networks NaN weights "
            "instead.",
        )
    return jnp.where(good, lmda, jnp.nan)
