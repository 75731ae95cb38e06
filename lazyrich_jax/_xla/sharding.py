"""Values that differ between devices: `jax.shard_map` and explicit meshes."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core


def sharded_over(*arrays: Any) -> frozenset[str]:
    """The axes of `jax.shard_map` over which the values of arrays (or types) differ.

    The set is empty outside `jax.shard_map`, and inside it if it does not check them.
    """
    axes = frozenset()
    for x in arrays:
        kind = x if isinstance(x, jax.core.ShapedArray) else _type(x)
        if hasattr(kind, "manual_axis_type"):
            axes |= kind.manual_axis_type.varying
        else:  # its name before JAX 0.10
            axes |= getattr(kind, "vma", frozenset())
    return axes


def _type(x: Any) -> Any:
    return jax.typeof(x) if hasattr(jax, "typeof") else None  # since JAX 0.6


def varying(kind: Any, axes: frozenset[str]) -> Any:
    """The type of an array whose values differ over these axes."""
    if not axes:
        return kind
    mesh = jax.sharding.get_abstract_mesh()
    spec = jax.sharding.PartitionSpec(*[None] * kind.ndim)
    sharding = jax.sharding.NamedSharding(mesh, spec)
    if hasattr(kind, "manual_axis_type"):
        differs = jax.sharding.ManualAxisType(varying=axes)
        return kind.update(sharding=sharding, manual_axis_type=differs)
    return kind.update(sharding=sharding, vma=axes)


def varying_like(tree: Any, *like: Any) -> Any:
    """Constants that start a loop whose later values depend on `like`.

    `jax.shard_map` requires their type to say from the start that values differ.
    """
    axes = sharded_over(*like)

    def cast(x: Any) -> Any:
        missing = tuple(axes - sharded_over(x))
        if not missing:
            return x
        if hasattr(jax.lax, "pcast"):
            return jax.lax.pcast(x, missing, to="varying")
        return jax.lax.pvary(x, missing)  # pyright: ignore[reportAttributeAccessIssue]

    return jax.tree.map(cast, tree)


def on_any_mesh(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on arrays sharded over an explicit mesh; XLA divides its arrays.

    `jax.make_mesh` makes explicit meshes by default. On these JAX requires a sharding
    for every result that the arguments' shardings leave open.
    """

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        mesh = _explicit_mesh(args)
        if mesh is None:
            return function(*args)
        arrays, others = eqx.partition(args, eqx.is_array)
        return jax.sharding.auto_axes(
            lambda arrays: function(*eqx.combine(arrays, others)),
            out_sharding=jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()),
        )(arrays)

    return wrapped


def _explicit_mesh(args: Any) -> Any:
    if not hasattr(jax.sharding, "auto_axes"):
        return None
    explicit = jax.sharding.AxisType.Explicit
    for x in filter(eqx.is_array, jax.tree.leaves(args)):
        mesh = jax.typeof(x).sharding.mesh
        if explicit in mesh.axis_types:
            return mesh
    return None
