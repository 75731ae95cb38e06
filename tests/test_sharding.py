"""Batches divided among devices, and programs exported for batches of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import lazyrich_jax as lr

TASK = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))
LMDAS = jnp.linspace(-3.0, 3.0, 8)
TS = jnp.linspace(0.0, 5.0, 40)

needs_meshes = pytest.mark.skipif(
    not hasattr(jax, "shard_map"), reason="this JAX has no explicit meshes"
)


def start(lmda, throw=False):
    return lr.LambdaBalanced(lmda, 0.3, throw=throw)(3, 2, 2, key=jax.random.key(1))


def solved(lmda):
    """The losses, their slope and the functions."""

    def total(lmda):
        solution = lr.ExactSolution(start(lmda), TASK, throw=False)
        losses = solution.loss(TS)
        return losses.sum(), (losses, solution.function(TS))

    return jax.grad(total, has_aux=True)(lmda)


def learned(lmda):
    return lr.learn(start(lmda), TASK, TS, throw=False).qqt


def descended(lmda):
    law = lr.GradientDescent(1e-2)
    return lr.learn(start(lmda), TASK, TS[:3], dynamics=law, throw=False).loss


def flowed(lmda):
    law = lr.GradientFlow(max_steps=256)
    return lr.learn(start(lmda), TASK, TS[:2], dynamics=law, throw=False).loss


def explicit_mesh():
    return jax.make_mesh((2,), ("lmda",))  # its axes are explicit since JAX 0.9


def sharded(mesh):
    spec = jax.sharding.PartitionSpec("lmda")
    return jax.device_put(LMDAS, jax.NamedSharding(mesh, spec)), spec


@functools.cache
def unsharded(function):
    return jax.device_get(jax.jit(jax.vmap(function))(LMDAS))


def agree(found, expected, atol):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@needs_meshes
@pytest.mark.parametrize(
    "function", [pytest.param(solved, marks=pytest.mark.slow), learned, descended]
)
def test_shard_map_with_its_checks(function):
    mesh = explicit_mesh()
    x, spec = sharded(mesh)
    mapped = jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec)
    agree(jax.jit(mapped)(x), unsharded(function), atol=1e-13)


@needs_meshes
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(solved, marks=pytest.mark.slow),
        learned,
        pytest.param(flowed, marks=pytest.mark.slow),
    ],
)
def test_explicit_meshes(function):
    mesh = explicit_mesh()
    x, _ = sharded(mesh)
    expected = unsharded(function)
    found = jax.jit(jax.vmap(function))(x)
    for array in jax.tree.leaves(found):
        assert not array.sharding.is_fully_replicated
    agree(found, expected, atol=1e-12)
    with jax.set_mesh(mesh):
        agree(jax.jit(jax.vmap(function))(x), expected, atol=1e-12)


@needs_meshes
def test_what_shard_map_does_not_allow_is_refused_by_name():
    mesh = explicit_mesh()
    x, spec = sharded(mesh)

    def throwing(lmda):
        return lr.ExactSolution(start(lmda), TASK).loss(TS[:2])

    for function, fault in (
        (throwing, "`throw` must be `False` inside `jax.shard_map`"),
        (lambda x: start(x, throw=True).lmda, "`throw` must be `False`"),
        (flowed, r"`GradientFlow` must be used inside .*check_vma=False"),
    ):
        mapped = jax.shard_map(
            jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec
        )
        with pytest.raises(TypeError, match=fault):
            jax.jit(mapped)(x)


@pytest.mark.slow
def test_export_for_batches_of_any_size():
    def values(w1, w2):
        network = lr.LinearNetwork((w1, w2))
        solution = lr.ExactSolution(network, TASK, throw=False)
        return solution.loss(TS), solution.function(TS)

    def one(w1, w2):
        slopes = [
            jax.grad(lambda *w, i=i: values(*w)[i].sum(), (0, 1))(w1, w2)
            for i in range(2)
        ]
        return values(w1, w2), slopes

    batched = jax.jit(jax.vmap(one))
    (size,) = export.symbolic_shape("size")
    shapes = [jax.ShapeDtypeStruct((size, *s), jnp.float64) for s in ((2, 3), (2, 2))]
    exported = export.export(batched)(*shapes)
    w1, w2 = jax.jit(jax.vmap(start))(jnp.linspace(-1.0, 1.0, 5)).weights
    found, expected = exported.call(w1, w2), batched(w1, w2)
    agree(found, expected, atol=1e-12)
