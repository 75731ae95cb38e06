"""Gaussian networks of any width in few hidden units, and sweeps over them."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases
from .sweeping import quiet

KEYS = jax.random.split(jax.random.key(0), 4000)
STDS = (0.5, 2.0)


@jax.jit
@eqx.debug.assert_max_traces(max_traces=1)
def drawn(width, keys):
    """QQ^T of many draws for a width."""
    draw = lr.Gaussian(STDS).compressed
    return jax.vmap(lambda key: draw(2, width, 3, key=key).qqt)(keys)


@pytest.mark.parametrize("width", [1, 3, 5, 64, 10**6])
def test_few_units_have_the_distribution_of_all(width):
    """Means and covariances of a Wishart matrix; one trace for all widths."""
    p = np.asarray(drawn(width, KEYS))
    d = np.diag(np.repeat(np.square(STDS), (2, 3)))
    size = np.sqrt(np.outer(np.diag(d), np.diag(d)))
    z = (p - width * d) / size / width**0.5
    error = len(p) ** -0.5
    # Off the diagonal the variance of an entry is 1, on it 2.
    expected = np.ones((5, 5)) + np.eye(5)
    assert np.all(np.abs(z.mean(0)) < 5 * error * expected**0.5)
    kurtosis = 2 + 12 / width  # of the square of a chi-squared number, at most
    assert np.all(np.abs(z.var(0) / expected - 1) < 5 * error * kurtosis**0.5)
    ranks = np.linalg.matrix_rank(p[:100] / size, tol=1e-9, hermitian=True)
    assert np.all(ranks == min(width, 5))


@pytest.mark.parametrize("width", [2, 40])
def test_few_units_against_draws_of_all(width):
    """Quantiles of the imbalance's spectrum and of the function."""
    initialiser = lr.Gaussian.lecun()

    def numbers(network):
        function = jnp.linalg.svd(network.function, compute_uv=False)
        return jnp.append(function, jnp.trace(network.qqt) + network.qqt[0, -1])

    full, few = (
        np.asarray(
            jax.jit(jax.vmap(lambda k, draw=draw: numbers(draw(2, width, 3, key=k))))(
                keys
            )
        )
        for draw, keys in (
            (initialiser, KEYS[:2000]),
            (initialiser.compressed, KEYS[2000:]),
        )
    )
    for one, other in zip(full.T, few.T, strict=True):
        # Kolmogorov and Smirnov: 1.95 at a probability of 0.001.
        both = np.sort(np.append(one, other))
        ranks = (np.searchsorted(np.sort(x), both, "right") for x in (one, other))
        assert np.abs(np.subtract(*ranks)).max() / 2000 < 1.95 * (2 / 2000) ** 0.5


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", ["lecun", "he", "glorot"])
def test_fans_of_traced_widths(name, dtype):
    rule = getattr(lr.Gaussian, name)()
    initialiser = eqx.tree_at(lambda g: g.std, rule, rule.std.astype(dtype))
    widths = jnp.array([1, 7, 4096])
    stds = jax.jit(jax.vmap(lambda n: initialiser.standard_deviations(3, n, 2)))(widths)
    draw = eqx.filter_jit(lambda n, key: initialiser.compressed(3, n, 2, key=key))
    networks = jax.vmap(draw, (0, None))(widths, KEYS[0])
    for i, width in enumerate((1, 7, 4096)):
        expected = initialiser.standard_deviations(3, width, 2)
        np.testing.assert_allclose(stds[i], expected, rtol=1e-6)
        one = initialiser.compressed(3, width, 2, key=KEYS[0])
        for w, v in zip(one.weights, networks.weights, strict=True):
            assert w.dtype == v.dtype == dtype
            eps = float(jnp.finfo(dtype).eps)
            np.testing.assert_allclose(w, v[i], rtol=100 * eps, atol=100 * eps)
        assert one.sizes == (3, 5, 2)


def test_bad_widths(untyped):
    draw = lr.Gaussian([1.0, 2.0]).compressed
    for width in (0, -1, 2.5, jnp.array(2.5), jnp.ones(2, int), "a"):
        with pytest.raises(ValueError, match="`hidden_size` must be an integer of at"):
            draw(2, width, 3, key=KEYS[0])  # pyright: ignore (bad input)
    for bad in ((0, 3, 3), (2, 3, 0)):
        with pytest.raises(ValueError, match=r"`(in|out)_size` must be an integer"):
            draw(*bad, key=KEYS[0])
    with pytest.raises(ValueError, match="one for each of 2 layers"):
        lr.Gaussian([1.0, 2.0, 3.0]).compressed(2, 3, 3, key=KEYS[0])
    traced = jax.jit(lambda n: draw(2, n, 3, key=KEYS[0]))
    for value in (2.5, jnp.ones(2, int)):
        with pytest.raises(ValueError, match="must be an integer, but it was a traced"):
            traced(value)
    for width in (0, -3):
        assert all(np.all(np.isnan(w)) for w in traced(width).weights)
    assert all(np.all(np.isfinite(w)) for w in traced(1).weights)


TASK = cases.make_task((3, 1, 2))
TS = jnp.array([0.0, 0.2, 1.0, jnp.inf])
WIDTHS = [4, 64, 2000]


@pytest.mark.slow
def test_a_sweep_is_the_limit_of_its_starts():
    names = ["loss", "function", "richness", "input_change", "error_estimate"]
    fn = lr.sweeps.learning(TASK, (3, 9, 2), TS, names, kind="gaussian")
    fn = eqx.debug.assert_max_traces(fn, max_traces=1)
    grid = lr.sweeps.Grid(width=WIDTHS, output_variance=[0.0, 0.5], seed=[3])
    data = quiet(fn, grid, coords={"time": TS}).isel(seed=0)
    assert (data.status == 1).all()
    learn = eqx.filter_jit(
        lambda n: lr.learn(n, TASK, TS, dynamics=lr.WideLimit(), throw=False)
    )
    for width in WIDTHS:
        for variance in (0.0, 0.5):
            start = lr.Gaussian([3**-0.5, variance**0.5]).compressed(
                3, width, 2, key=jax.random.key(3)
            )
            one = data.sel(width=width, output_variance=variance)
            limit = learn(start)
            np.testing.assert_allclose(one.loss, limit.loss, atol=1e-10)
            np.testing.assert_allclose(one.function, limit.function, atol=1e-10)
            assert limit.error_estimate is not None
            most = np.max(limit.error_estimate)
            np.testing.assert_allclose(one.error_estimate, most, rtol=1e-2, atol=1e-5)
            first, last = (limit.input_representation[i] for i in (0, -1))
            change = lr.measures.representational_change(first, last)
            np.testing.assert_allclose(one.input_change, change, rtol=1e-6)


@pytest.mark.slow
def test_defaults_are_those_of_lecun():
    def losses(sizes, **coordinates):
        fn = lr.sweeps.learning(TASK, sizes, TS, kind="gaussian")
        return quiet(fn, lr.sweeps.Grid(**coordinates)).loss.values.reshape(2, -1)

    plain = losses((3, 64, 2), seed=[0, 5])
    given = losses(
        (3, 9, 2),
        width=[64],
        input_variance=[1 / 3],
        output_variance=[1 / 64],
        key=jnp.stack([jax.random.key(0), jax.random.key(5)]),
    )
    np.testing.assert_allclose(plain, given, rtol=1e-12)


@pytest.mark.slow
def test_averages_over_draws_are_those_of_the_flow():
    """Against gradient flow of full networks: losses agree within their spread."""
    ts, draws, width = jnp.linspace(0, 0.03, 9), 96, 256
    fn = lr.sweeps.learning(TASK, (3, width, 2), ts, kind="gaussian")
    limit = quiet(fn, lr.sweeps.Grid(seed=jnp.arange(draws))).loss.values

    @jax.jit
    @jax.vmap
    def flow(key):
        network = lr.Gaussian.lecun()(3, width, 2, key=key)
        law = lr.GradientFlow()
        return lr.learn(network, TASK, ts, dynamics=law, throw=False).loss

    simulated = np.asarray(flow(KEYS[:draws]))
    spread = np.sqrt((limit.var(0) + simulated.var(0)) / draws)
    # The limit has the mean rates: a tail of the loss is left.
    tail = 1e-4 * simulated[:, 0].mean()
    assert np.all(np.abs(limit.mean(0) - simulated.mean(0)) < 3 * spread + tail)
    # The spread is small against the change in time.
    assert np.all(spread < 0.1 * np.ptp(simulated.mean(0)))


@pytest.mark.slow
def test_points_that_no_network_can_have():
    learning = lr.sweeps.learning(TASK, (3, 4, 2), TS, kind="gaussian")
    for axes, reason in (
        ({"width": [0, 5]}, "`width` must be an integer of at least 1, but it was 0"),
        (
            {"input_variance": [-1.0, 0.0]},
            "`input_variance` must be finite and non-negative, but it was -1",
        ),
        (
            {"output_variance": [jnp.nan, 1.0]},
            "`output_variance` must be finite and non-negative, but it was nan",
        ),
    ):
        data = quiet(learning, lr.sweeps.Grid(**axes))
        names = np.array(data.status.attrs["flag_meanings"].split())[data.status]
        assert names.tolist() == ["error", "ok"]
        assert data.attrs["error"].startswith(reason)


@pytest.mark.parametrize(
    "kind, point, message",
    [
        ("gaussian", {"lmda": 1.0}, "`lmda` must be .* kind 'balanced' uses it"),
        ("balanced", {"width": 3}, "`width` must be .* kind 'gaussian' uses it"),
        ("balanced", {"lmd": 1.0}, "`lmd` must be .* did you mean 'lmda'"),
        ("gaussian", {"zebra": 1}, r"`zebra` must be .*, but it was not\."),
        ("gaussian", {"width": 4.0}, "`width` must be an integer"),
        ("balanced", {"seed": 1, "key": KEYS[0]}, "`seed` must be left out"),
    ],
)
def test_coordinates_that_a_kind_does_not_use(kind, point, message, monkeypatch):
    fn = lr.sweeps.learning(TASK, (3, 2, 2), TS, kind=kind)
    monkeypatch.setattr(jax.stages.Lowered, "compile", None)  # before any computation
    grid = lr.sweeps.Grid(**{k: jnp.stack([v]) for k, v in point.items()})
    with pytest.raises(ValueError, match=message):
        quiet(fn, grid)


def test_measures_and_kinds_that_are_refused():
    learning = lr.sweeps.learning
    with pytest.raises(
        ValueError, match=r"`names` must be some of .* is solved exactly"
    ):
        learning(TASK, (3, 2, 2), TS, ["error_estimate"])
    with pytest.raises(ValueError, match="`kind` must be one of balanced, gaussian"):
        learning(TASK, (3, 2, 2), TS, kind="gausian")
    with pytest.raises(ValueError, match=r"`sizes` must be three, .*\(3, 2\)"):
        learning(TASK, (3, 2), TS)


@pytest.mark.slow
def test_an_estimate_costs_few_steps_where_learning_is_over():
    """Stiff points took as many steps as the ODE allows, and had no estimate."""
    ts = jnp.array([0.0, 1e-4, 1e3])
    fn = lr.sweeps.learning(TASK, (3, 9, 2), ts, ["error_estimate"], kind="gaussian")
    grid = lr.sweeps.Grid(width=[2**8, 2**16])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = quiet(fn, grid)
    assert (data.status == 1).all() and (data.error_estimate > 0).all()
