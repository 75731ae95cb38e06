"""One dtype per computation, the widest of its arguments; half precision is refused."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import _dtypes, applications, kernels, measures, theory

loose: Any = lr  # for lists, which its annotations refuse
KEYS = jax.random.split(jax.random.key(0), 3)
TASK, SECOND = (lr.Task.random_regression(3, 2, 8, key=k) for k in KEYS[:2])
NETWORK = lr.LambdaBalanced(1.0, 0.3)(3, 2, 2, key=KEYS[2])
SIGMA = TASK.input_output_correlation
NTK = kernels.ntk(NETWORK, TASK.x[:3])
TS = jnp.array([0.0, 1.0, 2.0])
STAGES: Any = dict(duration=2.0, ts=TS)
SINGLE, DOUBLE = jnp.float32, jnp.float64


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def learned(dynamics):
    return lambda network, task: lr.learn(network, task, TS, dynamics=dynamics)


def solved(network, task):
    solution = lr.ExactSolution(network, task)
    return solution.qqt(TS), solution.loss(1), solution.flow_network(1.0)


def of_inputs(network, x):
    names = "ntk", "ntk_blocks", "ntk_trace", "input_similarity", "empirical_ntk"
    vector = jnp.ones(2 * len(x), _dtypes.common_dtype(network=network, x=x))
    product = kernels.ntk_operator(network, x).mv(vector)
    return product, [getattr(kernels, name)(network, x) for name in names]


def of_kernels(a, b):
    names = (
        "kernel_alignment",
        "kernel_distance",
        "centred_kernel_alignment",
        "unbiased_centred_kernel_alignment",
        "bures_distance",
        "procrustes_distance",
        "representational_change",
        "rich_lazy_index",
        "mode_strengths",
    )
    return [getattr(measures, name)(a, b) for name in names]


def of_function(function, task):
    return (
        task.loss(function),
        task.loss_gradient(function),
        theory.loss(function, task),
        theory.forgetting(function, 2 * function, task),
        theory.shallow_function(TS, function, task),
        theory.rich_limit(TS, function, task),
    )


def of_network(network, task):
    return (
        theory.function_rate(network, task),
        theory.loss_rate(network, task, learning=SECOND),
        theory.saddle_distance(network, task),
        theory.lazy_limit(TS, network, task),
        theory.converged_representations(task, 1.0, 2, start=network),
    )


def of_balance(task, lmda):
    return (
        theory.convergence_rates(task, lmda, 2),
        theory.delayed_rich_time(task, lmda, 2),
        theory.converged_representations(task, lmda, 2),
        theory.balanced_representations(task.input_output_correlation, lmda, 2),
        lr.Aligned(task, lmda)(3, 2, 2, key=KEYS[0]),
        applications.low_rank_change(task, 1, lmda, key=KEYS[0]),
    )


def of_modes(ts, s, a0):
    return (
        theory.aligned_modes(ts, s, a0, 1),
        theory.sigmoidal_modes(ts, s, a0),
        theory.time_to_reach(ts / 4, s, a0, 0.5),
        theory.deep_modes(ts, s, a0, jnp.ones_like(a0)),
        theory.single_neuron(ts, s, a0[0], a0),
        measures.convergence_time(ts, jnp.full_like(s[0], 1.0, shape=(3,)), a0[0]),
    )


def of_neurons(s, a0):
    return (
        theory.neuron_from_function(s, a0[0]),
        theory.neuron_boundary(a0[0], -1, s),
        theory.neuron_one_datum(s, 2, a0),
        theory.SingleNeuron(s, a0[0]).alignment(a0),
        theory.shallow_steps(s[0], a0[0], 0.1),
    )


FLOW = lr.GradientFlow(rtol=1e-6)
CASES = {
    "data": (lambda x, y: lr.Task(x, y), (TASK.x, TASK.y)),
    "weights": (lambda a, b: lr.LinearNetwork((a, b)), NETWORK.weights),
    "rebalanced": (
        lambda network, lmda: network.rebalanced(lmda),
        (NETWORK, jnp.asarray(0.5, DOUBLE)),
    ),
    "sample": (lambda network, x: network(x), (NETWORK, TASK.x[0])),
    "exact": (learned(lr.Exact()), (NETWORK, TASK)),
    "flow": (learned(FLOW), (NETWORK, TASK)),
    "descent": (learned(lr.GradientDescent(jnp.float64(0.01))), (NETWORK, TASK)),
    "solution": (solved, (NETWORK, TASK)),
    "continual": (
        lambda network, *tasks: applications.continual(network, tasks, 1.0, points=2),
        (NETWORK, TASK, SECOND),
    ),
    "reversal": (
        lambda *start: applications.reversal(*start, lmda=[0.1, 1.0], **STAGES),
        (NETWORK, TASK),
    ),
    "transfer": (
        lambda *start: applications.transfer(*start, lmda=[0.1, 1.0], **STAGES),
        (NETWORK, TASK, SECOND),
    ),
    "finetune": (
        lambda *start: applications.finetune(*start, lmda=[0.1, 1.0], **STAGES),
        (NETWORK, TASK, SECOND),
    ),
    "attribute": (
        lambda *start: applications.new_attribute(
            *start, item=0, lmda=[0.1, 1.0], **STAGES
        ),
        (NETWORK, TASK),
    ),
    "teacher": (
        lambda f, noise: lr.Task.teacher(f, 5, noise=noise, key=KEYS[0]),
        (SIGMA, jnp.asarray(0.1, DOUBLE)),
    ),
    "balanced": (
        lambda *given: lr.LambdaBalanced(*given)(3, 2, 2, key=KEYS[0]),
        (jnp.asarray(0.5, DOUBLE), jnp.asarray(0.1, DOUBLE)),
    ),
    "kernels of inputs": (of_inputs, (NETWORK, TASK.x[:3])),
    "kernels of targets": (kernels.output_similarity, (NETWORK, TASK.y)),
    "kernels": (of_kernels, (NTK, NTK + jnp.eye(6))),
    "target alignment": (measures.target_alignment, (NTK, TASK.y[:3])),
    "specificity": (measures.task_specificity, (NETWORK.input_representation, SIGMA)),
    "balance": (measures.balance, NETWORK.weights),
    "movement": (measures.weight_movement, (NETWORK, NETWORK.rebalanced(0.5))),
    "function": (of_function, (NETWORK.function, TASK)),
    "network": (of_network, (NETWORK, TASK)),
    "balance of a task": (of_balance, (TASK, jnp.asarray(1.0, DOUBLE))),
    "modes": (of_modes, (TS, jnp.array([1.0, 2.0]), jnp.array([0.1, 0.2]))),
    "neurons": (of_neurons, (jnp.array([1.0, 2.0]), jnp.array([0.1, 0.2]))),
}


def floats(tree) -> list[Any]:
    kinds = jax.Array, jax.ShapeDtypeStruct
    leaves = [x for x in jax.tree.leaves(tree) if isinstance(x, kinds)]
    return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("case", CASES)
def test_the_widest_dtype_is_that_of_all(case):
    function, given = CASES[case]
    rough = [cast(x, SINGLE) for x in given]
    if case != "network":  # with a double of its own
        single = floats(eqx.filter_eval_shape(function, *rough))
        assert {x.dtype for x in single} == {jnp.dtype(SINGLE)}
    for i in range(len(given)):
        mixed = [x if i != j else given[i] for j, x in enumerate(rough)]
        found = floats(eqx.filter_eval_shape(function, *mixed))
        assert {x.dtype for x in found} == {jnp.dtype(DOUBLE)}


OTHER_DRAWS = "teacher", "balanced", "balance of a task"  # another dtype draws others


@pytest.mark.slow
@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("case", [x for x in CASES if x not in OTHER_DRAWS])
def test_mixed_dtypes_have_the_values_of_doubles(case):
    function, given = CASES[case]
    reference = floats(function(*given))
    for i in range(len(given)):
        mixed = [x if i == j else cast(x, SINGLE) for j, x in enumerate(given)]
        found = floats(function(*mixed))
        assert {x.dtype for x in found} == {jnp.dtype(DOUBLE)}
        for x, y in zip(found, reference, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("case", CASES)
def test_half_precision_is_refused_in_the_same_words(case):
    function, given = CASES[case]
    for i in range(len(given)):
        half = [x if i != j else cast(x, jnp.bfloat16) for j, x in enumerate(given)]
        with pytest.raises(TypeError, match=r"single or double precision.*bfloat16"):
            function(*half)


def test_continual_learning_of_a_single_network_goes_on_in_double():
    # A network balanced in single precision is not balanced in double.
    network = cast(NETWORK, SINGLE)
    learned = applications.continual(network, [TASK, SECOND], 2.0, points=3)
    exact = applications.continual(NETWORK, [TASK, SECOND], 2.0, points=3)
    assert learned.losses.dtype == DOUBLE
    np.testing.assert_allclose(learned.losses, exact.losses, rtol=1e-5)


def test_rebalanced_weights_are_balanced_to_the_rounding_of_their_dtype():
    network = cast(NETWORK, SINGLE).rebalanced(jnp.asarray(0.5, DOUBLE))
    assert network.balance_residual < 1e-14


def test_each_is_judged_by_the_dtype_that_it_came_in():
    bent = lr.LinearNetwork((NETWORK.weights[0] * (1 + 1e-6), NETWORK.weights[1]))
    lr.ExactSolution(cast(bent, SINGLE), TASK)
    with pytest.raises(ValueError, match="must be lambda-balanced"):
        lr.ExactSolution(bent, cast(TASK, SINGLE))


@pytest.mark.usefixtures("untyped")
def test_scalars_and_whole_numbers_widen_nothing():
    network, task = cast(NETWORK, SINGLE), cast(TASK, SINGLE)
    # Times and rates take the dtype of the network and task.
    trajectory = lr.learn(network, task, TS, dynamics=lr.GradientFlow(rtol=1e-5))
    assert trajectory.loss.dtype == trajectory.ts.dtype == SINGLE
    assert theory.aligned_modes(np.arange(3), jnp.float32(1), 1, 0.5).dtype == SINGLE
    assert kernels.ntk(network, np.eye(3, dtype=int)).dtype == SINGLE
    assert lr.Aligned(task, 1.0)(3, 2, 2, key=KEYS[0]).function.dtype == SINGLE
    # Whole numbers alone take the default dtype.
    assert loose.Task([[1, 2]], [[3]]).x.dtype == DOUBLE


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("dtype", ["longdouble", ">f8", ">f4", ">i4", "<u2", "int8"])
def test_numpys_other_numbers_convert(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    wanted = SINGLE if dtype == ">f4" else DOUBLE
    task = lr.Task(x, x)
    assert task.x.dtype == task.y.dtype == wanted
    np.testing.assert_array_equal(task.x, np.arange(6).reshape(2, 3))
    scalar = lr.LambdaBalanced(np.ones((), dtype)[()], 1.0).lmda
    assert scalar == 1.0
    rows = loose.LinearNetwork(([list(row) for row in x],))  # lists of NumPy's scalars
    np.testing.assert_array_equal(rows.function, task.x)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("dtype", [">f2", "float16", complex, bool, object, "U3"])
def test_what_is_not_real_or_too_coarse_is_refused(dtype):
    with pytest.raises(TypeError, match="`x` must be"):
        lr.Task(np.ones((2, 3)).astype(dtype), np.ones((2, 1)))
