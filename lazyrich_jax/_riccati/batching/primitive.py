"""A function of many networks at many times as one operation of JAX.

`jax.vmap` of the operation calls it once with more networks, or with the arguments of
its `Gather`. The function is traced once, at compilation, for that platform only, and
only if its result is used. `jax.custom_batching.custom_vmap` would trace it for one
network, and again for every map.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from ..._xla import sharded_over, varying

# A rule for `jax.vmap`. It takes the size of the map, a tree of flags (is this leaf
# mapped?) and the arguments. It returns the operation's new arguments and a function
# that separates its result; or None: the mapped axis becomes more networks.
Gather = Callable[..., tuple[tuple[Any, ...], Callable[[Array], Array]] | None]


class Operation:
    """A function as an operation.

    Its arguments are trees of arrays. Their first axis is networks; length one means
    that all networks share the array. The result has the networks on its first axis,
    then `shape`, and the dtype of the last argument.
    """

    def __init__(
        self,
        name: str,
        shape: Callable[..., tuple[int, ...]],
        on_cpu: Callable[..., Array],
        elsewhere: Callable[..., Array],
        gather: Gather,
        on_cuda: Callable[..., Array] | None = None,
    ):
        self.primitive = Primitive(name)
        self._gather = gather

        def result(*args: Any) -> ShapedArray:
            leaves = jax.tree.leaves(args)
            kind = ShapedArray((count(args), *shape(*args)), leaves[-1].dtype)
            return varying(kind, sharded_over(*leaves))

        jitted = jax.jit(self.primitive.bind, static_argnames="tree")

        def of_values(*leaves: Array, tree: Any) -> Array:
            if not jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
                return jitted(*leaves, tree=tree)
            function = on_cpu if jax.default_backend() == "cpu" else elsewhere
            return function(*jax.tree.unflatten(tree, leaves))

        self.primitive.def_impl(of_values)
        self.primitive.def_abstract_eval(_on_leaves(result))
        batching.primitive_batchers[self.primitive] = self._mapped
        for function, platform in (elsewhere, None), (on_cpu, "cpu"):
            mlir.register_lowering(self.primitive, _lowering(function), platform)
        if on_cuda is not None:
            rule = _of_kernel(_lowering(on_cuda), _lowering(elsewhere))
            mlir.register_lowering(self.primitive, rule, "cuda")

    def __call__(self, *args: Any) -> Array:
        """The function's result, (networks, *shape)."""
        leaves, tree = jax.tree.flatten(args)
        return self.primitive.bind(*leaves, tree=tree)

    def _mapped(self, leaves: Any, axes: Any, *, tree: Any) -> tuple[Array, int]:
        pairs = list(zip(leaves, axes, strict=True))
        size = next(x.shape[axis] for x, axis in pairs if axis is not None)
        first = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in pairs]
        args = jax.tree.unflatten(tree, first)
        is_mapped = jax.tree.unflatten(tree, [axis is not None for axis in axes])
        gathered = self._gather(size, is_mapped, *args)
        if gathered is None:
            gathered = _more_networks(size, is_mapped, args)
        more, separate = gathered
        return separate(self(*more)), 0


def are_transposes(
    one: Operation, other: Operation, product: Callable[..., Array]
) -> None:
    """Give derivatives to products of vectors with a matrix and with its transpose.

    Both operations are linear in their last argument, the vectors. `product(turned,
    *args)` is the same product, or with `turned` the transpose's, as a differentiable
    function of the other arguments.
    """
    for operation, transpose, turned in (one, other, False), (other, one, True):
        rule = functools.partial(_change, operation, functools.partial(product, turned))
        ad.primitive_jvps[operation.primitive] = rule
        rule = functools.partial(_transposed, transpose)
        ad.primitive_transposes[operation.primitive] = rule


def _change(
    operation: Operation,
    product: Callable[..., Array],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    tree: Any,
) -> tuple[Array, Array]:
    moves = [i for i, dx in enumerate(tangents) if type(dx) is not ad.Zero]
    if moves == [len(primals) - 1]:  # the vectors alone
        *others, vectors = jax.tree.unflatten(tree, primals)
        return operation(*others, vectors), operation(*others, tangents[-1])

    def of_what_moves(*moving: Array) -> Array:
        leaves = list(primals)
        for i, x in zip(moves, moving, strict=True):
            leaves[i] = x
        return product(*jax.tree.unflatten(tree, leaves))

    # Its value, too: the operation would be another program for the same numbers.
    at, moved = (tuple(xs[i] for i in moves) for xs in (primals, tangents))
    return jax.jvp(of_what_moves, at, moved)


def _transposed(
    transpose: Operation, cotangent: Any, *leaves: Any, tree: Any
) -> list[Any]:
    *others, vectors = jax.tree.unflatten(tree, leaves)
    found = ad.Zero(vectors.aval)
    if type(cotangent) is not ad.Zero:
        found = transpose(*others, cotangent)
        if vectors.aval.shape[0] == 1:  # shared by all networks
            found = jnp.sum(found, axis=0, keepdims=True)
    return [*[None] * (len(leaves) - 1), found]


def _lowering(function: Callable[..., Any]) -> Callable[..., Any]:
    rule = mlir.lower_fun(_on_leaves(function), multiple_results=False)

    def lowered(ctx: Any, *leaves: Any, **params: Any) -> Any:
        # Types inside ignore differences between shards: `result` has them.
        kinds = [ShapedArray(kind.shape, kind.dtype) for kind in ctx.avals_in]
        return rule(ctx.replace(avals_in=kinds), *leaves, **params)

    return lowered


def _of_kernel(rule: Callable[..., Any], exported: Callable[..., Any]) -> Any:
    """A rule of lowering that makes kernels on this machine, another for `jax.export`.

    JAX does not export kernels: later versions may not read them.
    """

    def lowered(ctx: Any, *leaves: Any, **params: Any) -> Any:
        if ctx.module_context.lowering_parameters.for_export:
            return exported(ctx, *leaves, **params)
        with warnings.catch_warnings():
            # JAX 0.11 announces the end of Pallas by Triton. `has_kernels` looks for
            # it, and XLA's loop stays.
            warnings.filterwarnings(
                "ignore", "The Pallas Triton backend", DeprecationWarning
            )
            return rule(ctx, *leaves, **params)

    return lowered


def _on_leaves(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *leaves, tree: function(*jax.tree.unflatten(tree, leaves))


def count(args: Any) -> Any:
    """The number of networks."""
    return max(x.shape[0] for x in jax.tree.leaves(args))


def for_each(args: Any) -> Any:
    """The arguments with shared arrays repeated for each network."""
    networks = count(args)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (networks, *x.shape[1:])), args)


def _more_networks(
    size: Any, is_mapped: Any, args: tuple[Any, ...]
) -> tuple[tuple[Any, ...], Callable[[Array], Array]]:
    pairs = zip(jax.tree.leaves(is_mapped), jax.tree.leaves(args), strict=True)
    networks = max(x.shape[int(mapped)] for mapped, x in pairs)

    def flat(mapped: bool, x: Array) -> Array:
        if not mapped and x.shape[0] == 1:
            return x
        rest = x.shape[1 + mapped :]
        x = jnp.broadcast_to(x if mapped else x[None], (size, networks, *rest))
        return x.reshape(size * networks, *rest)

    more = jax.tree.map(flat, is_mapped, args)
    return more, lambda found: found.reshape(size, networks, *found.shape[1:])
