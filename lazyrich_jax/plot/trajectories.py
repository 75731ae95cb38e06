"""Trajectories to be drawn, and their labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .. import _checks
from .._trajectory import Trajectory

Trajectories = Trajectory | Sequence[Trajectory] | Mapping[str, Trajectory]
Labels = str | Sequence[str] | None


def read(
    trajectories: Trajectories, labels: Labels
) -> list[tuple[str | None, Trajectory]]:
    """Every trajectory, at its finite times, with its label or `None`."""
    if isinstance(trajectories, Trajectory):
        named = {"trajectories": trajectories}
    elif isinstance(trajectories, Mapping):
        named = {f"trajectories[{k!r}]": t for k, t in trajectories.items()}
        _checks.require(
            labels is None,
            "`labels` must be left out where `trajectories` is a dict, whose keys are "
            f"the labels, but it was {labels!r}.",
        )
        labels = [str(k) for k in trajectories]
    elif isinstance(trajectories, Sequence):
        named = {f"trajectories[{i}]": t for i, t in enumerate(trajectories)}
    else:
        raise TypeError(
            "`trajectories` must be a `Trajectory`, or a list or dict of them, but it "
            f"was a `{type(trajectories).__name__}`."
        )
    _checks.require(
        len(named) > 0, "`trajectories` must hold a trajectory, but it was empty."
    )
    for name, trajectory in named.items():
        check(name, trajectory)
    texts = _texts(labels, len(named))
    return [
        (text, _at_finite_times(name, t))
        for text, (name, t) in zip(texts, named.items(), strict=True)
    ]


def check(name: str, trajectory: Any) -> None:
    """Refuse other types, traced values and batches of trajectories."""
    hint = "`lr.learn` returns one"
    _checks.instance(name, trajectory, Trajectory, hint, batched=True)
    _checks.require(
        _checks.is_concrete(trajectory),
        f"`{name}` must have values to draw, but it was traced: plot outside of "
        "`jax.jit`, `jax.vmap` and `jax.grad`.",
    )
    shape = max(trajectory.ts.shape, trajectory.loss.shape, key=len)
    _checks.require(
        len(shape) == 1,
        f"`{name}` must be one trajectory, its times of shape (T,), but they had shape "
        f"{shape}; index one of a batch: `jax.tree.map(lambda a: a[0], {name})`.",
    )


def _texts(labels: Labels, count: int) -> Sequence[str | None]:
    if labels is None:
        return [None] * count
    texts = [labels] if isinstance(labels, str) else list(labels)
    _checks.require(
        len(texts) == count,
        f"`labels` must be one for each of {count} trajectories, but there were "
        f"{len(texts)}: {labels!r}.",
    )
    return texts


def _at_finite_times(name: str, trajectory: Trajectory) -> Trajectory:
    """The trajectory without an infinite time, which an axis can't show."""
    finite = np.isfinite(np.asarray(trajectory.ts))
    _checks.require(
        bool(finite.any()),
        f"`{name}` must hold a finite time to draw, but its times were "
        f"{trajectory.ts}.",
    )
    if finite.all():
        return trajectory
    network = jax.tree.map(lambda w: w[finite], trajectory.network)
    ts, loss = trajectory.ts[finite], trajectory.loss[finite]
    return Trajectory(ts, loss, network, trajectory.result)
