"""Fits of experiments: values, what is identified, intervals."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference
from lazyrich_jax.inference.coordinates import Coordinates
from lazyrich_jax.inference.data import Misfit, checked_data
from lazyrich_jax.inference.least_squares import LONGEST, begin, linearised, minimise
from lazyrich_jax.inference.screening import costs_after_step, screened

from .experiments import BOTH_SIGNS, TIMES, TRUTH, UNKNOWN, build


@pytest.fixture(scope="module")
def square():
    """A square network, whose loss is even in lambda."""
    return build((2, 2, 2))


@pytest.fixture(scope="module")
def wide_input():
    """A network whose loss depends on the sign of lambda."""
    return build((3, 2, 2))


# Predictions


def test_predictions_are_those_of_the_exact_solution(wide_input):
    network = wide_input.network(**TRUTH)
    task, start = wide_input.task, wide_input.known["function"]
    np.testing.assert_allclose(network.function, 0.16 * start, atol=1e-15)
    np.testing.assert_allclose(network.lmda, 0.5, atol=1e-14)
    solution = lr.ExactSolution(network, task)
    np.testing.assert_allclose(
        wide_input.predict(**TRUTH), solution.loss(0.7 * TIMES), rtol=1e-12
    )


def test_observables_are_those_of_the_trajectory():
    names = (
        *("loss", "log excess", "function", "modes", "input representation"),
        *("output representation", "ntk", "choices", "accuracy"),
    )
    noise = [inference.Additive(0.1)] * 7 + [inference.Counts(), inference.Counts(9)]
    made = build((3, 2, 2), observe=names, noise=noise, slope=1.5)
    seen = made.predict(lmda=0.5)
    network, task = made.network(lmda=0.5), made.task
    path = lr.learn(network, task, TIMES)
    u, _, vt = np.linalg.svd(task.input_output_correlation, full_matrices=False)
    best = float(task.loss(task.input_output_correlation))
    np.testing.assert_allclose(seen["loss"], path.loss, rtol=1e-10)
    np.testing.assert_allclose(
        np.exp(seen["log excess"]), path.loss - best, rtol=1e-8, atol=1e-12
    )
    function = np.asarray(path.function)
    np.testing.assert_allclose(seen["function"], function, atol=1e-12)
    modes = np.abs([np.diag(u.T @ f @ vt.T) for f in function])
    np.testing.assert_allclose(np.abs(seen["modes"]), modes, atol=1e-12)
    for name in ("input_representation", "output_representation"):
        np.testing.assert_allclose(
            seen[name.replace("_", " ")], getattr(path, name), atol=1e-12
        )
    ntk = jax.vmap(lambda network: lr.kernels.ntk(network, task.x))(path.network)
    np.testing.assert_allclose(seen["ntk"], ntk, atol=1e-11)
    outputs = 1.5 * np.einsum("tod,nd->tno", function, task.x)
    chances = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    np.testing.assert_allclose(seen["choices"], chances, atol=1e-12)
    right = np.argmax(task.y, axis=1)
    np.testing.assert_allclose(
        seen["accuracy"], chances[:, np.arange(20), right].mean(1), atol=1e-12
    )


@pytest.mark.parametrize(
    "sizes, model, lmda",
    [
        ((3, 2, 2), "balanced", -0.7),
        ((3, 1, 2), "balanced", 0.0),
        ((2, 4, 2), "wide", 1),
    ],
    ids=str,
)
def test_an_aligned_start_is_solved_by_its_modes(sizes, model, lmda):
    """The closed form of the modes against the exact solution of the network."""
    names = ("loss", "function", "log excess")
    strengths = np.array([0.5, 0.2])[: min(sizes)]
    made = build(
        sizes, start="aligned", strengths=strengths, model=model, observe=names
    )
    values = {"lmda": float(lmda), "scale": 0.8, "rate": 0.7}
    if model == "wide":
        values["mu"] = 0.4
    seen = made.predict(**values)
    path = lr.learn(made.network(**values), made.task, 0.7 * TIMES)
    np.testing.assert_allclose(seen["loss"], path.loss, rtol=1e-11)
    np.testing.assert_allclose(seen["function"], path.function, atol=1e-12)
    best = made.task.loss(made.predict(**(values | {"rate": 1e4}))["function"][-1])
    np.testing.assert_allclose(
        np.exp(seen["log excess"]), path.loss - best, rtol=1e-7, atol=1e-12
    )


def test_unknown_task_strengths_keep_the_frame_and_the_noise_of_the_task():
    made = build((2, 2, 2), start="aligned", strengths=[0.5, 0.2], scale=1.0)
    task = made.task
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    np.testing.assert_allclose(
        made.predict(task_strengths=s, lmda=1.0), made.predict(lmda=1.0), rtol=1e-12
    )


def test_the_other_models():
    start, task = 0.09 * build((2, 2, 2)).known["function"], build((2, 2, 2)).task
    shallow = build((2, 2, 2), model="shallow").predict(rate=0.5)
    expected = lr.theory.shallow_function(0.5 * TIMES, start, task)
    np.testing.assert_allclose(shallow, jax.vmap(task.loss)(expected), rtol=1e-12)
    # The limit of a large balance, in units of its rate.
    lazy = build((2, 2, 2), model="lazy").predict(rate=0.5)
    far = build((2, 2, 2)).predict(lmda=1e6, rate=0.5e-6)
    np.testing.assert_allclose(lazy, far, rtol=1e-5)
    wide = build((2, 2, 2), model="wide", hidden_size=6)
    network = wide.network(lmda=-0.3, mu=0.2)
    c = np.hypot(0.15, 0.2)
    np.testing.assert_allclose(network.effective_scales, [c + 0.15, c - 0.15])
    np.testing.assert_allclose(
        wide.predict(lmda=-0.3, mu=0.2),
        lr.ExactSolution(network, task).loss(TIMES),
        rtol=1e-12,
    )


def test_differences_are_the_derivatives(wide_input):
    from lazyrich_jax.inference.coordinates import Coordinates

    coordinates = Coordinates(wide_input, UNKNOWN)
    u = jnp.asarray(coordinates.encode(TRUTH))
    np.testing.assert_allclose(coordinates.decode(u, wide_input.known)["lmda"], 0.5)

    def predict(u):
        return wide_input.predicted(coordinates.decode(u, wide_input.known))[0]

    exact = jax.jit(jax.jacfwd(predict))(u)
    for central, bound in ((True, 1e-8), (False, 1e-6)):
        value, jacobian = jax.jit(
            lambda u, central=central: linearised(predict, u, central=central)
        )(u)
        np.testing.assert_allclose(value, predict(u), rtol=1e-12)
        np.testing.assert_allclose(jacobian, exact, atol=bound * np.abs(exact).max())
        error = np.linalg.norm(jacobian - exact, axis=0)
        assert np.all(error <= 10 * bound * np.linalg.norm(exact, axis=0))


# Fits


def test_a_coordinate_without_slope_does_not_hold_others_up():
    """Gauss and Newton's step of the first one is a million long."""

    def residuals(u, row):
        return jnp.stack([10 * jnp.cosh(u[0]), u[1] - 3 + u[1] ** 3])

    start, ends = np.array([[1e-6, 0.0]]), (np.full(2, -20.0), np.full(2, 20.0))
    found = minimise(residuals, begin(start), ends, 0.0)
    np.testing.assert_allclose(found.u, [[0.0, 1.2134]], atol=0.05)


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


@pytest.mark.slow
def test_many_curves(wide_input):
    lmdas = jnp.array([-1.0, 0.1, 0.8])
    curves = jnp.stack([wide_input.predict(**(TRUTH | {"lmda": x})) for x in lmdas])
    table = inference.fit_curves(wide_input, curves, UNKNOWN, starts=16)
    assert table.success.all() and (table.deviance < 1e-6).all()
    np.testing.assert_allclose(table.lmda, lmdas, rtol=1e-5)
    assert table.covariance.dims == ("curve", "coordinate", "other")
    one = inference.fit(wide_input, curves[1], UNKNOWN)
    np.testing.assert_allclose(
        table.covariance[1], one.covariance, rtol=1e-4, atol=1e-12
    )


def learned(sizes):
    """An experiment in which most of the loss is learned: its costs have valleys."""
    keys = jax.random.split(jax.random.key(0))
    sigma = jax.random.normal(keys[0], (sizes[2], sizes[0]))
    task = lr.Task.from_correlation(sigma)
    start = lr.LambdaBalanced()(*sizes, key=keys[1]).function
    times, noise = jnp.linspace(0, 8, 100), inference.Relative(0.01)
    return inference.Experiment(
        task, times, hidden_size=sizes[1], start=start, scale=0.3, noise=noise
    )


@pytest.mark.slow
@pytest.mark.filterwarnings(BOTH_SIGNS)
@pytest.mark.parametrize("sizes", [(3, 2, 2), (2, 2, 2)])
def test_curves_without_noise_give_the_truth(sizes):
    made, rng = learned(sizes), np.random.default_rng(3)
    scale, rate = np.exp(rng.uniform(-2, 0, 100)), np.exp(rng.uniform(-0.7, 0.7, 100))
    lmda = np.sinh(rng.uniform(-4, 4, 100)) * scale**2
    lmda = np.abs(lmda) if sizes == (2, 2, 2) else lmda  # of the two signs
    truth = {"lmda": lmda, "scale": scale, "rate": rate}
    draw = jax.jit(jax.vmap(lambda v: made.predict(**v)))
    curves = draw({name: jnp.asarray(x) for name, x in truth.items()})
    table = inference.fit_curves(made, curves, UNKNOWN)
    off = [np.abs(table[name] / x - 1) for name, x in truth.items()]
    assert np.sum(np.max(off, axis=0) < 1e-6) >= 99
    assert np.sum(table.success) >= 99


def test_candidates_are_compared_by_their_costs_after_a_step():
    """Of a linear theory the step ends at the optimum, or at the longest step."""
    rng = np.random.default_rng(0)
    slopes, goal = rng.normal(size=(20, 3)), np.array([0.5, -1.0, 0.2])
    u = np.array([goal + 0.3, goal + 4 * LONGEST * np.eye(3)[0]])
    r = (u - goal) @ slopes.T
    hessian = np.stack([slopes.T @ slopes] * 2)
    after = costs_after_step(np.sum(r**2, 1)[None] / 2, (r @ slopes)[None], hessian)
    expected = [0.0, (3 / 4) ** 2 * np.sum(r[1] ** 2) / 2]
    np.testing.assert_allclose(after[0], expected, rtol=1e-8, atol=1e-8)


def test_curves_share_the_predictions_of_candidates():
    """Against the residuals of each curve, of which some are missing."""
    choices = inference.Counts(each=40)
    noise = (inference.Relative(0.01), choices)
    made = build((2, 2, 2), observe=("loss", "choices"), noise=noise)
    drawn = [made.simulate(key=jax.random.key(i), **TRUTH) for i in range(3)]
    data = {name: np.ma.array([x[name] for x in drawn]) for name in made.observe}
    data["loss"][1, :5] = np.ma.masked
    coordinates = Coordinates(made, UNKNOWN)
    misfit = Misfit(made, coordinates, checked_data(made, data, curves=True))
    truth = coordinates.encode(TRUTH)
    seen = screened(misfit, np.array([truth, truth + 1.0]))
    residuals = [misfit(jnp.asarray(truth), jnp.asarray(i)) for i in range(3)]
    cost = [float(jnp.sum(x**2) / 2) for x in residuals]
    assert np.all(seen[:, 0] <= np.array(cost) * 1.1)
    assert np.all(seen[:, 0] >= np.array(cost) - 10)  # three numbers fit the noise
    assert np.all(seen[:, 1] > 2 * seen[:, 0])


@pytest.mark.slow
def test_a_valley_may_have_several_optima():
    """The second one is found where no start has gone to it."""
    made = learned((2, 2, 3))
    truths = [(0.921, 0.716, 1.101), (0.723, 0.517, 0.672), (-2.727, 0.438, 1.892)]
    truths = [dict(zip(UNKNOWN, x, strict=True)) for x in truths]
    curves = jnp.stack([made.predict(**truth) for truth in truths])
    table = inference.fit_curves(made, curves, UNKNOWN)
    for name in UNKNOWN:
        expected = [truth[name] for truth in truths]
        np.testing.assert_allclose(table[name], expected, rtol=1e-6)
    assert np.any(table.reached == 0)


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
