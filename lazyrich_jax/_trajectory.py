"""Trajectories: the result of learning under every law."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from . import _display
from ._checks import can_raise, is_concrete, sizes_text
from ._network import LinearNetwork
from .kernels import ntk

if TYPE_CHECKING:
    import xarray

# The named dimensions of a trajectory's arrays, after those of a batch.
DIMS = {
    "ts": ("time",),
    "loss": ("time",),
    "function": ("time", "out", "in"),
    "input_representation": ("time", "in", "in_"),
    "output_representation": ("time", "out", "out_"),
}


class RESULTS(eqx.Enumeration):
    """The outcomes of learning. `RESULTS[result]` is the message."""

    successful = ""
    unbalanced_weights = (
        "`network` must be lambda-balanced (W2.T W2 - W1 W1.T = lambda I) or in the "
        "wide class (`lazyrich_jax.wide_network`) for `Exact`, but it was in neither: "
        "use `dynamics=GradientFlow()`, or `network.rebalanced(lmda)`."
    )
    anisotropic_inputs = (
        "`task` must have isotropic inputs (x.T x / samples = c I, c > 0) for `Exact`, "
        "but it did not: use `dynamics=GradientFlow()`, or `task.whitened()`."
    )
    nonfinite_values = (
        "`network` and `task` must be finite, but a weight, input or target was NaN or "
        "infinite."
    )
    invalid_times = (
        "`ts` must be non-negative and in non-decreasing order (repeats are allowed; "
        "infinity only for `Exact`, `WideLimit` and `NearlyExact`), but it was not."
    )
    diverged = (
        "`learning_rate` must be small enough for gradient descent to converge, but it "
        "diverged: reduce the learning rate."
    )
    solver_failed = (
        "`max_steps` of `GradientFlow` must suffice to reach the last of `ts`, but the "
        "solver stopped before: increase `max_steps`, loosen `rtol` and `atol`, or "
        "choose an implicit solver."
    )
    invalid_setting = (
        "`dynamics` must have finite and positive numbers (the learning rate and "
        "`step_time`, `rtol` and `atol`, or `tolerance`) and a finite and non-negative "
        "`weight_decay`, but one was not."
    )
    unaligned_weights = (
        "`network` must be aligned with the task for `start='aligned'` (function and "
        "representations diagonal in singular vectors of the task), but it was not: "
        "use `dynamics=GradientFlow()`."
    )
    too_far = (
        "`network` must be nearly balanced or wide, `task` must have nearly isotropic "
        "inputs and `learning_rate` must be small for `NearlyExact`, but the estimated "
        "error of the function exceeded `tolerance` of its largest size, or the rate "
        "was above the largest stable one (`theory.largest_stable_step`): use "
        "`dynamics=GradientFlow()` or `GradientDescent(learning_rate)`, or see the "
        "estimate with `throw=False`."
    )
    other_balance = (
        "`lmda` must be the balance of `network`, `network.lmda`, but it was not."
    )


def raise_if_failed(x: Any, result: RESULTS) -> Any:
    """`x`, with a runtime error if a traced `result` is a failure."""
    failed = result != RESULTS.successful
    can_raise(failed)
    return result.error_if(x, failed)


def describe(result: RESULTS) -> str:
    """A result in words; for a batch, the number of failures."""
    failed = np.asarray(result != RESULTS.successful)
    if not failed.any():
        return "successful"
    if failed.ndim == 0:
        return RESULTS[result]
    return f"{int(failed.sum())} of {failed.size} failed"


class Trajectory(eqx.Module):
    r"""A network at the times `ts` of its learning.

    Every law of learning returns one: `jax.tree.map` compares two.

    **Attributes:**

    - `ts`: the times, (T,), in units of learning rate x step.
    - `loss`: $\frac1{2P} \sum_n \|y_n - \hat y_n\|^2$, (T,).
    - `network`: the `LinearNetwork`, its weights with a leading time axis. From `Exact`
      the weights are known up to a rotation of the hidden units. The properties below
      don't depend on it.
    - `result`: a member of `lazyrich_jax.RESULTS`.
    - `error_estimate`: the estimated Frobenius norm of the function's error, (T,), from
      `WideLimit` and `NearlyExact`; None from the other laws.
    """

    ts: Float[Array, "*batch times"]
    loss: Float[Array, "*batch times"]
    network: LinearNetwork
    result: RESULTS
    error_estimate: Float[Array, "*batch times"] | None = None

    @property
    def function(self) -> Float[Array, "*batch times out in"]:
        """The end-to-end map at every time."""
        return self.network.function

    @property
    def input_representation(self) -> Float[Array, "*batch times in in"]:
        r"""$W_1^\top W_1$ at every time."""
        return self.network.input_representation

    @property
    def output_representation(self) -> Float[Array, "*batch times out out"]:
        r"""$W_L W_L^\top$ at every time."""
        return self.network.output_representation

    @property
    def qqt(self) -> Float[Array, "*batch times both both"]:
        r"""$QQ^\top$, $Q = [W_1^\top; W_2]$, at every time (two layers)."""
        return self.network.qqt

    def ntk(
        self, x: Real[ArrayLike, "samples in"]
    ) -> Float[Array, "*batch times outputs outputs"]:
        """The neural tangent kernel on inputs `x`, as `lazyrich_jax.kernels.ntk`."""
        shape = self.ts.shape
        flat = jax.tree.map(lambda w: w.reshape(-1, *w.shape[-2:]), self.network)
        found = jax.vmap(ntk, in_axes=(0, None))(flat, x)
        return found.reshape(*shape, *found.shape[1:])

    def to_xarray(self) -> "xarray.Dataset":
        """Loss, function, representations and weights as a labelled data set.

        The dimensions are `time`, `in`, `out`, `hidden` (deeper networks: `hidden_1`,
        ...), and `batch_0`, ... for leading axes. The times of one trajectory are the
        coordinate `time`, in units of learning rate x step. The attribute `result` is
        the outcome in words.

        **Raises:** `TypeError` for a traced trajectory.
        """
        import xarray

        if not is_concrete(self):
            raise TypeError(
                "`trajectory` must be concrete to become a data set, outside of "
                "`jax.jit`, `jax.vmap` and `jax.grad`, but it was traced."
            )
        batch = tuple(f"batch_{i}" for i in range(self.ts.ndim - 1))
        depth = self.network.depth
        hidden = ["hidden"] if depth == 2 else [f"hidden_{i}" for i in range(1, depth)]
        units = ["in", *hidden, "out"]
        dims = DIMS | {
            f"w{i + 1}": ("time", units[i + 1], units[i]) for i in range(depth)
        }
        arrays = {name: getattr(self, name) for name in DIMS}
        arrays |= {f"w{i + 1}": w for i, w in enumerate(self.network.weights)}
        if self.error_estimate is not None:
            dims["error_estimate"] = ("time",)
            arrays["error_estimate"] = self.error_estimate
        fields = {n: ((*batch, *dims[n]), np.asarray(x)) for n, x in arrays.items()}
        ts = fields.pop("ts")
        name = "time" if not batch else "ts"  # a batch may have times of its own
        about = {"units": "learning rate x step"}
        return xarray.Dataset(
            fields, {name: (*ts, about)}, {"result": describe(self.result)}
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of a batch of trajectories; empty for one trajectory."""
        return self.ts.shape[:-1]

    def __repr__(self) -> str:
        """The sizes of all layers, the number of times and the dtype."""
        return _display.line(
            self,
            lambda: f"{sizes_text(self.network.sizes)}, {self.ts.shape[-1]} times",
            lambda: self.batch_shape,
        )

    def _repr_html_(self) -> str | None:
        """The outcome and the loss over time, of one concrete trajectory."""
        if not _display.is_concrete_one(self, lambda: self.batch_shape):
            return None
        with jax.ensure_compile_time_eval():
            rows, picture = self._about(), _display.curve(self.ts, self.loss, "loss")
        return _display.card(repr(self), rows, picture)

    def __str__(self) -> str:
        sizes = sizes_text(self.network.sizes)
        batch = f" x {self.batch_shape}" if self.batch_shape else ""
        head = f"Trajectory{batch} of a {sizes} network, {self.ts.shape[-1]} times"
        if not is_concrete(self):
            return f"{head} (traced)"
        with jax.ensure_compile_time_eval():  # also where a program is traced
            low, high = (float(f(self.ts)) for f in (jnp.min, jnp.max))
            lines = [f"  {name}: {text}" for name, text in self._about().items()]
        head += f" from {low:.4g} to {high:.4g}, {self.loss.dtype.name}"
        return "\n".join([head, *lines])

    def _about(self) -> dict[str, str]:
        """Losses, outcome and error in words."""
        about = {
            "loss": f"{float(jnp.mean(self.loss[..., 0])):.6g} at the first time, "
            f"{float(jnp.mean(self.loss[..., -1])):.6g} at the last",
            "result": describe(self.result),
        }
        if self.error_estimate is not None:
            most = float(jnp.max(self.error_estimate))
            about["estimated error of the function"] = f"at most {most:.3g}"
        return about
