"""Independent Gaussian weights."""

import functools
import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

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
        stds = self.standard_deviations(in_size, hidden_size, *sizes)
        return LinearNetwork(_normal(stds, (in_size, hidden_size, *sizes), key))

    def standard_deviations(
        self, in_size: int, hidden_size: int, *sizes: int
    ) -> Float[Array, " layers"]:
        """The standard deviation of the weights of every layer."""
        _checks.require(
            len(sizes) > 0, "`out_size` must be given after the hidden sizes."
        )
        widths = [in_size, hidden_size, *sizes]
        names = ["in_size", "hidden_size", *(f"sizes[{i}]" for i in range(len(sizes)))]
        widths = [_checks.size(n, w) for n, w in zip(names, widths, strict=True)]
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
        return stds / jnp.asarray(fans, stds.dtype)


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


_FANS = {
    "none": lambda n_in, n_out: 1,
    "in": lambda n_in, n_out: n_in,
    "mean": lambda n_in, n_out: (n_in + n_out) / 2,
}
