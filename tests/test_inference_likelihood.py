"""The logarithm of the likelihood: its value, its derivative and samplers on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import lazyrich_jax as lr

TIMES = jnp.linspace(0, 8, 20)
START = np.array([[0.3, -1.2], [0.8, 0.5]])
POINT = {"lmda": 1.0, "function": START}
UNKNOWN = ("lmda", "function")


def task(n_in=2, n_out=2):
    sigma = np.eye(n_out, n_in) * np.arange(n_in, 0, -1.0) / 2
    return lr.Task.from_correlation(jnp.asarray(sigma))


def experiment(sd):
    return lr.inference.Experiment(
        task(),
        TIMES,
        observe="function",
        noise=lr.inference.Additive(sd),
        start="any",
        scale=0.3,
    )


@pytest.fixture(scope="module")
def data():
    return np.asarray(experiment(0.01).simulate(**POINT, key=jax.random.key(1)))


@pytest.fixture(scope="module")
def log_density(data):
    return lr.inference.log_likelihood(experiment(0.01), data, UNKNOWN)


def test_value(data, log_density):
    predicted = np.asarray(experiment(0.01).predict(**POINT))
    right = stats.norm.logpdf(data, predicted, 0.01).sum()
    assert log_density(POINT) == pytest.approx(right, rel=1e-10)
    assert log_density(log_density.encode(POINT)) == pytest.approx(right, rel=1e-10)
    back = log_density.decode(jnp.asarray(log_density.encode(POINT)))
    np.testing.assert_allclose(back["function"], START)
    np.testing.assert_allclose(back["lmda"], 1.0)


def test_missing_data_and_noise_of_unknown_level(data):
    masked = np.ma.masked_array(data, np.zeros(data.shape, bool))
    masked[3, 0, 1] = np.ma.masked
    density = lr.inference.log_likelihood(experiment(None), masked, UNKNOWN)
    assert density.labels[-1] == "noise" and len(density.labels) == 6
    predicted = np.asarray(experiment(None).predict(**POINT))
    right = stats.norm.logpdf(data, predicted, 0.02)
    right = right.sum() - right[3, 0, 1]
    point = {**POINT, "noise": 0.02}
    assert density(point) == pytest.approx(right, rel=1e-10)
    assert density(density.encode(point)) == pytest.approx(right, rel=1e-10)


@pytest.mark.slow
def test_derivative_under_jit_and_vmap(log_density):
    u = log_density.encode(POINT) + 0.01
    points = jnp.asarray(np.stack([u, u + 0.1, np.full(5, 1e13), np.full(5, np.nan)]))
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(log_density)))(points)
    h = 1e-5 * np.eye(5)
    right = [(log_density(u + x) - log_density(u - x)) / 2e-5 for x in h]
    np.testing.assert_allclose(slopes[0], right, rtol=1e-6)
    assert values[0] == pytest.approx(float(log_density(u)), rel=1e-12)
    # Out of range.
    assert np.all(np.isneginf(values[2:])) and np.all(slopes[2:] == 0)


def test_no_value_is_minus_infinity():
    tall = lr.inference.Experiment(task(3, 2), TIMES, hidden_size=3)
    density = lr.inference.log_likelihood(tall, tall.predict(lmda=-1.0), ("lmda",))
    assert np.isfinite(density({"lmda": -1.0, "noise": 0.1}))
    assert density({"lmda": 1.0, "noise": 0.1}) == -np.inf  # positive: hidden <= out
    assert density({"lmda": np.nan, "noise": 0.1}) == -np.inf


def test_constants_of_laws_of_noise():
    """Each law's likelihood is its probability or density."""
    law = lr.inference.Relative(0.1)
    y, m = jnp.array([0.5, 2.0]), jnp.array([0.6, 1.7])
    found = law.constant(y) - law.deviance(y, m) / 2 - np.log(0.1)
    right = stats.lognorm.logpdf(np.asarray(y), 0.1, scale=np.asarray(m))
    np.testing.assert_allclose(found, right, rtol=1e-12)
    law = lr.inference.Counts(8)
    y, m = jnp.array([0.0, 0.25, 1.0]), jnp.array([0.1, 0.5, 0.9])
    right = stats.binom.logpmf(np.asarray(y * 8), 8, np.asarray(m))
    np.testing.assert_allclose(law.constant(y) - law.deviance(y, m) / 2, right)
    law = lr.inference.Counts()
    y, m = jnp.array([[3.0, 0.0, 5.0]]), jnp.array([[0.2, 0.1, 0.7]])
    right = stats.multinomial.logpmf(np.asarray(y), 8, np.asarray(m))
    found = jnp.sum(law.constant(y) - law.deviance(y, m) / 2, axis=-1)
    np.testing.assert_allclose(found, right)


@pytest.mark.slow
def test_nuts_over_an_unknown_start_function(log_density):
    """The posterior covers the truth; its spread is that of the Fisher information."""
    if not hasattr(jax, "shard_map"):
        pytest.importorskip("blackjax")  # needs a newer JAX
    import blackjax

    information = lr.inference.fisher(experiment(0.01), UNKNOWN, **POINT)

    def posterior(u):  # a wide prior of the coordinates
        return log_density(u) - jnp.sum((u / 30) ** 2) / 2

    nuts: Any = blackjax.nuts(posterior, 0.7, jnp.asarray(information.covariance))

    @jax.jit
    def run(state, keys):
        def step(state, key):
            state, info = nuts.step(key, state)
            return state, (state.position, info.is_divergent)

        return jax.lax.scan(step, state, keys)[1]

    truth = log_density.encode(POINT)
    begin = nuts.init(jnp.asarray(truth))
    keys = jax.random.split(jax.random.key(2), 400)
    drawn, divergent = jax.tree.map(np.asarray, run(begin, keys))
    assert not divergent.any()
    sd = np.array([information.sd[label] for label in log_density.labels])
    assert np.all(np.abs(drawn.std(axis=0) / sd - 1) < 0.25)
    assert np.all(np.abs(drawn.mean(axis=0) - truth) < 3 * sd)


def test_numpyro(log_density):
    pytest.importorskip("numpyro")
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.util import log_density as joint

    def model():
        lmda = numpyro.sample("lmda", dist.Normal(0.0, 5.0))
        start = numpyro.sample("start", dist.Normal(0.0, 2.0).expand([2, 2]))
        point = {"lmda": lmda, "function": start}
        numpyro.factor("data", log_density(point))

    at = {"lmda": jnp.asarray(1.0), "start": jnp.asarray(START)}
    prior = stats.norm.logpdf(1.0, 0, 5) + stats.norm.logpdf(START, 0, 2).sum()
    found, _ = joint(model, (), {}, at)
    assert found == pytest.approx(prior + float(log_density(POINT)), rel=1e-6)


def test_refusals(data, log_density, untyped):
    with pytest.raises(ValueError, match="`point` must be a dict with"):
        log_density({"lmda": 1.0})
    with pytest.raises(ValueError, match="`point` must be a vector of 5"):
        log_density(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="`function` must have the shape"):
        log_density({"lmda": 1.0, "function": np.zeros(2)})
    with pytest.raises(ValueError, match="`unknown` must be names"):
        lr.inference.log_likelihood(experiment(0.01), data, ("lambda",))
    with pytest.raises(ValueError, match="`data` must have the shape"):
        lr.inference.log_likelihood(experiment(0.01), data[1:], UNKNOWN)
    with pytest.raises(TypeError, match="`experiment` must be"):
        lr.inference.log_likelihood(task(), data)  # pyright: ignore
