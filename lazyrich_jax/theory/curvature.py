r"""The curvature of the loss of two layers: its spectrum, and the largest stable step.

In the task's modes the Hessian of an aligned network falls into blocks of at most four
weights: of one mode, or between two modes. Formulas are for white inputs.
For inputs of variance c pass `s / c`, and multiply curvatures by c.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._feasible import feasible_lmda
from .._linalg import safe_hypot, split_singular_values
from .._xla import compiled
from .assumptions import three_sizes


def hessian_spectrum(
    s: Real[ArrayLike, " modes"],
    a: Real[ArrayLike, "*points strengths"],
    lmda: Real[ArrayLike, ""],
    sizes: tuple[int, int, int],
) -> Float[Array, "*points weights"]:
    r"""All eigenvalues of the loss's Hessian by the weights of an aligned network.

    A mode of strength $a$ with the limit $s$ has the pair

    $$\tfrac12\left[\sqrt{\lambda^2 + 4a^2} \pm \sqrt{\lambda^2 + 4(2a - s)^2}\right].$$

    Weights between two modes have the four eigenvalues of a matrix of the modes'
    weights $b$ and $c$ in the two layers, $bc = a$, $c^2 - b^2 = \lambda$, and of their
    errors $s - a$. A negative eigenvalue is a direction in which
    the loss falls ever faster, as at a saddle.

    **Arguments:**

    - `s`: all singular values of the task's correlation, `min(in, out)` of them, in
      decreasing order.
    - `a`: the strengths of the network's modes, non-negative, `min(in, hidden, out)`
      of them on the last axis, such as `aligned_modes` gives them.
    - `lmda`: the balance.
    - `sizes`: (in, hidden, out).

    **Returns:** `hidden * (in + out)` eigenvalues, increasing, for white inputs. For
    inputs of variance c pass `s / c` and multiply them by c.

    **Raises:** `ValueError` for other numbers of modes, negative modes, and a balance
    that the sizes don't allow (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    s, ts = jnp.array([2.0, 1.0]), jnp.linspace(0, 10, 50)
    a = lr.theory.aligned_modes(ts, s, 0.1, lmda=1.0)
    spectrum = lr.theory.hessian_spectrum(s, a, 1.0, (3, 2, 2))
    sharpness = spectrum[:, -1]
    ```
    """
    n_in, _, n_out = sizes = three_sizes(sizes)
    s, a = _dtypes.as_real("s", s), _dtypes.as_real("a", a)
    lmda = _checks.as_scalar("lmda", lmda)
    s = _checks.positive("s", _checks.finite("s", s), zero=True)
    a = _checks.positive("a", _checks.finite("a", a), zero=True)
    k = min(sizes)
    for name, shape, count, what in (
        ("s", s.shape, min(n_in, n_out), "`min(in, out)`"),
        ("a", a.shape[-1:], k, "`min(in, hidden, out)` on the last axis,"),
    ):
        _checks.require(
            shape == (count,),
            f"`{name}` must have {what} {count} values for sizes "
            f"{_checks.sizes_text(sizes)}, but its shape was "
            f"{s.shape if name == 's' else a.shape}.",
        )
    s, a, lmda = _dtypes.promoted(s=s, a=a, lmda=lmda)
    lmda = feasible_lmda(lmda, sizes)
    return _spectrum(s, a, lmda, sizes)


@functools.partial(compiled, static_argnums=3)
def _spectrum(
    s: Float[Array, " modes"],
    a: Float[Array, "*points k"],
    lmda: Float[Array, ""],
    sizes: tuple[int, int, int],
) -> Float[Array, "*points weights"]:
    n_in, hidden, n_out = sizes
    n = max(sizes)

    def padded(x, count):
        """`x` on the first `count` directions, zero on the others."""
        pad = [(0, 0)] * (x.ndim - 1) + [(0, n - x.shape[-1])]
        there = np.broadcast_to(np.arange(n) < count, (*x.shape[:-1], n))
        return jnp.where(there, jnp.pad(x, pad), 0.0)

    s, a = padded(s, n), padded(a, n)
    b, c = split_singular_values(a, lmda)
    b, c = padded(b, min(hidden, n_in)), padded(c, min(hidden, n_out))
    s = jnp.broadcast_to(s, b.shape)
    e = s - b * c
    # The weights (unit i, input j), (output i, unit j), and with i and j exchanged.
    i, j = np.triu_indices(n, 1)
    zero = jnp.zeros_like(b[..., i])
    rows = (
        (c[..., i] ** 2, c[..., i] * b[..., j], zero, -e[..., j]),
        (c[..., i] * b[..., j], b[..., j] ** 2, -e[..., i], zero),
        (zero, -e[..., i], c[..., j] ** 2, c[..., j] * b[..., i]),
        (-e[..., j], zero, c[..., j] * b[..., i], b[..., i] ** 2),
    )
    blocks = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    there = np.stack(
        [
            (i < hidden) & (j < n_in),
            (i < n_out) & (j < hidden),
            (j < hidden) & (i < n_in),
            (j < n_out) & (i < hidden),
        ],
        axis=-1,
    )
    found = []
    for kind in np.unique(there, axis=0):
        pairs = np.flatnonzero((there == kind).all(axis=1))
        some = blocks[..., pairs, :, :][..., kind, :][..., kind]
        values = jnp.linalg.eigvalsh(some)
        found.append(values.reshape(*a.shape[:-1], -1))
    # A unit without an input or an output of its own has no curvature there.
    own = min(n_in, hidden, n_out)
    b, c, e = b[..., :own], c[..., :own], e[..., :own]
    mean, turn = (b * b + c * c) / 2, safe_hypot((c * c - b * b) / 2, b * c - e)
    flat = min(hidden, max(n_in, n_out)) - own
    flat = jnp.zeros((*a.shape[:-1], flat), a.dtype)
    return jnp.sort(jnp.concatenate([*found, mean + turn, mean - turn, flat], -1), -1)


def sharpness(
    s: Real[ArrayLike, " modes"],
    a: Real[ArrayLike, "*points strengths"],
    lmda: Real[ArrayLike, ""],
    sizes: tuple[int, int, int],
) -> Float[Array, "*points"]:
    """The largest eigenvalue of `hessian_spectrum`, with its arguments and errors."""
    return hessian_spectrum(s, a, lmda, sizes)[..., -1]


def final_sharpness(
    s: Real[ArrayLike, " modes"], laziness: Real[ArrayLike, "*points"]
) -> Float[Array, "*points"]:
    r"""The largest eigenvalue of the Hessian where the task is learned.

    It is $\sqrt{\lambda^2 + 4s_1^2}$, from every lambda-balanced start. At a minimum it
    is the sum of the largest eigenvalues of both representations. That sum is the same
    for wide networks with the laziness $l_1 + l_2$ in place of $|\lambda|$, and no less
    than $2s_1$ for any two layers. Gradient descent at the minimum is stable for
    learning rates below `largest_stable_step`.

    **Arguments:**

    - `s`: singular values of the task's correlation.
    - `laziness`: the balance, or `network.effective_laziness` of a wide network.

    **Returns:** an array of the shape of `laziness`. For inputs of variance c pass
    `s / c` and multiply by c.

    **Raises:** `ValueError` for values that aren't finite (traced: NaN).
    """
    s = _checks.finite("s", _dtypes.as_real("s", s))
    laziness = _checks.finite("laziness", _dtypes.as_real("laziness", laziness))
    _checks.require(
        s.ndim == 1 and s.size > 0,
        f"`s` must be a vector of singular values, but its shape was {s.shape}.",
    )
    s, laziness = _dtypes.promoted(s=s, laziness=laziness)
    return safe_hypot(laziness, 2 * jnp.max(jnp.abs(s)))


def largest_stable_step(
    s: Real[ArrayLike, " modes"], laziness: Real[ArrayLike, "*points"]
) -> Float[Array, "*points"]:
    r"""The learning rate $2/\sqrt{\lambda^2 + 4s_1^2}$, at the edge of stability.

    Gradient descent with a larger rate leaves the minimum that gradient flow reaches.
    It diverges, or ends where the balance is smaller. Arguments and errors are as for
    `final_sharpness`; for inputs of variance c pass `s / c` and divide by c. The rate
    is infinite where nothing has any curvature.
    """
    return 2 / final_sharpness(s, laziness)
