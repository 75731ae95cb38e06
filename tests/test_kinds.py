"""Batches, swapped arguments and classes are refused by every function, in words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

pytestmark = pytest.mark.usefixtures("untyped")

loose: Any = lr  # for arguments that its annotations refuse
KEY = jax.random.key(0)
TASK = lr.Task(2.0 * jnp.eye(3), jnp.ones((3, 2)))
NETWORK = lr.LinearNetwork((jnp.eye(2, 3), jnp.eye(2)))
TS = [0.0, 1.0]
app, theory, kernels, red = (
    loose.applications,
    loose.theory,
    loose.kernels,
    loose.reductions,
)
infer, rich, plot = loose.inference, loose.richness, loose.plot


def batch(tree):
    return jax.tree.map(lambda a: jnp.stack([a] * 5), tree)


# Functions of a network and a task, by name.
BOTH = {
    "learn": lambda n, t: loose.learn(n, t, TS),
    "learn by descent": lambda n, t: loose.learn(
        n, t, TS, dynamics=lr.GradientDescent(0.1)
    ),
    "learn by flow": lambda n, t: loose.learn(n, t, TS, dynamics=lr.GradientFlow()),
    "learn wide": lambda n, t: loose.learn(n, t, TS, dynamics=lr.WideLimit()),
    "learn nearly": lambda n, t: loose.learn(n, t, TS, dynamics=lr.NearlyExact()),
    "ExactSolution": lambda n, t: loose.ExactSolution(n, t),
    "transfer": lambda n, t: app.transfer(n, t, TASK, [0.0], duration=1.0, ts=TS),
    "finetune": lambda n, t: app.finetune(n, t, TASK, [0.0], duration=1.0, ts=TS),
    "reversal": lambda n, t: app.reversal(n, t, [0.0], duration=1.0, ts=TS),
    "new_attribute": lambda n, t: app.new_attribute(
        n, t, 0, [0.0], duration=1.0, ts=TS
    ),
    "sensitivity": lambda n, t: infer.sensitivity(n, t, TS),
    "sharpness": lambda n, t: loose.measures.sharpness(n, t),
    "commuting_inputs": lambda n, t: red.commuting_inputs(n, t),
    "heavy_ball": lambda n, t: red.heavy_ball(n, t, 0.1, 0.5),
    "layer_rates": lambda n, t: red.layer_rates(n, t, [1.0, 2.0]),
    "output_scale": lambda n, t: red.output_scale(n, t, 2.0),
    "schedule": lambda n, t: red.schedule(n, t, lambda step: 0.1, 3),
    "lazy_limit": lambda n, t: theory.lazy_limit(TS, n, t),
    "saddle_distance": lambda n, t: theory.saddle_distance(n, t),
}
# Functions of a network.
NETWORKS = {
    "a call": lambda n: n(jnp.ones(3)),
    "rebalanced": lambda n: n.rebalanced(0.0),
    "compressed": lambda n: n.compressed(),
    "from_layers": lambda n: lr.LinearNetwork.from_layers(n),
    "continual": lambda n: app.continual(n, [TASK], 1.0),
    "ntk": lambda n: kernels.ntk(n, TASK.x),
    "ntk_blocks": lambda n: kernels.ntk_blocks(n, TASK.x),
    "ntk_operator": lambda n: kernels.ntk_operator(n, TASK.x),
    "ntk_trace": lambda n: kernels.ntk_trace(n, TASK.x),
    "empirical_ntk": lambda n: kernels.empirical_ntk(n, TASK.x),
    "input_similarity": lambda n: kernels.input_similarity(n, TASK.x),
    "output_similarity": lambda n: kernels.output_similarity(n, TASK.y),
    "denoising_autoencoder": lambda n: red.denoising_autoencoder(n, TASK.x, 0.1),
    "linear_recurrent": lambda n: red.linear_recurrent(
        n, jnp.ones((4, 5, 3)), jnp.ones((4, 2)), 0.5
    ),
    "function_rate": lambda n: theory.function_rate(n, TASK),
    "loss_rate": lambda n: theory.loss_rate(n, TASK, learning=TASK),
    "converged_representations": lambda n: theory.converged_representations(
        TASK, 0.0, 2, start=n
    ),
    "design": lambda n: infer.design(
        infer.LossAt(TASK, 1.0), n, free={"lmda": (-1.0, 1.0)}
    ),
    "describe": lambda n: rich.describe(n, n, TASK, 1.0),
    "layers": lambda n: rich.layers(n),
    "balances": lambda n: rich.balances(n),
    "report": lambda n: rich.report(n, n),
}
# Functions of a task.
TASKS = {
    "input_output_correlation": lambda t: t.input_output_correlation,
    "input_correlation": lambda t: t.input_correlation,
    "input_variance": lambda t: t.input_variance,
    "anisotropy": lambda t: t.anisotropy,
    "loss": lambda t: t.loss(jnp.ones((2, 3))),
    "loss_gradient": lambda t: t.loss_gradient(jnp.ones((2, 3))),
    "whitened": lambda t: t.whitened(),
    "whitening": lambda t: t.whitening(),
    "reversed": lambda t: t.reversed(),
    "Aligned": lambda t: loose.Aligned(t),
    "continual": lambda t: app.continual(NETWORK, [TASK, t], 1.0),
    "transfer": lambda t: app.transfer(NETWORK, TASK, t, [0.0], duration=1.0, ts=TS),
    "related_task": lambda t: app.related_task(t, 0.5, key=KEY),
    "low_rank_change": lambda t: app.low_rank_change(t, 1, key=KEY),
    "Experiment": lambda t: infer.Experiment(t, TS),
    "KernelDistance": lambda t: infer.KernelDistance(t, 0.5, 1.0),
    "LearningTime": lambda t: infer.LearningTime(t),
    "LossAt": lambda t: infer.LossAt(t, 1.0),
    "ReversalTime": lambda t: infer.ReversalTime(t, 1.0),
    "Forgetting": lambda t: infer.Forgetting([t, TASK], 1.0),
    "SequenceLoss": lambda t: infer.SequenceLoss([t, TASK], 1.0),
    "antisymmetric_relu": lambda t: red.antisymmetric_relu(NETWORK.weights, t),
    "gated_pathways": lambda t: red.gated_pathways([NETWORK], t, jnp.ones((1, 3))),
    "sweeps.learning": lambda t: loose.sweeps.learning(t, (3, 2, 2), TS),
    "phase_diagram": lambda t: loose.sweeps.phase_diagram(
        t, (3, 2, 2), TS, lmda=[0.0], scale=[1.0], key=jax.random.split(KEY, 1)
    ),
    "describe": lambda t: rich.describe(NETWORK, NETWORK, t, 1.0),
    "converged_representations": lambda t: theory.converged_representations(t, 0.0, 2),
    "convergence_rates": lambda t: theory.convergence_rates(t, 0.0, 2),
    "delayed_rich_time": lambda t: theory.delayed_rich_time(t, -1.0, 2),
    "forgetting": lambda t: theory.forgetting(jnp.eye(2, 3), jnp.eye(2, 3), t),
    "function_rate": lambda t: theory.function_rate(NETWORK, t),
    "loss_rate": lambda t: theory.loss_rate(NETWORK, TASK, learning=t),
    "theory.loss": lambda t: theory.loss(jnp.eye(2, 3), t),
    "rich_limit": lambda t: theory.rich_limit(TS, jnp.eye(2, 3), t),
    "shallow_function": lambda t: theory.shallow_function(TS, jnp.eye(2, 3), t),
    "soft_thresholded_limit": lambda t: theory.soft_thresholded_limit(t, 0.1, 2),
    "wide_function": lambda t: theory.wide_function(TS, jnp.eye(2, 3), t, 1.0),
}
SOLUTIONS = {
    "loss": lambda s: s.loss(1.0),
    "function": lambda s: s.function(1.0),
    "qqt": lambda s: s.qqt(1.0),
    "ntk": lambda s: s.ntk(1.0, TASK.x),
    "network": lambda s: s.network(1.0),
    "flow_network": lambda s: s.flow_network(1.0),
    "trajectory": lambda s: s.trajectory(TS),
}
BATCH = "must be one .*, but it was a batch of shape \\(5,\\); use `jax.vmap`"


@pytest.mark.parametrize("name", BOTH)
def test_networks_and_tasks(name):
    call = BOTH[name]
    with pytest.raises(ValueError, match=f"`network` {BATCH}"):
        call(batch(NETWORK), TASK)
    with pytest.raises(ValueError, match=f"`task` {BATCH}"):
        call(NETWORK, batch(TASK))
    swapped = "`network` .* `LinearNetwork` and `task` .* a `Task` and a .*: swap them"
    with pytest.raises(TypeError, match=swapped):
        call(TASK, NETWORK)
    with pytest.raises(TypeError, match=r"`network` .* class `LinearNetwork`; type"):
        call(lr.LinearNetwork, TASK)
    with pytest.raises(TypeError, match=r"`task` .* class `Task`; type"):
        call(NETWORK, lr.Task)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_of_networks(name):
    with pytest.raises(ValueError, match=BATCH):
        NETWORKS[name](batch(NETWORK))


@pytest.mark.parametrize("name", TASKS)
def test_batches_of_tasks(name):
    with pytest.raises(ValueError, match=BATCH):
        TASKS[name](batch(TASK))


@pytest.fixture(scope="module")
def solutions():
    return batch(lr.ExactSolution(NETWORK, TASK))


@pytest.mark.parametrize("name", SOLUTIONS)
def test_batches_of_solutions(name, solutions):
    with pytest.raises(ValueError, match=f"`solution` {BATCH}"):
        SOLUTIONS[name](solutions)


def given_exact(dynamics):
    return loose.learn(NETWORK, TASK, TS, dynamics=dynamics)


OTHERS = {
    "a law": (lambda: given_exact(lr.Exact), r"the class `Exact`; type `Exact\(\)`"),
    "a law of a number": (
        lambda: given_exact(lr.GradientDescent),
        r"the class `GradientDescent`; type `GradientDescent\(\.\.\.\)`",
    ),
    "an application's law": (
        lambda: app.continual(NETWORK, [TASK], 1.0, dynamics=lr.Exact),
        r"`dynamics` .* type `Exact\(\)`",
    ),
    "an initialiser": (
        lambda: loose.learn(lr.LambdaBalanced(), TASK, TS),
        r"`network` .* a `LambdaBalanced`; draw one: `LambdaBalanced\(lmda\)\(in_size,",
    ),
    "another class": (
        lambda: loose.learn(lr.LambdaBalanced, TASK, TS),
        "`network` .* the class `LambdaBalanced`; draw one",
    ),
    "an array": (
        lambda: loose.learn(NETWORK, TASK.x, TS),
        r"`task` must be a `Task`, but it was an array of shape \(3, 3\); build one",
    ),
    "a kernel's inputs": (
        lambda: kernels.ntk(TASK.x, NETWORK),
        "`network` must be a `LinearNetwork` and `x` an array, .*: swap them",
    ),
    "a plot's task": (
        lambda: plot.modes(TASK, lr.learn(NETWORK, TASK, TS)),
        "`trajectories` .* and `task` .* a `Task` and a `Trajectory`: swap them",
    ),
    "a grid": (lambda: loose.sweeps.run(len, lr.sweeps.Grid), r"type `Grid\(\)`"),
    "a noise": (
        lambda: infer.Experiment(TASK, TS, noise=[infer.Additive]),
        "`noise` .* the class `Additive`",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_given_in_place_of_an_object(name):
    call, message = OTHERS[name]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda key: lr.LambdaBalanced(1.0)(3, 2, 2, key=key),
        lambda key: lr.Gaussian(1.0)(3, 2, 2, key=key),
        lambda key: lr.Gaussian(1.0).compressed(3, 2, 2, key=key),
        lambda key: lr.WideOrthogonal(1.0, 1.0)(3, 5, 2, key=key),
        lambda key: lr.Task.random_regression(3, 2, 5, key=key),
        lambda key: lr.Task.teacher(jnp.eye(2), 5, key=key),
    ],
)
def test_a_key_that_is_none(call):
    for key, was in ((0, "0"), (np.random.default_rng(), "a `Generator`")):
        with pytest.raises(TypeError, match=f"`key` must be a random .* it was {was}"):
            call(key)


def test_old_keys_are_keys():
    old, new = jax.random.PRNGKey(0), jax.random.key(0)
    first, second = (
        lr.Gaussian(1.0)(3, 2, 2, key=key).weights[0] for key in (old, new)
    )
    np.testing.assert_array_equal(first, second)
