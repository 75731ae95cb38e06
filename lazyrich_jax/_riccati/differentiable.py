"""The exact solution as functions with derivatives of their own.

First derivatives have a closed form, which holds at repeated singular values, at
saddles and at infinity: `fast`, and for `factor` reference/first.py. Higher derivatives
differentiate that form and the decomposition (`tracked`), whose derivative divides by
gaps. They are right where it exists and refused elsewhere, never silently wrong.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import dot, short_dot
from .._xla import keeping_here
from .batching.primitive import are_transposes, for_each
from .fast import gradient, losses, part_gradient, values
from .fast.numbers import count_of_numbers, flat
from .frame import Frame, Problem
from .rates import settled
from .reference.first import Change, vary
from .reference.second import filled, tracked
from .reference.solution import solve


@eqx.filter_custom_jvp
def product(
    problem: Problem, frame: Frame, ts: Float[Array, " times"], *, part: str
) -> Float[Array, "times rows columns"]:
    r"""A part of $QQ^\top$: "qqt" (all of it), "inputs", "outputs" or "function"."""
    return values.product(frame, ts, part)


@product.def_jvp
def _product_jvp(primals, tangents, *, part):
    moved, _, dts = tangents
    found = product(*primals, part=part)
    slope = jnp.zeros_like(found)
    if dts is not None:
        slope += _product_by_time(*primals, part=part) * dts[:, None, None]
    if jax.tree.leaves(moved):
        problem, frame, ts, change = _changed(primals, moved)
        changes = part_gradient.operations[part][0]
        slope += changes(*_one(problem, frame, ts, change[:, None]))[0, ..., 0]
    return found, slope


@eqx.filter_custom_jvp
def _product_by_time(
    problem: Problem, frame: Frame, ts: Float[Array, " times"], *, part: str
) -> Float[Array, "times rows columns"]:
    return part_gradient.by_time(frame, settled(frame, ts), part)


@_product_by_time.def_jvp
def _product_by_time_jvp(primals, tangents, *, part):
    _, frame, _ = primals
    still = flat(frame, jnp.zeros_like(frame.lower), _no_generator(frame))

    def at_all_times(problem, ts):
        return _part_of_one(part, problem, frame, ts, still, jnp.ones_like(ts))

    problem, _, ts = primals
    moved, _, dts = tangents
    slope = eqx.filter_jvp(at_all_times, (problem, ts), (moved, dts))[1]
    return _product_by_time(*primals, part=part), slope


def _part_of_one(
    part: str,
    problem: Problem,
    frame: Frame,
    ts: Float[Array, " times"],
    numbers: Float[Array, " numbers"],
    dts: Float[Array, " times"],
) -> Float[Array, "times rows columns"]:
    """The change of a part as a function that has derivatives."""
    turned = tracked(problem, frame)

    def at(t, dt):
        return part_gradient.change_at(turned, t, numbers, dt, part)

    with keeping_here():
        return jax.vmap(at)(settled(turned, ts), dts)


def _part_of_all(part, turned, problem, frame, ts, vectors):
    """The product that `part_gradient.operations` make, with derivatives."""
    problem, frame, ts, vectors = for_each((problem, frame, ts, vectors))

    def changes(numbers):
        def of_one(problem, frame, ts, numbers):
            still = jnp.zeros_like(ts)
            return jax.vmap(
                lambda v: _part_of_one(part, problem, frame, ts, v, still), -1, -1
            )(numbers)

        return jax.vmap(of_one)(problem, frame, ts, numbers)

    if not turned:
        return changes(vectors)
    shape = ts.shape[0], count_of_numbers(frame), vectors.shape[-1]
    return jax.vjp(changes, jnp.zeros(shape, ts.dtype))[1](vectors)[0]


for _part, _operations in part_gradient.operations.items():
    are_transposes(*_operations, functools.partial(_part_of_all, _part))


@eqx.filter_custom_jvp
def excess(
    problem: Problem, frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$."""
    return losses.excess(frame, ts)


@excess.def_jvp
def _excess_jvp(primals, tangents):
    moved, _, dts = tangents
    found = excess(*primals)
    if not jax.tree.leaves(moved):
        return found, _slopes(*primals, by="time")[:, 0] * dts
    problem, frame, ts, change = _changed(primals, moved)
    with_time = dts is not None
    change = jnp.concatenate([change, dts]) if with_time else change
    product = gradient.operations[with_time][0]
    return found, product(*_one(problem, frame, ts, change[:, None]))[0, :, 0]


def _changed(
    primals: tuple[Problem, Frame, Array], moved: Problem
) -> tuple[Problem, Frame, Array, Array]:
    """The arguments of products with a change of the problem."""
    problem, frame, ts = primals
    turned = tracked(problem, frame)
    change = flat(turned, *_in_rows(problem, turned, moved))
    return problem, frame, ts, change


def _one(*args: Any) -> Any:
    """The arguments with an axis of one network."""
    return jax.tree.map(lambda x: x[None], args)


def _no_generator(frame: Frame) -> Float[Array, "rows rows"]:
    return jnp.zeros((frame.rates.size, frame.rates.size), frame.rates.dtype)


@eqx.filter_custom_jvp
def _slopes(
    problem: Problem, frame: Frame, ts: Float[Array, " times"], *, by: str
) -> Float[Array, "times numbers"]:
    """Slopes of `excess` by "time", by the "problem" in the order of `flat`, or "both".

    Of both, time is the last.
    """
    ts = settled(frame, ts)
    if by == "time":
        return gradient.slope_by_time(frame, ts)[:, None]
    slopes = gradient.slopes(frame, ts)
    if by == "problem":
        return slopes
    by_time = gradient.slope_by_time(frame, ts)
    return jnp.concatenate([slopes, by_time[:, None]], axis=1)


@_slopes.def_jvp
def _slopes_jvp(primals, tangents, *, by):
    problem, frame, ts = primals
    moved, _, dts = tangents

    def at_all_times(problem, ts):
        turned = tracked(problem, frame)
        ts = settled(turned, ts)
        with keeping_here():
            by_problem, by_time = jax.vmap(lambda t: gradient.slopes_at(turned, t))(ts)
        found = {"problem": by_problem, "time": by_time[:, None]}
        return found[by] if by in found else jnp.concatenate([*found.values()], axis=1)

    return eqx.filter_jvp(at_all_times, (problem, ts), (moved, dts))


def _slopes_of_all(with_time, turned, problem, frame, ts, vectors):
    """The product that `gradient.operations` make, with derivatives."""
    problem, frame, ts, vectors = for_each((problem, frame, ts, vectors))
    of_one = functools.partial(_slopes, by="both" if with_time else "problem")
    matrix = jax.vmap(of_one)(problem, frame, ts)
    if not with_time:
        return dot(matrix.mT if turned else matrix, vectors)
    matrix, by_time = matrix[..., :-1], matrix[..., -1:]
    if turned:
        return jnp.concatenate([dot(matrix.mT, vectors), by_time * vectors], axis=1)
    numbers = matrix.shape[-1]
    return dot(matrix, vectors[:, :numbers]) + by_time * vectors[:, numbers:]


for _with_time, _products in gradient.operations.items():
    are_transposes(*_products, functools.partial(_slopes_of_all, _with_time))


@eqx.filter_custom_jvp
def factor(
    problem: Problem, frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, "times n hidden"]:
    r"""$Q$ up to a rotation of the hidden units; its derivative up to the same one."""
    return short_dot(values.factor(frame, ts), frame.basis[None])


@factor.def_jvp
def _factor_jvp(primals, tangents):
    problem, frame, ts = primals
    moved, _, dts = tangents
    turned = tracked(problem, frame)
    change = _in_rows(problem, turned, moved)

    def at(t, dt):
        late = settled(turned, t)
        found = vary(turned, late, solve(turned, late), Change(*change, dt))
        # Not `factor`: the next derivative must rotate value and slope alike.
        q = solve(turned, t).q, found.q
        return tuple(dot(turned.factor_from_rows(rows), turned.basis) for rows in q)

    return jax.vmap(at)(ts, jnp.zeros_like(ts) if dts is None else dts)


def _in_rows(
    problem: Problem, frame: Frame, moved: Problem
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows rows"]]:
    """The changes of Q0 and of the generator, by rows of the frame."""
    moved = filled(problem, moved)
    # Not `weights_to_rows`: reverse mode makes many operations of written-out sums.
    rows = frame.to_rows(dot(frame.right.mT, moved.w1.mT), dot(frame.left.mT, moved.w2))
    core = dot(frame.left.mT, moved.sigma, frame.right)
    return dot(rows, frame.basis.mT), frame.generator_to_rows(core, moved.lmda)


class Solved(eqx.Module):
    """A problem and its frame: the solution at any times."""

    problem: Problem
    frame: Frame

    def product(
        self, ts: Float[Array, " times"], part: str
    ) -> Float[Array, "times rows columns"]:
        r"""A part of $QQ^\top$: "qqt" (all of it), "inputs", "outputs", "function"."""
        return product(self.problem, self.frame, ts, part=part)

    def excess(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        r"""$|W_2 W_1 - \Sigma|^2 / 2$."""
        return excess(self.problem, self.frame, ts)

    def remaining(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        """Weight decay leaves everything: there is none."""
        return jnp.ones_like(ts)

    def factor(self, ts: Float[Array, " times"]) -> Float[Array, "times n hidden"]:
        r"""$Q$ up to a rotation of the hidden units."""
        return factor(self.problem, self.frame, ts)
