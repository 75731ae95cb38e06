"""Laws of noise: how far an observation is from a prediction."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Array, Float, PRNGKeyArray

from .. import _checks

FARTHEST = 6.0  # standard deviations that noise may take a number away


class AbstractNoise(eqx.Module):
    """A law of noise of one observable.

    Half the sum of the deviances is the negative logarithm of the likelihood, up to a
    constant. With `sd = None` the standard deviation is unknown: deviances are in units
    of its square, and `lazyrich_jax.inference.fit` estimates it.
    """

    sd: eqx.AbstractVar[Any]

    @property
    def is_gaussian(self) -> bool:
        """Whether residuals are differences of `standardised` numbers."""
        return False

    @abc.abstractmethod
    def check(self, name: str, data: np.ndarray) -> None:
        """Refuse data that this law gives no likelihood."""

    @abc.abstractmethod
    def residual(self, data: Array, prediction: Array) -> Array:
        """The signed root of the deviance, smooth where it is zero."""

    @abc.abstractmethod
    def standardised(self, prediction: Array) -> Array:
        """A function of the prediction whose data have noise of one.

        The square of its derivative is the expected information.
        """

    def observed(self, data: Array) -> tuple[Array, Array]:
        """Data as `standardised` predictions, and weights.

        A weight times the difference is the residual, or near it.
        """
        return self.standardised(data), jnp.ones_like(data)

    @abc.abstractmethod
    def constant(self, data: Array) -> Array:
        """The log-likelihood where the deviance is zero and `sd` is one."""

    @abc.abstractmethod
    def draw(self, name: str, prediction: Array, key: PRNGKeyArray) -> Array:
        """Data around a prediction; `name` is the observable's."""

    def slack(self, data: np.ndarray) -> float:
        """How far below zero noise can put a number that is never negative.

        `data` are the numbers of one curve, in the order of the times.
        """
        return 0.0

    def deviance(self, data: Array, prediction: Array) -> Array:
        """Twice the loss of log-likelihood against the best prediction."""
        return self.residual(data, prediction) ** 2


class _Gaussian(AbstractNoise):
    sd: float | None = None

    @property
    def is_gaussian(self) -> bool:
        """True for each law of this kind."""
        return True

    def __init__(self, sd: float | None = None):
        if sd is not None:
            sd = float(_checks.positive("sd", _checks.as_scalar("sd", sd)))
        self.sd = sd

    @property
    def _unit(self) -> Any:  # an array inside a program
        return 1.0 if self.sd is None else self.sd

    def _drawn(self, name: str, prediction: Array, key: PRNGKeyArray) -> Array:
        _checks.require(
            self.sd is not None,
            f"`noise` must have an `sd` to draw the {name}, but its level was unknown.",
        )
        return self._unit * jax.random.normal(key, prediction.shape, prediction.dtype)


class Additive(_Gaussian):
    """Gaussian noise of one standard deviation `sd`, in the observable's units.

    Small losses may then be measured as negative ones, by up to six standard
    deviations.

    **Raises:** `ValueError` for an `sd` that is not positive.
    """

    def check(self, name: str, data: np.ndarray) -> None:
        """Any finite data have a likelihood."""

    def slack(self, data: np.ndarray) -> float:
        """Six standard deviations: noise goes beyond them once in 1e9 times.

        An unknown one is taken from neighbouring numbers: the median of their absolute
        differences is 0.95 standard deviations, or more where the curve is steep.
        """
        if self.sd is not None:
            return FARTHEST * self.sd
        if data.size < 2:
            return 0.0
        steps = np.abs(np.diff(data))
        rounding = 1e-6 * np.max(np.abs(data))
        return float(FARTHEST * np.median(steps) / 0.95 + rounding)

    def draw(self, name: str, prediction: Array, key: PRNGKeyArray) -> Array:
        """The prediction plus noise."""
        return prediction + self._drawn(name, prediction, key)

    def residual(self, data: Array, prediction: Array) -> Array:
        """The difference in units of the standard deviation."""
        return (data - prediction) / self._unit

    def constant(self, data: Array) -> Array:
        """That of the normal density."""
        return jnp.full_like(data, -np.log(2 * np.pi) / 2)

    def standardised(self, prediction: Array) -> Array:
        """The prediction in units of the standard deviation."""
        return prediction / self._unit


class Relative(_Gaussian):
    """Log-normal noise: the logarithm has the standard deviation `sd`.

    `sd = 0.01` is noise of one percent. Data must be positive.

    **Raises:** `ValueError` for an `sd` that is not positive.
    """

    def check(self, name: str, data: np.ndarray) -> None:
        """Only positive data have a likelihood."""
        if not np.all(data > 0):
            i = tuple(int(j) for j in np.argwhere(~(data > 0))[0])
            raise ValueError(
                f"`{name}` must be positive with relative noise, but it was "
                f"{float(data[i])} at index {i}; mask it (`numpy.ma.masked_less_equal`)"
                " or use `Additive()`."
            )

    def draw(self, name: str, prediction: Array, key: PRNGKeyArray) -> Array:
        """The prediction times the exponential of noise."""
        return prediction * jnp.exp(self._drawn(name, prediction, key))

    def residual(self, data: Array, prediction: Array) -> Array:
        """The logarithm of the ratio in units of the standard deviation."""
        return (jnp.log(data) - jnp.log(prediction)) / self._unit

    def constant(self, data: Array) -> Array:
        """That of the log-normal density."""
        return -np.log(2 * np.pi) / 2 - jnp.log(data)

    def standardised(self, prediction: Array) -> Array:
        """The logarithm in units of the standard deviation."""
        return jnp.log(prediction) / self._unit


class Counts(AbstractNoise):
    """Counts of choices: multinomial for "choices", binomial for "accuracy".

    Data of "choices" are counts. Data of "accuracy" are shares of `trials` trials.
    Least squares of the residuals is maximum likelihood.

    **Arguments:**

    - `trials`: the number of trials per time, for "accuracy" only.
    - `each`: the number of choices per time and item that `draw` draws.

    **Raises:** `ValueError` unless `trials` is an integer of at least 1.
    """

    sd: float
    trials: int | None = eqx.field(static=True)
    each: int | None = eqx.field(static=True)

    def __init__(self, trials: int | None = None, *, each: int | None = None):
        self.sd = 1.0  # counts have no free level of noise
        self.trials = None if trials is None else _checks.size("trials", trials)
        self.each = None if each is None else _checks.size("each", each)

    def check(self, name: str, data: np.ndarray) -> None:
        """Counts are whole and non-negative; shares of trials are at most one."""
        counts = data if self.trials is None else data * self.trials
        good = (counts >= 0) & (np.abs(counts - np.round(counts)) < 1e-4)
        what = "counts, whole and non-negative"
        if self.trials is not None:
            good &= data <= 1
            what = f"shares of {self.trials} trials"
        if not np.all(good):
            i = tuple(int(j) for j in np.argwhere(~good)[0])
            raise ValueError(
                f"`{name}` must be {what}, but it was {float(data[i])} at index {i}."
            )

    def draw(self, name: str, prediction: Array, key: PRNGKeyArray) -> Array:
        """Numbers of choices, or shares of right ones."""
        dtype = prediction.dtype
        if self.trials is not None:
            drawn = jax.random.binomial(key, float(self.trials), prediction)
            return drawn.astype(dtype) / self.trials
        _checks.require(
            self.each is not None,
            "`noise` must be `Counts(each=...)` to draw choices, but `each` was None.",
        )
        shape = (self.each or 1, *prediction.shape[:-1])
        drawn = jax.random.categorical(key, jnp.log(prediction), shape=shape)
        return jnp.sum(jax.nn.one_hot(drawn, prediction.shape[-1], dtype=dtype), axis=0)

    def residual(self, data: Array, prediction: Array) -> Array:
        """The signed root of the deviance, one for each count or share."""
        root = jnp.sqrt(self.deviance(data, prediction))
        share = data if self.trials else data / jnp.sum(data, axis=-1, keepdims=True)
        return jnp.sign(share - prediction) * root

    def constant(self, data: Array) -> Array:
        """The logarithm of the largest probability of these counts."""
        if self.trials is None:
            total = jnp.sum(data, axis=-1, keepdims=True)
            ways = gammaln(total + 1) / data.shape[-1] - gammaln(data + 1)
            return ways + xlogy(data, data / jnp.maximum(total, 1))
        n = jnp.asarray(self.trials, data.dtype)
        right, wrong = n * data, n * (1 - data)
        ways = gammaln(n + 1) - gammaln(right + 1) - gammaln(wrong + 1)
        return ways + xlogy(right, data) + xlogy(wrong, 1 - data)

    def standardised(self, prediction: Array) -> Array:
        r"""$2\sqrt{np}$, or $2\sqrt n\arcsin\sqrt p$ for a share.

        One choice per time and item is expected where `each` was not given.
        """
        p = jnp.clip(prediction, jnp.finfo(prediction.dtype).tiny, 1.0)
        if self.trials is None:
            return 2 * jnp.sqrt((self.each or 1) * p)
        angle = jnp.arctan2(jnp.sqrt(p), jnp.sqrt(jnp.maximum(1 - p, 0.0)))
        return 2 * self.trials**0.5 * angle

    def observed(self, data: Array) -> tuple[Array, Array]:
        """Shares of the choices; the weight is the root of their number."""
        if self.trials is not None:
            return self.standardised(data), jnp.ones_like(data)
        total = jnp.sum(data, axis=-1, keepdims=True)
        weight = jnp.sqrt(total / (self.each or 1))
        return self.standardised(data / total), jnp.broadcast_to(weight, data.shape)

    def deviance(self, data: Array, prediction: Array) -> Array:
        """The multinomial or binomial deviance, one for each count or share."""
        if self.trials is None:
            total = jnp.sum(data, axis=-1, keepdims=True)
            return _deviance(data, total * prediction)
        n = self.trials
        right = _deviance(n * data, n * prediction)
        return right + _deviance(n * (1 - data), n * (1 - prediction))


def _deviance(
    count: Float[Array, "..."], expected: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$2[n\log(n/m) - n + m]$, precise also near $n = m$."""
    limits = jnp.finfo(expected.dtype)
    expected = jnp.maximum(expected, limits.tiny**0.5)
    x = count / expected - 1
    near = jnp.abs(x) < 0.01
    series = x**2 * (1 - x / 3 + x**2 / 6 - x**3 / 10 + x**4 / 15)
    far = jnp.where(near, 1.0, x)
    log = jnp.log1p(jnp.maximum(far, limits.eps - 1))
    return expected * jnp.where(near, series, 2 * ((1 + far) * log - far))
