"""Independent Gaussian weights."""

import functools
import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Integer, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._network import LinearNetwork
from .._xla import compiled
from .base import AbstractInitialiser


class Gaussian(AbstractInitialiser):
    r"""Independent Gaussian weights (balanced only on average, so not for `Exact`).

    `Gaussian(std)` sets the standard deviation: one number, or one per layer.
    `Gaussian.lecun()`, `.he()`, `.glorot()` and `.scaled(scale)` set the variances
    $1/n_{in}$, $2/n_{in}$, $2/(n_{in}+n_{out})$ and $\alpha^2/n_{in}$, with the sizes
    of each layer. Further hidden sizes make deeper networks.

    **Raises:** `ValueError` for a negative or non-finite `std` (traced: NaN weights),
    and for a `std` that has neither one entry nor one per layer.

    ```python
    import jax
    import lazyrich_jax as lr

    deep = lr.Gaussian.he()(5, 8, 8, 2, key=jax.random.key(0))  # three layers
    ```
    """

    std: Float[Array, "..."]
    fan: str = eqx.field(static=True)

    def __init__(
        self, std: Real[ArrayLike, "..."] | Sequence[float], *, fan: str = "none"
    ):
        std = _dtypes.as_real("std", std)
        _checks.require(
            std.ndim <= 1,
            "`std` must be one number or one per layer, but its shape was "
            f"{std.shape}.",
        )
        std = _checks.finite("std", std)
        self.std = _checks.checked("std", std, "be non-negative", lambda x: x >= 0)
        _checks.require(
            fan in _FANS, f"`fan` must be one of {sorted(_FANS)}, but it was {fan!r}."
        )
        self.fan = fan

    @classmethod
    def lecun(cls) -> "Gaussian":
        """Weights of variance `1 / n_in`."""
        return cls(1.0, fan="in")

    @classmethod
    def he(cls) -> "Gaussian":
        """Weights of variance `2 / n_in`."""
        return cls(2.0**0.5, fan="in")

    @classmethod
    def glorot(cls) -> "Gaussian":
        """Weights of variance `2 / (n_in + n_out)`."""
        return cls(1.0, fan="mean")

    @classmethod
    def scaled(cls, scale: Real[ArrayLike, "..."] | Sequence[float]) -> "Gaussian":
        """Weights of variance `scale**2 / n_in`; `scale` may differ between layers."""
        return cls(scale, fan="in")

    def __call__(
        self, in_size: int, hidden_size: int, *sizes: int, key: PRNGKeyArray
    ) -> LinearNetwork:
        """Draw a network of sizes (in, hidden, ..., out)."""
        _checks.random_key(key)
        stds = self.standard_deviations(in_size, hidden_size, *sizes)
        return LinearNetwork(_normal(stds, (in_size, hidden_size, *sizes), key))

    def compressed(
        self,
        in_size: int,
        hidden_size: int | Integer[ArrayLike, ""],
        out_size: int,
        *,
        key: PRNGKeyArray,
    ) -> LinearNetwork:
        r"""Draw two layers of any width as a network of `in + out` hidden units.

        Up to a rotation of the hidden units it has the distribution of
        `self(in_size, hidden_size, out_size, key=...)`, so it learns as such a network
        does (`lazyrich_jax.LinearNetwork.compressed`). It is not the draw of the same
        key. The cost does not depend on `hidden_size`, which may be traced: one
        compilation serves all widths.

        The `hidden_size` columns of $Q = [W_1^\top; W_2]$ are independent, with the
        covariance $D = \mathrm{diag}(\sigma_1^2 I, \sigma_2^2 I)$: $QQ^\top$ is a
        Wishart matrix. Bartlett's decomposition (Bartlett 1933) of it is
        $D^{1/2} L L^\top D^{1/2}$. L is lower triangular, with independent entries:
        the square of the j-th diagonal one (from zero) is chi-squared with
        `hidden_size - j` degrees of freedom, and those below are standard Gaussian. The
        columns from `hidden_size` on are zero.

        **Raises:** `ValueError` for bad sizes (a traced `hidden_size` below one: NaN
        weights).

        ```python
        import jax
        import jax.numpy as jnp
        import lazyrich_jax as lr

        draw = lr.Gaussian.lecun().compressed
        widths = 2 ** jnp.arange(4, 20)
        networks = jax.vmap(lambda n: draw(5, n, 4, key=jax.random.key(0)))(widths)
        print(networks.function.shape)  # (16, 4, 5)
        ```
        """
        _checks.random_key(key)
        out_size = _checks.size("out_size", out_size)
        stds = self.standard_deviations(in_size, hidden_size, out_size)
        width = jnp.asarray(hidden_size, stds.dtype)
        return LinearNetwork(_bartlett(stds, width, (in_size, out_size), key))

    def standard_deviations(
        self, in_size: int, hidden_size: int | Integer[ArrayLike, ""], *sizes: int
    ) -> Float[Array, " layers"]:
        """The standard deviation of the weights of every layer.

        `hidden_size` may be traced.
        """
        _checks.require(
            len(sizes) > 0, "`out_size` must be given after the hidden sizes."
        )
        width = _checks.size_or_traced("hidden_size", hidden_size)
        widths = [
            _checks.size("in_size", in_size),
            width if isinstance(width, int) else width.astype(self.std.dtype),
            *(_checks.size(f"sizes[{i}]", n) for i, n in enumerate(sizes)),
        ]
        layers = len(widths) - 1
        _checks.require(
            self.std.shape in ((), (layers,)),
            f"`std` must be one number or one for each of {layers} layers, but its "
            f"shape was {self.std.shape}.",
        )
        stds = jnp.broadcast_to(self.std, (layers,))
        fans = [
            _FANS[self.fan](n_in, n_out) ** 0.5
            for n_in, n_out in itertools.pairwise(widths)
        ]
        return stds / jnp.stack([jnp.asarray(fan, stds.dtype) for fan in fans])


@functools.partial(compiled, static_argnums=1)
def _normal(
    stds: Float[Array, " layers"], widths: tuple[int, ...], key: PRNGKeyArray
) -> tuple[Array, ...]:
    """Gaussian weights of every layer."""
    keys = jax.random.split(key, stds.size)
    shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(widths)]
    return tuple(
        stds[i] * jax.random.normal(keys[i], shape, stds.dtype)
        for i, shape in enumerate(shapes)
    )


@functools.partial(compiled, static_argnums=2)
def _bartlett(
    stds: Float[Array, "2"],
    width: Float[Array, ""],
    sizes: tuple[int, int],
    key: PRNGKeyArray,
) -> tuple[Float[Array, "both in"], Float[Array, "out both"]]:
    """Weights with the distribution of $QQ^T$ of Gaussian weights of any width.

    $Q$ is lower triangular. The weights are NaN for a width below one.
    """
    n_in, n_out = sizes
    n, dtype = n_in + n_out, stds.dtype
    below, diagonal = jax.random.split(key)
    freedom = width - jnp.arange(n, dtype=dtype)
    # The sampler must stop for columns without degrees of freedom, too.
    half = jnp.where(freedom >= 1, freedom, 1.0) / 2
    chi = jnp.sqrt(2 * jax.random.gamma(diagonal, half, dtype=dtype))
    lower = jnp.tril(jax.random.normal(below, (n, n), dtype), -1) + jnp.diag(chi)
    q = jnp.where((freedom >= 1)[None], lower, 0.0)
    q *= jnp.repeat(stds, jnp.array(sizes), total_repeat_length=n)[:, None]
    q = jnp.where(width >= 1, q, jnp.nan)
    return q[:n_in].mT, q[n_in:]


_FANS = {
    "none": lambda n_in, n_out: 1,
    "in": lambda n_in, n_out: n_in,
    "mean": lambda n_in, n_out: (n_in + n_out) / 2,
}
