"""Second tasks with a known relation to a first task."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._exactness import is_task
from .._linalg import dot, nearest_isometry, norm
from .._singular import singular_vectors
from .._task import Task
from .._xla import compiled


def related_task(task: Task, shared: Real[ArrayLike, ""], *, key: PRNGKeyArray) -> Task:
    r"""A task that shares some of its singular vectors with another.

    It has the same inputs and the same singular values of $\Sigma$. The leading pairs
    of singular vectors are shared; the others are random directions orthogonal to
    these. The noise in the targets of `task` is kept: if all pairs are shared, the
    result equals `task`.

    **Arguments:**

    - `task`: the first task; its inputs must span every direction.
    - `shared`: the fraction of the `min(in, out)` pairs that is shared, from 0 to 1,
      rounded to a whole number of pairs. A single remaining direction of the inputs or
      outputs can only keep or change its sign. If a singular value repeats, as in
      `Task.hierarchy()`, new vectors for it may change the task little.
    - `key`: a `jax.random.key`.

    **Raises:** `ValueError` for a `shared` outside of [0, 1] and inputs that don't span
    every direction (traced: NaN targets). Derivatives at equal singular values are
    refused.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    second = lr.applications.related_task(task, 0.5, key=jax.random.key(0))
    print(lr.measures.mode_strengths(*(
        t.input_output_correlation for t in (second, task)
    )))  # the first two of four are those of the task
    ```
    """
    is_task("task", task)
    fraction = _checks.as_scalar("shared", shared)
    allowed = "be at least 0 and at most 1"
    fraction = _checks.checked(
        "shared", fraction, allowed, lambda x: (x >= 0) & (x <= 1)
    )
    (task,) = _dtypes.promoted(task=task)
    return _changed(task, _sharing(task.input_output_correlation, fraction, key))


@eqx.filter_jit
def _sharing(
    sigma: Float[Array, "out in"], fraction: Float[Array, ""], key: PRNGKeyArray
) -> Float[Array, "out in"]:
    """The change to a correlation that shares this fraction of singular vectors."""
    u, s, v = (x[..., : min(sigma.shape)] for x in singular_vectors(sigma))
    pairs = jnp.round(fraction * s.size)
    kept = jnp.arange(s.size, dtype=pairs.dtype) < pairs
    ukey, vkey = jax.random.split(key)
    u, v = _redrawn(u, kept, ukey), _redrawn(v, kept, vkey)
    change = dot(u * s[None], v.T) - sigma
    return jnp.where(jnp.isnan(pairs), jnp.nan, change)


def _redrawn(
    basis: Float[Array, "n modes"], kept: Array, key: PRNGKeyArray
) -> Float[Array, "n modes"]:
    """The columns in `kept` unchanged, the others random and orthogonal to them."""
    stay = jnp.where(kept[None], basis, 0.0)
    draw = jax.random.normal(key, basis.shape, basis.dtype)
    draw = draw - dot(stay, stay.T, draw)
    return nearest_isometry(jnp.where(kept[None], basis, draw))


def low_rank_change(
    task: Task, rank: int, scale: Real[ArrayLike, ""] = 1.0, *, key: PRNGKeyArray
) -> Task:
    r"""A task whose correlation differs from another's by a random low-rank matrix.

    It has the same inputs, and $\Sigma' = \Sigma + \Delta$. $\Delta$ is a product of
    Gaussian factors of rank `rank` with $|\Delta|_F = \text{scale}\,|\Sigma|_F$. The
    noise in the targets of `task` is kept.

    **Arguments:**

    - `task`: the first task; its inputs must span every direction.
    - `rank`: from 1 to `min(in, out)`.
    - `scale`: the relative size of the change, positive.
    - `key`: a `jax.random.key`.

    **Raises:** `ValueError` for a rank or scale outside of these, and inputs that don't
    span every direction (traced: NaN targets).

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.random_regression(4, 3, samples=10, key=jax.random.key(0))
    second = lr.applications.low_rank_change(task, 1, 0.5, key=jax.random.key(1))
    ```
    """
    is_task("task", task)
    rank = _checks.size("rank", rank)
    relative = _checks.positive("scale", _checks.as_scalar("scale", scale))
    task, relative = _dtypes.promoted(task=task, scale=relative)
    sigma = task.input_output_correlation
    _checks.require(
        rank <= min(sigma.shape),
        f"`rank` must be at most {min(sigma.shape)} for {task.in_size} inputs and "
        f"{task.out_size} outputs, but it was {rank}.",
    )
    return _changed(task, _of_low_rank(sigma, rank, relative, key))


@functools.partial(compiled, static_argnums=1)
def _of_low_rank(
    sigma: Float[Array, "out in"],
    rank: int,
    relative: Float[Array, ""],
    key: PRNGKeyArray,
) -> Float[Array, "out in"]:
    """A random change of a correlation, of this rank and relative size."""
    akey, bkey = jax.random.split(key)
    n_out, n_in = sigma.shape
    a = jax.random.normal(akey, (n_out, rank), sigma.dtype)
    b = jax.random.normal(bkey, (rank, n_in), sigma.dtype)
    change = dot(a, b)
    return relative * norm(sigma) / norm(change) * change


def _changed(task: Task, change: Float[Array, "out in"]) -> Task:
    """The task with `change` added to its correlation."""
    variances, spans = _variances(jax.lax.stop_gradient(task.input_correlation))
    if _checks.is_concrete(spans):
        _checks.require(
            bool(spans),
            "`task` must have inputs that span every direction, but their variances "
            f"went from {_checks.number(variances[0])} to "
            f"{_checks.number(variances[-1])}.",
        )
    return Task(task.x, _targets(task, change * jnp.where(spans, 1.0, jnp.nan)))


@compiled
def _variances(
    sxx: Float[Array, "in in"],
) -> tuple[Float[Array, " in"], Bool[Array, ""]]:
    """The variances of inputs along their principal axes; whether all are positive."""
    variances = jnp.linalg.eigvalsh(sxx)
    least = len(sxx) * jnp.finfo(sxx.dtype).eps * variances[-1]
    return variances, variances[0] > least


@compiled
def _targets(task: Task, change: Float[Array, "out in"]) -> Float[Array, "samples out"]:
    """The targets with `change` added to their correlation with the inputs."""
    return task.y + dot(task.x, jnp.linalg.solve(task.input_correlation, change.T))
