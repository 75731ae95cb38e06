"""Gated deep linear networks: pathways that race for shared modes."""

import functools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._exactness import check_fit, check_two_layers, exactness_tolerance
from .._linalg import dot, norm, safe_hypot
from .._network import LinearNetwork
from .._singular import by_library
from .._task import Task
from .reduction import listed, only_if, unit, without_rounding

# Never tf32 on an accelerator.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
_STEPS = 2**16


class GatedPathways(eqx.Module):
    r"""The modes of gated pathways: one equation for each mode, integrated.

    **Attributes:**

    - `u`, `v`: the shared singular vectors, (out, modes) and (in, modes).
    - `strengths`: $s_{pi}$, the singular values of each pathway's correlation,
      (pathways, modes), of any sign.
    - `coactivation`: $D_{pqi}$, the input variance that two pathways share,
      (pathways, pathways, modes).
    - `start`: the modes $a_{pi}$ at time zero, (pathways, modes).
    - `lmda`: their conserved $\lambda_{pi} \ge 0$, (pathways, modes).
    """

    u: Float[Array, "out modes"]
    v: Float[Array, "in modes"]
    strengths: Float[Array, "pathways modes"]
    coactivation: Float[Array, "pathways pathways modes"]
    start: Float[Array, "pathways modes"]
    lmda: Float[Array, "pathways modes"]

    def modes(self, ts: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts pathways modes"]:
        """The modes at finite times, any shape, in learning rate x step.

        The equation is integrated by Dopri8, at a relative tolerance of 1e-10 a step in
        double precision and 1e-6 in single. First derivatives in reverse mode. Times
        far beyond the steady state take too many steps, and are refused (traced: NaN).
        """
        ts = _checks.as_times("ts", ts, infinite=False)
        if ts.size == 0:
            return jnp.zeros((*ts.shape, *self.start.shape), self.start.dtype)
        found, reached = _integrated(self, ts.ravel().astype(self.start.dtype))
        good = _checks.known(reached)
        if good is not None and not good.all():
            first = _checks.number(ts.ravel()[int(good.argmin())], "g")
            raise ValueError(
                f"`ts` must be times within {_STEPS} steps of the integration, but "
                f"{first} was not: the modes are steady far earlier."
            )
        return found.reshape(*ts.shape, *self.start.shape)

    def functions(
        self, ts: Real[ArrayLike, "*ts"]
    ) -> Float[Array, "*ts pathways out in"]:
        r"""$W_2W_1$ of every pathway, at finite times."""
        return _einsum("oi,...i,ni->...on", self.u, self.modes(ts), self.v)


def gated_pathways(
    pathways: Sequence[LinearNetwork],
    task: Task,
    gates: Real[ArrayLike, "samples pathways"],
) -> GatedPathways:
    r"""A network of pathways that are gated by sample (Saxe et al. 2022).

    The output for sample n is $\sum_p g_{np} W_2^pW_1^px_n$. With the pathways'
    correlations $\Sigma_p = \langle g_pyx^\top\rangle = US_pV^\top$ and inputs
    $\langle g_pg_qxx^\top\rangle = VD_{pq}V^\top$, aligned pathways obey

    $$\dot a_p = \sqrt{\lambda_p^2 + 4a_p^2}\,\Big(s_p - \sum_q D_{pq}a_q\Big)$$

    in every mode, $\lambda_p$ the conserved constant of
    `lazyrich_jax.theory.aligned_modes`. For several pathways it has no known closed
    form, and this is no network and task for `ExactSolution`: the equation is
    integrated.

    **Arguments:**

    - `pathways`: networks of two layers, aligned with U and V.
    - `task`: all samples.
    - `gates`: $g_{np}$, any numbers.

    **Returns:** `GatedPathways`.

    **Raises:** `ValueError` for shapes that don't fit, and correlations or pathways
    that don't share singular vectors (traced: NaN).
    """
    pathways = listed("pathways", pathways, "networks")
    _checks.require(len(pathways) > 0, "`pathways` must hold networks, but was empty.")
    for i, network in enumerate(pathways):
        check_fit(network, task, f"pathways[{i}]")
        check_two_layers(network, f"pathways[{i}]")
    gates = _checks.as_matrix("gates", gates)
    _checks.require(
        gates.shape == (task.samples, len(pathways)),
        "`gates` must have a row for every sample and a column for every pathway, "
        f"{(task.samples, len(pathways))}, but its shape was {gates.shape}.",
    )
    of_weights = [network.weights[0] for network in pathways]
    tolerance = max(exactness_tolerance(x.dtype) for x in (*of_weights, task.x))
    eps = _dtypes.rounding(networks=tuple(pathways), task=task)
    networks, task, gates = _dtypes.promoted(
        networks=tuple(pathways), task=task, gates=gates
    )
    seen = list(_einsum("np,ni->pni", gates, task.x))
    sigma = jnp.stack([_mean(task.y, x, eps) for x in seen])
    inputs = jnp.stack([jnp.stack([_mean(p, q, eps) for q in seen]) for p in seen])
    a = jnp.stack([without_rounding(n.function, eps, *n.weights) for n in networks])
    left, right = _shared(a, sigma, inputs, eps)
    k = min(task.in_size, task.out_size)
    p11, p22 = (
        jnp.stack([getattr(network, name) for network in networks])
        for name in ("input_representation", "output_representation")
    )
    of_inputs, of_outputs = (dot(x.mT, p, x) for x, p in ((right, p11), (left, p22)))
    functions, targets = (dot(left.mT, x, right) for x in (a, sigma))
    variances = dot(right.mT, inputs, right)
    parts = (of_inputs, of_outputs, functions, targets, variances)
    off = jax.lax.stop_gradient(jnp.max(jnp.stack([_between(x, k) for x in parts])))
    x, y, start, strengths, shared = (_diagonals(part, k) for part in parts)
    # (x + y)^2 - 4 a^2, without cancellation and zero up to rounding.
    square = (x - y) ** 2 + 4 * (x * y - start**2)
    some = square > 64 * jnp.finfo(square.dtype).eps * (x + y) ** 2
    lmda = jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)
    strengths = only_if(
        off <= tolerance,
        lambda: (
            "`pathways` and `task` must share singular vectors (correlations, gated "
            "inputs, functions and representations), but entries between modes were "
            f"{_checks.number(off, '.3g')} of the others."
        ),
        strengths,
    )
    return GatedPathways(left[:, :k], right[:, :k], strengths, shared, start, lmda)


def _mean(
    a: Float[Array, "samples n"], b: Float[Array, "samples m"], eps: float
) -> Float[Array, "n m"]:
    """The mean of the samples' products, without rounding."""
    b = b / len(b)
    return without_rounding(dot(a.mT, b), eps, a, b)


def _shared(
    functions: Float[Array, "pathways out in"],
    sigma: Float[Array, "pathways out in"],
    inputs: Float[Array, "pathways pathways in in"],
    eps: float,
) -> tuple[Float[Array, "out out"], Float[Array, "in in"]]:
    """Singular vectors of a generic sum of all correlations and functions."""
    maps = [*sigma, *functions]
    given = maps + [
        without_rounding(dot(x, c), eps, x, c)
        for x in maps
        for row in inputs
        for c in row
    ]
    total = jnp.zeros_like(sigma[0])
    for i, x in enumerate(given):
        total += (1 + 0.6180 * i) ** -0.7 * unit(x)
    left, _, right = by_library(jax.lax.stop_gradient(total))
    return left, right


def _between(x: Float[Array, "*batch n m"], k: int) -> Float[Array, ""]:
    """The norm of all entries between modes, over that of all entries."""
    modes = jnp.minimum(jnp.arange(max(x.shape[-2:])), k)
    same = modes[: x.shape[-2], None] == modes[None, : x.shape[-1]]
    same = jnp.broadcast_to(same, x.shape)
    size = norm(x.ravel())
    return norm(jnp.where(same, 0.0, x).ravel()) / jnp.where(size > 0, size, 1.0)


def _diagonals(x: Float[Array, "*batch n m"], k: int) -> Float[Array, "*batch modes"]:
    return jnp.diagonal(x, axis1=-2, axis2=-1)[..., :k]


@eqx.filter_jit
def _integrated(
    gated: GatedPathways, ts: Float[Array, " times"]
) -> tuple[Float[Array, "times pathways modes"], Bool[Array, " times"]]:
    """The modes, and whether the integration came to each time; NaN if it did not."""
    import diffrax  # takes half a second: imported on first use

    def velocity(t, a, gated):
        seen = _einsum("pqi,qi->pi", gated.coactivation, a)
        return safe_hypot(gated.lmda, 2 * a) * (gated.strengths - seen)

    ok = jnp.all(jnp.isfinite(ts)) & jnp.all(jnp.isfinite(gated.strengths))
    ts = jnp.where(ok, ts, 0.0)
    solved = jax.tree.map(lambda x: jnp.where(ok, x, 0.0), gated)
    order = jnp.argsort(ts)
    rtol, atol = (1e-10, 1e-13) if jnp.finfo(ts.dtype).bits > 32 else (1e-6, 1e-9)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=ts[order][-1],
        dt0=None,
        y0=solved.start,
        args=solved,
        saveat=diffrax.SaveAt(ts=ts[order]),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=_STEPS,
        throw=False,
    )
    (a,) = jax.tree.leaves(solution.ys)
    a = a[jnp.argsort(order)]
    reached = jnp.all(jnp.isfinite(a), axis=(1, 2))
    return jnp.where(ok & reached[:, None, None], a, jnp.nan), reached
