"""The parameters in states of Flax, Equinox and Optax."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

import lazyrich_jax as lr

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(5, 3)).astype(np.float32)
OF_WEIGHTS = "weight_movement", "movement", "lmda"


class Normed(nn.Module):
    """A Flax network with running means."""

    train: bool = False
    rate: float = 0.0

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x)
        x = nn.BatchNorm(use_running_average=not self.train)(x)
        x = nn.Dropout(self.rate, deterministic=self.rate == 0)(nn.relu(x))
        return nn.Dense(2)(x)


def variables(seed):
    """Its variables, with running means of their own."""
    random = np.random.default_rng(seed)
    tree = Normed().init(jax.random.key(seed), X[0])

    def moved(a):
        return a + random.uniform(0.1, 1, size=a.shape).astype(a.dtype)

    return jax.tree.map(moved, tree)


START, END = variables(0), variables(1)


def without(*names):
    """Numbers of the report that these tests do not ask for."""
    found = {"sharpness", "gradient_alignment", "kernel_distance", "kernel_dimension"}
    found |= {"rich_lazy_index", "target_alignment", "linearisation_gap"}
    return [*(found - {*names}), "dynamical_richness"]


@pytest.mark.parametrize("sep", ["/", ".", None])
def test_flat_dicts_of_flax_have_the_parameters_of_nested_ones(sep):
    nested = lr.richness.report(START, END)
    assert nested.parameters == 3 * 4 + 4 + 8 + 4 * 2 + 2

    def apply(flat, x):
        return Normed().apply(unflatten_dict(flat, sep=sep), x)

    start, end = (flatten_dict(tree, sep=sep) for tree in (START, END))
    traced = lr.richness.report(start, end, X, apply=apply, leave_out=without())
    for report in (lr.richness.report(start, end), traced):
        assert report.parameters == nested.parameters
        assert report.layer_names == nested.layer_names == ("Dense_0", "Dense_1")
        assert report.pair_names == nested.pair_names
        for name in OF_WEIGHTS:
            np.testing.assert_allclose(report[name], nested[name])


def test_names_with_params_of_pytorch_are_parameters():
    state = {"params.0.weight": X[:3], "params.1.weight": X[:2], "out.weight": X[:4]}
    assert lr.richness.report(state, state).parameters == 27


def test_batch_normalisation_and_dropout_in_training_mode_are_refused():
    def train(tree, x):
        return Normed(train=True).apply(tree, x, mutable=["batch_stats"])[0]

    with pytest.raises(ValueError, match="`start` must normalise by its running means"):
        lr.richness.report(START, END, X, apply=train)
    with pytest.raises(ValueError, match="`use_running_average=True` in Flax"):
        lr.richness.report(START, END, X, apply=Normed(train=True).apply)

    def drop(tree, x):
        return Normed(rate=0.5).apply(tree, x, rngs={"dropout": jax.random.key(0)})

    with pytest.raises(ValueError, match="`start` must be deterministic"):
        lr.richness.report(START, END, X, apply=drop)


modules_are_trees = pytest.mark.skipif(
    not hasattr(nnx, "List"), reason="modules of nnx are trees from Flax 0.12 on"
)


class Module(nnx.Module):
    """The same network in nnx."""

    def __init__(self, seed, train=False):
        rngs = nnx.Rngs(seed)
        options: dict = {"rngs": rngs}
        self.lower = nnx.Linear(3, 4, **options)
        self.norm = nnx.BatchNorm(4, use_running_average=not train, **options)
        self.upper = nnx.Linear(4, 2, **options)
        self.norm.mean[...] = np.arange(4, dtype=np.float32) / 4

    def __call__(self, x):
        return self.upper(nnx.relu(self.norm(self.lower(x))))


def flat_state(state):
    return dict(nnx.to_flat_state(state))


@modules_are_trees
def test_modules_of_nnx_are_models():
    """As whole modules, states, pure dicts and flat ones."""
    start, end = Module(0), Module(1)
    (definition, first), (_, last) = nnx.split(start), nnx.split(end)
    expected = lr.richness.report(first, last)
    assert expected.parameters == 34
    for form in (lambda s: nnx.merge(definition, s), nnx.to_pure_dict, flat_state):
        one, other = form(first), form(last)
        report = lr.richness.report(one, other)
        assert report.parameters == 34
        assert report.layer_names == expected.layer_names == ("lower", "upper")
        for name in OF_WEIGHTS:
            np.testing.assert_allclose(report[name], expected[name])

    def merged(state, x):
        return nnx.merge(definition, state)(x)

    leave_out = without("kernel_distance", "linearisation_gap")
    by_state = lr.richness.report(first, last, X, apply=merged, leave_out=leave_out)
    called = lr.richness.report(start, end, X, leave_out=leave_out)
    for name in ("kernel_distance", "linearisation_gap", "feature_alignment"):
        np.testing.assert_allclose(called[name], by_state[name], rtol=1e-5)
    with pytest.raises(ValueError, match="`start` must normalise by its running means"):
        lr.richness.report(Module(0, train=True), Module(1, train=True), X)


@modules_are_trees
def test_one_module_of_nnx_is_not_two_states():
    """Training changes it in place, and the states that were split from it."""
    model = Module(0)
    kept, first = nnx.clone(model), nnx.split(model)[1]
    model.lower.kernel[...] = 2 * model.lower.kernel[...]
    last = nnx.split(model)[1]
    for start, end in ((model, model), (first, last)):
        with pytest.raises(ValueError, match=r"keep `nnx.clone\(model\)` before"):
            lr.richness.report(start, end)
    assert lr.richness.report(kept, model)["movement"][0] == 1


def test_views_of_one_memory_are_not_two_states():
    """PyTorch's `v.numpy()` is a view of what training changes."""
    memory = X[:2].copy()
    start, end = ({"0.weight": memory[:]} for _ in range(2))
    with pytest.raises(ValueError, match=r"`0\.weight` was one memory"):
        lr.richness.report(start, end)
    end["0.weight"] = memory.copy()
    assert lr.richness.report(start, end)["weight_movement"] == 0
    assert lr.richness.report(start, start)["weight_movement"] == 0


class Attended(nnx.Module):
    """Attention in a list."""

    def __init__(self, seed):
        options: dict = {"num_heads": 2, "in_features": 4, "rngs": nnx.Rngs(seed)}
        layer = nnx.MultiHeadAttention(qkv_features=6, decode=False, **options)
        self.layers = nnx.List([layer])

    def __call__(self, x):
        return self.layers[0](x)


@modules_are_trees
def test_attention_in_a_list_of_nnx_has_heads():
    start, end = Attended(0), Attended(1)
    traced = lr.richness.balances(start, np.ones((1, 3, 4), np.float32))
    by_tree = lr.richness.balances(end)
    for pairs in (traced, by_tree):
        assert [(*pair.names, pair.head) for pair in pairs] == [
            (f"layers[0].{lower}", f"layers[0].{upper}", head)
            for lower, upper in (("key", "query"), ("value", "out"))
            for head in (0, 1)
        ]


class Tied(nnx.Module):
    def __init__(self, seed):
        self.lower = nnx.Linear(3, 3, rngs=nnx.Rngs(seed))
        self.upper = self.lower

    def __call__(self, x):
        return self.upper(jnp.tanh(self.lower(x)))


@modules_are_trees
def test_shared_parameters_of_nnx_are_refused():
    """JAX's tree of the module has them twice."""
    match = r"each parameter once, but `lower\.bias` and `upper\.bias` were one"
    with pytest.raises(ValueError, match=match):
        lr.richness.report(Tied(0), Tied(1), X)
    with pytest.raises(ValueError, match=match):
        lr.richness.Recorder(X)(0, Tied(0))
    assert lr.richness.report(nnx.state(Tied(0)), nnx.state(Tied(1))).parameters == 12


class WithState(eqx.Module):
    lower: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    upper: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key)
        self.lower = eqx.nn.Linear(3, 4, key=keys[0])
        self.norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
        self.upper = eqx.nn.Linear(4, 2, key=keys[1])

    def __call__(self, x, state):
        x, state = self.norm(self.lower(x), state)
        return self.upper(jax.nn.relu(x)), state


def trained_state(seed):
    model, state = eqx.nn.make_with_state(WithState)(jax.random.key(seed))
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = batched(jnp.asarray(X, float) + seed, state)
    return eqx.nn.inference_mode(model), state


def test_states_of_equinox_are_no_parameters():
    """A change of the running means alone leaves the parameters where they were."""
    (model, first), (_, last) = trained_state(0), trained_state(1)
    report = lr.richness.report(
        (model, first),
        (model, last),
        X.astype(float),
        apply=lambda both, x: both[0](x, both[1])[0],
        leave_out=without("kernel_distance"),
    )
    assert report.parameters == 34 and report["weight_movement"] == 0
    parameters, rest = eqx.partition(model, eqx.is_array)
    flat, restored = jax.flatten_util.ravel_pytree(parameters)

    def outputs(flat, state):
        whole = eqx.combine(restored(flat), rest)
        return jnp.concatenate([whole(x, state)[0] for x in jnp.asarray(X, float)])

    j0, j1 = (np.asarray(jax.jacrev(outputs)(flat, state)) for state in (first, last))
    k0, k1 = j0 @ j0.T, j1 @ j1.T
    cosine = np.sum(k0 * k1) / np.linalg.norm(k0) / np.linalg.norm(k1)
    np.testing.assert_allclose(report["kernel_distance"], 1 - cosine, rtol=1e-8)
    raw = WithState(jax.random.key(0))
    assert lr.richness.report(raw, raw).parameters == 34


def test_states_of_optimisers_are_no_parameters():
    start, end = START["params"], END["params"]
    states = [optax.adam(0.1).init(tree) for tree in (start, end)]
    report = lr.richness.report((start, states[0]), (end, states[1]))
    expected = lr.richness.report(start, end)
    assert report.parameters == expected.parameters
    assert report.layer_names == ("[0].Dense_0", "[0].Dense_1")
    for name in OF_WEIGHTS:
        np.testing.assert_allclose(report[name], expected[name])
