"""White inputs: coordinates in which given inputs are white, and random white inputs.

In: inputs (samples, in), or a key and sizes. Out: inputs whose correlation is the
identity, and the map to them. They come from the singular value decomposition of the
inputs; random ones from a QR decomposition of centred normal inputs.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, Real

from . import _checks, _dtypes
from ._linalg import dot
from ._xla import compiled


class Whitening(eqx.Module):
    r"""The white coordinates of a task's inputs, from `lazyrich_jax.Task.whitening`.

    It is $z = Mx$ with $\frac1P \sum_n z_n z_n^\top = I$ over the task's samples.

    **Attributes:**

    - `matrix`: M, shape (kept, in).
    - `inverse`: its pseudoinverse, (in, kept). It returns z to the part of x in the
      kept directions.
    - `share`: the share of the inputs' square norm in the kept directions.
    """

    matrix: Float[Array, "kept in"]
    inverse: Float[Array, "in kept"]
    share: Float[Array, ""]

    def __call__(self, x: Real[ArrayLike, "samples in"]) -> Float[Array, "samples k"]:
        """The coordinates of other samples, such as a test set."""
        return self._mapped("x", x, self.matrix.mT)

    def there(self, w1: Real[ArrayLike, "*times hidden in"]) -> Float[Array, "..."]:
        """The first layer that acts on z as `w1` acts on x in the kept directions."""
        return self._mapped("w1", w1, self.inverse)

    def back(self, w1: Real[ArrayLike, "*times hidden k"]) -> Float[Array, "..."]:
        """The first layer that acts on x as `w1` acts on z."""
        return self._mapped("w1", w1, self.matrix)

    def _mapped(
        self, name: str, rows: Real[ArrayLike, "..."], matrix: Float[Array, "n m"]
    ) -> Float[Array, "..."]:
        rows = _dtypes.as_real(name, rows)
        _checks.require(
            rows.ndim > 1 and rows.shape[-1] == matrix.shape[0],
            f"`{name}` must have {matrix.shape[0]} columns, but its shape was "
            f"{rows.shape}.",
        )
        rows, matrix = _dtypes.promoted(**{name: rows, "whitening": matrix})
        return dot(rows, matrix)


def whiten(
    x: Float[Array, "samples in"],
    rank: int | None,
    tol: Real[ArrayLike, ""] | None,
) -> tuple[Float[Array, "samples kept"], Whitening]:
    """White inputs and their coordinates.

    The white inputs come from the decomposition: a product with `matrix` would lose
    the digits of weak directions.
    """
    _checks.require(
        rank is None or tol is None,
        "`rank` and `tol` must not be given together, but they were.",
    )
    samples, n_in = x.shape
    whole = rank is None and tol is None
    _checks.require(
        not whole or samples >= n_in,
        "`x` must have at least as many samples as inputs to be whitened, but it "
        f"had {samples} samples of {n_in} inputs; `rank` or `tol` chooses directions.",
    )
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    size = n_in if whole else max(x.shape)
    noise = size * jnp.finfo(s.dtype).eps * s[0]
    if tol is not None:
        kept = _directions(s, noise, tol)
    else:
        kept = s.size if rank is None else _checks.size("rank", rank)
    spans = _spans(s, noise, kept, whole)
    mark = jnp.where(spans, 1.0, jnp.nan)
    share = jnp.sum(s[:kept] ** 2) / jnp.sum(s**2)
    u, s, vt = u[:, :kept], s[:kept], vt[:kept]
    # The nearest white inputs, or coordinates in the kept directions.
    back = vt if whole else jnp.eye(kept, dtype=s.dtype)
    scales = samples**0.5 / jnp.where(spans, s, 1.0)
    whitening = Whitening(
        dot(back.mT * scales[None], vt) * mark,
        dot(vt.mT / scales[None], back) * mark,
        share,
    )
    return samples**0.5 * dot(u, back) * mark, whitening


def _directions(
    s: Float[Array, " n"], noise: Float[Array, ""], tol: Real[ArrayLike, ""]
) -> int:
    """The number of directions above the tolerance."""
    least = _checks.as_scalar("tol", tol)
    least = _checks.checked("tol", least, "be in [0, 1)", lambda x: (x >= 0) & (x < 1))
    values = _checks.known(jnp.stack([*(s / s[0]), noise / s[0]]))
    most = _checks.known(least)
    if values is None or most is None:
        raise ValueError(
            "`tol` must choose directions of known inputs, but they, or `tol`, were "
            "traced: give `rank`."
        )
    kept = int((values[:-1] > max(values[-1], float(most))).sum())
    _checks.require(kept > 0, "`x` must have inputs other than zero, but it had none.")
    return kept


def _spans(
    s: Float[Array, " n"], noise: Float[Array, ""], kept: int, whole: bool
) -> Bool[Array, ""]:
    """Whether all kept directions have inputs; others are refused if known."""
    _checks.require(
        kept <= s.size,
        f"`rank` must be at most min(samples, in) = {s.size}, but it was {kept}.",
    )
    spans = s[kept - 1] > noise
    if not _checks.is_concrete(spans) or spans:
        return spans
    if whole:
        raise ValueError(
            "`x` must have linearly independent inputs (columns) to be whitened, but "
            f"its singular values went from {_checks.number(s[0])} to "
            f"{_checks.number(s[-1])}; `tol=0` keeps the independent directions alone."
        )
    count = int((s > noise).sum())
    raise ValueError(
        f"`rank` must be at most the rank of the inputs, {count}, but it was {kept}."
    )


def white_inputs(
    key: PRNGKeyArray, in_size: int, samples: int, dtype: jnp.dtype
) -> Float[Array, "samples in"]:
    """Random inputs of mean zero and identity correlation."""
    in_size = _checks.size("in_size", in_size)
    samples = _checks.size("samples", samples)
    _checks.require(
        samples > in_size,
        "`samples` must be more than the number of inputs for the inputs to be "
        f"centred and white, but it was {samples} for {in_size} inputs.",
    )
    return _drawn_white(key, in_size, samples, dtype)


@functools.partial(compiled, static_argnums=(1, 2, 3))
def _drawn_white(
    key: PRNGKeyArray, in_size: int, samples: int, dtype: jnp.dtype
) -> Float[Array, "samples in"]:
    x = jax.random.normal(key, (samples, in_size), dtype)
    q, r = jnp.linalg.qr(x - jnp.mean(x, axis=0, keepdims=True))
    return samples**0.5 * q * jnp.sign(jnp.diagonal(r))[None]
