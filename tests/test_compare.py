"""Models compared by what they say about the same data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

pytestmark = pytest.mark.slow

TIMES = jnp.linspace(0, 8, 20)
START = np.array([[0.3, -1.2, 0.5], [0.8, 0.5, 0.9]])
UNKNOWN = ("lmda", "rate")


def task():
    sigma = np.eye(2, 3) * np.arange(3, 0, -1.0) / 2
    return lr.Task.from_correlation(jnp.asarray(sigma))


def experiment(model: Any = "balanced", **more: Any):
    settings: Any = {
        "observe": "function",
        "noise": lr.inference.Additive(0.01),
        "start": START,
        "scale": 0.6,
    }
    return lr.inference.Experiment(task(), TIMES, model=model, **{**settings, **more})


def drawn(model, **values):
    return np.asarray(experiment(model).simulate(**values, key=jax.random.key(1)))


def test_a_balanced_network_is_told_from_all_others():
    """The input layer of a negative balance has free directions in a 3-2-2 network."""
    data = drawn("balanced", lmda=-0.5)
    found = lr.inference.compare(experiment(), data, unknown=UNKNOWN)
    assert found.best == "balanced" and found.equal == () and found.notes[1:] == ()
    assert set(found.fits) == {"balanced", "wide", "shallow", "lazy"}
    assert found.fits["balanced"].values["lmda"] == pytest.approx(-0.5, rel=0.1)
    assert found.parameters == {"balanced": 2, "wide": 2, "shallow": 1, "lazy": 1}
    density = lr.inference.log_likelihood(experiment(), data, UNKNOWN)
    values = found.fits["balanced"].values
    assert found.log_likelihood["balanced"] == pytest.approx(float(density(values)))
    least = found.aic["balanced"]
    assert least == pytest.approx(4 - 2 * found.log_likelihood["balanced"])
    assert found.aic["wide"] - least > 100
    (test,) = [x for x in found.tests if (x.simple, x.larger) == ("lazy", "balanced")]
    assert test.boundary and test.p_value < 1e-10
    assert "The data tell balanced from the other models." in str(found)


def test_a_wide_network_can_be_a_balanced_one():
    """With `hidden = out` and a positive balance their functions are equal."""
    found = lr.inference.compare(experiment(), drawn("wide", mu=0.5), unknown=UNKNOWN)
    assert {found.best, *found.equal} == {"balanced", "wide"}
    assert found.aic["wide"] == pytest.approx(found.aic["balanced"], abs=1e-3)
    assert "as outputs and a positive balance." in found.notes[0]
    assert "The data do not tell" in str(found) and "AIC differs by 0.0" in str(found)


def test_the_width_class_is_one_of_the_unknown():
    names = ("model", *UNKNOWN)
    data = drawn("balanced", lmda=-0.5)
    fit = lr.inference.fit(experiment("wide"), data, names, starts=8)
    assert fit.experiment.model == "balanced" and fit.comparison is not None
    assert fit.values["lmda"] == pytest.approx(-0.5, rel=0.1)
    likelihood = fit.comparison.log_likelihood
    assert likelihood["wide"] + 100 < likelihood["balanced"]
    assert repr(fit).startswith("Fit(model='balanced', lmda=-0.49")
    assert "Model balanced. Log-likelihoods: " in str(fit)
    assert "The data tell balanced from the other models." in str(fit)
    # Where the data don't decide, the fit says so.
    data = drawn("wide", mu=0.5)
    text = str(lr.inference.fit(experiment(), data, names, starts=8))
    assert "The data do not tell balanced from wide: AIC differs by 0.0" in text
    for unknown in ("model", ("model", "rate"), ("model", "model", "lmda")):
        with pytest.raises(ValueError, match='`unknown` must have "lmda" beside one'):
            lr.inference.fit(experiment(), data, unknown)
    with pytest.raises(ValueError, match=r"must have a model of .* where"):
        lr.inference.fit(experiment("lazy"), data, names)


@pytest.mark.parametrize("model", ["lazy", "shallow"])
def test_a_lazy_or_shallow_network_is_a_limit_of_the_others(model):
    found = lr.inference.compare(experiment(), drawn(model), unknown=UNKNOWN)
    assert found.best in ("lazy", "shallow")
    assert found.identified["balanced"] == 1 and found.parameters["balanced"] == 2
    assert all(x.p_value > 0.05 for x in found.tests) and len(found.tests) == 4
    assert f"The simplest is {found.best}" in str(found)
    assert np.isclose(found.fits[model].values["rate"], 1, rtol=0.02)


def test_cross_validation():
    models = ("balanced", "lazy")
    data = drawn("balanced", lmda=-0.5)
    found = lr.inference.compare(
        experiment(), data, models, UNKNOWN, by="cross-validation", starts=8
    )
    assert found.best == "balanced" and found.equal == ()
    score = found.score["balanced"]
    assert score.shape == (20,)
    # Held-out times are predicted nearly as well as fitted ones.
    assert 0 < found.log_likelihood["balanced"] - np.sum(score) < 10
    data = drawn("lazy")
    found = lr.inference.compare(
        experiment(), data, models, UNKNOWN, by="cross-validation", starts=8
    )
    assert found.best == "lazy" and found.equal == ("balanced",)
    assert "the scores differ by" in str(found)


def test_profile():
    """Of a lazy network: flat in large balances, whose rate makes up for them."""
    settings = {"scale": 0.1, "noise": lr.inference.Additive(0.01)}
    seen = experiment(**settings)
    data = seen.simulate(lmda=-100.0, rate=0.02, key=jax.random.key(1))
    values = np.array([-1.0, -10.0, -100.0, -1000.0, -3000.0])
    found = lr.inference.profile(seen, data, "lmda", values, UNKNOWN)
    rise = found.log_likelihood
    assert np.all(rise <= 1e-6) and rise[2] > -3 and rise[0] < rise[1] < rise[2]
    assert abs(rise[3] - rise[4]) < 0.2
    product = values[3:] * found.others["rate"][3:]
    assert product[0] == pytest.approx(product[1], rel=0.01)
    # The other numbers are the best ones.
    density = lr.inference.log_likelihood(seen, data, UNKNOWN)
    here = density({"lmda": -10.0, "rate": found.others["rate"][1]})
    best = density(found.fit.values)
    assert float(here - best) == pytest.approx(rise[1], abs=1e-6)
    with pytest.raises(ValueError, match="`name` must be one of"):
        lr.inference.profile(seen, data, "scale", values, UNKNOWN)
    with pytest.raises(ValueError, match="`values` must be positive for 'rate'"):
        lr.inference.profile(seen, data, "rate", values, UNKNOWN)


def test_refusals(untyped):
    data = drawn("lazy")

    def refused(message, error=ValueError, **settings):
        with pytest.raises(error, match=message):
            lr.inference.compare(experiment(), data, **settings)

    refused("`models` must be different names", models=("balanced", "rich"))
    refused("`unknown` must be names of", unknown=("lambda",))
    refused("`by` must be", by="guess")
    refused("`folds` must be at most", folds=21)
    refused("`bounds` must name unknown", bounds={"scale": (0, 1)}, unknown=UNKNOWN)
    with pytest.raises(ValueError, match="`observe` must depend on the function"):
        seen = experiment(observe="ntk")
        lr.inference.compare(seen, seen.predict(), unknown=UNKNOWN)
    with pytest.raises(ValueError, match="`data` must have the shape"):
        lr.inference.compare(experiment(), data[1:], unknown=UNKNOWN)
