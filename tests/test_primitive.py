"""A function of many networks as one operation: maps are gathered, traces are few."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax._riccati.batching.primitive import Operation, are_transposes, for_each

X = jnp.arange(1.0, 13).reshape(4, 3)
TS = jnp.arange(1.0, 21).reshape(4, 5)


def powers():
    """An operation for sums of x^t over the entries of x, and a list of its traces."""
    seen = []

    def on_cpu(x, ts):
        seen.append((x.shape, ts.shape))
        x, ts = for_each((x, ts))
        return jnp.sum(x[:, None] ** ts[..., None] / 1e9, axis=2)

    def elsewhere(x, ts):
        raise AssertionError("not for this platform")

    def gather(size, is_mapped, x, ts):
        if is_mapped[0]:
            return None
        more = jnp.moveaxis(ts, 0, 1).reshape(ts.shape[1], -1)

        def apart(found):
            return jnp.moveaxis(found.reshape(found.shape[0], size, -1), 1, 0)

        return (x, more), apart

    return Operation(
        "powers", lambda x, ts: (ts.shape[1],), on_cpu, elsewhere, gather
    ), seen


def expected(x, ts):
    """The sums for one network, by NumPy."""
    x, ts = np.asarray(x), np.asarray(ts)
    return np.array([[np.sum(x**t / 1e9) for t in ts]])


def test_it_is_traced_once_when_compiled():
    """It is traced once under maps and derivatives, and never if it is not used."""
    of_all, seen = powers()

    def one(x, ts):
        unused = of_all(2 * x[None], ts[None])
        return of_all(x[None], ts[None])[0] + 0 * unused.shape[0]

    traced = jax.jit(jax.vmap(one)).trace(X, TS)
    assert not seen
    found = traced.lower().compile()(X, TS)
    assert seen == [((4, 3), (4, 5))]
    for i in range(4):
        np.testing.assert_allclose(found[i], expected(X[i], TS[i])[0], rtol=1e-14)


def not_at_all(function):
    """The function without compilation."""

    def uncompiled(*args):
        with jax.disable_jit():
            return function(*args)

    return uncompiled


@pytest.mark.parametrize(
    "jit", [jax.jit, lambda f: f, not_at_all], ids=["compiled", "in parts", "not"]
)
def test_maps_are_gathered(jit):
    """Maps over networks, times or both, nested and along any axis, are gathered."""
    of_all, seen = powers()

    def one(x, ts):
        return of_all(x[None], ts[None])[0]

    whole = np.array([[expected(x, ts)[0] for ts in TS] for x in X])
    each = whole[range(4), range(4)]
    of_networks = jax.vmap(one, in_axes=(0, None))
    of_times = jax.vmap(one, in_axes=(None, 0))
    for mapped, args, right, shapes in (
        (one, (X[0], TS[0]), whole[0, 0], ((1, 3), (1, 5))),
        (of_networks, (X, TS[1]), whole[:, 1], ((4, 3), (1, 5))),
        (of_times, (X[1], TS), whole[1], ((1, 3), (1, 20))),
        (jax.vmap(one), (X, TS), each, ((4, 3), (4, 5))),
        (jax.vmap(one, (1, 1), 1), (X.T, TS.T), each.T, ((4, 3), (4, 5))),
        (jax.vmap(of_times, (0, None)), (X, TS), whole, ((4, 3), (1, 20))),
        (
            jax.vmap(of_networks, (None, 0)),
            (X, TS),
            whole.swapaxes(0, 1),
            ((4, 3), (1, 20)),
        ),
        (jax.vmap(jax.vmap(one)), (X[None], TS[None]), each[None], ((4, 3), (4, 5))),
    ):
        seen.clear()
        np.testing.assert_allclose(jit(mapped)(*args), right, rtol=1e-14)
        if jit is jax.jit:  # otherwise these shapes are not compiled again
            assert seen == [shapes]


def test_products_have_derivatives():
    """Products with a matrix and its transpose have derivatives by both arguments."""
    along, back = operations_of_products()
    rng = np.random.default_rng(0)

    def derivatives(function, point, moved, cotangent):
        def square(*x):
            return jnp.sum(function(*x) ** 2)

        return (
            jax.jvp(function, point, moved),
            jax.vjp(function, *point)[1](cotangent),
            jax.jvp(jax.grad(square, (0, 1, 2)), point, moved),
        )

    for shape, operation, turned in (
        ((1, 3, 2), along, False),  # vectors that all networks share
        ((4, 5, 2), back, True),
    ):
        point = X, TS, jnp.asarray(rng.normal(size=shape))
        moved = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), point)
        plain = functools.partial(product, turned)
        cotangent = jnp.asarray(rng.normal(size=plain(*point).shape))
        found, expected = (
            jax.jit(functools.partial(derivatives, f))(point, moved, cotangent)
            for f in (operation, plain)
        )
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("moving, operations", [("v", 2), ("x", 0), ("xv", 0)])
def test_a_moving_matrix_gives_value_and_change_by_one_program(moving, operations):
    """The operation would be another program for the same value."""
    along, _ = operations_of_products()
    at = {"x": X, "v": jnp.ones((4, 3, 2))}
    point, change = ({k: f(at[k]) for k in moving} for f in (jnp.array, jnp.cos))

    def value_and_change(function):
        def of_moving(some):
            x, v = ({**at, **some}[k] for k in "xv")
            return function(x, TS, v)

        return jax.jvp(of_moving, (point,), (change,))

    traced = jax.make_jaxpr(lambda: value_and_change(along))()
    assert str(traced).count(" product[") == operations
    found = value_and_change(along)
    right = value_and_change(functools.partial(product, False))
    for one, other in zip(found, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def product(turned, x, ts, v):
    """The product of a matrix (networks, times, entries of x), or its transpose."""
    x, ts = for_each((x, ts))
    made = jnp.sin(x[:, None] * ts[..., None])
    return (made.mT if turned else made) @ v


def operations_of_products():
    """Operations for products with a matrix and with its transpose."""
    rows = (lambda x, ts, v: ts.shape[1]), (lambda x, ts, v: x.shape[1])

    def operation(turned):
        def shape(x, ts, v):
            return rows[turned](x, ts, v), v.shape[2]

        one = functools.partial(product, turned)
        return Operation("product", shape, one, one, never)

    along, back = operation(False), operation(True)
    are_transposes(along, back, product)
    return along, back


def never(size, is_mapped, *args):
    """A `Gather` that makes more networks of every map."""
    return None
