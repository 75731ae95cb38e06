"""The frame as a differentiable function of its problem, for second derivatives.

In: a `Problem` and its `Frame`. Out: the same frame, with derivatives. These divide by
gaps of singular values. They are right where they exist and refused elsewhere.
docs/theory.md, section 3.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._checks import error_if
from ..._linalg import dot
from ..._singular import nearly_repeated, turned
from ..echelon import by_falling_rate
from ..frame import Frame, Problem, spectrum

SECOND_DERIVATIVES = (
    "Second derivatives of the exact solution (and first ones of `weights`) must be "
    "taken where the task's singular values are distinct (and nonzero, for unequal "
    "sizes or lmda = 0) and the start is not near a saddle, nor its weights near a "
    "lower rank (as at lmda = 0 with more hidden units than inputs or outputs), but "
    "these were not. First derivatives are right there, and so are second ones with "
    "respect to times, or to weights and `lmda` at repeated singular values."
)


@eqx.filter_custom_jvp
def tracked(problem: Problem, frame: Frame) -> Frame:
    """`frame`, with its derivatives by `problem`."""
    return frame


@tracked.def_jvp
def _tracked_jvp(primals, tangents):
    problem, frame = primals
    moved = jax.tree.map(jnp.asarray, tangents[0])
    frame = tracked(problem, frame)  # for the derivatives after this one
    frame = _refuse(problem, frame, moved)
    sigma, lmda = problem.sigma, problem.lmda
    still = jax.tree.map(jnp.zeros_like, (frame.left, frame.s, frame.right))
    # Skipped where only the weights move: gaps may be zero, and 0 / 0 is NaN.
    left, s, right = (
        still
        if moved.sigma is None
        else turned(frame.left, frame.s, frame.right, moved.sigma)
    )
    moved = filled(problem, moved)
    angles = jax.jvp(
        lambda s, lmda: spectrum(s, lmda, *sigma.shape),
        (frame.s, lmda),
        (s, moved.lmda),
    )[1]
    basis = frame.left, frame.right, frame.cos, frame.sin
    rows = jax.jvp(
        lambda basis, weights: _rows(frame, basis, weights),
        (basis, (problem.w1, problem.w2)),
        ((left, right, *angles[:2]), (moved.w1, moved.w2)),
    )[1]
    tangent = eqx.tree_at(
        lambda f: (f.left, f.s, f.right, f.cos, f.sin, f.rates, f.pivots),
        frame,
        (left, s, right, *angles, None),
    )
    return frame, eqx.tree_at(
        lambda f: (f.lower, f.echelon, f.inverse, f.basis),
        tangent,
        re_eliminated(frame, rows),
    )


def _rows(
    frame: Frame, basis: tuple[Array, ...], weights: tuple[Array, Array]
) -> Float[Array, "rows hidden"]:
    """The weights as rows of the eigenbasis `basis`."""
    turned = eqx.tree_at(lambda f: (f.left, f.right, f.cos, f.sin), frame, basis)
    return turned.weights_to_rows(*weights)


def re_eliminated(
    frame: Frame, change: Float[Array, "rows hidden"]
) -> tuple[Array, Array, Array, Array]:
    """The change of the echelon form under a `change` of the rows.

    The pivot rows are the first ones. On these the echelon form is an LQ decomposition:
    changes that would fill the upper triangle rotate the basis instead.
    """
    lower, inverse, basis = frame.lower, frame.inverse, frame.basis
    slope = dot(inverse, frame.at_pivots(change))
    upper = jnp.triu(dot(slope, basis.mT), 1)
    d_lower = dot(change, basis.mT) - dot(lower, upper - upper.mT)
    d_triangle = frame.at_pivots(d_lower)
    return (
        d_lower,
        dot(d_lower - dot(frame.echelon, d_triangle), inverse),
        -dot(inverse, d_triangle, inverse),
        slope - dot(inverse, d_triangle, basis),
    )


def filled(problem: Problem, moved: Problem) -> Problem:
    """`moved` with zeros for the parts that do not move."""
    return jax.tree.map(
        lambda x, dx: jnp.zeros_like(x) if dx is None else dx,
        problem,
        moved,
        is_leaf=lambda x: x is None,
    )


def _refuse(problem: Problem, frame: Frame, moved: Problem) -> Frame:
    """Raise an error, or make the frame NaN, where it has no derivative."""
    if not jax.tree.leaves(moved):
        return frame
    # Derivatives keep half of their digits up to here.
    least = jnp.finfo(frame.s.dtype).eps ** 0.5
    first = by_falling_rate(frame.s.size, frame.rates.size)[: frame.pivots.size]
    at_saddle = frame.pivots != first
    near_saddle = jnp.abs(frame.echelon) > least**-0.5
    own = frame.pivot_entries
    near_low_rank = jnp.min(own) <= least * jnp.max(own)
    bad = [jnp.any(at_saddle), jnp.any(near_saddle), near_low_rank]
    if moved.sigma is not None:
        bad.append(nearly_repeated(frame.s, problem.sigma.shape))
    if moved.sigma is not None or moved.lmda is not None:
        kappa = frame.rates[: frame.s.size]
        bad.append(kappa[-1] <= least * kappa[0])
    bad = jnp.any(jnp.stack(bad))
    if problem.throw:
        return error_if(frame, bad, SECOND_DERIVATIVES)
    return jax.tree.map(
        lambda x: jnp.where(bad, jnp.nan, x) if eqx.is_inexact_array(x) else x, frame
    )
