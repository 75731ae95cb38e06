"""The exact solution and its rivals, each in its natural implementation.

All return the excess losses (batch, times) over the loss of the correlation, or their
slopes. Methods in JAX are compiled and batched, in the problem's precision.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._learn import learn as run
from .._network import LinearNetwork
from .._task import Task
from .problems import Problem, solution

Losses = Callable[[Problem], Any]
Gradients = Callable[[Problem], tuple[Array, ...]]


def _for_all(one: Callable, static: tuple[int, ...] = ()) -> Any:
    """`one`, a function of weights, a task and more, compiled for a batch."""

    @functools.partial(jax.jit, static_argnums=static)
    def batched(w1, w2, sigma, *more):
        axes = 0, 0, None if sigma.ndim == 2 else 0, *[None] * len(more)
        return jax.vmap(one, in_axes=axes)(w1, w2, sigma, *more)

    return batched


def _loss(w1, w2, sigma, ts):
    return solution(w1, w2, sigma).loss(ts)


exact_of_arrays = _for_all(_loss)


def exact() -> Losses:
    """The losses of `lazyrich_jax.ExactSolution`."""
    batched = _for_all(_loss)  # not `exact_of_arrays`: its first call compiles
    return lambda p: batched(p.w1, p.w2, p.sigma, p.ts)


def decompositions() -> Callable[[Problem], Any]:
    """The decompositions of `lazyrich_jax.ExactSolution`, a part of every quantity."""
    batched = _for_all(lambda w1, w2, sigma: solution(w1, w2, sigma).frame)
    return lambda p: batched(p.w1, p.w2, p.sigma)


def exact_functions() -> Losses:
    """W2 W1 by `lazyrich_jax.ExactSolution`."""
    batched = _for_all(lambda w1, w2, sigma, ts: solution(w1, w2, sigma).function(ts))
    return lambda p: batched(p.w1, p.w2, p.sigma, p.ts)


def exact_quantities() -> Losses:
    r"""The loss and $QQ^\top$ by `lazyrich_jax.ExactSolution`."""

    def one(w1, w2, sigma, ts):
        of_one = solution(w1, w2, sigma)
        return of_one.loss(ts), of_one.qqt(ts)

    batched = _for_all(one)
    return lambda p: batched(p.w1, p.w2, p.sigma, p.ts)


def learn() -> Losses:
    """The losses and weights of `lazyrich_jax.learn`."""

    def one(w1, w2, sigma, ts):
        task, network = Task.from_correlation(sigma), LinearNetwork((w1, w2))
        trajectory = run(network, task, ts, throw=False)
        return trajectory.loss, trajectory.network

    batched = _for_all(one)
    return lambda p: batched(p.w1, p.w2, p.sigma, p.ts)


def cholesky(loss: bool = True) -> Losses:
    """The general formula, unchanged, by a vmapped `cholesky` and `solve_triangular`.

    It returns the losses, or W2 W1. It overflows at late times or large lambda, which
    its error shows.
    """

    def one(w1, w2, sigma, lmda, ts):
        n_out, n_in = sigma.shape
        half = jnp.full(n_in + n_out, lmda / 2, sigma.dtype).at[:n_in].multiply(-1)
        f = jnp.diag(half).at[n_in:, :n_in].set(sigma).at[:n_in, n_in:].set(sigma.T)
        rates, basis = jnp.linalg.eigh(f)
        q0 = basis.T @ jnp.concatenate([w1.T, w2])
        eye = jnp.eye(q0.shape[1], dtype=sigma.dtype)

        def at(t):
            safe = jnp.where(rates == 0, 1.0, rates)
            gain = jnp.where(rates == 0, t, jnp.expm1(2 * safe * t) / (2 * safe))
            factor = jnp.linalg.cholesky(eye + q0.T @ (gain[:, None] * q0))
            moved = jnp.exp(rates * t)[:, None] * q0
            q = basis @ jax.scipy.linalg.solve_triangular(factor, moved.T, lower=True).T
            function = q[n_in:] @ q[:n_in].T
            return jnp.sum((function - sigma) ** 2) / 2 if loss else function

        return jax.vmap(at)(ts)

    batched = _for_all(one)
    return lambda p: batched(p.w1, p.w2, p.sigma, p.lmda, p.ts)


class Formula:
    """The general formula in NumPy for one network, at one time per call."""

    def __init__(self, w1: np.ndarray, w2: np.ndarray, sigma: np.ndarray, lmda: float):
        n_out, self.n_in = sigma.shape
        left, right = np.eye(self.n_in), np.eye(n_out)
        f = np.block([[-lmda / 2 * left, sigma.T], [sigma, lmda / 2 * right]])
        self.rates, self.basis = np.linalg.eigh(f)
        self.q0, self.sigma = np.concatenate([w1.T, w2]), sigma

    def qqt(self, t: float) -> np.ndarray:
        """QQ^T at `t`."""
        o, w, q0 = self.basis, self.rates, self.q0
        safe = np.where(w == 0, 1.0, w)
        gain = np.where(w == 0, t, np.expm1(2 * safe * t) / (2 * safe))
        moved = o @ (np.exp(w * t)[:, None] * (o.T @ q0))
        core = np.eye(q0.shape[1]) + q0.T @ (o @ (gain[:, None] * (o.T @ q0)))
        return moved @ np.linalg.inv(core) @ moved.T

    def loss(self, t: float) -> float:
        """The loss at `t`."""
        function = self.qqt(t)[self.n_in :, : self.n_in]
        return float(np.sum((function - self.sigma) ** 2) / 2)


def formula() -> Losses:
    """The losses of `Formula`, in loops over networks and times."""

    def losses(p: Problem):
        w1, w2, sigma = (np.asarray(x, float) for x in (p.w1, p.w2, p.sigma))
        arrays = w1, w2, np.broadcast_to(sigma, (len(w1), *sigma.shape[-2:]))
        ts = np.asarray(p.ts, float)
        found = []
        for w1, w2, sigma in zip(*arrays, strict=True):
            one = Formula(w1, w2, sigma, p.lmda)
            found.append([one.loss(t) for t in ts])
        return np.array(found)

    return losses


def _flow(rtol: float, adjoint: Callable | None = None) -> Callable:
    """A function for the loss of one network at all times, integrated by diffrax."""
    import diffrax

    solver = diffrax.Tsit5()
    adjoint = diffrax.RecursiveCheckpointAdjoint if adjoint is None else adjoint

    def losses(w1, w2, sigma, ts):
        def field(t, weights, args):
            w1, w2 = weights
            error = sigma - w2 @ w1
            return w2.T @ error, error @ w1.T

        weights = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            t0=jnp.zeros((), ts.dtype),
            t1=ts[-1],
            dt0=None,
            y0=(w1, w2),
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            max_steps=2**14,
            adjoint=adjoint(),
        ).ys
        assert weights is not None
        error = jnp.einsum("toh,thi->toi", weights[1], weights[0]) - sigma[None]
        return jnp.sum(error**2, axis=(1, 2)) / 2

    return losses


def diffrax(rtol: float) -> Losses:
    """The losses of gradient flow by Tsit5, at tolerances of `rtol` a step."""
    batched = _for_all(_flow(rtol))
    return lambda p: batched(p.w1, p.w2, p.sigma, p.ts)


def descent(rate: float) -> Losses:
    """The losses of full-batch descent by `lax.scan` at the problem's times."""

    def one(w1, w2, sigma, blocks, every):
        def step(weights, _):
            w1, w2 = weights
            error = sigma - w2 @ w1
            return (w1 + rate * w2.T @ error, w2 + rate * error @ w1.T), None

        def block(weights, _):
            weights, _ = jax.lax.scan(step, weights, length=every)
            error = weights[1] @ weights[0] - sigma
            return weights, jnp.sum(error**2) / 2

        return jax.lax.scan(block, (w1, w2), length=blocks)[1]

    batched = _for_all(one, static=(3, 4))

    def losses(p: Problem):
        every = max(1, round(float(p.ts[0]) / rate))  # the times are equally spaced
        return batched(p.w1, p.w2, p.sigma, p.ts.size, every)

    return losses


def exact_gradient() -> Gradients:
    """The slopes of the sum of all losses by the exact solution's derivative rule."""
    return _slopes(_loss, jax.grad)


def diffrax_gradient(rtol: float) -> Gradients:
    """The slopes through the solver by `RecursiveCheckpointAdjoint`."""
    return _slopes(_flow(rtol), jax.grad)


def diffrax_forward(rtol: float) -> Gradients:
    """The slopes through the solver in forward mode, one direction per argument."""
    import diffrax

    return _slopes(_flow(rtol, diffrax.ForwardMode), jax.jacfwd)


def _slopes(losses: Callable, derivative: Callable) -> Gradients:
    @jax.jit
    def slopes(w1, w2, sigma, ts):
        def total(w1, w2, sigma):
            return jnp.sum(losses(w1, w2, sigma, ts))

        return jax.vmap(derivative(total, (0, 1, 2)))(w1, w2, sigma)

    return lambda p: slopes(p.w1, p.w2, p.sigma, p.ts)
