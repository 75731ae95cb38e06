"""The balance of random weights."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._init import Gaussian


def expected_balance(
    initialiser: Gaussian, in_size: int, hidden_size: int, out_size: int
) -> Float[Array, ""]:
    r"""The expected balance of random weights: $N_o\sigma_2^2 - N_i\sigma_1^2$.

    $E[W_2^\top W_2 - W_1W_1^\top]$ is this times the identity (Theorem 3.1.1 of
    Domine's thesis). It is `out / hidden - 1` for LeCun, twice that for He,
    `scale[1]**2 * out / hidden - scale[0]**2` for scaled weights and
    `2 out / (hidden + out) - 2 in / (in + hidden)` for Glorot. (The thesis says that
    LeCun's balance is never negative, which is not true.) It is an
    average: a wide random layer does not learn as a network of this balance does.
    `wide_function` is for those.

    **Raises:** `ValueError` for sizes that aren't positive integers, and as
    `lazyrich_jax.Gaussian`.

    ```python
    import lazyrich_jax as lr

    print(lr.theory.expected_balance(lr.Gaussian.lecun(), 40, 120, 200))  # 0.667
    ```
    """
    _checks.instance("initialiser", initialiser, Gaussian, "such as `Gaussian.he()`")
    first, second = initialiser.standard_deviations(in_size, hidden_size, out_size)
    return out_size * second**2 - in_size * first**2


def balance_variance(
    initialiser: Gaussian, in_size: int, hidden_size: int, out_size: int
) -> Float[Array, "hidden hidden"]:
    r"""The variance of each entry of $W_2^\top W_2 - W_1W_1^\top$ for random weights.

    It is $N_o\sigma_2^4 + N_i\sigma_1^4$ off the diagonal and twice that on it (Theorem
    3.1.1 of Domine's thesis, which prints four times). It vanishes as widths grow at
    fixed ratios: entry by entry wide random networks are balanced. As matrices they are
    not, since the entries become more: the expected square of
    `LinearNetwork.balance_residual` is $(N_h - 1)(N_h + 2)$ times the variance off the
    diagonal, and the eigenvalues stay apart. `wide_function` is for wide layers.

    **Returns:** (hidden, hidden).

    **Raises:** as `expected_balance`.
    """
    _checks.instance("initialiser", initialiser, Gaussian, "such as `Gaussian.he()`")
    first, second = initialiser.standard_deviations(in_size, hidden_size, out_size)
    variance = out_size * second**4 + in_size * first**4
    ones = jnp.ones((hidden_size, hidden_size), variance.dtype)
    return variance * (ones + jnp.eye(hidden_size, dtype=variance.dtype))


def wide_balance(
    initialiser: Gaussian,
    hidden_ratio: Real[ArrayLike, ""],
    out_ratio: Real[ArrayLike, ""],
) -> Float[Array, ""]:
    r"""The balance of infinitely wide random networks of given proportions.

    With `hidden = k in`, `out = r in` and `in` going to infinity every entry of
    $W_2^\top W_2 - W_1W_1^\top$ tends to that of $\lambda I$. (Its eigenvalues don't
    tend to $\lambda$, which does not describe learning.) $\lambda$ is $\alpha_2^2 r/k -
    \alpha_1^2$ for LeCun ($\alpha = 1$), He ($\alpha = \sqrt2$) and scaled weights, and
    $2r/(k + r) - 2/(k + 1)$ for Glorot (tables 3.2 and 3.3 of Domine's thesis; the
    limits printed there for Glorot, 0, 2, 2, 0 and -2/(k + 1), are $(k-1)/(k+1)$,
    $-2/(k+1)$, $2k/(k+1)$, 0 and 0).

    **Arguments:** `hidden_ratio` k and `out_ratio` r, non-negative or infinite (both
    zero or both infinite have no limit: NaN).

    **Raises:** `ValueError` for negative ratios (traced: NaN), and for weights whose
    variance doesn't fall with width (`Gaussian(std)`): their balance has no limit.
    """
    _checks.instance("initialiser", initialiser, Gaussian, "such as `Gaussian.he()`")
    _checks.require(
        initialiser.fan != "none",
        "`initialiser` must have a variance that falls with width, such as "
        f"`Gaussian.lecun()`, but its standard deviation was {initialiser.std} at "
        "every width.",
    )
    ratios = []
    for name, value in (("hidden_ratio", hidden_ratio), ("out_ratio", out_ratio)):
        value = _checks.as_scalar(name, value)
        ratios.append(_checks.checked(name, value, "not be negative", lambda x: x >= 0))
    initialiser, hidden, out = _dtypes.promoted(
        initialiser=initialiser, hidden_ratio=ratios[0], out_ratio=ratios[1]
    )
    first, second = initialiser.standard_deviations(1, 1, 1)
    if initialiser.fan == "in":
        return second**2 * out / hidden - first**2
    return 2 * second**2 / (1 + hidden / out) - 2 * first**2 / (1 + hidden)
