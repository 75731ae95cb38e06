"""The layers of a model, found in its tree of parameters."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey
from jaxtyping import Array, Float, PyTree

from . import _checks
from ._paths import key_parts, layer_name, ordered, path_name

LAYOUTS = "out_in", "in_out"
PROJECTIONS = "query", "key", "value", "output"
FLAX_PROJECTIONS = "query", "key", "value", "out"
WEIGHT = re.compile("(.*_)?weight(_.*)?")  # also in_proj_weight, weight_ih_l0
FLAT_KERNEL = re.compile(r".+\.kernel")  # of Flax's parameters in a flat dict
# PyTorch's tables of tokens.
LOOKED_UP = re.compile(r"embed|(^|[._])emb|_emb|wte|wpe", re.IGNORECASE)


class Layer(eqx.Module):
    """A product with a weight inside a model, and what is added to it.

    **Attributes:**

    - `name`: the path of the layer in the model, such as `layers[0]` or `Dense_0`.
    - `weight`: (out, in) for a dense layer, (out, in, *window) for a convolution. The
      heads of attention are blocks of rows of a query, key or value, and blocks of
      columns of an output.
    - `bias`: (out,), or `None`.
    - `kind`: `"dense"`, `"convolution"`, or of attention `"query"`, `"key"`, `"value"`
      or `"output"`.
    - `heads`: the number of heads of attention, and zero for other layers.
    - `groups`: of a convolution by groups, whose weight is (out, in / groups, *window);
      one for other layers. Flax's and PyTorch's trees alone do not tell it.
    - `after`, `into`: the names of the layers that its inputs are computed from, and of
      those that its outputs enter, with no other layer between. "" in `into` stands for
      the model's outputs. `None` for layers found in a tree, which does not tell.
    """

    name: str = eqx.field(static=True)
    weight: Float[Array, "out in *window"]
    bias: Float[Array, " out"] | None
    kind: str = eqx.field(static=True)
    heads: int = eqx.field(static=True, default=0)
    after: tuple[str, ...] | None = eqx.field(static=True, default=None)
    into: tuple[str, ...] | None = eqx.field(static=True, default=None)
    groups: int = eqx.field(static=True, default=1)


def layers_of_tree(
    model: PyTree, layout: str | None = None
) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """The layers in the tree of a model, and all other parameters by their names.

    **Raises:** `ValueError` for plain matrices without `layout`, or if `layout` is not
    the one of Equinox, Flax or PyTorch.
    """
    require_layout(layout)
    layers: list[Layer] = []
    others: dict[str, Array] = {}
    for item in _walk(model, (), layout):
        if isinstance(item, Layer):
            layers.append(item)
        elif isinstance(item, Plain):
            raise ValueError(
                '`layout` must be "out_in" or "in_out" for plain matrices such as '
                f"`{item.name}`, of shape {item.shape}, but it was None. PyTorch and "
                "Equinox have (out, in), Flax and Haiku have (in, out). With samples "
                "no layout is needed."
            )
        else:
            others[item[0]] = item[1]
    return tuple(layers), others


def attention_of_tree(model: PyTree) -> dict[str, Layer]:
    """The layers of attention in the tree of a model, by their names."""
    found = _walk(model, (), None)
    return {f.name: f for f in found if isinstance(f, Layer) and f.heads > 0}


def require_layout(layout: str | None) -> None:
    """Refuse all but the names of layouts, and `None`."""
    _checks.require(
        layout in (None, *LAYOUTS),
        f'`layout` must be "out_in" or "in_out", but it was {layout!r}.',
    )


def is_of_optax(node: Any) -> bool:
    """Whether a node is a state of an optimiser of Optax."""
    return type(node).__module__.startswith("optax.")


def is_of_flax(node: Any, name: str | None = None) -> bool:
    """Whether a node is an object of Flax, of a class of this name if one is given.

    Until Flax 0.11 a `VariableState` stands for a variable, and has its class.
    """
    bases = type(node).__mro__
    if type(node).__name__ == "VariableState":
        bases += node.type.__mro__
    return any(
        base.__module__.startswith("flax.") and name in (None, base.__name__)
        for base in bases
    )


def is_float(leaf: Any) -> bool:
    """Whether a leaf is an array of floating-point numbers."""
    is_array = isinstance(leaf, jax.Array | np.ndarray)
    return is_array and jnp.issubdtype(leaf.dtype, jnp.floating)


class Plain(NamedTuple):
    """A matrix whose layout is not known."""

    name: str
    shape: tuple[int, ...]


Found = Layer | Plain | tuple[str, Array]


def _walk(node: PyTree, path: tuple[Any, ...], layout: str | None) -> Iterator[Found]:
    """The layers and other arrays in a part of the tree."""
    if is_of_optax(node):
        return
    if is_of_flax(node):
        node = _of_flax(node)
    if isinstance(node, eqx.nn.MultiheadAttention):
        for kind in PROJECTIONS:
            linear = getattr(node, f"{kind}_proj")
            inside = (*path, GetAttrKey(f"{kind}_proj"))
            yield from _layer(inside, linear.weight, linear.bias, kind, node.num_heads)
    elif isinstance(node, eqx.nn.Linear | eqx.nn.Conv | eqx.nn.ConvTranspose):
        _require_layout("out_in", layout, "Equinox", path)
        kind = "dense" if isinstance(node, eqx.nn.Linear) else "convolution"
        groups = getattr(node, "groups", 1)
        yield from _layer(path, node.weight, node.bias, kind, groups=groups)
    elif isinstance(node, Mapping):
        yield from _walk_dict(node, path, layout)
    elif is_float(node):
        yield from _plain(node, path, layout)
    elif not jax.tree_util.all_leaves([node]):
        children = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda child: child is not node
        )[0]
        of_equinox = type(node).__module__.startswith("equinox.")
        for (key,), child in children:
            if of_equinox and is_float(child):  # a norm, an embedding, a recurrent cell
                yield path_name((*path, key)), jnp.asarray(child)
            else:
                yield from _walk(child, (*path, key), layout)


def _of_flax(node: PyTree) -> Any:
    """Modules and states of Flax as dicts, and their variables as arrays."""
    if is_of_flax(node, "Variable"):
        leaves = jax.tree.leaves(node) if is_of_flax(node, "Param") else []
        return leaves[0] if leaves else None
    if not (is_of_flax(node) or isinstance(node, Mapping | list)):
        return node
    children = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda child: child is not node
    )[0]
    return {path_name(path): _of_flax(child) for path, child in children}


def _walk_dict(node: Mapping, path: tuple, layout: str | None) -> Iterator[Found]:
    """The layers in a dict of Flax, of PyTorch or of others."""
    if any(FLAT_KERNEL.fullmatch(".".join(key_parts(key))) for key in node):
        node = _nested(node)
    if not path and isinstance(node.get("params"), Mapping):
        node = node["params"]  # the other collections of Flax are no parameters
    done: set[str] = set()
    if _is_flax_attention(node):
        done = set(FLAX_PROJECTIONS)
        yield from _flax_attention(node, path)
    elif is_float(node.get("kernel")) and node["kernel"].ndim > 1:
        _require_layout("in_out", layout, "Flax", path)
        done = {"kernel", "bias"}
        axes = range(node["kernel"].ndim)
        weight = jnp.asarray(node["kernel"]).transpose(*axes[:-3:-1], *axes[:-2])
        kind = "dense" if len(axes) == 2 else "convolution"
        yield from _layer(path, weight, node.get("bias"), kind)
    weights = {key for key in node if _is_weight(key, node[key])}
    done |= {_bias_key(key) for key in weights}
    for key in ordered(key for key in node if key not in done):
        if key in weights:
            inside = (*path, DictKey(key.removesuffix(".weight")))
            inside = path if key == "weight" else inside
            _require_layout("out_in", layout, "PyTorch", (*path, DictKey(key)))
            weight = jnp.asarray(node[key])
            kind = "dense" if weight.ndim == 2 else "convolution"
            yield from _layer(inside, weight, node.get(_bias_key(key)), kind)
        else:
            yield from _walk(node[key], (*path, DictKey(key)), layout)


def _layer(
    path: tuple, weight: Any, bias: Any, kind: str, heads: int = 0, groups: int = 1
) -> Iterator[Found]:
    """A layer from its weight (out, in, *window), unless it is many layers in one.

    **Raises:** `ValueError` for a matrix whose bias does not fit.
    """
    if not is_float(weight):  # such as a tree without its arrays
        return
    name, weight = path_name(path) or "weight", jnp.asarray(weight)
    bias = jnp.ravel(jnp.asarray(bias)) if is_float(bias) else None
    fits = bias is None or bias.size == weight.shape[0]
    _checks.require(
        fits or weight.ndim != 2,
        f"`{name}` must have a weight (out, in) and an entry of its bias for each "
        f"output, but the weight was {weight.shape}, and the bias had "
        f"{0 if bias is None else bias.size} entries; transpose a weight (in, out).",
    )
    if fits and (kind == "convolution") == (weight.ndim > 2):
        yield Layer(name, weight, bias, kind, heads, groups=groups)
    else:  # stacked by `jax.vmap`
        yield name, weight


def _plain(array: Any, path: tuple, layout: str | None) -> Iterator[Found]:
    """A matrix in the given layout, or an array that is no layer."""
    if array.ndim != 2 or LOOKED_UP.search(path_name(path)):
        yield path_name(path), jnp.asarray(array)
        return
    if layout is None:
        yield Plain(path_name(path), array.shape)
        return
    weight = jnp.asarray(array)
    weight = weight if layout == "out_in" else weight.T
    yield Layer(layer_name(path), weight, None, "dense")


def _nested(flat: Mapping) -> dict:
    """Nested dicts of a flat one, with keys such as `Dense_0.kernel`.

    Keys may also be joined by slashes, or be tuples.
    """
    found: dict = {}
    for key, value in flat.items():
        *path, last = ".".join(key_parts(key)).split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = _of_flax(value) if is_of_flax(value) else value
    return found


def _is_flax_attention(node: Mapping) -> bool:
    """Whether a dict has the kernels of `MultiHeadDotProductAttention`."""
    parts: list[Any] = [node.get(key) for key in FLAX_PROJECTIONS]
    return all(
        isinstance(part, Mapping)
        and is_float(part.get("kernel"))
        and part["kernel"].ndim == 3
        for part in parts
    )


def _flax_attention(node: Mapping, path: tuple) -> Iterator[Found]:
    """Its layers: kernels (in, heads, size), for the output (heads, size, out)."""
    for key, kind in zip(FLAX_PROJECTIONS, PROJECTIONS, strict=True):
        kernel = jnp.asarray(node[key]["kernel"])
        inputs = 2 if kind == "output" else 1  # axes
        heads = kernel.shape[0 if kind == "output" else 1]
        weight = kernel.reshape(math.prod(kernel.shape[:inputs]), -1).T
        inside = (*path, DictKey(key))
        yield from _layer(inside, weight, node[key].get("bias"), kind, heads)


def _is_weight(key: Any, value: Any) -> bool:
    """Whether an entry of a dict is a weight, (out, in, *window) as PyTorch has it."""
    if not isinstance(key, str) or not WEIGHT.fullmatch(key.split(".")[-1]):
        return False
    return is_float(value) and value.ndim > 1 and not LOOKED_UP.search(key)


def _bias_key(key: str) -> str:
    before, _, after = key.rpartition("weight")
    return f"{before}bias{after}"


def _require_layout(own: str, layout: str | None, framework: str, path: tuple) -> None:
    _checks.require(
        layout in (None, own),
        f'`layout` must be None or "{own}" for the layers of {framework}, such as '
        f'`{path_name(path)}`, but it was "{layout}".',
    )
