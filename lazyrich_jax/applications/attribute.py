"""A new attribute of one item, and its generalisation to other items."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, theory
from .._dynamics import AbstractDynamics, Exact
from .._learn import learn
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .stages import Protocol, TwoStages, end


class NewAttribute(TwoStages):
    """A new attribute learned of one item, at every balance.

    **Attributes:**

    - `lmda`: the balances, (lmdas,).
    - `before`: the `Trajectory` of the first stage with a leading axis lmdas, at the
      `ts` up to `duration`, and last at `duration`.
    - `after`: the `Trajectory` of the readout row at `ts`. The row is a network of one
      layer from the hidden activity to the attribute.
    - `generalisation`: the attribute's output for every sample, (lmdas, times,
      samples).
    - `predicted`: the limit of `generalisation`, from the input representation alone,
      (lmdas, samples). It is 1 for the item, and zero if the item's hidden activity is
      zero.
    - `result`: members of `lazyrich_jax.RESULTS`, (lmdas,).
    """

    generalisation: Float[Array, "*batch lmdas times samples"]
    predicted: Float[Array, "*batch lmdas samples"]

    def _columns(self) -> dict[str, Array]:
        """The predicted generalisation to the first samples."""
        samples = range(min(8, self.predicted.shape[-1]))
        predicted = jnp.round(self.predicted, 9)
        return {f"sample {j}": predicted[..., j] for j in samples}


def new_attribute(
    network: LinearNetwork,
    task: Task,
    item: int,
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
    *,
    duration: Real[ArrayLike, ""],
    ts: Real[ArrayLike, " times"] | Sequence[float],
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> NewAttribute:
    r"""Learn a task, and then a new attribute of one item, at every balance.

    The attribute is a further output, with a readout row that starts at zero. It is
    learned from the one item alone (with the target 1), while all other parameters are
    fixed. The input representation $K = XW_1^\top W_1X^\top$ determines the
    generalisation to other items: the output for sample j is
    $\frac{K_{j,\text{item}}}{K_{\text{item},\text{item}}}
    (1 - e^{-K_{\text{item},\text{item}}t})$. For a semantic hierarchy the
    generalisation follows the hierarchy if $\lambda \ge 0$, and is restricted to the
    item as $\lambda \to -\infty$: structured and unstructured transfer (Domine et al.
    2025, section 5).

    **Arguments:**

    - `network`: a network of two layers. Every balance starts from its function
      (`network.rebalanced(lmda)`).
    - `task`: the first task, such as `Task.hierarchy()`.
    - `item`: the index of the sample that has the attribute.
    - `lmda`: the balances, (lmdas,); the sizes must allow them.
    - `duration`: the training time of `task`, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`: times since the start of the second stage, (times,), non-decreasing.
    - `dynamics`, `throw`: as for `lazyrich_jax.learn`; each balance has its own result.
      `Exact` learns the attribute in closed form too.

    **Returns:** a `NewAttribute`. It doesn't depend on rotations of the hidden units.

    **Raises:** `ValueError` for an `item` that isn't a sample's index; a duration that
    isn't positive, or is infinite for a simulation; balances that aren't a vector or
    aren't allowed by the sizes; another depth; and as `lazyrich_jax.learn`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    network = lr.LambdaBalanced(scale=0.1)(4, 4, 4, key=jax.random.key(0))
    lmda, ts = [-100.0, 0.1, 100.0], jnp.linspace(0, 10, 50)
    print(
        lr.applications.new_attribute(
            network, task, 0, lmda, duration=jnp.inf, ts=ts
        )
    )
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics)
    index = _checks.size("item", item, least=0)
    _checks.require(
        index < task.samples,
        f"`item` must be less than the number of samples, {task.samples}, but it was "
        f"{index}.",
    )
    before = protocol.first()
    start = end(before)
    after = _readouts(protocol, start, index)
    return protocol.outcome(
        NewAttribute, _measures, before, start, after, index, throw=throw
    )


@eqx.filter_jit
def _readouts(protocol: Protocol, start: LinearNetwork, item: int) -> Trajectory:
    """The trajectory of the new row at every balance."""

    def one(network):
        return _readout(_hidden(protocol, network)[item], protocol)

    return jax.vmap(one)(start)


def _hidden(
    protocol: Protocol, network: LinearNetwork
) -> Float[Array, "samples hidden"]:
    """The hidden activity of every sample."""
    x = protocol.task.x.astype(protocol.ts.dtype)
    return dot(x, network.weights[0].mT)


def _measures(
    protocol: Protocol, start: LinearNetwork, after: Trajectory, item: int
) -> dict[str, Array]:
    hidden = _hidden(protocol, start)
    similarity = dot(hidden, hidden[item])
    own = similarity[item]
    return {
        "generalisation": dot(after.function[:, 0], hidden.T),
        "predicted": similarity / jnp.where(own == 0, 1.0, own),
    }


def _readout(activity: Float[Array, " hidden"], protocol: Protocol) -> Trajectory:
    """The trajectory of the new row, from zero, for the one item's hidden activity."""
    row = jnp.zeros_like(activity)[None]
    task = Task(activity[None], jnp.ones((1, 1), activity.dtype))
    ts = protocol.ts
    if not isinstance(protocol.dynamics, Exact):
        start = LinearNetwork((row,))
        return learn(start, task, ts, dynamics=protocol.dynamics, throw=False)
    rows = theory.shallow_function(ts, row, task)
    loss = jax.vmap(task.loss)(rows)
    networks = jax.vmap(lambda row: LinearNetwork((row,)))(rows)
    # A balance that failed in the first stage has NaN activity here.
    return Trajectory(ts, loss, networks, RESULTS.successful)
