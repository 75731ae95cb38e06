"""Simulations of wide layers, at the cost of narrow ones.

The gradient of two layers commutes with rotations of the hidden units, and so do steps
along it. A rotation leaves weights to as many hidden units as there are inputs and
outputs. The others never get any: the network of the used units is simulated, and its
weights are rotated back. (Adam, noise for each unit and three layers have no such
symmetry.)

Derivatives with respect to the weights come from a simulation in full width: a
change of the weights may use directions that the start does not, and the rotation has
no derivative where the start uses fewer directions than inputs and outputs. All other
derivatives come from the compressed simulation.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from .base import AbstractDynamics

Given = tuple["AbstractSimulation", Task, Float[Array, " times"]]


class AbstractSimulation(AbstractDynamics):
    """A law that is integrated numerically."""

    @abc.abstractmethod
    def simulate(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        """The trajectory in full width, for arrays of one dtype."""

    def simulate_compressed(
        self,
        network: LinearNetwork,
        task: Task,
        ts: Float[Array, " times"],
        *,
        only_reverse: bool,
    ) -> Trajectory:
        """`simulate`, by few hidden units for a law that commutes with rotations.

        `only_reverse` says that the simulation has derivatives in reverse mode alone.
        """
        few = network.sizes[0] + network.sizes[-1]
        if network.depth != 2 or network.sizes[1] <= few:
            return self.simulate(network, task, ts)
        given = self, task, ts
        if only_reverse:
            return _with_pull_back((network, given))
        return _with_tangents(network, given)


def _in_full(network: LinearNetwork, given: Given) -> Trajectory:
    law, task, ts = given
    return law.simulate(network, task, ts)


def _compressed(network: LinearNetwork, given: Given) -> Trajectory:
    small, rotation = network.compressed()
    trajectory = _in_full(small, given)
    rotated = jax.vmap(lambda v1, v2: (dot(rotation, v1), dot(v2, rotation.mT)))(
        *trajectory.network.weights
    )
    # The start equals the given weights exactly.
    is_start = (trajectory.ts == 0)[:, None, None]
    weights = tuple(
        jnp.where(is_start, own[None], w)
        for own, w in zip(network.weights, rotated, strict=True)
    )
    return eqx.tree_at(lambda t: t.network.weights, trajectory, weights)


@eqx.filter_custom_jvp
def _with_tangents(network: LinearNetwork, given: Given) -> Trajectory:
    return _compressed(network, given)


@_with_tangents.def_jvp
def _with_tangents_jvp(primals, tangents):
    by_weights = jax.tree.leaves(tangents[0])
    simulated = _in_full if by_weights else _compressed
    return eqx.filter_jvp(simulated, primals, tangents)


@eqx.filter_custom_vjp
def _with_pull_back(both: tuple[LinearNetwork, Given]) -> Trajectory:
    return _compressed(*both)


@_with_pull_back.def_fwd
def _with_pull_back_fwd(perturbed, both):
    return _compressed(*both), None


@_with_pull_back.def_bwd
def _with_pull_back_bwd(residuals, cotangents, perturbed, both):
    by_weights = any(jax.tree.leaves(perturbed[0]))
    simulated = _in_full if by_weights else _compressed
    moving, fixed = eqx.partition(both, perturbed)

    def floats(moving):
        trajectory = simulated(*eqx.combine(moving, fixed))
        return eqx.filter(trajectory, eqx.is_inexact_array)

    found, pull_back = jax.vjp(floats, moving)
    cotangents = jax.tree.map(
        lambda x, c: jnp.zeros_like(x) if c is None else c, found, cotangents
    )
    return pull_back(cotangents)[0]
