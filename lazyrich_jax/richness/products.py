"""Inner products of two tangent kernels, and the measures that follow from them."""

import dataclasses

import equinox as eqx
import numpy as np
from jaxtyping import Float

from ..measures.operators import distance_of

Number = float | Float[np.ndarray, " replicates"]
Square = Float[np.ndarray, "n n"]

LINES = {
    "kernel_distance": "0 lazy, towards 1 rich: the direction of the kernel changed",
    "rich_lazy_index": "0 lazy, 1 rich: the size of the kernel counts too",
    "start_target_alignment": "of the kernel with the targets, before learning",
    "end_target_alignment": "after learning; larger if the kernel learned the task",
    "start_participation_ratio": "the kernel's effective dimension before learning",
    "end_participation_ratio": "after learning",
}


class KernelProducts(eqx.Module):
    r"""Inner products of the tangent kernels $K_0$ and $K_1$ of two models.

    The kernels are of outputs and samples, as `lazyrich_jax.kernels.empirical_ntk`.

    **Attributes:**

    - `start_square`, `end_square`, `change_square`: $|K_0|_F^2$, $|K_1|_F^2$ and
      $|K_1 - K_0|_F^2$; `inner`: $\langle K_0, K_1\rangle_F$.
    - `start_trace`, `end_trace`: the traces.
    - `start_target`, `end_target`: $\langle K, yy^\top\rangle_F$ with the vector of all
      targets; `target_square`: $|y|^2$, the norm of $yy^\top$. They are `None` without
      targets.
    - `replicates`: for a sketch, the same estimates without each of its directions;
      otherwise `None`.
    """

    start_square: Number
    end_square: Number
    change_square: Number
    inner: Number
    start_trace: Number
    end_trace: Number
    start_target: Number | None = None
    end_target: Number | None = None
    target_square: float | None = None
    replicates: "KernelProducts | None" = eqx.field(default=None, kw_only=True)

    @property
    def kernel_distance(self) -> Number:
        """As `lazyrich_jax.measures.kernel_distance`."""
        start, end = _root(self.start_square), _root(self.end_square)
        change = _root(self.change_square)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = distance_of(start, end, change, self._cosine, np.where)
        return np.maximum(found, 0.0)

    @property
    def kernel_alignment(self) -> Number:
        """As `lazyrich_jax.measures.kernel_alignment`."""
        distance = self.kernel_distance
        return np.where(distance < 0.5, 1 - distance, self._cosine)[()]

    @property
    def _cosine(self) -> Number:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.inner / (_root(self.start_square) * _root(self.end_square))

    @property
    def rich_lazy_index(self) -> Number:
        """As `lazyrich_jax.measures.rich_lazy_index`."""
        total = _root(self.start_square) + _root(self.end_square)
        return _root(self.change_square) / np.where(total > 0, total, 1.0)

    @property
    def start_target_alignment(self) -> Number | None:
        """The start's `lazyrich_jax.measures.target_alignment`; `None` without `y`."""
        return _alignment(self.start_target, self.start_square, self.target_square)

    @property
    def end_target_alignment(self) -> Number | None:
        """The end's `lazyrich_jax.measures.target_alignment`; `None` without `y`."""
        return _alignment(self.end_target, self.end_square, self.target_square)

    @property
    def start_participation_ratio(self) -> Number:
        """The start's `lazyrich_jax.measures.participation_ratio`."""
        return _ratio(self.start_trace, self.start_square)

    @property
    def end_participation_ratio(self) -> Number:
        """The end's `lazyrich_jax.measures.participation_ratio`."""
        return _ratio(self.end_trace, self.end_square)

    def standard_error(self, name: str) -> float:
        """The standard error of an attribute; zero for exact products.

        The sketch's directions are left out one by one (the jackknife of Efron and
        Stein 1981).

        **Raises:** `AttributeError` for a name that isn't an attribute.
        """
        getattr(self, name)
        if self.replicates is None:
            return 0.0
        values = np.asarray(getattr(self.replicates, name), float)
        count = values.size
        return float(np.sqrt((count - 1) * np.var(values)))

    def __str__(self) -> str:
        """One line per measure, with its reading."""
        lines = []
        for name, reading in LINES.items():
            value = getattr(self, name)
            if value is None:
                continue
            number = f"{value:.4g}"
            if self.replicates is not None:
                number += f" ± {self.standard_error(name):.1g}"
            lines.append(f"{name.replace('_', ' ')}: {number} ({reading})")
        return "\n".join(lines)


def with_targets(
    products: KernelProducts, start: float, end: float, square: float
) -> KernelProducts:
    """The products together with those with targets, which are exact."""
    replicates = products.replicates
    if replicates is not None:
        replicates = with_targets(replicates, start, end, square)
    return dataclasses.replace(
        products,
        start_target=start,
        end_target=end,
        target_square=square,
        replicates=replicates,
    )


def of_features(start: Square, mixed: Square, change: Square) -> KernelProducts:
    r"""The products from $J_0^\top J_0$, $J_0^\top D$ and $D^\top D$, $D = J_1 - J_0$.

    No difference of large numbers is taken: the change of a lazy kernel keeps its
    digits.
    """
    squares = (np.sum(entries) for entries in _squares(start, mixed, change))
    trace = np.trace(start)
    gain = 2 * np.trace(mixed) + np.trace(change)
    return KernelProducts(*map(float, (*squares, trace, trace + gain)))


def of_sketches(rows: Float[np.ndarray, "directions 6"]) -> KernelProducts:
    r"""Unbiased estimates from the products of $K_0 v$, $K_1 v$ and v.

    Each row has those of one random vector v of signs: $|K_0v|^2$, $|K_1v|^2$,
    $|K_1v - K_0v|^2$, $K_0v \cdot K_1v$, $v \cdot K_0v$ and $v \cdot K_1v$. As the mean
    of $vv^\top$ is the identity, their means are the products (Hutchinson 1990).
    """
    total = rows.sum(axis=0)
    without = (total - rows) / (len(rows) - 1)
    means = map(float, total / len(rows))
    return KernelProducts(*means, replicates=KernelProducts(*without.T))


def _squares(start: Square, mixed: Square, change: Square) -> tuple[Square, ...]:
    r"""Entries with the sums $|K_0|^2$, $|K_1|^2$, $|K_1 - K_0|^2$ and of $K_0 K_1$."""
    both = mixed + mixed.T
    moved = 2 * start * change + change**2 + 2 * mixed * mixed.T + 2 * change * both
    end = start + both + change
    return start**2, end**2, moved, (start + mixed) ** 2


def _root(square: Number) -> Number:
    return np.sqrt(np.maximum(square, 0.0))


def _alignment(
    product: Number | None, square: Number, target: float | None
) -> Number | None:
    if product is None or target is None:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        return product / (_root(square) * np.float64(target))


def _ratio(trace: Number, square: Number) -> Number:
    root = _root(square)
    return np.where(root > 0, (trace / np.where(root > 0, root, 1.0)) ** 2, 0.0)[()]
