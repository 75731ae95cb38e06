"""States of a model, kept during its training."""

import os
from collections.abc import Callable
from typing import Any, SupportsIndex, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, Real, Shaped

from .. import _checks, _dtypes
from .._layers import is_float
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from . import archive
from .linear import linear_network
from .model import function_of, samples_of
from .states import States, states_of
from .steps import Steps, chosen_of, index_of, is_chosen


@final
class Recorder:
    r"""A record of a model's states at chosen steps of its training.

    It is called once in every step of any training loop, outside of `jax.jit`. At the
    chosen steps it copies the model's arrays to the host. At other steps it does
    nothing: it neither looks at the model nor waits for the device. It does not change
    the training, and allows donated buffers.

    **Arguments:**

    - `x`: the samples at which the model is looked at later, (samples, ...).
    - `y`: their targets, (samples, ...), for `losses` and reports.
    - `apply`: maps a model and one sample to outputs; by default the model is called.
    - `steps`: an integer n for every n-th step; a collection of steps, such as `{0, 5,
      50}` or `range(0, 1000, 10)`; or `"doubling"`, for the steps 0, 1, 2, 4, 8, ...,
      which are few in training of any length.

    **Raises:** `ValueError` or `TypeError` for bad `steps`, samples and targets.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(1))
    slope = jax.jit(jax.grad(lambda network: task.loss(network.function)))
    recorder = lr.richness.Recorder(task.x, task.y, steps=10)
    for step in range(51):
        recorder(step, network)
        network = jax.tree.map(lambda w, g: w - 0.1 * g, network, slope(network))
    print(recorder)  # Recorder(6 states of 10 numbers, steps 0 to 50)
    steps, losses = recorder.losses()
    lr.plot.loss(recorder.trajectory(learning_rate=0.1))
    ```
    """

    x: Shaped[ArrayLike, "samples ..."]
    y: Real[ArrayLike, "samples ..."] | None
    apply: Callable[[Any, Array], Any] | None

    def __init__(
        self,
        x: Shaped[ArrayLike, "samples ..."],
        y: Real[ArrayLike, "samples ..."] | None = None,
        *,
        apply: Callable[[Any, Array], Any] | None = None,
        steps: Steps = "doubling",
    ):
        count = samples_of(x).shape[0]
        shape = (count,) if y is None else _dtypes.as_real("y", y, whole=True).shape
        _checks.require(
            shape[:1] == (count,),
            f"`y` must have {count} rows, as `x`, but its shape was {shape}.",
        )
        if apply is not None and not callable(apply):
            raise TypeError(f"`apply` must be a function, but it was {apply!r}.")
        self.x, self.y, self.apply = x, y, apply
        self._chosen = chosen_of(steps)
        self._kept: dict[int, list[np.ndarray]] = {}
        self._states: States | None = None

    def wants(self, step: SupportsIndex) -> bool:
        """Whether a step is a chosen one.

        Ask first where the model's arrays take long to make, as in PyTorch:
        `if recorder.wants(step): recorder.keep(step, arrays_of(model))`.
        """
        return is_chosen(index_of("step", step), self._chosen)

    def __call__(self, step: SupportsIndex, model: PyTree) -> bool:
        """Keep the model's state if the step is a chosen one; see `keep`.

        **Returns:** whether it was kept.
        """
        wanted = self.wants(step)
        if wanted:
            self.keep(step, model)
        return wanted

    def keep(self, step: SupportsIndex, model: PyTree) -> None:
        """Keep the model's state at any step, such as the last one.

        A step that isn't after the last one kept means that the loop went back, for
        example to a checkpoint: the states of this and later steps are dropped.

        **Raises:** `TypeError` inside `jax.jit` and for a model without arrays;
        `ValueError` for a negative step, and for a model whose structure, shapes or
        dtypes differ from those of the states before.
        """
        index = index_of("step", step)
        states = self._states or states_of(model)
        arrays = states.arrays(model)
        self._states = states
        self._kept = {k: state for k, state in self._kept.items() if k < index}
        self._kept[index] = arrays

    def __len__(self) -> int:
        """The number of states."""
        return len(self._kept)

    @property
    def steps(self) -> Int[np.ndarray, " states"]:
        """The steps of the states, in increasing order."""
        return np.array(list(self._kept), int)

    @property
    def models(self) -> list[Any]:
        """The models at `steps`."""
        return [self._model(state) for state in self._kept.values()]

    @property
    def start(self) -> Any:
        """The model at the first of `steps`."""
        return self._model(self._state(0))

    @property
    def end(self) -> Any:
        """The model at the last of `steps`."""
        return self._model(self._state(-1))

    def outputs(self) -> Float[np.ndarray, "states samples outputs"]:
        """The outputs for `x` at each of `steps`, flat for each sample.

        **Raises:** `ValueError` without states; `ValueError` or `TypeError` for a model
        that can't map `x`.
        """
        self._state(0)
        found = []
        for model in self.models:
            function, samples = function_of("model", model, self.x, self.apply)
            found.append(np.asarray(function.outputs(samples)))
        return np.stack(found)

    def losses(self) -> tuple[Int[np.ndarray, " states"], Float[np.ndarray, " states"]]:
        r"""The steps and the losses $\frac1{2P}\sum_n \|y_n - f(x_n)\|^2$ at them.

        They are the times and the data for `lazyrich_jax.inference`, whose `rate` is
        the learning rate.

        **Raises:** as `outputs`; `ValueError` unless `y` has a number for each output.
        """
        outputs = self.outputs()
        y = self._targets()
        _checks.require(
            y.shape == outputs.shape[1:],
            f"`y` must have a number for each output, {outputs.shape[1:]}, but its "
            f"shape was {y.shape}; of labels take `jax.nn.one_hot`.",
        )
        return self.steps, np.sum((outputs - y[None]) ** 2, axis=2).mean(axis=1) / 2

    def trajectory(
        self,
        task: Task | None = None,
        *,
        learning_rate: float = 1.0,
        layout: str | None = None,
    ) -> Trajectory:
        r"""The states of a linear network as a `Trajectory`, for `lazyrich_jax.plot`.

        The models are `LinearNetwork`s, models whose layers `LinearNetwork.from_layers`
        takes, or sequences of matrices from the input on.

        **Arguments:**

        - `task`: gives the loss; by default the task of `x` and `y`.
        - `learning_rate`: of descent on $\frac1{2P} \sum_n \|y_n - f(x_n)\|^2$; times
          are learning rate x step. If the loss was the mean of squares over samples and
          outputs, multiply its learning rate by 2 / out.
        - `layout`: as for `LinearNetwork.from_layers`. Sequences of matrices are
          `"out_in"` by default.

        **Raises:** `ValueError` without states or targets, for models that are not
        linear, and as `LinearNetwork.from_layers`.
        """
        self._state(0)
        if task is None:
            task = Task(np.asarray(self.x), self._targets())
        networks = [self._network(model, task, layout) for model in self.models]
        rate = float(_checks.positive("learning_rate", jnp.asarray(learning_rate)))
        network = jax.tree.map(lambda *ws: jnp.stack(ws), *networks)
        loss = jax.vmap(task.loss)(network.function)
        ts = jnp.asarray(rate * self.steps, loss.dtype)
        return Trajectory(ts, loss, network, RESULTS.successful)

    def save(self, path: str | os.PathLike) -> None:
        """Write the record to a .npz file, in place of an earlier one.

        The file holds `steps`, `x`, `y` and each array of the model, such as
        `state.layers[0].weight`, with the steps as its leading axis. It holds no code.
        An interruption leaves the earlier file as it was.
        """
        chosen = self._chosen
        if isinstance(chosen, frozenset):
            chosen = sorted(chosen)
        content: dict[str, Any] = {"chosen": chosen, "steps": self.steps, "x": self.x}
        if self.y is not None:
            content["y"] = np.asarray(self.y)
        if self._states is not None:
            stacked = self._states.stacked(list(self._kept.values()))
            content |= {f"state.{name}": arrays for name, arrays in stacked.items()}
        archive.write(path, content)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        like: PyTree,
        *,
        apply: Callable[[Any, Array], Any] | None = None,
    ) -> "Recorder":
        """Read a record, to look at it or to continue it.

        **Arguments:**

        - `path`: the file that `save` wrote.
        - `like`: a model of the same structure; its numbers don't matter.
        - `apply`: as for `Recorder`.

        **Raises:** `ValueError` for another file, or for one of other arrays than those
        of `like`.
        """
        content = archive.read(path)
        _checks.require(
            {"chosen", "steps", "x"} <= set(content),
            "`path` must be a file that `Recorder.save` wrote, but it held "
            f"{', '.join(content) or 'no named arrays'}.",
        )
        chosen = content.pop("chosen")
        found = cls(
            content.pop("x"),
            content.pop("y", None),
            apply=apply,
            steps=chosen.item() if chosen.ndim == 0 else chosen.tolist(),
        )
        if steps := content.pop("steps").tolist():
            found._states = states_of(like, "like")
            stacked = {k.removeprefix("state."): v for k, v in content.items()}
            rows = found._states.rows(stacked)
            found._kept = dict(zip(steps, rows, strict=True))
        return found

    def __repr__(self) -> str:
        """The number of states, their size and their steps."""
        if not self._kept:
            return "Recorder(no states)"
        count = sum(array.size for array in self._state(0))
        states = "1 state" if len(self) == 1 else f"{len(self)} states"
        first, last = self.steps[0], self.steps[-1]
        return f"Recorder({states} of {count} numbers, steps {first} to {last})"

    def _state(self, place: int) -> list[np.ndarray]:
        _checks.require(
            len(self) > 0,
            "`recorder` must hold a state, but it was called at no chosen step.",
        )
        return list(self._kept.values())[place]

    def _model(self, state: list[np.ndarray]) -> Any:
        assert self._states is not None
        return self._states.model(state)

    def _network(self, model: Any, task: Task, layout: str | None) -> LinearNetwork:
        is_sequence = isinstance(model, tuple | list) and all(map(is_float, model))
        if layout is None and is_sequence:
            layout = "out_in"
        return linear_network("model", model, task, self.apply, layout)[0]

    def _targets(self) -> Real[np.ndarray, "samples outputs"]:
        if self.y is None:
            raise ValueError("`y` must be given to the recorder, but it was None.")
        y = np.atleast_1d(np.asarray(self.y))
        return y.reshape(len(y), -1)
