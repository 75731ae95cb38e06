"""Random lambda-balanced weights."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._balanced import with_surplus
from .._linalg import dot, split_singular_values
from .._network import LinearNetwork, check_feasible
from .._singular import singular_vectors
from .._task import Task
from .._xla import on_any_mesh
from .base import AbstractInitialiser


class _Balanced(AbstractInitialiser):
    """Balanced weights whose function has the singular values of a Gaussian product."""

    lmda: Float[Array, ""]
    scale: Float[Array, ""]
    throw: bool = eqx.field(static=True)

    def __init__(
        self, lmda: Real[ArrayLike, ""], scale: Real[ArrayLike, ""], throw: bool
    ):
        lmda = _checks.as_scalar("lmda", lmda)
        scale = _checks.as_scalar("scale", scale)
        self.lmda = _checks.finite("lmda", lmda)
        self.scale = _checks.positive("scale", scale, throw=throw)
        self.throw = throw

    @abc.abstractmethod
    def _aligned_task(self, in_size: int, out_size: int) -> Task | None:
        """The task that gives the function its singular vectors, if any."""

    def __call__(
        self, in_size: int, hidden_size: int, out_size: int, *, key: PRNGKeyArray
    ) -> LinearNetwork:
        """Draw a network; the draw differs for different sizes."""
        sizes = (
            _checks.size("in_size", in_size),
            _checks.size("hidden_size", hidden_size),
            _checks.size("out_size", out_size),
        )
        task, lmda, scale = _dtypes.promoted(
            task=self._aligned_task(in_size, out_size), lmda=self.lmda, scale=self.scale
        )
        lmda = _feasible(lmda, sizes, self.throw)
        sigma = None if task is None else task.input_output_correlation
        return _draw_balanced(lmda, scale, sizes, sigma, key, self.throw)


class LambdaBalanced(_Balanced):
    r"""Random weights with $W_2^\top W_2 - W_1 W_1^\top = \lambda I$ exactly.

    This is Algorithm 1 of Domine et al. 2025 for every feasible size and sign. The
    published form omits the bottleneck and valid signs at `hidden = min(in, out)`. For
    one key, the function's singular vectors and values don't depend on `lmda`, and the
    values grow as `scale**2`.

    **Arguments:**

    - `lmda`: the balance, any sign; positive needs `hidden_size <= out_size`,
      negative `hidden_size <= in_size`.
    - `scale`: the standard deviation of the Gaussian weights whose product gives the
      function.
    - `throw`: whether an infeasible traced `lmda` or `scale` (under `jax.jit` or
      `jax.vmap`) stops the program (the default) or gives that network NaN weights.

    **Raises:** `ValueError` for an infeasible `lmda`, a non-positive `scale` or size.

    ```python
    import jax
    import lazyrich_jax as lr

    network = lr.LambdaBalanced(lmda=-2.0)(3, 2, 4, key=jax.random.key(0))
    print(network.lmda)  # -2.0
    ```
    """

    def __init__(
        self,
        lmda: Real[ArrayLike, ""] = 0.0,
        scale: Real[ArrayLike, ""] = 1.0,
        *,
        throw: bool = True,
    ):
        super().__init__(lmda, scale, throw)

    def _aligned_task(self, in_size: int, out_size: int) -> Task | None:
        return None


class Aligned(_Balanced):
    r"""Balanced weights whose function shares the task's singular vectors.

    $W_2 W_1 = U A V^\top$ with $\Sigma = U S V^\top$ and $A \ge 0$ (the aligned
    initialisation of Saxe et al. 2014 and Domine et al. 2025, Algorithm 2). Every mode
    then learns independently. The strengths $A$, in decreasing order, are the singular
    values that `LambdaBalanced` gives for the same key.

    **Arguments:**

    - `task`: the task to align with.
    - `lmda`, `scale`, `throw`: as in `lazyrich_jax.LambdaBalanced`.

    **Raises:** as `LambdaBalanced`; `ValueError` for sizes that don't fit the task.
    """

    task: Task

    def __init__(
        self,
        task: Task,
        lmda: Real[ArrayLike, ""] = 0.0,
        scale: Real[ArrayLike, ""] = 1.0,
        *,
        throw: bool = True,
    ):
        super().__init__(lmda, scale, throw)
        self.task = task

    def _aligned_task(self, in_size: int, out_size: int) -> Task | None:
        for name, size, of_task in (
            ("in_size", in_size, self.task.in_size),
            ("out_size", out_size, self.task.out_size),
        ):
            _checks.require(
                size == of_task,
                f"`{name}` must be the task's, {of_task}, but it was {size}.",
            )
        return self.task


def _feasible(
    lmda: Float[Array, ""], sizes: tuple[int, int, int], throw: bool
) -> Float[Array, ""]:
    feasible = check_feasible(lmda, sizes)
    if throw and not _checks.is_concrete(lmda):
        lmda = _checks.error_if(
            lmda,
            ~feasible,
            "`lmda` must be finite and feasible for sizes "
            f"{_checks.sizes_text(sizes)} (positive needs `hidden_size <= out_size`, "
            "negative needs `hidden_size <= in_size`), but a traced value was not; "
            "`throw=False` gives such networks NaN weights instead.",
        )
    return jnp.where(feasible, lmda, jnp.nan)


@on_any_mesh
@eqx.filter_jit
def _draw_balanced(
    lmda: Float[Array, ""],
    scale: Float[Array, ""],
    sizes: tuple[int, int, int],
    sigma: Float[Array, "out in"] | None,
    key: PRNGKeyArray,
    throw: bool,
) -> LinearNetwork:
    """A balanced network whose function's singular values are a Gaussian product's.

    The function has the singular vectors of `sigma`, or of the Gaussian product if
    `sigma` is `None`.
    """
    in_size, hidden_size, out_size = sizes
    k = min(sizes)
    given = (lmda, scale) if sigma is None else (lmda, scale, sigma)
    dtype = jnp.result_type(*given)
    lmda, scale = lmda.astype(dtype), scale.astype(dtype)
    key1, key2, rkey = jax.random.split(key, 3)
    w1 = jax.random.normal(key1, (hidden_size, in_size), dtype)
    w2 = jax.random.normal(key2, (out_size, hidden_size), dtype)
    u, s, vt = jnp.linalg.svd(dot(w2, w1))
    v = vt.mT
    if sigma is not None:
        u, _, v = singular_vectors(sigma.astype(dtype), throw)
    s1, s2 = split_singular_values(scale**2 * s[:k], lmda)
    r = jax.random.orthogonal(rkey, hidden_size, dtype=dtype)
    pair = s1[:, None] * v[:, :k].mT, u[:, :k] * s2[None]
    further = v[:, k:hidden_size].mT, u[:, k:hidden_size]
    return LinearNetwork(with_surplus(pair, r, lmda, further, throw))
