"""Traced programs: their contents, their compiled forms and their memory."""

import collections
import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._xla import quick_options

# The compiled programs that are kept, the last used at the end. Each is stored with its
# traced program, so that the identities of its callbacks stay valid.
_KEPT: collections.OrderedDict[tuple, tuple[Any, Any]] = collections.OrderedDict()
_MOST = 16


def no_mesh() -> contextlib.AbstractContextManager:
    """A context without the mesh of `jax.set_mesh`.

    A sweep shards its points itself, and traces its program as for one device.

    **Raises:** `ValueError` if this version of JAX can't leave that mesh.
    """
    current = getattr(jax.sharding, "get_abstract_mesh", None)
    if current is None or current().empty:
        return contextlib.nullcontext()
    try:
        return jax.set_mesh(None)  # pyright: ignore (accepted by new versions of JAX)
    except ValueError as error:
        raise ValueError(
            "`run` must be called outside `jax.set_mesh` in this version of JAX, but "
            f"the mesh was {current()}: leave it, and pass `mesh=` to `run`."
        ) from error


def on_no_device(program: Any) -> Any:
    """The program with constants that are bound to no device.

    An array sharded over another mesh can't be used on the sweep's mesh.

    **Raises:** `ValueError` for traced values.
    """
    _checks.require(
        _checks.is_concrete(program.consts),
        "`run` must be called outside `jax.jit`, `vmap` and `grad`, but `fn` held a "
        "traced value.",
    )
    constants = [uncommitted(value) for value in program.consts]
    return jax.extend.core.ClosedJaxpr(program.jaxpr, constants)


def uncommitted(value: Any) -> Any:
    """An array or random keys, bound to no device and no mesh."""
    if not isinstance(value, jax.Array) or not value.is_fully_addressable:
        return value
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data: Any = np.asarray(jax.random.key_data(value))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(value))
    return np.asarray(value)


def compiled(batch: Any, shapes: Sequence[Any], program: Any, mesh: Any) -> Any:
    """`batch`, which maps `program` over `shapes`, compiled or taken from the cache.

    Tracing and lowering are repeated, so that every change is seen. Two programs are
    the same if their lowered texts, their constants, their callbacks and their devices
    are.
    """
    lowered = jax.jit(batch).lower(*shapes)
    text = hashlib.sha256(lowered.as_text().encode()).digest()
    key = (text, fingerprint(program), *_callables(program), *mesh.devices.flat)
    if key not in _KEPT:
        _KEPT[key] = lowered.compile(compiler_options=quick_options()), program
        if len(_KEPT) > _MOST:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    return _KEPT[key][0]


def fingerprint(program: Any) -> str:
    """A hash of the program and its constants, equal in all processes."""
    text = re.sub(r"0x[0-9a-f]+", "", str(program.jaxpr))
    digest = hashlib.sha256(text.encode())
    for value in _constants(program):
        plain = value
        if jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key):
            plain = jax.random.key_data(value)
        digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()[:16]


def memory(compiled: Any) -> int:
    """The bytes that one run uses on each device; 0 if the platform can't say."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return 0
    used = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return used + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes


def _open(program: Any) -> Any:
    return getattr(program, "jaxpr", program)


def _parameters(eqn: Any) -> list[Any]:
    values = list(eqn.params.values())
    return jax.tree.leaves(values, is_leaf=lambda x: hasattr(_open(x), "eqns"))


def _inner(eqn: Any) -> list[Any]:
    """The programs inside an equation, such as the body of a loop."""
    return [value for value in _parameters(eqn) if hasattr(_open(value), "eqns")]


def _every_equation(program: Any) -> Iterator[Any]:
    for eqn in _open(program).eqns:
        yield eqn
        for inner in _inner(eqn):
            yield from _every_equation(inner)


def _constants(program: Any) -> Iterator[Any]:
    """Every array constant of the program and of its inner programs."""
    yield from getattr(program, "consts", ())
    for eqn in _every_equation(program):
        for var in eqn.invars:
            value: Any = getattr(var, "val", 0.0)
            if np.ndim(value) > 0:  # the text shows scalars
                yield value
        for inner in _inner(eqn):
            yield from getattr(inner, "consts", ())


def _callables(program: Any) -> tuple[int, ...]:
    """The identities of the program's callbacks, which its text does not show."""
    return tuple(
        id(value)
        for eqn in _every_equation(program)
        for value in _parameters(eqn)
        if callable(value)
    )
