"""Whether the theory of linear networks describes a training."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from .. import _checks, _dtypes
from .._dynamics import Exact, GradientFlow, WideLimit
from .._dynamics.base import error_share
from .._exactness import (
    check_two_layers,
    exactness_tolerance,
    is_balanced,
    may_be_wide,
    near_hint,
    scales_of,
    tolerated_imbalance,
)
from .._learn import learn
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .._xla import compiled
from .balance import PairBalance
from .described import Description
from .gaps import States, gaps_of, states_of
from .linear import linear_network
from .recorder import Recorder

TIMES = 33  # at which the theory is compared with the flow


def describe(
    start: PyTree,
    end: PyTree,
    task: Task,
    time: Real[ArrayLike, ""],
    *,
    apply: Callable[[Any, Array], Any] | None = None,
    layout: str | None = None,
    flow: GradientFlow = GradientFlow(),  # noqa: B008 (immutable)
) -> Description:
    r"""Whether the theory describes the training of a two-layer linear network.

    It says which assumptions of the closed forms hold: two linear layers, isotropic
    inputs, and weights that are balanced or in the wide class, or wide enough to be
    near it. It then compares three courses from the same start weights: the closed
    form, the numerical gradient flow, and the trained network at its time. Loss,
    function, both representations and tangent kernel are compared separately.

    Agreement of the loss alone is no evidence: weights of very different
    representations have the same loss.

    Real data are rarely isotropic: train on `task.whitened(tol=1e-3)` and describe that
    training. Weights become balanced by `rebalance`.

    **Arguments:**

    - `start`, `end`: the networks before and after training, a `LinearNetwork` or
      models whose layers `LinearNetwork.from_layers` takes, without biases. `end` may
      be a `Recorder` of the training from `start` on: all its states are compared.
    - `task`: the task that was trained on, as it was given to the network.
    - `time`: learning rate x steps between `start` and the (last) `end`, of the loss
      $\frac1{2P}\sum_n |y_n - \hat y_n|^2$. A loss that is a mean over outputs too has
      a time shorter by 2 / out.
    - `apply`: maps a model and one sample to outputs, where the model isn't callable.
    - `layout`: as for `LinearNetwork.from_layers`.
    - `flow`: the `GradientFlow` to compare with.

    **Returns:** a `Description`.

    **Raises:** `ValueError` for networks that are not two linear layers or don't fit
    the task, and for a `time` that isn't positive and finite; `RuntimeError` if the
    flow's solver fails.

    ```python
    import jax
    import lazyrich_jax as lr

    keys = jax.random.split(jax.random.key(0), 2)
    task = lr.Task.random_regression(4, 2, samples=20, key=keys[0])
    start = lr.LambdaBalanced(lmda=1.0)(4, 2, 2, key=keys[1])
    law = lr.GradientDescent(learning_rate=0.01)
    trained = lr.learn(start, task, [0.0, 2.0], dynamics=law).network
    end = jax.tree.map(lambda w: w[-1], trained)
    print(lr.richness.describe(start, end, task, 2.0))
    ```
    """
    check_time = _checks.as_scalar("time", time)
    check_time = _checks.positive("time", check_time)
    trained, shares = [end], np.linspace(0.0, 1.0, TIMES)
    if isinstance(end, Recorder):
        trained, steps = end.models, end.steps
        _checks.require(
            len(steps) > 1,
            f"`end` must have at least two states, but it was {end!r}.",
        )
        shares = (steps - steps[0]) / (steps[-1] - steps[0])
    networks, checked = [], True
    for i, model in enumerate([start, *trained]):
        name = "end" if i else "start"
        network, was_checked = linear_network(name, model, task, apply, layout)
        checked &= was_checked
        check_two_layers(network, name)
        networks.append(network)
    networks, task = _dtypes.promoted(networks=networks, task=task)
    first, last = networks[0], networks[-1]
    _checks.require(
        first.sizes == last.sizes,
        "`start` and `end` must have the same sizes, but they had "
        f"{_checks.sizes_text(first.sizes)} and {_checks.sizes_text(last.sizes)}.",
    )
    in_size, drift = task.in_size, _drift(first, last)
    (first, *rest), task = _in_spanned(networks, task)
    ts = jnp.asarray(shares, task.x.dtype) * check_time.astype(task.x.dtype)
    return _described(first, rest, task, ts, in_size, drift, checked, flow)


def _in_spanned(
    networks: list[LinearNetwork], task: Task
) -> tuple[list[LinearNetwork], Task]:
    """Networks and task in coordinates of the directions that the inputs span."""
    rows = task.whitening(tol=0.0).matrix
    if rows.shape[0] == task.in_size:
        return networks, task
    basis = (rows / norm(rows, axis=1)[:, None]).mT
    networks = [
        LinearNetwork((dot(n.weights[0], basis), n.weights[1])) for n in networks
    ]
    return networks, Task(dot(task.x, basis), task.y)


def _described(
    start: LinearNetwork,
    trained: list[LinearNetwork],
    task: Task,
    ts: Float[Array, " times"],
    in_size: int,
    drift: Float[Array, ""],
    checked: bool,
    flow: GradientFlow,
) -> Description:
    kind, wide_residual, rounding = _class_of(start, task)
    numerical = learn(start, task, ts, dynamics=flow)
    theory, law, estimate = _theory(start, task, ts)
    final = states_of(jax.tree.map(lambda *w: jnp.stack(w), *trained), task)
    of_flow = states_of(numerical.network, task)

    def at_trained(states: States) -> States:
        return jax.tree.map(lambda x: x[-len(trained) :], states)

    theory_and_flow = theory_and_trained = None
    first = jax.tree.map(lambda x: x[:1], of_flow)
    if theory is not None:
        of_theory = states_of(theory.network, task)
        theory_and_flow = gaps_of(of_theory, of_flow, first, task)
        theory_and_trained = gaps_of(at_trained(of_theory), final, first, task)
    return Description(
        time=ts[-1],
        task=task,
        start=start,
        in_size=in_size,
        balance=PairBalance(("W1", "W2"), None, start),
        kind=kind,
        wide_residual=wide_residual,
        rounding=rounding,
        law=law,
        failing=_failing(start, task, kind, law),
        estimate=estimate,
        drift=drift,
        theory_and_flow=theory_and_flow,
        theory_and_trained=theory_and_trained,
        flow_and_trained=gaps_of(at_trained(of_flow), final, first, task),
        checked=checked,
    )


def _class_of(
    network: LinearNetwork, task: Task
) -> tuple[str, Float[Array, ""] | None, Float[Array, ""]]:
    """The class, the relative distance from the wide one, and the allowed distance."""
    tolerance = exactness_tolerance(task.x.dtype)
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    square, variance = _square(network), task.input_variance
    most = tolerated_imbalance(network, variance, s, network.lmda, tolerance)
    balanced = is_balanced(network, variance, s, tolerance)
    if not may_be_wide(network.sizes):
        return "balanced" if balanced else "neither", None, most / square
    small = network.compressed()[0]
    scales = scales_of(small)
    if not balanced:
        most = tolerated_imbalance(network, variance, s, scales.laziness, tolerance)
    wide = scales.residual <= most
    kind = "balanced" if balanced else "wide" if wide else "neither"
    return kind, scales.residual / square, most / square


def _square(network: LinearNetwork) -> Float[Array, ""]:
    """The squares of all weights; one for a network without weights."""
    square = sum(jnp.sum(w * w) for w in network.weights)
    return jnp.where(square > 0, square, 1.0)


def _theory(
    start: LinearNetwork, task: Task, ts: Float[Array, " times"]
) -> tuple[Trajectory | None, str | None, Float[Array, ""] | None]:
    """The closed form for the start weights, its name, and its estimated error."""
    theory = learn(start, task, ts, dynamics=Exact(), throw=False)
    if theory.result == RESULTS.successful:
        return theory, "Exact", None
    if theory.result == RESULTS.unbalanced_weights and may_be_wide(start.sizes):
        with warnings.catch_warnings():  # the description has the estimate
            warnings.simplefilter("ignore", UserWarning)
            theory = learn(start, task, ts, dynamics=WideLimit())
        estimate = error_share(theory.function, theory.error_estimate)
        return theory, "WideLimit", estimate
    return None, None, None


def _failing(
    start: LinearNetwork, task: Task, kind: str, law: str | None
) -> tuple[str, ...]:
    """The assumptions of the exact solution that fail."""
    found = []
    if not task.anisotropy <= exactness_tolerance(task.x.dtype):
        found.append(
            "The inputs are not isotropic: |Sxx - c I| / |c I| was "
            f"{float(task.anisotropy):.3g}. Train on `task.whitened(tol=...)`."
        )
    if kind == "neither":
        found.append(
            "The weights are neither balanced nor in the wide class."
            + (near_hint(start, task) if law is None else "")
        )
    return tuple(found)


@compiled
def _drift(start: LinearNetwork, end: LinearNetwork) -> Float[Array, ""]:
    before, after = (
        dot(n.weights[1].mT, n.weights[1]) - dot(n.weights[0], n.weights[0].mT)
        for n in (start, end)
    )
    return norm((after - before).ravel()) / _square(start)
