"""The model that is linear in its parameters, at its start."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Shaped

from .chunks import mapped
from .model import Function, pair_of


def linearised(
    start: PyTree,
    end: PyTree,
    x: Shaped[ArrayLike, "samples ..."],
    *,
    apply: Callable[[Any, Array], Any] | None = None,
) -> Float[Array, "samples outputs"]:
    r"""Outputs of the model linearised at its start, with the parameters of its end.

    They are $f(\theta_0, x) + \partial_\theta f(\theta_0, x)\,(\theta_1 - \theta_0)$
    (Lee et al. 2019; Chizat et al. 2019), by one derivative along the change of the
    parameters. For lazy learning they equal the trained outputs;
    `lazyrich_jax.measures.linearisation_gap` measures the difference.

    **Returns:** (samples, outputs).

    **Raises:** as `kernel_products` for models and samples.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    start = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    end = jax.tree.map(lambda a: 1.1 * a if eqx.is_array(a) else a, start)
    x = jax.random.normal(jax.random.key(1), (20, 3))
    f0, f1 = jax.vmap(start)(x), jax.vmap(end)(x)
    linear = lr.richness.linearised(start, end, x)
    print(lr.measures.linearisation_gap(f0, f1, linear))
    ```
    """
    before, after, samples = pair_of(start, end, x, apply)
    # Outputs of one program: they are equal to the digit if nothing moved.
    return before.outputs(samples) + mapped(_change, before, samples, after.parameters)


@eqx.filter_jit
def _change(function: Function, x: Array, end: PyTree) -> Array:
    change = jax.tree.map(jnp.subtract, end, function.parameters)

    def of_sample(sample: Array) -> Array:
        at = (function.parameters,)
        return jax.jvp(lambda p: function(p, sample), at, (change,))[1]

    return jax.vmap(of_sample)(x)
