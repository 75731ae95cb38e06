"""Fisher information, and what loss curves, functions and representations can tell."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import lazyrich_jax as lr
from lazyrich_jax.inference.coordinates import Coordinates
from lazyrich_jax.inference.identified import covariance, identified

OBSERVED = ("loss", "log excess", "function", "input representation", "ntk")
TIMES = jnp.concatenate([jnp.zeros(1), jnp.geomspace(0.05, 12, 39)])
SCALE = 0.3


def task(n_in=2, n_out=2):
    sigma = np.eye(n_out, n_in) * np.arange(n_in, 0, -1.0) / 2
    return lr.Task.from_correlation(jnp.asarray(sigma))


START = np.array([[0.3, -1.2], [0.8, 0.5]])


def seen(observable, sd=0.01):
    """An experiment that sees all observables, all but one with immense noise.

    Levels of noise are no part of a program: these experiments share one.
    """
    return lr.inference.Experiment(
        task(),
        TIMES,
        observe=OBSERVED,
        noise=[lr.inference.Additive(sd if x == observable else 1e9) for x in OBSERVED],
        start=START,
        scale=SCALE,
        x=jnp.eye(2),
    )


UNKNOWN = ("lmda", "rate", "function")


def percent(observable, **values):
    """One percent of the largest value; of a logarithm, one percent."""
    if observable == "log excess":
        return 0.01
    return 0.01 * float(
        jnp.max(jnp.abs(seen(observable).predict(**values)[observable]))
    )


@pytest.mark.slow
def test_many_points_are_each_point():
    lmda = np.linspace(-2, 2, 40)  # two batches
    scale = np.array([[0.2], [0.5]])[:, :1]
    many = lr.inference.fisher(seen("function"), UNKNOWN, lmda=lmda, scale=scale)
    assert many.matrix.shape == (2, 40, 6, 6) and many.sd["lmda"].shape == (2, 40)
    assert many.per_time.shape == (2, 40, 40, 6, 6)
    one = lr.inference.fisher(seen("function"), UNKNOWN, lmda=lmda[37], scale=0.5)
    np.testing.assert_allclose(many.matrix[1, 37], one.matrix, rtol=1e-10)
    np.testing.assert_allclose(one.per_time.sum(axis=0), one.matrix, rtol=1e-12)
    np.testing.assert_allclose(
        many.sd_until["lmda"][1, 37, -1], one.sd["lmda"], rtol=1e-6
    )
    assert "80 points" in str(many)
    with pytest.raises(ValueError, match="`values` must be one point"):
        _ = many.identified
    known = one.knowing("rate")
    np.testing.assert_array_equal(known.matrix[0, 1:], one.matrix[0, 2:])
    with pytest.raises(ValueError, match="`names` must be some of the unknown"):
        one.knowing("scale")


@pytest.mark.slow
@pytest.mark.parametrize("start, sizes", [("aligned", (3, 2, 2)), (START, (2, 2, 2))])
def test_the_sign_of_the_balance_is_in_representations_alone(start, sizes):
    """For aligned starts, and for as many inputs, hidden units and outputs."""
    n_in, hidden, n_out = sizes
    experiment = lr.inference.Experiment(
        task(n_in, n_out),
        TIMES,
        observe=("loss", "function", "input representation"),
        hidden_size=hidden,
        start=start,
        scale=SCALE,
    )
    above, below = experiment.predict(lmda=1.5), experiment.predict(lmda=-1.5)
    np.testing.assert_allclose(above["loss"], below["loss"], atol=1e-12)
    np.testing.assert_allclose(above["function"], below["function"], atol=1e-12)
    name = "input representation"
    assert np.max(np.abs(above[name] - below[name])) > 0.5


def test_the_loss_is_that_of_the_transposed_network_with_the_opposite_balance():
    start = np.array([[0.3, -1.2, 0.5], [0.8, 0.5, -0.4]])
    wide, tall = (
        lr.inference.Experiment(
            lr.Task.from_correlation(sigma), TIMES, start=a, scale=SCALE
        )
        for sigma, a in (
            (task(3, 2).input_output_correlation, start),
            (task(3, 2).input_output_correlation.T, start.T),
        )
    )
    loss = wide.predict(lmda=1.5)
    offset = loss[0] - tall.predict(lmda=-1.5)[0]  # tasks with other least losses
    np.testing.assert_allclose(tall.predict(lmda=-1.5) + offset, loss, atol=1e-10)
    assert np.max(np.abs(wide.predict(lmda=-1.5) - loss)) > 1e-3


def test_at_a_balance_of_zero_its_sign_hides_the_balance():
    found = lr.inference.fisher(seen("function"), UNKNOWN, lmda=0.0)
    found = found.knowing("function")
    assert np.isinf(found.sd["lmda"]) and found.sd["rate"] < 0.1
    assert np.isinf(found.covariance[0, 0]) and np.isfinite(found.covariance[1, 1])
    assert "Not identified: lmda (sd infinite)" in str(found)


def test_in_the_lazy_branch_only_the_balance_times_the_rate_is_known():
    found = lr.inference.fisher(seen("function"), UNKNOWN, lmda=10.0)
    told = found.identified
    assert set(told.loose) == {"lmda", "rate"} and len(told.alone) == 4
    (together,) = told.together
    assert together.text == "lmda * rate" and together.sd < 0.1
    assert told.sd["lmda"] > 20 * together.sd
    assert "Of these only lmda * rate" in str(found)
    # The NTK tells them apart.
    alone = lr.inference.fisher(seen("ntk"), UNKNOWN, lmda=10.0).knowing("function")
    assert set(alone.identified.alone) == {"lmda", "rate"}


def test_an_unknown_start_function_hides_the_balance_in_the_loss():
    """At one percent of noise; the function's trajectory shows it."""
    sd = {
        observable: float(
            lr.inference.fisher(
                seen(observable, percent(observable, lmda=1.0)),
                UNKNOWN,
                lmda=1.0,
            )
            .knowing("rate")
            .sd["lmda"]
        )
        for observable in OBSERVED[:3]
    }
    assert sd["loss"] > 3 and sd["log excess"] < 1 and sd["function"] < 0.03


def test_the_large_layer_tells_before_learning():
    """Of a lazy network with a positive balance the kernel and the outputs' layer."""
    until = {}
    for observable in OBSERVED:
        level = percent(observable, lmda=2.0, scale=0.1)
        found = lr.inference.fisher(
            seen(observable, level), UNKNOWN, lmda=2.0, scale=0.1
        )
        until[observable] = found.knowing("rate", "function").sd_until["lmda"]
    for observable in ("loss", "log excess", "function"):
        assert np.isinf(until[observable][0])
    assert until["ntk"][0] < 0.02 and until["input representation"][0] > 10


def test_noise_of_unknown_level_is_the_unit():
    noise = [None, 0.01]
    found = [
        lr.inference.fisher(
            lr.inference.Experiment(
                task(),
                TIMES,
                observe="function",
                noise=lr.inference.Additive(sd),
                scale=SCALE,
            ),
            ("lmda", "scale"),
            lmda=1.0,
        )
        for sd in noise
    ]
    assert found[0].level == pytest.approx(0.01 * float(found[0].largest))
    assert found[1].level is None
    np.testing.assert_allclose(
        found[0].sd["lmda"] * 0.01, found[1].sd["lmda"], rtol=1e-10
    )
    assert "noise of unknown level" in str(found[0])


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_expected_information_of_counts(p):
    n, h = 7, 1e-6
    share = lr.inference.Counts(n)
    rise = share.standardised(jnp.array([p - h, p + h]))
    counts = np.arange(n + 1)
    score = counts / p - (n - counts) / (1 - p)
    right = np.sum(stats.binom.pmf(counts, n, p) * score**2)
    assert ((rise[1] - rise[0]) / (2 * h)) ** 2 == pytest.approx(right, rel=1e-6)
    choices = lr.inference.Counts(each=n)
    both = choices.standardised(jnp.array([[p - h, 1 - p + h], [p + h, 1 - p - h]]))
    slope = (both[1] - both[0]) / (2 * h)
    assert jnp.sum(slope**2) == pytest.approx(right, rel=1e-6)


def test_combinations_of_logarithms():
    experiment = lr.inference.Experiment(task(), TIMES)
    coordinates = Coordinates(experiment, ("lmda", "scale", "rate"))
    u = np.array([14.0, 0.3, 0.2])
    # asinh(lmda / scale**2) = log(2 lmda / scale**2) and only lmda * scale is known.
    known = np.array([1.0, 3.0, 0.0])
    information = 1e4 * np.outer(known, known) + np.diag([0.0, 0.0, 1e4])
    found = identified(information, coordinates, u)
    assert found.alone == ("rate",) and np.isinf(found.sd["lmda"])
    assert [x.text for x in found.together] == ["lmda * scale"]
    assert found.together[0].sd == pytest.approx(0.01, rel=1e-3)
    start = lr.inference.Experiment(task(), TIMES, start="any")
    coordinates = Coordinates(start, ("function",))
    known = np.array([1.0, 0.0, -2.0, 0.0])
    information = 1e4 * np.outer(known, known) + np.diag([0.0, 1.0, 0.0, 1.0])
    found = identified(information, coordinates, np.zeros(4))
    (together,) = found.together
    assert together.text == "function[0, 0] - 2 function[1, 0]"


def test_the_covariance_is_the_inverse_and_infinite_without_information():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 3, 3)) * np.array([1.0, 1e-3, 1e2])
    matrix = np.swapaxes(root, -1, -2) @ root
    np.testing.assert_allclose(covariance(matrix), np.linalg.inv(matrix), rtol=1e-6)
    blind = np.diag([4.0, 0.0, 1.0])
    np.testing.assert_allclose(
        covariance(blind), np.diag([0.25, np.inf, 1.0]), atol=1e-12
    )
    assert np.isnan(covariance(np.full((2, 2), np.nan))).all()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"unknown": ("lambda",)}, "`unknown` must be names"),
        ({"mu": 1.0}, "`values` must be numbers of"),
        ({"lmda": np.nan}, "`lmda` must be finite"),
        ({"scale": 0.0}, "`scale` must be finite and positive"),
        ({"strengths": np.ones(3)}, "`strengths` must have the shape"),
        ({"lmda": np.ones(3), "scale": np.ones(2)}, "`values` must have leading axes"),
        ({"unknown": ("task_strengths",)}, "`task_strengths` must have a value"),
    ],
    ids=str,
)
def test_refusals(values, message):
    experiment = lr.inference.Experiment(task(), TIMES)
    with pytest.raises(ValueError, match=message):
        lr.inference.fisher(experiment, values.pop("unknown", ("lmda",)), **values)


def test_infeasible_balances_and_unknown_levels_are_refused(untyped):
    experiment = lr.inference.Experiment(task(3, 2), TIMES, hidden_size=3)
    with pytest.raises(ValueError, match="`lmda` must not be positive"):
        lr.inference.fisher(experiment, ("lmda",), lmda=[-1.0, 1.0])
    both = lr.inference.Experiment(task(), TIMES, observe=("loss", "function"))
    with pytest.raises(ValueError, match="`noise` must have an `sd` for each"):
        lr.inference.fisher(both, ("lmda",))
    with pytest.raises(TypeError, match="`experiment` must be a `Experiment`"):
        lr.inference.fisher(task())  # pyright: ignore[reportArgumentType]
