"""A report on how rich the training of a model was."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree, Real, Shaped

from .. import _checks
from .._layers import Layer
from .balance import require_channels
from .collected import Collected
from .kernels import bytes_of
from .layers import layers_in
from .model import pair_of, require_common
from .of_layers import add_layers, add_pairs, add_weights
from .of_outputs import (
    OF_LAST_LAYER,
    add_curvature,
    add_kernels,
    add_last_features,
    add_outputs,
)
from .parameters import parameters_of
from .question import Question, drawn, one_key, require_concrete, targets_of
from .reported import LAYERS, NUMBERS, PAIRS, Report

# The numbers that can be known without samples.
OF_WEIGHTS = {"weight_movement", "movement", "update_rank", "effective_rank", *PAIRS}


def report(
    start: PyTree,
    end: PyTree,
    x: Shaped[ArrayLike, "samples ..."] | None = None,
    y: Real[ArrayLike, "samples ..."] | None = None,
    *,
    apply: Callable[[Any, Array], Any] | None = None,
    samples: int = 300,
    key: PRNGKeyArray | None = None,
    layout: str | None = None,
    channels: str | None = None,
    method: str = "exact",
    directions: int = 64,
    memory: float = 1e9,
    leave_out: Sequence[str] = (),
) -> Report:
    r"""How rich a training was, from the model at its start and its end.

    Lazy training keeps the tangent kernel: the model learns as its linearisation does.
    Rich training changes the features. Each number of the report is a function of its
    own, in `lazyrich_jax.measures` and `lazyrich_jax.richness`, where its source is.

    **Arguments:**

    - `start`, `end`: two states of one model: Equinox modules, Flax parameters, other
      trees of arrays, or dicts of NumPy arrays such as PyTorch's state dicts.
    - `x`: samples along the first axis, such as held-out data. Without it the report
      has the numbers of the weights alone.
    - `y`: targets (samples, outputs), or a class (whole number) for each sample of a
      model with several outputs. The loss is half of the squared error, or the cross
      entropy of the outputs as logits.
    - `apply`: maps the model and one sample to outputs; without it the model is called.
    - `samples`, `key`: at most so many samples are drawn, without replacement. The key
      is `jax.random.key(0)` by default.
    - `layout`: of plain matrices without `x`, as for `lazyrich_jax.richness.layers`.
    - `channels`: of a flattened convolution, as for `lazyrich_jax.richness.balances`.
    - `method`, `directions`, `memory`: of the kernels, as for
      `lazyrich_jax.richness.kernel_products`.
    - `leave_out`: names of numbers not to compute, such as `"sharpness"` of a large
      model.

    **Returns:** a `Report`. It prints itself with a line of reading per number, and
    has `to_xarray()` and `to_pandas()`; `lazyrich_jax.plot.report` draws it.

    **Raises:** `ValueError` for models without common structure, samples and targets
    that don't fit, unknown names, and kernels that need more memory; `TypeError` for
    traced models and other types.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    start = eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(0))
    end = jax.tree.map(lambda a: 1.1 * a if eqx.is_array(a) else a, start)
    x = jax.random.normal(jax.random.key(1), (50, 4))
    print(lr.richness.report(start, end, x, x[:, :2]))
    ```
    """
    collected = Collected(_asked(leave_out))
    require_concrete(start=start, end=end, x=x)
    samples, memory = _checks.size("samples", samples), bytes_of(method, memory)
    directions = _checks.size("directions", directions, least=2)
    key = jax.random.key(0) if key is None else one_key(key)
    require_channels(channels)
    states, count, outputs = (start, end), 0, 0
    if x is None:
        _need_samples(y=y, apply=apply)
        require_common(start, end)
        parameters = [
            eqx.filter(model, parameters_of(name, model))
            for name, model in (("start", start), ("end", end))
        ]
        found = _layers(collected, states, None, None, layout)
        collected.leave_out((*NUMBERS, *LAYERS), "it needs samples `x`", OF_WEIGHTS)
    else:
        x, y = drawn(x, y, samples, key)
        functions = pair_of(start, end, x, apply)[:2]
        parameters = [function.parameters for function in functions]
        found = _layers(collected, states, x, apply, layout)
        targets = targets_of(y, functions[0].outputs(x[:1]).shape[1])
        question = Question(states, functions, x, targets, apply, memory, key)
        count, outputs = x.shape[0], add_outputs(collected, question)
        add_kernels(collected, question, method, directions)
        add_curvature(collected, question)
        if found[0]:
            add_last_features(collected, question, found)
            add_layers(collected, question, found)
    add_weights(collected, parameters, found)
    pair_names = add_pairs(collected, found, channels)
    return Report(
        parameters=sum(a.size for a in jax.tree.leaves(parameters[0])),
        samples=count,
        outputs=outputs,
        numbers=collected.of(NUMBERS),
        layer_names=tuple(layer.name for layer in found[0]),
        layers=collected.of(LAYERS),
        pair_names=pair_names,
        pairs=collected.of(PAIRS),
        errors=collected.errors,
        left_out=collected.left_out,
    )


def _need_samples(**arguments: object) -> None:
    """Refuse arguments that have no meaning without samples."""
    for name, value in arguments.items():
        _checks.require(
            value is None, f"`{name}` must be given with `x`, but `x` was None."
        )


def _layers(
    collected: Collected, states: Sequence[PyTree], x: Any, apply: Any, layout: Any
) -> list[tuple[Layer, ...]]:
    """The layers of both states; the numbers of layers are left out without any."""
    seen = [layers_in(model, x, apply, layout) for model in states]
    if not seen[0][0]:
        collected.leave_out((*LAYERS, *PAIRS, *OF_LAST_LAYER), seen[0][1])
    return [layers for layers, _ in seen]


def _asked(leave_out: Sequence[str]) -> dict[str, str]:
    """The names that the caller leaves out, checked."""
    known = [*NUMBERS, *LAYERS, *PAIRS]
    is_list = isinstance(leave_out, Collection) and not isinstance(leave_out, str)
    _checks.require(
        is_list and all(name in known for name in leave_out),
        f"`leave_out` must hold names, each one of {known}, but it was {leave_out!r}.",
    )
    return dict.fromkeys(leave_out, "as asked")
