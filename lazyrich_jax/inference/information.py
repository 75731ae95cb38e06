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
    - `prior`: the precision p that is known of each parameter before; zero by default.

    **Raises:** `ValueError` for noise that isn't positive, a negative prior, parameters
    without entries and fewer observations than parameters.

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
    prior: Float[Array, ""]

    def __init__(
        self,
        observable: Callable[[Any, Array], Any],
        parameters: PyTree[Real[ArrayLike, "..."]],
        *,
        noise: Real[ArrayLike, ""] = 1.0,
        prior: Real[ArrayLike, ""] = 0.0,
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
        prior = _checks.as_scalar("prior", prior)
        prior = _checks.positive("prior", prior, zero=True)
        self.observable = observable
        self.parameters, self.noise, self.prior = _dtypes.promoted(
            parameters=tree, noise=noise, prior=prior
        )

    def fisher(
        self, times: Real[ArrayLike, " times"]
    ) -> Float[Array, "parameters parameters"]:
        r"""The Fisher information, with the prior, in the order of `ravel_pytree`."""
        flat, unravel = ravel_pytree(self.parameters)
        times = _dtypes.as_real("times", times).astype(flat.dtype)
        _checks.require(
            times.ndim == 1,
            f"`times` must be a vector, but its shape was {times.shape}.",
        )

        def observed(flat):
            at = jax.vmap(lambda t: self.observable(unravel(flat), t))
            return jnp.ravel(at(times)) / self.noise

        shape = jax.eval_shape(observed, flat)
        _checks.require(
            shape.size >= flat.size or _checks.known(self.prior) != 0,
            f"`times` must give as many observations as there are {flat.size} "
            f"parameters, or `prior` must be positive, but they give {shape.size}.",
        )
        j = jax.jacfwd(observed)(flat)
        eye = jnp.eye(flat.size, dtype=flat.dtype)
        return jnp.einsum("op,oq->pq", j, j, precision="highest") + self.prior * eye

    def __call__(self, *, times: Real[ArrayLike, " times"]) -> Float[Array, ""]:
        """The information at these times; minus infinity if it does not suffice."""
        return jnp.linalg.slogdet(self.fisher(times))[1]
