"""Reports on the richness of training."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases

# Trained linear networks, where all numbers have another way.
START = cases.balanced((4, 2, 3), 0.5, 0.6)
TASK = lr.Task.from_correlation(cases.sigma(3, 4))
END = cases.balanced((4, 2, 3), 0.5, 1.2, seed=1)
X, Y = np.asarray(TASK.x), np.asarray(TASK.y)


@pytest.fixture(scope="module")
def report():
    return lr.richness.report(START, END, TASK.x, TASK.y)


def kernel(network):
    return np.asarray(lr.kernels.ntk(network, TASK.x))


def test_numbers_of_a_linear_network(report):
    k0, k1 = kernel(START), kernel(END)
    measures = lr.measures
    f0, f1 = (X @ np.asarray(n.function).T for n in (START, END))
    w0, w1 = ([np.asarray(w) for w in n.weights] for n in (START, END))
    line = f0 + X @ ((w1[1] - w0[1]) @ w0[0] + w0[1] @ (w1[0] - w0[0])).T
    features = X @ w1[0].T
    expected = {
        "loss": [TASK.loss(n.function) for n in (START, END)],
        "weight_movement": measures.weight_movement(START, END),
        "linearisation_gap": np.linalg.norm(f1 - line) / np.linalg.norm(f1 - f0),
        "kernel_distance": 1 - np.sum(k0 * k1) / np.sqrt(np.sum(k0**2) * np.sum(k1**2)),
        "rich_lazy_index": measures.rich_lazy_index(k0, k1),
        "target_alignment": [measures.target_alignment(k, TASK.y) for k in (k0, k1)],
        "kernel_dimension": [np.trace(k) ** 2 / np.sum(k**2) for k in (k0, k1)],
        "sharpness": [measures.sharpness(n, TASK) for n in (START, END)],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(report[name], value, rtol=1e-4, err_msg=name)
    richness = measures.dynamical_richness(features, f1)
    np.testing.assert_allclose(report["dynamical_richness"][1], richness)


def test_numbers_of_layers(report):
    assert report.layer_names == ("weights[0]", "weights[1]")
    w0, w1 = np.asarray(START.weights[0]), np.asarray(END.weights[0])
    z0, z1 = X @ w0.T, X @ w1.T
    np.testing.assert_allclose(report["activation_flips"][0], np.mean(z0 * z1 < 0))
    assert np.isnan(report["activation_flips"][1])  # outputs
    moved = np.linalg.norm(w1 - w0) / np.linalg.norm(w0)
    np.testing.assert_allclose(report["movement"][0], moved)
    aligned = lr.measures.centred_kernel_alignment(z0 @ z0.T, z1 @ z1.T)
    np.testing.assert_allclose(report["feature_alignment"][0], aligned)
    # The gradient outer product of a linear network is that of its function.
    a = np.asarray(END.function)
    ansatz = lr.measures.neural_feature_alignment(w1, a.T @ a)
    np.testing.assert_allclose(report["gradient_alignment"][0, 1], ansatz, rtol=1e-6)


def test_numbers_of_pairs(report):
    assert report.pair_names == ("weights[0] -> weights[1]",)
    np.testing.assert_allclose(report["lmda"], [[0.5, 0.5]], rtol=1e-10)
    np.testing.assert_allclose(report["residual"], 0, atol=1e-12)
    np.testing.assert_allclose(report["drift"], 0, atol=1e-12)


def test_a_pair_that_needs_channels_is_left_out_alone():
    keys = jax.random.split(jax.random.key(3), 3)
    start = eqx.nn.Sequential(
        [
            eqx.nn.Conv1d(2, 3, 2, key=keys[0]),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(9, 4, key=keys[1]),
            eqx.nn.Lambda(jnp.tanh),
            eqx.nn.Linear(4, 2, key=keys[2]),
        ]
    )
    end = jax.tree.map(lambda a: 2 * a if eqx.is_array(a) else a, start)
    whole = lr.richness.report(start, end, channels="first")
    flattened, dense = "layers[0] -> layers[2]", "layers[2] -> layers[4]"
    assert whole.pair_names == (flattened, dense) and flattened not in whole.left_out
    part = lr.richness.report(start, end)
    assert part.pair_names == (dense,)
    assert "`channels` must be 'first'" in part.left_out[flattened]
    assert f"  {flattened}: `channels` must be" in str(part)
    for name in ("lmda", "residual", "drift"):
        np.testing.assert_array_equal(part[name], whole[name][1:])
    lower = start[:3]
    alone = lr.richness.report(lower, lower)
    assert alone.pair_names == () and {flattened, "lmda"} <= {*alone.left_out}


def test_nothing_moved_is_lazy():
    made = lr.richness.report(START, START, TASK.x)
    distances = "weight_movement", "kernel_distance", "rich_lazy_index"
    for name in (*distances, "linearisation_gap"):
        assert made[name] == 0
    with pytest.raises(KeyError, match="`loss` is left out: it needs targets `y`"):
        made["loss"]
    with pytest.raises(KeyError, match="`name` must be one of"):
        made["richness"]


def test_a_start_of_rounding_alone_has_no_features(report):
    """A centred model starts at zero, up to rounding."""
    w1, w2 = START.weights
    start = lr.LinearNetwork((w1, 1e-17 * w2))
    made = lr.richness.report(start, END, TASK.x, leave_out=["gradient_alignment"])
    assert np.isnan(made["dynamical_richness"][0])
    assert np.isnan(made["feature_alignment"][1])
    assert made["dynamical_richness"][1] == report["dynamical_richness"][1]


@pytest.fixture(scope="module")
def classes():
    """A report of a network with biases and an activation, on classes."""
    start = eqx.nn.MLP(4, 3, 6, 2, key=jax.random.key(0))
    end = jax.tree.map(lambda a: 1.1 * a + 0.1 if eqx.is_array(a) else a, start)
    x = jax.random.normal(jax.random.key(1), (24, 4))
    y = jnp.arange(24) % 3
    return lr.richness.report(start, end, x, y, samples=20), (start, end, x, y)


@pytest.mark.slow
def test_a_network_on_classes(classes):
    report, (_, end, x, y) = classes
    assert report.samples == 20 and report.outputs == 3 and report.parameters == 93
    chosen = jax.random.choice(jax.random.key(0), 24, (20,), replace=False)
    x, y = x[jnp.sort(chosen)], y[jnp.sort(chosen)]
    logits = jax.vmap(end)(x)
    log = jax.nn.log_softmax(logits)
    np.testing.assert_allclose(
        report["loss"][1], -np.mean(np.asarray(log)[np.arange(20), y])
    )
    h = jax.vmap(lambda s: jax.nn.relu(end.layers[1](jax.nn.relu(end.layers[0](s)))))(x)
    last = end.layers[2]
    collapse = lr.measures.neural_collapse(h, y, last.weight, last.bias)
    for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4"):
        np.testing.assert_allclose(report[name][1], getattr(collapse, name))
    # The gradient of the outputs by the first layer's input, by autodiff.
    jacobians = jax.vmap(jax.jacfwd(end))(x)
    agop = lr.measures.agop(jacobians)
    found = lr.measures.neural_feature_alignment(end.layers[0].weight, agop)
    np.testing.assert_allclose(report["gradient_alignment"][0, 1], found, rtol=1e-8)


def test_a_report_as_text_and_tables(classes):
    report, _ = classes
    text = str(report)
    assert text.startswith("Richness of training: 93 parameters, 20 samples, 3 outputs")
    for word in ("kernel distance", "nc4", "layers[2]", "layers[0] -> layers[1]"):
        assert word in text
    assert repr(report) == "Report(3 layers, 20 samples)"
    data = report.to_xarray()
    assert dict(data.sizes) == {"when": 2, "layer": 3, "pair": 2}
    assert data.kernel_distance.attrs["reading"].endswith("0 lazy, 1 rich")
    end = data.sel(when="end", layer="layers[1]")
    assert end.effective_rank == report["effective_rank"][1, 1]
    table = report.to_pandas().set_index(["quantity", "place", "when"]).value
    assert table["loss", "", "end"] == report["loss"][1]
    assert table["lmda", "layers[1] -> layers[2]", "start"] == report["lmda"][1, 0]


def test_a_sketch_has_errors():
    made = lr.richness.report(
        START,
        END,
        TASK.x,
        method="sketch",
        leave_out=["dynamical_richness", "gradient_alignment"],
    )
    exact = lr.measures.kernel_distance(kernel(START), kernel(END))
    error = made.errors["kernel_distance"]
    assert 0 < error < 0.1 and abs(made["kernel_distance"] - exact) < 4 * error
    assert "±" in str(made) and "as asked" in str(made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y}, "`y` must be given with `x`"),
        ({"x": X, "y": Y[:2]}, "`y` must have a row for each of 4 samples"),
        ({"x": X, "y": Y[:, :1]}, "`y` must have a number for each of 3 outputs"),
        ({"x": X, "y": np.array([0, 1, 3, 0])}, "`y` must hold classes from 0 to 2"),
        ({"x": X, "samples": 0}, "`samples` must be"),
        ({"samples": 0}, "`samples` must be"),
        ({"method": "guess"}, "`method` must be"),
        ({"memory": np.nan}, "`memory` must be finite and positive"),
        ({"channels": "middle"}, "`channels` must be 'first'"),
        ({"apply": abs}, "`apply` must be given with `x`"),
        ({"key": 3}, "`key` must be one key"),
        ({"x": X, "layout": "out_in"}, "`layout` must be None if `x` is given"),
        ({"leave_out": None}, "`leave_out` must hold names"),
        ({"x": X, "leave_out": ["speed"]}, "`leave_out` must hold names"),
        ({"x": X, "leave_out": "loss"}, "`leave_out` must hold names"),
        ({"x": X[:0]}, "`x` must hold samples"),
    ],
)
def test_bad_input(untyped, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        lr.richness.report(START, END, **arguments)


def test_traced_models_are_refused():
    for call in (lr.richness.report, lr.richness.kernel_products):
        with pytest.raises(TypeError, match="`start` must be concrete"):
            jax.jit(lambda start, call=call: call(start, END, TASK.x))(START)


def test_bad_weights_alone_are_named():
    good, whole = {"0.weight": np.ones((2, 3))}, {"0.weight": np.ones((2, 3), int)}
    bad = {"0.weight": np.full((2, 3), np.nan)}
    for start, end, message in (
        (good, bad, r"`end\['0.weight'\]` must be finite"),
        ({}, {}, "`start` must hold its parameters"),
        (whole, whole, "`start` must hold its parameters"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            lr.richness.report(start, end)


def test_computations_that_have_no_numbers_are_refused():
    x = np.random.default_rng(0).normal(size=(5, 3))
    start = {"w": np.ones((2, 3)), "n": np.ones(2)}
    with pytest.raises(ValueError, match=r"`n` was an array .*, not floating-point"):
        lr.richness.report(start | {"n": np.ones(2, int)}, start)

    def half(p, x):
        return (p["w"].astype(jnp.bfloat16) @ x.astype(jnp.bfloat16)).astype(x.dtype)

    with pytest.raises(TypeError, match="a part of it was in bfloat16"):
        lr.richness.report(start, start, x, apply=half)

    def power(p, x):
        return (p["w"] @ x) ** 3

    huge = {"w": np.full((2, 3), 1e150), "n": np.ones(2)}
    with pytest.raises(ValueError, match=r"`end\(x\)` must be finite"):
        lr.richness.report(start, huge, x, apply=power)
    large = {"w": np.full((2, 3), 1e60), "n": np.ones(2)}
    with pytest.raises(ValueError, match="tangent kernels with finite squares"):
        lr.richness.kernel_products(start, large, x, apply=power)


def test_a_model_without_layers_has_the_other_numbers():
    report = lr.richness.report(
        {"scale": np.ones(3)},
        {"scale": np.array([1.0, 1.0, 3.0])},
        np.random.default_rng(0).normal(size=(5, 3)),
        apply=lambda p, x: p["scale"] * x,
    )
    assert report["kernel_distance"] < 1e-15 and report["linearisation_gap"] < 1e-15
    assert report.layer_names == report.pair_names == ()
    assert "a product with a weight" in report.left_out["feature_alignment"]
    assert "Left out" in str(report)
