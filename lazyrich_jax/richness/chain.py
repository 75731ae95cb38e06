"""The function of a chain of dense layers, given by their weights alone."""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._layers import Layer, layers_of_tree, require_layout
from .._linalg import dot


def identity(z: Array) -> Array:
    """The activation of a linear network."""
    return z


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": identity,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


class Chain(eqx.Module):
    r"""The function of dense layers, $x \mapsto W_L\,\phi(\cdots\phi(W_1 x + b_1))$.

    It is `apply` for models that are weights alone, such as a state dict of PyTorch's
    `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)`.

    **Arguments:**

    - `activation`: of all layers but the last: "linear", "relu", "tanh", "sigmoid",
      "gelu" (its tanh form), "silu", or a function of an array.
    - `layout`: of plain matrices, as for `lazyrich_jax.richness.layers`.

    **Raises:** `ValueError` for another name or layout.

    ```python
    import numpy as np
    import lazyrich_jax as lr

    random = np.random.default_rng(0)
    start = {"0.weight": random.normal(size=(8, 3)), "2.weight": np.ones((2, 8))}
    end = {name: 1.1 * weight for name, weight in start.items()}
    x = random.normal(size=(20, 3))
    print(lr.richness.report(start, end, x, apply=lr.richness.Chain("relu")))
    ```
    """

    activation: Callable[[Array], Array] = eqx.field(static=True)
    layout: str | None = eqx.field(static=True)

    def __init__(
        self, activation: str | Callable[[Array], Array], *, layout: str | None = None
    ):
        _checks.require(
            callable(activation)
            or (isinstance(activation, str) and activation in ACTIVATIONS),
            f"`activation` must be one of {', '.join(map(repr, ACTIVATIONS))} or a "
            f"function, but it was {activation!r}.",
        )
        if not callable(activation):
            activation = ACTIVATIONS[activation]
        require_layout(layout)
        self.activation, self.layout = activation, layout

    def __call__(self, model: PyTree, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """The outputs of the weights `model` for one sample.

        **Raises:** `ValueError` if the layers aren't dense, or don't chain.
        """
        found, others = layers_of_tree(model, self.layout)
        sizes = [layer.weight.shape for layer in found]
        chained = all(a[0] == b[1] for a, b in itertools.pairwise(sizes))
        _checks.require(
            not others
            and len(found) > 0
            and all(layer.kind == "dense" for layer in found)
            and chained
            and x.shape == sizes[0][1:],
            "`model` must be dense layers that chain from the sample on, but the "
            f"sample had shape {x.shape}, and the layers were "
            f"{[f'{p.name} ({p.kind}) {p.weight.shape}' for p in found]}"
            + (f" beside {', '.join(others)}." if others else "."),
        )
        for i, layer in enumerate(found):
            x = _affine(layer, self.activation(x) if i > 0 else x)
        return x


def _affine(layer: Layer, x: Float[Array, " in"]) -> Float[Array, " out"]:
    product = dot(layer.weight, x)
    return product if layer.bias is None else product + layer.bias
