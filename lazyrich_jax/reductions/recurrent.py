"""Linear recurrent networks with a fixed recurrence."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import check_fit, check_two_layers
from .._network import LinearNetwork
from .._task import Task
from .reduction import Reduction


def linear_recurrent(
    network: LinearNetwork,
    x: Real[ArrayLike, "samples time in"],
    y: Real[ArrayLike, "samples out"],
    recurrence: Real[ArrayLike, ""],
) -> Reduction:
    r"""A linear recurrent network whose recurrent weights are a fixed scalar.

    The hidden state $h_t = r h_{t-1} + W_1x_t$, $h_0 = 0$, is read out at the last time
    T: $\hat y = W_2h_T$ (Proca et al. 2025). Both weight matrices learn. The network
    sees the sum $\sum_t r^{T-t} x_t$, and the reduction is exact for any sequences. For
    inputs of variance one, white also over time, the sums have the variance
    $c = \sum_t r^{2(T-t)}$ and the correlation
    $\Sigma = \sum_t r^{T-t} \langle yx_t^\top\rangle$ with the targets.

    **Arguments:**

    - `network`: $(W_1, W_2)$ at time zero.
    - `x`: input sequences.
    - `y`: targets at the last time.
    - `recurrence`: r. A matrix, or one that learns, has no reduction.

    **Returns:** a `Reduction`. Times are learning rate x step; functions are
    $W_2W_1$.

    **Raises:** `ValueError` for another depth, shapes that don't fit or are empty, and
    a recurrence that isn't a finite scalar (traced: NaN).
    """
    sequences = _checks.finite("x", _dtypes.as_real("x", x))
    _checks.require(
        sequences.ndim == 3,
        "`x` must be sequences, (samples, time, in), but its shape was "
        f"{sequences.shape}.",
    )
    _checks.require(
        min(sequences.shape) > 0,
        f"`x` must have no empty axis, but its shape was {sequences.shape}.",
    )
    scalar = _checks.as_scalar("recurrence", recurrence)
    scalar = _checks.finite("recurrence", scalar)
    sequences, scalar = _dtypes.promoted(x=sequences, recurrence=scalar)
    task = Task(_seen(sequences, scalar), y)
    check_fit(network, task)
    check_two_layers(network)
    return Reduction(network, task)


def _seen(
    x: Float[Array, "samples time in"], recurrence: Float[Array, ""]
) -> Float[Array, "samples in"]:
    """The sums of the sequences, the latest input with weight one."""
    total = jnp.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        total = recurrence * total + x[:, t]
    return total
