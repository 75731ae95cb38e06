"""The closed-form solution of two-layer learning from balanced weights."""

import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _display
from .._network import LinearNetwork
from .._riccati.differentiable import Solved
from .._task import Task
from .._trajectory import RESULTS, Trajectory, raise_if_failed
from . import quantities
from .base import failure, is_known_zero, one_balance, one_decay
from .quantities import State
from .reduction import check, reduce


class ExactSolution(State):
    r"""The exact gradient flow of a two-layer network, at any time.

    With `lmda`-balanced weights and isotropic inputs, $\Sigma_{xx} = cI$, the matrix
    $QQ^\top$ with $Q = [W_1^\top; W_2]$ obeys a Riccati equation (Fukumizu 1998; Domine
    et al. 2025, Theorem 4.3). Its solution for $c = 1$ is

    $$QQ^\top(t) = e^{Ft} Q_0 \left[I + Q_0^\top G(t) Q_0\right]^{-1} Q_0^\top e^{Ft},
    \quad F = \begin{pmatrix} -\frac\lambda2 I & \Sigma^\top \\ \Sigma & \frac\lambda2 I
    \end{pmatrix}, \quad G(t) = \int_0^t e^{2Fs} ds.$$

    Wide networks with $QQ^\top J QQ^\top = -\lambda QQ^\top + \mu^2 J$,
    $J = \mathrm{diag}(I, -I)$, as `lazyrich_jax.WideOrthogonal` and
    `lazyrich_jax.wide_network` make them, are solved by the same formula
    (docs/theory.md, section 7).

    It makes no assumption on the hidden size, on ranks or on invertibility. (The
    published form needs `hidden = min(in, out)`, full rank and an invertible matrix B.)
    The evaluation is stable at every time, infinity included.

    Every method takes a scalar or an array of times, in units of learning rate x step,
    in any order, and puts the array's axes first. All methods work under `jax.jit`,
    `jax.vmap`, `jax.grad`, `jax.jacfwd` and `jax.jacrev`.

    First derivatives with respect to times, weights, data and their parameters have
    their own closed form, which holds at repeated and zero singular values, at saddles
    and at infinity. They are the flow's derivatives for every change that keeps the
    weights balanced, at any `lmda`, and the inputs isotropic. For other changes of
    weights and inputs they are the formula's derivatives, with the mean balance and
    variance; the flow's derivatives differ. `flow_derivatives=True` adds the
    difference.

    Second derivatives are right where the task's singular values are distinct (and
    nonzero, for unequal sizes or a balance of zero) and the start is not near a saddle
    or a lower rank. With respect to times, weights and the balance they are right also
    at repeated singular values. Elsewhere, and for wide networks unless with respect to
    times, they are refused with an error (with `throw=False`, NaN).

    **Arguments:**

    - `network`: a balanced or wide `LinearNetwork` of two layers.
    - `task`: a `Task` with isotropic inputs, of any variance.
    - `weight_decay`: the decay $\gamma \ge 0$ of both layers, $\dot W = -\partial L /
      \partial W - \gamma W$, in units of 1 / time (docs/beyond.md, section 1). The loss
      is without the penalty. `flow_network` is refused unless the network is aligned.
    - `lmda`: the balance, if it is known apart from the weights. Under weight decay,
      networks mapped by `jax.vmap` with one task, decay and `lmda` then share all that
      does not depend on their start, most of the work. The number 0.0, not an array,
      makes values as fast as without decay. Derivatives by the balance belong to
      `lmda`. A network of another balance is refused. It needs `start="balanced"` in
      wide layers.
    - `start`: the class of the network. "any" is balanced or wide, "balanced" and
      "wide" are one of the two; "wide" is the fastest for many wide networks. An
      "aligned" network shares the singular vectors of the task, in its function and
      both representations, and each mode may have a balance of its own, or several
      hidden units of different balances. Its derivatives hold for changes that keep
      the singular vectors, and `network` has the flow's own weights.
    - `throw`: whether to refuse networks and tasks for which the solution is not exact
      (the default), or to return NaN, with the reason in `solution.result`.
    - `flow_derivatives`: whether first derivatives by weights and inputs are the flow's
      in every direction. Values don't depend on it. Derivatives cost a linear ODE for
      every entry of the balance and of the inputs' covariance, solved to a tolerance of
      1e-10 a step in double precision (docs/theory.md, section 3). Second derivatives,
      and derivatives of `network` and `flow_network`, then raise a `TypeError`, and
      wide networks are refused.

    **Raises:** `ValueError` for another depth and sizes that don't fit the task; with
    `throw`, for unbalanced weights, anisotropic inputs and values that aren't finite (a
    runtime error under `jax.jit`); for negative or NaN times (traced times give NaN).

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(1))
    solution = lr.ExactSolution(network, task)
    losses = solution.loss(jnp.linspace(0, 5, 100))
    converged = solution.function(jnp.inf)
    ```
    """

    def __init__(
        self,
        network: LinearNetwork,
        task: Task,
        *,
        weight_decay: Real[ArrayLike, ""] = 0.0,
        lmda: Real[ArrayLike, ""] | None = None,
        start: str = "any",
        throw: bool = True,
        flow_derivatives: bool = False,
    ):
        decay = one_decay(weight_decay)
        is_zero = decay is not None and is_known_zero(lmda)
        if lmda is not None:
            lmda = one_balance(lmda)
        check(network, task, start, flow_derivatives, decay, lmda)
        state = reduce(
            network,
            task,
            throw=throw,
            start=start,
            flow_derivatives=flow_derivatives,
            weight_decay=decay,
            lmda=lmda,
            is_zero=is_zero,
        )
        result = state.result
        if throw and not _checks.is_concrete(result):
            state = raise_if_failed(state, result)
        elif throw and result != RESULTS.successful:
            raise failure(result, network, task)
        for name, value in state._asdict().items():
            setattr(self, name, value)

    def loss(self, t: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts"]:
        """The loss. Its excess over the optimum keeps its digits near convergence."""
        return self._at(t, quantities.loss)

    def function(self, t: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts out in"]:
        r"""$W_2 W_1$."""
        return self._at(t, quantities.function)

    def input_representation(
        self, t: Real[ArrayLike, "*ts"]
    ) -> Float[Array, "*ts in in"]:
        r"""$W_1^\top W_1$."""
        return self._at(t, quantities.inputs)

    def output_representation(
        self, t: Real[ArrayLike, "*ts"]
    ) -> Float[Array, "*ts out out"]:
        r"""$W_2 W_2^\top$."""
        return self._at(t, quantities.outputs)

    def qqt(self, t: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts both both"]:
        r"""$QQ^\top$ with $Q = [W_1^\top; W_2]$."""
        return self._at(t, quantities.qqt)

    def ntk(
        self, t: Real[ArrayLike, "*ts"], x: Real[ArrayLike, "samples in"]
    ) -> Float[Array, "*ts outputs outputs"]:
        """The neural tangent kernel on inputs `x`, as `lazyrich_jax.kernels.ntk`."""
        x = _checks.as_matrix("x", x)
        n_in = self.sizes[0]
        _checks.require(
            x.shape[1] == n_in,
            f"`x` must have the task's {n_in} inputs (columns), but its shape was "
            f"{x.shape}.",
        )
        return self._at(t, quantities.ntk, x)

    def network(self, t: Real[ArrayLike, "*ts"]) -> LinearNetwork:
        r"""Weights with the exact $QQ^\top$.

        They equal the flow's own weights (`flow_network`) up to a rotation of the
        hidden units. At time zero they are the network's weights. Their derivatives
        belong to one choice of the rotation. They are right for quantities that are
        invariant under rotations.
        """
        return self._at(t, quantities.network)

    def trajectory(self, ts: Real[ArrayLike, "*batch times"]) -> Trajectory:
        """Loss and network at the times `ts`, as `lazyrich_jax.learn` returns them.

        **Raises:** `ValueError` for a scalar, and for negative or NaN times.
        """
        _checks.one("solution", self)
        ts = _checks.as_times("ts", ts)
        _checks.require(
            ts.ndim > 0 and ts.size > 0,
            "`ts` must be an array of at least one time, but its shape was "
            f"{ts.shape}: for a scalar time ask `loss(t)` or `network(t)`.",
        )
        ts = ts.astype(self.optimum.dtype)
        return Trajectory(
            ts=ts, loss=self.loss(ts), network=self.network(ts), result=self.result
        )

    def flow_network(
        self,
        t: Real[ArrayLike, "*ts"],
        *,
        rtol: Real[ArrayLike, ""] | None = None,
        atol: Real[ArrayLike, ""] | None = None,
    ) -> LinearNetwork:
        r"""The network with the flow's own weights $W_1(t)$ and $W_2(t)$.

        $QQ^\top$ is exact. The rotation of the hidden units solves an equation with
        exact coefficients (docs/theory.md). Dopri8 integrates it at the tolerances
        `rtol` and `atol` of a step (by default 1e-10 and 1e-12 in double precision,
        1e-5 and 1e-6 in single). The rotation is the identity for one hidden unit and
        for weights aligned with the task.

        The weights are differentiable in reverse mode, wherever
        `lazyrich_jax.ExactSolution` has second derivatives.

        **Raises:** `ValueError` for tolerances that aren't positive (traced: NaN).
        """
        _checks.one("solution", self)
        double = jnp.finfo(self.optimum.dtype).bits > 32
        tolerances, settled = [], True
        for name, value, default in (
            ("rtol", rtol, 1e-10 if double else 1e-5),
            ("atol", atol, 1e-12 if double else 1e-6),
        ):
            value = _checks.as_scalar(name, default if value is None else value)
            value = _checks.positive(name, value)
            good = jnp.isfinite(value)
            value, settled = jnp.where(good, value, default), settled & good
            tolerances.append(value.astype(self.optimum.dtype))
        t = jnp.where(settled, _checks.as_times("t", t), jnp.nan)
        _checks.require(
            self.modes is not None or isinstance(self.core, Solved),
            "`weight_decay` must be zero for the flow's own weights of networks that "
            "are not aligned, but it was not: use `network`.",
        )
        if self.modes is not None:
            return self.network(t)
        return quantities.weights(self, t, *tolerances)

    def weights(self, t: Real[ArrayLike, "*ts"], **tolerances: Any) -> LinearNetwork:
        """The former name of `flow_network`."""
        warnings.warn(
            "`ExactSolution.weights` returns a network and is now called "
            "`flow_network`.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.flow_network(t, **tolerances)

    def _at(self, t: Real[ArrayLike, "*ts"], quantity: Callable, *args: Array):
        _checks.one("solution", self)
        return quantities.over_times(self, _checks.as_times("t", t), quantity, *args)

    def __repr__(self) -> str:
        """The sizes of the network and the dtype."""
        return _display.line(
            self, lambda: _checks.sizes_text(self.sizes), lambda: self.batch_shape
        )

    def _repr_html_(self) -> str | None:
        """The class of the solution and its lowest loss, of one concrete solution."""

        def content() -> tuple[dict[str, str], str]:
            kind = "balanced" if self.modes is None else "aligned"
            if self.wide is not None and bool(self.wide.is_wide):
                kind = "wide"
            decayed = "without" if isinstance(self.core, Solved) else "with"
            rows = {
                "class": f"{kind}, {decayed} weight decay",
                "variance of the inputs": f"{float(self.variance):.4g}",
                "lowest loss of a linear map": f"{float(self.optimum):.4g}",
            }
            return rows, ""

        return _display.shown(self, lambda: self.batch_shape, content)
