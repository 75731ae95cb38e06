"""The balance of random initialisations; its spread falls with width."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._init import Gaussian
from .._linalg import dot
from ..measures import balance
from ..theory import balance_variance, expected_balance
from .maps import draw_matrix
from .record import Data, Difference, Record
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "The balance of random weights against their width"
SOURCE = "Domine et al. 2025, appendix; Figure 3.1 of Domine's thesis"


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, int, int] = (40, 120, 200)
    scales: tuple[float, float] = (1.0, 2.0)
    widths: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    draws: int = 50
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(widths=(4, 40), draws=20)


def initialisers(settings: Settings) -> dict[str, Gaussian]:
    """The four initialisers of the source."""
    scaled = Gaussian.scaled(jnp.array(settings.scales))
    first, second = settings.scales
    return {
        "LeCun": Gaussian.lecun(),
        "He": Gaussian.he(),
        f"scaled ({first:g}, {second:g})": scaled,
        "Glorot": Gaussian.glorot(),
    }


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.sizes))
    return (
        f"B = W₂ᵀW₂ - W₁W₁ᵀ of random {sizes} networks; its expectation is λI. The "
        "lower row is against the width of the input at the same proportions: mean and "
        f"deviation of {settings.draws} draws (markers) beside theory (lines). It "
        "shows the fitted λ and the root mean square of the entries of B - λI, which "
        "falls as the inverse root of the width. In that sense wide random weights are "
        "balanced. But the number of entries grows too: relative to λI the residual "
        "does not fall (right). Text and title of the source give 40-200-80 and "
        "40-120-80; the sizes here are those of its code, which fit its values. The "
        "source prints the variance on the diagonal as four times the variance off the "
        "diagonal; it is twice."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute one draw of every kind, and statistics of many draws over widths."""
    data: dict[str, np.ndarray] = {"widths": np.array(settings.widths)}
    differences = []
    for i, (name, initialiser) in enumerate(track(initialisers(settings).items())):
        key = jax.random.fold_in(jax.random.key(settings.seed), i)
        stds = initialiser.standard_deviations(*settings.sizes)
        data[f"{i}/matrix"] = np.asarray(_matrix(stds, settings.sizes, key))
        rows, faults = [], []
        for width in settings.widths:
            sizes = _scaled(settings.sizes, width)
            stds = initialiser.standard_deviations(*sizes)
            lmda, residual, diagonal = np.asarray(
                _statistics(stds, sizes, settings.draws, key)
            )
            variance = np.asarray(balance_variance(initialiser, *sizes))
            hidden = sizes[1]
            square = (hidden - 1) * (hidden + 2) * variance[0, 1]
            expected = float(expected_balance(initialiser, *sizes))
            found = np.sqrt(np.mean(residual**2))
            # The root mean square of the entries.
            sizes_of_entries = found / hidden, np.sqrt(square) / hidden
            rows.append((lmda.mean(), lmda.std(), expected, *sizes_of_entries))
            spread = np.sqrt(variance[0, 0] / hidden / settings.draws)
            faults.append(
                (
                    abs(lmda.mean() - expected) / spread,
                    abs(found / np.sqrt(square) - 1),
                    abs(diagonal.mean() / variance[0, 0] - 1),
                )
            )
        data[f"{i}/statistics"] = np.array(rows)
        kinds = (
            ("λ, in standard errors", 4.0),
            ("residual", 0.1),
            ("variance of the diagonal", 0.4),
        )
        for (what, bound), value in zip(kinds, np.max(faults, axis=0), strict=True):
            what = f"{name}: {what}"
            differences.append(Difference(what, "random draws", float(value), bound))
    hidden = [_scaled(settings.sizes, width)[1] for width in settings.widths]
    data["hidden"] = np.array(hidden)
    data["names"] = np.array(list(initialisers(settings)))
    return Record(data, differences)


def _scaled(sizes: tuple[int, int, int], width: int) -> tuple[int, int, int]:
    """Sizes in the same proportions for `width` inputs."""
    n_in, hidden, n_out = (round(n * width / sizes[0]) for n in sizes)
    return n_in, hidden, n_out


# The argument `stds` lets all kinds of weights share one program.
@eqx.filter_jit
def _matrix(stds: Array, sizes: tuple[int, int, int], key: Array) -> Array:
    w1, w2 = Gaussian(stds)(*sizes, key=key).weights
    return dot(w2.T, w2) - dot(w1, w1.T)


@eqx.filter_jit
def _statistics(
    stds: Array, sizes: tuple[int, int, int], draws: int, key: Array
) -> Array:
    """Fitted balance, residual and variance along the diagonal of many draws."""

    def of(key):
        w1, w2 = Gaussian(stds)(*sizes, key=key).weights
        diagonal = jnp.sum(w2**2, axis=0) - jnp.sum(w1**2, axis=1)
        return jnp.stack([*balance(w1, w2), jnp.var(diagonal, ddof=1)])

    return jax.vmap(of)(jax.random.split(key, draws)).T


def draw(data: Data) -> "Figure":
    """Draw maps above and statistics over width below."""
    figure = new_figure(12.0, 6.6)
    names = data["names"]
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.1))[:, 0]
    for i, ax in enumerate(above.subplots(1, len(names))):
        image = draw_matrix(ax, data[f"{i}/matrix"], str(names[i]))
        above.colorbar(image, ax=ax, shrink=0.8)
    left, right, beside = below.subplots(1, 3)
    widths = data["widths"]
    # Factors from the size of an entry to the size of the matrix over lambda I.
    side = np.sqrt(data["hidden"])
    for i, name in enumerate(names):
        mean, spread, expected, residual, predicted = data[f"{i}/statistics"].T
        colour = COLOURS[i]
        left.plot(widths, expected, color=colour, label=str(name))
        left.errorbar(widths, mean, spread, color=colour, fmt="o", capsize=3)
        right.plot(widths, predicted, color=colour)
        right.plot(widths, residual, "o", color=colour)
        beside.plot(widths, predicted * side / np.abs(expected), color=colour)
        beside.plot(widths, residual * side / np.abs(expected), "o", color=colour)
    right.plot([], [], "-", color="0.4", label="theory")
    right.plot([], [], "o", color="0.4", label="random draws")
    left.set_ylabel(r"fitted $\lambda$")
    right.set(yscale="log", ylabel=r"entries: $\|B - \lambda I\|_F / N_h$")
    beside.set_ylabel(r"matrix: $\|B - \lambda I\|_F / \|\lambda I\|_F$")
    beside.set_ylim(bottom=0)
    for ax in (left, right, beside):
        ax.set(xscale="log", xlabel="inputs")
    left.legend(frameon=False, ncols=2, loc="center", bbox_to_anchor=(0.5, 0.55))
    right.legend(frameon=False)
    return figure
