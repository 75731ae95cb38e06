r"""Modes of noisy correlations: of one matrix, and in the limit of large sizes.

The correlation of noisy targets is the teacher's, of low rank, plus independent noise
of each entry: a spiked rectangular random matrix.
"""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, square_norm
from .._xla import compiled
from .assumptions import three_sizes
from .roots import rising_root


class NoisyModes(eqx.Module):
    r"""The modes of a noisy correlation, and what they hold of the teacher.

    A student whose singular vectors are those of the noisy correlation
    $\hat\Sigma = \sum_k \hat s_k u_k v_k^\top$ has the function
    $\sum_k a_k u_k v_k^\top$, and the distance

    $$\|W - \bar W\|^2 = r + \sum_k (a_k - p_k)^2, \quad p_k = u_k^\top\bar Wv_k,
    \quad r = \|\bar W\|^2 - \sum_k p_k^2$$

    from the teacher $\bar W$.

    **Attributes:**

    - `s`: the singular values $\hat s_k$ of the noisy correlation, decreasing: what the
      modes of the student learn.
    - `signal`: the strengths $p_k$ of the teacher along these modes: what they should
      learn. It is the sum of the teacher's singular values times the overlaps of
      both singular vectors.
    - `residual`: $r$. Half of it is the lowest test error that a student with these
      singular vectors can have.
    """

    s: Float[Array, "*batch modes"]
    signal: Float[Array, "*batch modes"]
    residual: Float[Array, "*batch"]


def noisy_modes(
    sigma: Real[ArrayLike, "out in"],
    teacher: Real[ArrayLike, "out in"],
    hidden_size: int | None = None,
) -> NoisyModes:
    r"""The modes of a noisy correlation, exactly.

    **Arguments:**

    - `sigma`: the noisy input-output correlation $\hat\Sigma$, (out, in), for white
      inputs. For inputs of variance c pass `sigma / c`.
    - `teacher`: the function without noise, (out, in).
    - `hidden_size`: the hidden size of the student. It learns the strongest modes.
      Without it all modes are learned.

    **Returns:** `NoisyModes` with `min(in, hidden, out)` modes.

    **Raises:** `ValueError` for matrices of different shapes.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    teacher = 3 * jnp.ones((4, 5)) / 20**0.5  # one mode, of strength 3
    task = lr.Task.teacher(teacher, samples=10, noise=1.0, key=jax.random.key(0))
    modes = lr.theory.noisy_modes(task.input_output_correlation, teacher)
    error = lr.theory.test_error(jnp.linspace(0, 10, 50), modes, 0.01, lmda=1.0)
    ```
    """
    sigma = _checks.as_matrix("sigma", sigma)
    teacher = _checks.as_matrix("teacher", teacher)
    _checks.same_shape(sigma=sigma, teacher=teacher)
    count = min(sigma.shape)
    if hidden_size is not None:
        count = min(count, _checks.size("hidden_size", hidden_size))
    return _of_matrix(*_dtypes.promoted(sigma=sigma, teacher=teacher), count)


@functools.partial(compiled, static_argnums=2)
def _of_matrix(
    sigma: Float[Array, "out in"], teacher: Float[Array, "out in"], count: int
) -> NoisyModes:
    u, s, vt = jnp.linalg.svd(sigma, full_matrices=False)
    u, s, vt = u[:, :count], s[:count], vt[:count]
    signal = jnp.sum(u * dot(teacher, vt.T), axis=0)
    return NoisyModes(s, signal, square_norm(teacher - dot(u * signal[None], vt)))


def spiked_modes(
    strengths: Real[ArrayLike, " rank"],
    sizes: tuple[int, int, int],
    *,
    samples: Real[ArrayLike, ""],
    noise: Real[ArrayLike, ""],
) -> NoisyModes:
    r"""The modes of a noisy correlation of large size, from the teacher's strengths.

    Noise of standard deviation $\sigma$ in the targets of P samples with white inputs
    has the standard deviation $\sigma/\sqrt P$ in each entry of the correlation. With
    $\alpha = \sigma^2N_i/P$ and $\beta = \sigma^2N_o/P$ a mode of the teacher above
    $\bar s = (\alpha\beta)^{1/4}$ has a mode of its own in the correlation,

    $$\hat s = \frac{\sqrt{(\bar s^2 + \alpha)(\bar s^2 + \beta)}}{\bar s}, \quad
    p = \frac{\bar s^4 - \alpha\beta}{\bar s^2\,\hat s}$$

    (Benaych-Georges and Nadakuditi 2012; Lampinen and Ganguli 2019). All others are in
    the bulk, with the distribution of Marchenko and Pastur. The teacher's weaker modes,
    and what noise takes from the stronger ones, are spread over the bulk.
    docs/beyond.md derives this part, which these sources leave out. It makes
    $\sum_k\hat s_kp_k = \|\bar W\|^2$ hold, which is the end of learning.

    **Arguments:**

    - `strengths`: the singular values of the teacher's function for inputs of variance
      one, non-negative, in any order. Their number is the teacher's rank. It must be
      small against the sizes for the result to be accurate.
    - `sizes`: (in, hidden, out) of the student. It learns the strongest modes.
    - `samples`: the number of samples, at least `in`, as for
      `lazyrich_jax.Task.teacher`.
    - `noise`: the standard deviation of the noise of each target. For inputs of
      variance c pass it divided by the square root of c.

    **Returns:** `NoisyModes` with `min(in, hidden, out)` modes: the quantiles of the
    bulk, and what the teacher has in the intervals between. For sizes of 400 and 200
    the test error of one draw of the noise is about 1 % from that of these modes, and
    the mean over draws a few tenths of a percent. First derivatives are right by
    `strengths` and `noise`, except where a strength is at the threshold.

    **Raises:** `ValueError` for more strengths than `min(in, out)`, negative
    strengths or noise, and too few samples (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    strengths, sizes = jnp.array([3.0, 1.0]), (400, 200, 200)
    modes = lr.theory.spiked_modes(strengths, sizes, samples=400, noise=1.0)
    error = lr.theory.test_error(jnp.linspace(0, 10, 50), modes, 0.01, lmda=1.0)
    best = lr.theory.best_stopping_time(modes, 0.01, lmda=1.0)
    ```
    """
    strengths = _dtypes.as_real("strengths", strengths)
    strengths = _checks.positive("strengths", strengths, zero=True)
    n_in, hidden, n_out = three_sizes(sizes)
    _checks.require(
        strengths.ndim == 1 and 0 < strengths.size <= min(n_in, n_out),
        f"`strengths` must be a vector of 1 to `min(in, out)` = {min(n_in, n_out)} "
        f"singular values, but its shape was {strengths.shape}.",
    )
    samples = _checks.as_scalar("samples", samples)
    enough = f"be at least {n_in}, the number of inputs, for white inputs"
    samples = _checks.checked("samples", samples, enough, lambda x: x >= n_in)
    noise = _checks.as_scalar("noise", noise)
    noise = _checks.positive("noise", noise, zero=True)
    one = _dtypes.promoted(strengths=strengths, samples=samples, noise=noise)
    return _spiked(*one, (n_in, hidden, n_out))


@functools.partial(compiled, static_argnums=3)
def _spiked(
    strengths: Float[Array, " rank"],
    samples: Float[Array, ""],
    noise: Float[Array, ""],
    sizes: tuple[int, int, int],
) -> NoisyModes:
    few, many = sorted((sizes[0], sizes[2]))
    square = jnp.sort(strengths**2)[::-1]
    unit = noise / jnp.sqrt(samples)  # of an entry of the correlation
    edge = unit**2 * (few * many) ** 0.5
    above = square > edge
    angle, shares = _bulk(square, edge, (few, many))
    s = unit * jnp.sqrt(few + many + 2 * (few * many) ** 0.5 * jnp.cos(angle))
    # The first modes are those outside of the bulk.
    safe = jnp.where(above, square, 1.0)
    alone = jnp.sqrt((safe + unit**2 * few) * (safe + unit**2 * many) / safe)
    first = slice(square.size)
    s = s.at[first].set(jnp.where(above, alone, s[first]))
    alone = square - edge * (edge / safe)
    shares = shares.at[first].set(jnp.where(above, alone, shares[first]))
    signal = jnp.where(s == 0, 0.0, shares / jnp.where(s == 0, 1.0, s))
    s, signal = s[: sizes[1]], signal[: sizes[1]]
    residual = jnp.maximum(jnp.sum(square) - jnp.sum(signal**2), 0.0)
    return NoisyModes(s, signal, residual)


def _bulk(
    square: Float[Array, " rank"], edge: Float[Array, ""], shape: tuple[int, int]
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    r"""The angles of the modes of the bulk, and their $\hat s_kp_k$.

    Modes outside of the bulk are counted at its upper end, of angle zero, with nothing.
    """
    few, many = shape

    def rank(angle):
        """The number of modes above the bulk's point of this angle."""
        shift = jnp.arctan2(
            square[:, None] * jnp.sin(angle)[None],
            edge - square[:, None] * jnp.cos(angle)[None],
        )
        bulk = 2 * few * _semicircle_integral(angle, (few / many) ** 0.5)
        return (bulk + jnp.sum(shift, axis=0)) / np.pi

    # Ends and middles of the modes' intervals, by turns.
    place = jnp.arange(2 * few + 1, dtype=square.dtype) / 2
    low, high = 0 * place, 0 * place + np.pi
    angle = rising_root(lambda x: rank(x) - place, low, high)
    above = square > edge
    outside = jnp.sum(above.astype(place.dtype))
    angle = jnp.where(place <= outside, low, angle)
    angle = jnp.where(place == few, high, angle)
    # The squared strengths of the teacher, divided among the intervals.
    most = jnp.maximum(square, edge)
    ratio = jnp.minimum(square, edge) / jnp.where(most > 0, most, 1.0)
    parts = _semicircle_integral(angle[::2, None], -ratio[None]) * (2 / np.pi)
    sizes = jnp.where(above, edge * ratio, square)
    shares = jnp.sum(jnp.diff(parts, axis=0) * sizes[None], axis=1)
    return angle[1::2], shares


def _semicircle_integral(
    angle: Float[Array, "..."], ratio: float | Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$\int_0^\theta \sin^2 x / (1 + r^2 + 2r\cos x)\,dx$ for $|r| \le 1$."""
    ratio = jnp.asarray(ratio, angle.dtype)
    small = jnp.abs(ratio) < jnp.finfo(angle.dtype).eps ** (1 / 3)
    r = jnp.where(small, 1.0, ratio)
    sine = jnp.sin(angle)
    turn = jnp.arctan2(r * sine, 1 + r * jnp.cos(angle))
    whole = angle / 2 - sine / (2 * r) + (1 - r**2) / (2 * r**2) * turn
    early = angle / 2 - jnp.sin(2 * angle) / 4 - ratio * (2 / 3) * sine**3
    return jnp.where(small, early, whole)
