r"""The solution under weight decay of a task of zeros: all strengths vanish.

In: Q0, inputs before outputs, its balance, the decay and a time. Out: Q. The balance
alone moves inputs and outputs: $\Psi = e^{-\gamma t} \mathrm{diag}(e^{-L}, e^L)$,
$L = \frac\lambda2\int e^{-2\gamma t}$. Neither side is a small difference.
docs/beyond.md, section 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import mean_decay
from ..._triangular import over, triangle


def unforced(
    q: Float[Array, "n columns"],
    n_in: int,
    lmda: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, "n columns"]:
    """Q at `t`."""
    is_small = (jnp.arange(q.shape[0]) < n_in) == (lmda >= 0)  # the side that dies
    small = jnp.where(is_small[:, None], q, 0.0)
    total = jnp.abs(lmda) * t * mean_decay(2 * decay * t)  # 2L
    # By the balance I + Q0' N Q0 is e^{2L} times I + c S' S, S the small side.
    root = jnp.sqrt(2 * t * mean_decay(2 * decay * t) * mean_decay(2 * total))
    k = jnp.concatenate([root * small, jnp.eye(q.shape[1], dtype=q.dtype)])
    left = jnp.exp(-decay * t - jnp.where(is_small, total, 0.0))
    return over(left[:, None] * q, triangle(k))
