"""A model as a function of its parameters."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from .. import _checks, _dtypes
from .._paths import path_name
from .chunks import mapped
from .parameters import is_inexact, parameters_of, require_apart, short, statistics_of
from .programs import equations, reached

DRAWS = {"random_bits", "rng_bit_generator", "rng_uniform", "threefry2x32"}
INFERENCE = (
    "Dropout must be off, and batch normalisation must take its running means: "
    "`eqx.nn.inference_mode(model)` in Equinox, `deterministic=True` and "
    "`use_running_average=True` in Flax, `model.eval()` in its nnx."
)


class Function(eqx.Module):
    """A model as a function of its parameters and of one sample.

    **Attributes:**

    - `parameters`: the model's tree with its floating-point arrays alone, in one dtype.
    - `rest`: the tree of all else, such as activation functions, whole numbers and
      running means.
    - `apply`: maps the model and a sample to outputs.
    """

    parameters: PyTree
    rest: PyTree
    apply: Callable[[Any, Array], Any] = eqx.field(static=True)

    def __call__(
        self, parameters: PyTree, sample: Shaped[Array, "..."]
    ) -> Float[Array, " outputs"]:
        """The outputs for one sample, as a vector."""
        return jnp.ravel(self.apply(eqx.combine(parameters, self.rest), sample))

    def outputs(
        self, x: Shaped[Array, "samples ..."]
    ) -> Float[Array, "samples outputs"]:
        """The outputs for all samples; memory is taken for some samples at a time."""
        return mapped(_outputs, self, x)


@eqx.filter_jit
def _outputs(function: Function, x: Array) -> Array:
    return jax.vmap(functools.partial(function, function.parameters))(x)


def function_of(
    name: str, model: PyTree, x: Any, apply: Callable[[Any, Array], Any] | None
) -> tuple[Function, Shaped[Array, "samples ..."]]:
    """A model as a `Function`, and the samples, in one dtype.

    `name` is the argument's name in messages. Whole numbers, such as tokens, reach the
    model as they are.

    **Raises:** `ValueError` if `x` has no samples or the model can't map one, draws
    random numbers, does not use its running means or has parameters that aren't finite
    or are in two places; `TypeError` for a model without parameters or that can't be
    called, for complex numbers and half precision, and for outputs that are not one
    real array.
    """
    function = _split(name, model, apply)
    function, samples = _dtypes.promoted(function=function, x=samples_of(x))
    _require_applicable(name, function, samples[0])
    return function, samples


def pair_of(
    start: PyTree,
    end: PyTree,
    x: Any,
    apply: Callable[[Any, Array], Any] | None,
) -> tuple[Function, Function, Shaped[Array, "samples ..."]]:
    """Two states of one model, such as before and after training, and the samples.

    **Raises:** as `function_of`; `ValueError` if the models differ in their structure,
    in a shape or in a setting. The message names the first leaf that differs.
    """
    require_common(start, end)
    before, after = _split("start", start, apply), _split("end", end, apply)
    before, after, samples = _dtypes.promoted(start=before, end=after, x=samples_of(x))
    _require_applicable("start", before, samples[0])
    return before, after, samples


def samples_of(x: Any) -> Array:
    """Samples along the first axis, checked; whole numbers stay as they are."""
    samples = _dtypes.as_real("x", x, whole=True)
    _checks.require(
        samples.ndim > 0 and samples.size > 0,
        "`x` must hold samples along its first axis, but its shape was "
        f"{samples.shape}.",
    )
    if jnp.issubdtype(samples.dtype, jnp.floating):
        _checks.finite("x", samples)
    return samples


def _split(name: str, model: PyTree, apply: Callable | None) -> Function:
    """The model's parameters and the rest of it, checked one by one."""
    chosen = parameters_of(name, model)
    if apply is None and not callable(model):
        raise TypeError(
            f"`{name}` must be callable on one sample, but it was a "
            f"`{type(model).__name__}`; pass `apply`, a function of it and a sample."
        )
    if apply is not None and not callable(apply):
        raise TypeError(f"`apply` must be a function, but it was {short(apply)}.")
    parameters, rest = eqx.partition(model, chosen)
    return Function(parameters, rest, _call if apply is None else apply)


def _call(model: Callable[[Array], Array], sample: Array) -> Array:
    return model(sample)


def _require_applicable(name: str, function: Function, sample: Array) -> None:
    """Refuse a model that does not map the sample to real outputs, or at random.

    Half precision inside, and batch normalisation in training mode are refused too.
    """
    program, shapes = program_of(name, function, sample)
    result = jax.tree.leaves(shapes)
    if not isinstance(shapes, jax.ShapeDtypeStruct):
        raise TypeError(
            f"`{name}` must map one sample to one array, but it gave {len(result)}, in "
            f"a `{type(shapes).__name__}`; choose one by `apply`."
        )
    _dtypes.require_precision(f"{name}(x[0])", shapes.dtype)
    _checks.require(
        shapes.size > 0,
        f"`{name}` must map one sample to at least one output, but the shape of its "
        f"outputs was {shapes.shape}.",
    )
    draws = DRAWS.intersection(e.primitive.name for e in equations(program.jaxpr))
    _checks.require(
        not draws,
        f"`{name}` must be deterministic, but it draws random numbers. {INFERENCE}",
    )
    low = _low_precision(program)
    if low is not None:
        raise TypeError(
            f"`{name}` must compute in single or double precision, but a part of it "
            f"was in {low}: set the dtype of the computation, such as "
            "`dtype=jnp.float32` of Flax's modules. The parameters may stay."
        )
    _require_statistics(name, function, sample)


def _low_precision(program: jax.extend.core.ClosedJaxpr) -> str | None:
    """The name of a dtype of half precision inside of a program."""
    for equation in equations(program.jaxpr):
        for variable in equation.outvars:
            dtype: Any = getattr(variable.aval, "dtype", np.dtype(bool))
            if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
                return str(dtype)
    return None


def _require_statistics(name: str, function: Function, sample: Array) -> None:
    """Refuse running means that the outputs do not depend on.

    Batch normalisation in training mode would normalise by the one sample.
    """
    model = eqx.combine(function.parameters, function.rest)
    chosen, others = eqx.partition(model, statistics_of(model))
    statistics, fixed = eqx.partition(chosen, is_inexact)
    count = len(jax.tree.leaves(statistics))
    if count == 0:
        return

    def apply(statistics: PyTree, sample: Array) -> Array:
        return function.apply(eqx.combine(statistics, fixed, others), sample)

    program = jax.make_jaxpr(apply)(statistics, sample)
    marks = [True] * count + [False] * (len(program.jaxpr.invars) - count)
    _checks.require(
        any(reached(program.jaxpr, marks)),
        f"`{name}` must normalise by its running means, but its outputs did not depend "
        f"on them. {INFERENCE} Leave them out of `{name}` if the outputs need none.",
    )


def program_of(
    name: str, function: Function, sample: Array
) -> tuple[jax.extend.core.ClosedJaxpr, Any]:
    """The computation of the model's outputs for one sample, and their shapes.

    Its inputs are the leaves of `function.parameters` and the sample.
    """

    def apply(parameters: PyTree, sample: Array) -> Array:
        return function.apply(eqx.combine(parameters, function.rest), sample)

    trace = jax.make_jaxpr(apply, return_shape=True)
    try:
        return trace(function.parameters, sample)
    except Exception as error:
        raise ValueError(
            f"`{name}` must map one sample, of shape {sample.shape}, to an array, but "
            f"it failed: {error} (`x` holds samples along its first axis. {INFERENCE})"
        ) from error


def require_common(start: PyTree, end: PyTree) -> None:
    """Refuse models that differ in more than the values of their arrays."""
    require_apart(start, end)
    leaves = [
        {path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(model)}
        for model in (start, end)
    ]
    for (one, ours), (other, theirs) in zip(
        (("start", leaves[0]), ("end", leaves[1])),
        (("end", leaves[1]), ("start", leaves[0])),
        strict=True,
    ):
        for place in ours:
            _checks.require(
                place in theirs,
                "`start` and `end` must have one structure, but "
                f"`{place}` is in `{one}` and not in `{other}`.",
            )
    for place, leaf in leaves[0].items():
        was, will = _described(leaf), _described(leaves[1][place])
        _checks.require(
            was == will,
            f"`start` and `end` must be two states of one model, but `{place}` was "
            f"{was} in `start` and {will} in `end`.",
        )
        _checks.require(
            not _is_one_memory(leaf, leaves[1][place]),
            f"`start` and `end` must be two states of one model, but `{place}` was one "
            "memory, which training changes in place: copy it before, such as by "
            "`v.numpy().copy()` in PyTorch.",
        )
    _checks.require(
        jax.tree.structure(start) == jax.tree.structure(end),
        "`start` and `end` must have one structure, but their static parts differ: "
        f"they were a `{type(start).__name__}` and a `{type(end).__name__}`. Make "
        "both from one model, such as by `eqx.tree_deserialise_leaves`.",
    )


def _is_one_memory(one: Any, other: Any) -> bool:
    """Whether two arrays of NumPy are views of one memory."""
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return both and one is not other and np.may_share_memory(one, other)


def _described(leaf: Any) -> str:
    """Text on a leaf that is equal for two states of one model."""
    if isinstance(leaf, jax.Array | np.ndarray):
        kind = "" if is_inexact(leaf) else ", not floating-point,"
        return f"an array of shape {leaf.shape}{kind}"
    if isinstance(leaf, bool | int | float | complex | str):
        return repr(leaf)
    return getattr(leaf, "__qualname__", f"a `{type(leaf).__name__}`")
