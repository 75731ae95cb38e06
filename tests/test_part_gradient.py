"""Changes of parts of QQ^T and their transposes, against the reference form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati import differentiable
from lazyrich_jax._riccati.fast import part_gradient
from lazyrich_jax._riccati.fast.numbers import count_of_numbers, flat, unflat
from lazyrich_jax._riccati.frame import SLICES, Frame, Problem
from lazyrich_jax._riccati.rates import settled
from lazyrich_jax._riccati.reference.first import Change, vary
from lazyrich_jax._riccati.reference.solution import solve
from lazyrich_jax._xla import sizes as tuned

from . import cases, compiled

pytestmark = pytest.mark.slow

TS = jnp.array([1e-30, 1e-4, 0.02, 0.3, 0.9, 2.0, 5.0, 12.0])


@functools.partial(jax.jit, static_argnames="parts")
@functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
def forms(w1, w2, sigma, parts):
    """Changes and slopes by time: the fast form's, the reference's, and a transpose.

    test_derivatives.py tests few times, which are evaluated as matrices. These have
    lanes on the last axes.
    """
    lmda = (jnp.sum(w2**2) - jnp.sum(w1**2)) / w1.shape[0]
    problem = Problem(w1, w2, sigma, lmda)
    frame = Frame(problem)
    ts = jnp.tile(TS.astype(w1.dtype), tuned.FEW_LANES // TS.size + 1)
    rng = np.random.default_rng(0)

    def change():
        moved = jax.tree.map(
            lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), problem
        )
        return differentiable._changed((problem, frame, ts), moved)[3]

    first, second = change(), change()
    both = jnp.stack([first, second], axis=1)
    given = differentiable._one(problem, frame, ts)
    # By two changes of the problem, and by time.
    changed = jnp.stack([first, second, jnp.zeros_like(first)])
    later = jnp.stack([jnp.zeros_like(ts)] * 2 + [jnp.ones_like(ts)])[:, : TS.size]

    def of_one(numbers, dts):
        def at(t, dt):
            late = settled(frame, t)
            change = Change(*unflat(frame, numbers), dt)
            found = vary(frame, late, solve(frame, late), change)
            return frame.matrix_from_rows(found.p)

        return jax.vmap(at)(ts[: TS.size], dts)

    reference = jax.vmap(of_one)(changed, later)
    found = {}
    for part in parts:
        changes, pulled = part_gradient.operations[part]
        fast = jnp.moveaxis(changes(*given, both[None])[0], -1, 0)
        rows, columns = SLICES[part](w1.shape[1])
        weights = jnp.asarray(rng.normal(size=fast[0].shape), ts.dtype)
        back = pulled(*given, weights[None, ..., None])[0, :, 0]
        pair = jnp.sum(back * first), jnp.sum(weights * fast[0])
        fast = jnp.stack([*fast, part_gradient.by_time(frame, ts, part)])
        found[part] = fast[:, : TS.size], reference[:, :, rows, columns], pair
    return found


def check(networks, sigmas, parts=("qqt",), tolerance=1e-11, dtype=float):
    weights = zip(*(n.weights for n in networks), strict=True)
    arrays = (*(np.stack(w) for w in weights), np.stack(sigmas))
    found = jax.device_get(forms(*(x.astype(dtype) for x in arrays), parts))
    for part, (fast, slow, pair) in found.items():
        assert np.all(np.isfinite(fast)), part
        size = np.abs(slow).max((2, 3, 4), keepdims=True)
        assert np.all(np.abs(fast - slow) <= tolerance * size), part
        scale = np.abs(pair).max() + 1
        assert np.all(np.abs(pair[0] - pair[1]) <= tolerance * scale), part


@pytest.mark.parametrize(
    "sizes, lmdas, parts",
    [
        ((2, 3, 4), (0.0, 1.0, 50.0), ("qqt",)),
        ((4, 3, 2), (0.0, -1.0, -50.0), ("qqt",)),
        ((4, 1, 3), (0.0, 2.0, -2.0), ("inputs", "outputs", "function")),
    ],
    ids=str,
)
def test_fast_and_reference_form(sizes, lmdas, parts):
    target = cases.sigma(sizes[2], sizes[0])
    networks = [cases.balanced(sizes, lmda, 0.4) for lmda in lmdas]
    check(networks, [target] * len(lmdas), parts)


def test_several_vectors_are_one_operation():
    """Maps over changes and over weights share the solution, with the same values."""
    sizes, count = (2, 2, 2), tuned.FEW_LANES + 1
    w1, w2 = cases.balanced(sizes, 1.0, 0.4).weights
    sigma, ts = jnp.asarray(cases.sigma(2, 2)), jnp.linspace(0.1, 5.0, count)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(2, count, 2, 2)))

    def function(scales):
        task = lr.Task.from_correlation(scales[0] * sigma)
        network = lr.LinearNetwork((scales[1] * w1, scales[1] * w2))
        return lr.ExactSolution(network, task).function(ts)

    @jax.jit
    def both_ways(scales):
        _, pull = jax.vjp(function, scales)
        together = jax.jacfwd(function)(scales), jax.vmap(pull)(weights)[0]
        change = jax.jvp(function, (scales,), (jnp.array([0.0, 1.0]),))[1]
        return together, (change, pull(weights[1])[0])

    scales = jnp.array([1.1, 0.9])
    counted = str(jax.make_jaxpr(both_ways)(scales))
    assert counted.count("= lazyrich_function_jvp[") == 2
    assert counted.count("= lazyrich_function_vjp[") == 2
    (changes, pulled), alone = both_ways(scales)
    np.testing.assert_allclose(changes[..., 1], alone[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(pulled[1], alone[1], rtol=1e-12)


def test_degenerate_tasks_and_single_precision():
    special = [one for one in cases.special() if one[1].sizes == (3, 3, 3)]
    networks = [network for _, network, _ in special]
    sigmas = [np.asarray(task.input_output_correlation) for _, _, task in special]
    target = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(target)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    zero = jax.tree.map(jnp.zeros_like, learned)
    check([*networks, learned, zero], [*sigmas, 2 * target, target])
    check(
        [*networks, zero, zero],
        [*sigmas, target, target],
        tolerance=1e-4,
        dtype=jnp.float32,
    )


def test_second_derivatives():
    """A Hessian-vector product of a function, against a difference of gradients."""
    sizes = 3, 2, 2
    sigma = jnp.asarray(cases.sigma(2, 3))
    w1, w2 = cases.balanced(sizes, 1.0, 0.4).weights
    turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])  # rotations keep the balance
    moved = (turn @ w1, w2 @ turn.T), jnp.array([0.7, -0.4])
    point = (w1, w2), jnp.array([0.3, 1.5])

    def slope(weights, ts):
        def total(weights, ts):
            task = lr.Task.from_correlation(sigma)
            solution = lr.ExactSolution(lr.LinearNetwork(weights), task)
            return jnp.sum(solution.function(ts) ** 2)

        return jax.grad(total, (0, 1))(weights, ts)

    @jax.jit
    def both(size):
        there = jax.tree.map(lambda x, dx: x + size * dx, point, moved)
        return jax.jvp(slope, there, moved)

    ahead, behind = (both(size)[0] for size in (1e-5, -1e-5))
    pairs = jax.tree.map(lambda x, y: (x - y) / 2e-5, ahead, behind), both(0.0)[1]
    for one, other in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_a_sweep_of_derivatives_keeps_no_slopes():
    """Derivatives of a function at many times take the memory of its values."""
    count, times = 1000, 100
    arrays = [jax.ShapeDtypeStruct((count, 5, 5), jnp.float64)] * 3
    ts = jnp.linspace(0.1, 5.0, times)

    def total(w1, w2, sigma):
        task = lr.Task.from_correlation(sigma)
        solution = lr.ExactSolution(lr.LinearNetwork((w1, w2)), task, throw=False)
        return jnp.sum(solution.function(ts) ** 2)

    memory = compiled.memory(jax.jit(jax.vmap(jax.grad(total, (0, 1, 2)))), *arrays)
    one = count * times * 25 * 8
    assert memory.temp_size_in_bytes < 8 * one

    def change(*weights):
        return jax.jvp(total, weights, weights)[1]

    memory = compiled.memory(jax.jit(jax.vmap(change)), *arrays)
    assert memory.temp_size_in_bytes < 8 * one


def test_numbers_of_a_change():
    """`unflat` inverts `flat` for wide and tall tasks."""
    for sizes in ((4, 2, 3), (2, 3, 3)):
        w1, w2 = cases.balanced(sizes, 1.0, 0.4).weights
        sigma = jnp.asarray(cases.sigma(sizes[2], sizes[0]))

        @jax.jit
        def there_and_back(problem):
            frame = Frame(problem)
            numbers = jnp.arange(float(count_of_numbers(frame)))
            return numbers, flat(frame, *unflat(frame, numbers))

        numbers, found = there_and_back(Problem(w1, w2, sigma, jnp.asarray(1.0)))
        np.testing.assert_array_equal(found, numbers)
