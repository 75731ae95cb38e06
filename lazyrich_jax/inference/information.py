"""The information of observations at some times, as a goal of a design."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from .. import _checks, _dtypes


class Information(eqx.Module):
    r"""The information of observations at some times about parameters; it is maximised.

    It is $\ln\det\left(\sum_k J(t_k)^\top J(t_k) / \sigma^2 + p I\right)$ with the
    Jacobian J of the observable by the parameters, for independent Gaussian errors of
    standard deviation $\sigma$ (the D-optimal design). The parameters' covariance is at
    least the inverse of this matrix, at `prior` zero. The free variable `times` is a
    vector of times.

    **Arguments:**

    - `observable`: a callable of the parameters and a time, which gives a number or an
      array. It needs forward derivatives, and second ones by a parameter and the time.
    - `parameters`: an array, or a tree of arrays, at which the design is best.
    - `noise`: $\sigma$, positive.
    - `prior`: the precision p that is known of each parameter before; none by default.

    **Raises:** `ValueError` for noise that or a prior that isn't positive,
    parameters without entries and fewer observations than parameters.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    goal = lr.inference.Information(lambda p, t: p[0] * jnp.exp(-p[1] * t), [1.0, 2.0])
    free = {"times": (0.0, 5.0 * jnp.ones(2))}
    print(lr.inference.design(goal, free=free).values["times"])  # 0 and 0.5
    ```
    """

    maximised: ClassVar[bool] = True

    observable: Callable[[Any, Array], Any]
    parameters: PyTree[Array]
    noise: Float[Array, ""]
    prior: Float[Array, ""] | None

    def __init__(
        self,
        observable: Callable[[Any, Array], Any],
        parameters: PyTree[Real[ArrayLike, "..."]],
        *,
        noise: Real[ArrayLike, ""] = 1.0,
        prior: Real[ArrayLike, ""] | None = None,
    ):
        _checks.require(
            callable(observable),
            "`observable` must be a callable of parameters and a time, but it was a "
            f"`{type(observable).__name__}`.",
        )
        if isinstance(parameters, list | tuple):
            parameters = jnp.asarray(parameters)
        tree = jax.tree.map(lambda x: _dtypes.as_real("parameters", x), parameters)
        _checks.require(
            len(jax.tree.leaves(tree)) > 0,
            "`parameters` must have entries, but they had none.",
        )
        noise = _checks.positive("noise", _checks.as_scalar("noise", noise))
        if prior is not None:
            prior = _checks.positive("prior", _checks.as_scalar("prior", prior))
        self.observable = observable
        self.parameters, self.noise, self.prior = _dtypes.promoted(
            parameters=tree, noise=noise, prior=prior
        )

    def fisher(
        self, times: Real[ArrayLike, " times"]
    ) -> Float[Array, "parameters parameters"]:
        r"""The Fisher information, with the prior, in the order of `ravel_pytree`."""
        j = jax.jacfwd(self._observed(times))(ravel_pytree(self.parameters)[0])
        fisher = jnp.einsum("op,oq->pq", j, j, precision="highest")
        if self.prior is not None:
            fisher += self.prior * jnp.eye(len(fisher), dtype=fisher.dtype)
        return fisher

    def _observed(
        self, times: Real[ArrayLike, " times"]
    ) -> Callable[[Array], Float[Array, " observations"]]:
        """All observations as a function of the flat parameters, in units of noise."""
        flat, unravel = ravel_pytree(self.parameters)
        times = _dtypes.as_real("times", times).astype(flat.dtype)
        _checks.require(
            times.ndim == 1,
            f"`times` must be a vector, but its shape was {times.shape}.",
        )

        def observed(flat):
            at = jax.vmap(lambda t: self.observable(unravel(flat), t))
            return jnp.ravel(at(times)) / self.noise

        return observed

    def __call__(self, *, times: Real[ArrayLike, " times"]) -> Float[Array, ""]:
        """The information at these times; minus infinity if some sum is unknown."""
        flat = ravel_pytree(self.parameters)[0]
        seen = jax.eval_shape(self._observed(times), flat).size
        _checks.require(
            seen >= flat.size or self.prior is not None,
            f"`times` must give as many observations as there are {flat.size} "
            f"parameters where there is no `prior`, but they give {seen}.",
        )
        fisher = self.fisher(times)
        units = jnp.sqrt(jnp.diagonal(fisher))
        units = jnp.where(units > 0, units, 1.0)
        scaled = fisher / (units[:, None] * units[None])
        least = jnp.linalg.eigvalsh(jax.lax.stop_gradient(scaled))[0]
        singular = least <= 8 * len(units) * jnp.finfo(least.dtype).eps
        value = jnp.linalg.slogdet(scaled)[1] + 2 * jnp.sum(jnp.log(units))
        return jnp.where(singular, -jnp.inf, value)
