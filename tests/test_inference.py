"""Fits of experiments: values, what is identified, intervals."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference

from .experiments import BOTH_SIGNS, TIMES, TRUTH, UNKNOWN, build


@pytest.fixture(scope="module")
def square():
    """A square network, whose loss is even in lambda."""
    return build((2, 2, 2))


@pytest.fixture(scope="module")
def clean(square):
    """A fit to data without noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return inference.fit(square, square.predict(**TRUTH), UNKNOWN, starts=8)


def test_data_without_noise_give_the_truth(clean):
    for name, value in TRUTH.items():
        np.testing.assert_allclose(clean.values[name], value, rtol=1e-7)
    assert clean.success and clean.deviance < 1e-12
    assert repr(clean) == "Fit(lmda=0.5, scale=0.4, rate=0.7)"


def test_both_signs_of_lambda_fit_an_even_loss(clean, square):
    (other,) = clean.alternatives
    np.testing.assert_allclose(other["lmda"], -0.5, rtol=1e-6)
    assert "As good: lmda = -0.5" in str(clean)
    with pytest.warns(UserWarning, match="sign of lmda is not identified"):
        positive = inference.fit(square, square.predict(**TRUTH), UNKNOWN, starts=4)
    del positive
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = inference.fit(
            square,
            square.predict(**TRUTH),
            UNKNOWN,
            starts=8,
            bounds={"lmda": (-np.inf, 0)},
        )
    np.testing.assert_allclose(one.values["lmda"], -0.5, rtol=1e-6)
    assert one.alternatives == ()


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_noise_moves_estimates_by_their_standard_deviations(square):
    data = square.simulate(key=jax.random.key(5), **TRUTH)
    fit = inference.fit(square, data, UNKNOWN, starts=8)
    truth = np.array([np.arcsinh(0.5 / 0.16), np.log(0.4), np.log(0.7)])
    off = fit.optima[0] - truth
    assert off @ np.linalg.solve(fit.covariance, off) < 16.3  # chi2, 3, 0.999
    assert 0.001 < fit.p_value < 0.999
    residuals = fit.residuals
    np.testing.assert_allclose(np.sum(residuals**2), fit.deviance, rtol=1e-6)
    assert abs(fit.correlation) < 0.6
    ends = fit.intervals()
    assert any(low < 0.5 < high for low, high in ends["lmda"])
    # The mirror image has the mirrored interval.
    (a, b), (c, d) = ends["lmda"]
    np.testing.assert_allclose([-b, -a], [c, d], rtol=1e-3)
    wald = np.sqrt(fit.covariance[1, 1])
    low, high = np.log(ends["scale"][0])
    np.testing.assert_allclose(high - low, 2 * 1.96 * wald, rtol=0.2)


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_an_interval_ends_where_the_profile_has_risen(square):
    """The ends against a fit with that number known."""
    data = square.simulate(key=jax.random.key(5), **TRUTH)
    fit = inference.fit(square, data, UNKNOWN, starts=8)
    end = fit.intervals(0.9, ["scale"])["scale"][0][1]
    made = build((2, 2, 2), scale=end)
    other = inference.fit(made, data, ("lmda", "rate"), starts=8)
    np.testing.assert_allclose(other.deviance - fit.deviance, 2.7055, rtol=1e-3)


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_the_lazy_branch_knows_only_a_product(square):
    truth = {"lmda": 400.0, "scale": 0.3, "rate": 0.002}
    data = square.simulate(key=jax.random.key(2), **truth)
    fit = inference.fit(square, data, UNKNOWN, starts=8)
    ends = fit.intervals()
    assert ends["lmda"][-1][1] == np.inf and ends["rate"][0][0] == 0.0
    product = fit.values["lmda"] * fit.values["rate"]
    np.testing.assert_allclose(abs(product), 0.8, rtol=0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_missing_values_and_unknown_noise(square):
    rng = np.random.default_rng(3)
    clean = np.asarray(square.predict(**TRUTH))
    noise = inference.Additive()
    made = build((2, 2, 2), noise=noise)
    data = np.ma.array(clean + 0.02 * rng.normal(size=40), mask=np.arange(40) % 5 == 0)
    data[7] = np.ma.masked
    data.data[7] = np.nan  # what is masked may be anything
    fit = inference.fit(made, data, UNKNOWN, starts=8)
    assert fit.observations == 31
    assert 0.012 < fit.noise["loss"] < 0.03
    assert np.isnan(fit.residuals[7]) and np.isfinite(fit.residuals[8])
    assert "Noise, estimated: 0.0" in str(fit)
    # The estimate does not depend on the unit of the data.
    again = build((2, 2, 2), noise=inference.Additive(0.02))
    known = inference.fit(again, data, UNKNOWN, starts=8)
    np.testing.assert_allclose(known.values["scale"], fit.values["scale"], rtol=1e-5)


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_a_wrong_theory_is_told(square):
    data = np.exp(-0.4 * np.asarray(TIMES)) + 0.3 * np.sin(np.asarray(TIMES)) + 3
    fit = inference.fit(square, data, UNKNOWN, starts=8)
    assert fit.p_value < 1e-6
    assert "does not describe the data" in str(fit)
    assert "Residuals of neighbouring times are correlated" in str(fit)
    assert "hold only for a theory that describes the data" in str(fit)


def test_several_observables_have_levels_of_their_own():
    made = build((2, 2, 2), observe=("loss", "function"), noise=inference.Additive())
    clean = made.predict(**TRUTH)
    rng = np.random.default_rng(0)
    data = {
        "loss": np.abs(clean["loss"] + 0.1 * rng.normal(size=40)),
        "function": clean["function"] + 0.001 * rng.normal(size=(40, 2, 2)),
    }
    with pytest.warns(UserWarning, match="sign of lmda"):
        fit = inference.fit(made, data, UNKNOWN, starts=8)
    np.testing.assert_allclose(fit.noise["loss"], 0.1, rtol=0.4)
    np.testing.assert_allclose(fit.noise["function"], 0.001, rtol=0.3)
    for name, value in TRUTH.items():
        np.testing.assert_allclose(fit.values[name], value, rtol=0.02)


def test_a_representation_knows_the_sign():
    made = build((2, 2, 2), observe="input representation")
    made = build(
        (2, 2, 2), observe="input representation", noise=inference.Additive(0.01)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = made.predict(**(TRUTH | {"lmda": -0.5}))
        fit = inference.fit(made, data, UNKNOWN, starts=8)
    np.testing.assert_allclose(fit.values["lmda"], -0.5, rtol=1e-6)
    assert fit.alternatives == ()
    assert fit.observations == 3 * 40  # the upper triangle of symmetric data


def test_unknown_start_function_is_known_from_its_trajectory():
    made = build(
        (2, 2, 2), observe="function", start="any", noise=inference.Additive(0.01)
    )
    truth = {"function": jnp.array([[0.5, -0.2], [0.1, 0.3]]), "lmda": 0.2}
    data = made.predict(**truth)
    with pytest.warns(UserWarning, match="sign of lmda"):
        fit = inference.fit(made, data, ("lmda", "function"), starts=16)
    np.testing.assert_allclose(fit.values["function"], truth["function"], atol=1e-6)
    np.testing.assert_allclose(fit.values["lmda"], 0.2, rtol=1e-5)


def test_choices_are_fitted_by_their_likelihood():
    counts = inference.Counts(each=20)
    made = build((2, 2, 2), observe="choices", noise=counts, x=jnp.eye(2), slope=2.0)
    truth = {"lmda": 0.3, "scale": 0.5}
    data = made.simulate(key=jax.random.key(1), **truth)
    np.testing.assert_array_equal(np.sum(data, axis=-1), 20)
    with pytest.warns(UserWarning, match="sign of lmda"):
        fit = inference.fit(made, data, starts=8)
    off = fit.optima[0] - np.array([np.arcsinh(0.3 / 0.25), np.log(0.5)])
    assert off @ np.linalg.solve(fit.covariance, off) < 13.8
    # The deviance of a multinomial, from its definition.
    p, n = np.asarray(made.predict(**fit.values)), np.asarray(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(n > 0, n * np.log(n / (20 * p)), 0.0)
    np.testing.assert_allclose(fit.deviance, 2 * terms.sum(), rtol=1e-8)


def test_noise_may_make_small_losses_negative():
    """As far as its law allows, and no further."""
    task = lr.Task.from_correlation(jnp.diag(jnp.array([2.0, 1.0])))
    noise = inference.Additive(0.05)
    made = inference.Experiment(task, TIMES, noise=noise)
    data = np.array(made.simulate(key=jax.random.key(3), lmda=1.0, scale=0.3))
    assert np.min(data) < -0.05  # the whole task is learned
    bounds = {"lmda": (0.0, np.inf)}
    fit = inference.fit(made, data, starts=8, bounds=bounds)
    assert 0.001 < fit.p_value < 0.999
    unknown = inference.Experiment(task, TIMES, noise=inference.Additive())
    assert 0.03 < inference.fit(unknown, data, starts=8, bounds=bounds).noise["loss"]
    data[5] = -0.31
    with pytest.raises(ValueError, match=r"at least -0.3, but it was -0.31.*\(5,\)"):
        inference.fit(made, data, bounds=bounds)
    for curve in (-np.exp(-np.asarray(TIMES)), np.full(40, -1.0)):
        with pytest.raises(ValueError, match="finite and at least -"):
            inference.fit(unknown, curve, bounds=bounds)
    with pytest.raises(ValueError, match=r"at least -0.3.* index \(1, 5\)"):
        inference.fit_curves(made, np.stack([np.abs(data), data]), bounds=bounds)


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_intervals_are_about_a_better_point_where_there_is_one(square):
    """From a fit that stopped short, as an unlucky one would."""
    data = square.simulate(key=jax.random.key(5), **TRUTH)
    fit = inference.fit(square, data, UNKNOWN, starts=8, bounds={"lmda": (0, 50)})
    short = {k: np.asarray(v * 1.02) for k, v in fit.values.items()}
    worse = dataclasses.replace(fit, values=short, alternatives=())
    with pytest.warns(UserWarning, match="fits better than the fit, by .*: the int"):
        ends = worse.intervals(names=["scale"])
    np.testing.assert_allclose(ends["scale"], fit.intervals()["scale"], rtol=1e-4)
