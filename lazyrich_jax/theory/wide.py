r"""Learning of wide layers: the class that random initialisations tend to.

The forms are for two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes, _wide
from .._exactness import check_two_layers, is_network
from .._linalg import dot, finite_time, norm, safe_hypot
from .._network import LinearNetwork
from .._singular import singular_vectors
from .._task import Task
from .._xla import compiled
from .assumptions import function_of, isotropic_variance
from .representations import Representations


class WideScales(eqx.Module):
    r"""The scales of a network's layers, and how far it is from their class.

    **Attributes:**

    - `input_scale`, `output_scale`: $l_1$ and $l_2$, in the units of a squared weight.
    - `residual`: $\|PJP + \lambda P - \mu^2J\|_F / \|P\|_F^2$ with $P = QQ^\top$,
      $J = \mathrm{diag}(I, -I)$: zero for members of the class.
    """

    input_scale: Float[Array, "*batch"]
    output_scale: Float[Array, "*batch"]
    residual: Float[Array, "*batch"]

    @property
    def laziness(self) -> Float[Array, "*batch"]:
        """The sum of both scales."""
        return self.input_scale + self.output_scale

    @property
    def lmda(self) -> Float[Array, "*batch"]:
        r"""$\lambda = l_2 - l_1$, the sum of both nonzero eigenvalues of the imbalance.

        It is not the balance nearest to the weights, `LinearNetwork.lmda`.
        """
        return self.output_scale - self.input_scale

    @property
    def mu(self) -> Float[Array, "*batch"]:
        r"""$\mu = \sqrt{l_1l_2}$; it is zero for lambda-balanced networks."""
        return jnp.sqrt(self.input_scale) * jnp.sqrt(self.output_scale)


def wide_scales(network: LinearNetwork) -> WideScales:
    r"""The scales of a two-layer network, and its distance from their class.

    The scales are `LinearNetwork.effective_scales`. The residual is zero to rounding
    for `lazyrich_jax.WideOrthogonal`, `lazyrich_jax.wide_network` and lambda-balanced
    networks. For Gaussian weights of width w it falls as $1/\sqrt w$: `wide_function`
    is then approximate.

    **Raises:** `ValueError` for another depth.
    """
    is_network("network", network, batched=True)
    check_two_layers(network)
    return _scales(network)


@compiled
def _scales(network: LinearNetwork) -> WideScales:
    first, second = network.effective_scales
    p, n_in = network.qqt, network.sizes[0]
    sign = jnp.where(jnp.arange(p.shape[-1]) < n_in, 1.0, -1.0).astype(p.dtype)
    j = jnp.broadcast_to(jnp.diag(sign), p.shape)
    lmda, square = (x[..., None, None] for x in (second - first, first * second))
    fault = dot(p, j, p) + lmda * p - square * j

    def size(x):
        return norm(x.reshape(*x.shape[:-2], -1), axis=-1)

    scale = size(p) ** 2
    residual = size(fault) / jnp.where(scale == 0, 1.0, scale)
    return WideScales(first, second, residual)


def wide_representations(
    function: Real[ArrayLike, "out in"],
    input_scale: Real[ArrayLike, ""],
    output_scale: Real[ArrayLike, ""],
) -> Representations:
    r"""The representations of a wide network with this function.

    With the input scale $l_1$, the output scale $l_2$ and $A = W_2W_1$,

    $$W_1^\top W_1 = \sqrt{A^\top A + c^2} - \tfrac\lambda2, \quad
    W_2W_2^\top = \sqrt{AA^\top + c^2} + \tfrac\lambda2, \quad
    c = \tfrac{l_1 + l_2}2, \quad \lambda = l_2 - l_1,$$

    at every time of learning. Division gives the smaller one. They are exact for
    `lazyrich_jax.WideOrthogonal` and `lazyrich_jax.wide_network`. Gaussian weights of
    width w keep fluctuations of relative size $\sqrt{(N_i + N_o)/w}$ around them.

    **Arguments:**

    - `function`: (out, in).
    - `input_scale`, `output_scale`: non-negative and not both zero; those of random
      weights are `LinearNetwork.effective_scales`.

    **Raises:** `ValueError` for other scales (traced: NaN). The representations are
    differentiable, also where singular values repeat or vanish.
    """
    function = _checks.as_matrix("function", function)
    first, second = _wide.checked_scales(input_scale, output_scale)
    function, first, second = _dtypes.promoted(
        function=function, input_scale=first, output_scale=second
    )
    return Representations(function, *_representations(function, first, second))


@compiled
def _representations(
    function: Float[Array, "out in"], first: Array, second: Array
) -> tuple[Float[Array, "in in"], Float[Array, "out out"]]:
    return _wide.representations(function, first, second)


def wide_function(
    ts: Real[ArrayLike, "*times"],
    function: Real[ArrayLike, "out in"],
    task: Task,
    laziness: Real[ArrayLike, ""],
) -> Float[Array, "*times out in"]:
    r"""The function that a wide network learns.

    It follows $\dot A = \sqrt{AA^\top + c^2}\,(\Sigma - A) + (\Sigma - A)
    \sqrt{A^\top A + c^2}$ with c half of `laziness`, the sum $l_1 + l_2$ of the
    layers' scales, for inputs of variance one. No other property of the weights
    matters. With $S = [0, \Sigma^\top; \Sigma, 0]$, $K = \sqrt{S^2 + c^2}$,
    $E = e^{-Kt}$, the P of zero $\lambda$ (`wide_representations` with the scales c, c)
    and $X = P(0) - S - K$,

    $$P(t) = S + K + E X\left(I + \tfrac{I - E^2}{2K} X\right)^{-1}E.$$

    All rates are positive: every start converges to $\Sigma$, and there are no saddles.

    The form is exact for `lazyrich_jax.WideOrthogonal` and
    `lazyrich_jax.wide_network`, with `LinearNetwork.effective_laziness`. For Gaussian
    weights of width w it is approximate, with errors of relative order
    $\sqrt{(N_i + N_o)/w}$. A balanced network with the balance nearest to such weights
    (`LinearNetwork.lmda`) does not approximate them at any width.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `function`: $W_2W_1$ at time zero, (out, in).
    - `task`: a task with isotropic inputs.
    - `laziness`: positive.

    **Returns:** the functions, (\*times, out, in).

    **Raises:** `ValueError` for a laziness that isn't positive, a function that doesn't
    fit the task and anisotropic inputs (traced: NaN). Derivatives by the task at equal
    singular values, or (for unequal sizes) at zero ones, are refused.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0)).whitened()
    start = lr.Gaussian.lecun()(3, 256, 2, key=jax.random.key(1))
    ts = jnp.array([0.0, 1.0, jnp.inf])
    learned = lr.theory.wide_function(
        ts, start.function, task, start.effective_laziness
    )
    ```
    """
    ts = _checks.as_times("ts", ts)
    laziness = _checks.as_scalar("laziness", laziness)
    laziness = _checks.positive("laziness", laziness)
    function, task = function_of("function", function, task)
    variance = isotropic_variance(task, function.dtype)
    function, task, laziness = _dtypes.promoted(
        function=function, task=task, laziness=laziness
    )
    sigma = task.input_output_correlation
    variance = variance.astype(sigma.dtype)
    found = _learned(
        ts.ravel().astype(sigma.dtype),
        variance * function,
        sigma,
        variance * laziness / 2,
    )
    return (found / variance).reshape(*ts.shape, *sigma.shape)


@compiled
def _learned(
    ts: Float[Array, " times"],
    function: Float[Array, "out in"],
    sigma: Float[Array, "out in"],
    c: Float[Array, ""],
) -> Float[Array, "times out in"]:
    """The functions for inputs of variance one.

    In the singular vectors of `sigma` K is diagonal. X + 2K is B B^T with
    B = [P(0)^(1/2), (K - S)^(1/2)]. The matrix that is inverted is
    E^2 + (1 - E^2) B B^T / 2K. Near a saddle of the rich limit, where B B^T is nearly
    singular, its inverse needs the digits of B: an unknown B^T z keeps them.
    """
    n_out, n_in = sigma.shape
    u, s, v = singular_vectors(sigma)
    target = jnp.zeros_like(sigma).at[jnp.arange(s.size), jnp.arange(s.size)].set(s)
    start = dot(u.mT, function, v)
    rates = [safe_hypot(jnp.pad(s, (0, n - s.size)), c) for n in (n_in, n_out)]
    before = _wide.representations(start, c, c)
    x_in, x_out = (p - jnp.diag(k) for p, k in zip(before, rates, strict=True))
    x = jnp.block([[x_in, (start - target).mT], [start - target, x_out]])
    b = jnp.concatenate([_wide.root(start, c, c), _wide.root(-target, c, c)], axis=1)
    # Rows and columns in units of the roots of their rates.
    k = jnp.concatenate(rates)
    unit = jnp.sqrt(k)
    x, b = x / (unit[:, None] * unit[None]), b / unit[:, None]
    eye = jnp.eye(b.shape[1], dtype=b.dtype)
    given = jnp.eye(sum(b.shape), n_in, dtype=b.dtype)

    def at(t):
        kt = k * finite_time(t)
        decay, done = jnp.exp(-kt), -jnp.expm1(-2 * kt) / 2
        inner = jnp.block([[jnp.diag(decay**2), done[:, None] * b], [-b.mT, eye]])
        z = jnp.linalg.solve(inner, given)[: k.size]
        e = unit * decay
        rest = e[n_in:, None] * dot(x[n_in:], z) * e[None, :n_in]
        return sigma + dot(u, rest, v.mT)

    return jax.vmap(at)(ts)
