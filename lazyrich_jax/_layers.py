"""The layers of a model, found in its tree of parameters."""

from jax.tree_util import SequenceKey
from jaxtyping import PyTree


def path_name(path: tuple[PyTree, ...]) -> str:
    """The path of a leaf as text, such as `layers[0].weight` or `Dense_0.kernel`."""
    text = ""
    for key in path:
        if isinstance(key, SequenceKey):
            text += f"[{key.idx}]"
        else:
            text += f".{getattr(key, 'name', getattr(key, 'key', key))}"
    return text.removeprefix(".")
