r"""The solution under weight decay, many times at once.

In: a `Problem` and a weight decay. Out: parts of
$P = Y [I + Q_0^\top N Q_0]^{-1} Y^\top$, $Y = \Psi(t) Q_0$,
$N = \int_0^t \Psi^\top \Psi$. $\Psi$ and N are two solutions of every mode and their
integrals (`pairs`). Q0 is in echelon form, as without decay (reference/solution.py):
all remaining exponentials are at most of order one. docs/beyond.md, section 1.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import dot, mean_decay, short_dot, square_norm
from ..echelon import by_falling_rate
from ..fast import losses, values
from ..frame import SLICES, Frame, Problem
from ..rates import last_time
from .decomposed import basis, eliminated, refusing
from .falling import falling
from .pairs import Exponential, pairs, parts
from .state import State, function, function_error, solve
from .uncoupled import uncoupled
from .unforced import unforced

MOST_LOST = 1e-4  # times at which rounding reaches this error are NaN


class Decaying(eqx.Module):
    """A problem with weight decay, decomposed.

    The frame's rows are $(v, u)/\\sqrt2$ and $(v, -u)/\\sqrt2$ for every mode. Its
    `lower` is the start by the two solutions of `pairs`. Its rates are those after the
    balance has decayed.
    """

    frame: Frame
    start: Float[Array, "n columns"]  # the factor at zero
    lmda: Float[Array, ""]
    decay: Float[Array, ""]
    # Whether the balance is known to be zero. The frame is then one without decay, with
    # other rates: the fast forms have its values, and the forms here the derivatives.
    is_zero: bool = eqx.field(static=True)

    def __init__(
        self, problem: Problem, decay: Float[Array, ""], is_zero: bool = False
    ):
        self.lmda, self.decay, self.is_zero = problem.lmda, decay, is_zero
        frame = Frame(jax.lax.stop_gradient(problem))
        left, s, right = basis(problem.sigma, throw=problem.throw)
        m, flat = s.size, jnp.full_like(s, 0.5**0.5)
        rates = jnp.concatenate([s, jnp.zeros(frame.rates.size - 2 * m, s.dtype), -s])
        frame = eqx.tree_at(
            lambda f: (f.left, f.s, f.right, f.cos, f.sin, f.rates),
            frame,
            (left, s, right, flat, flat, rates - decay),
        )
        if is_zero:
            no_leaf = {"is_leaf": lambda x: x is None}
            frame = eqx.tree_at(lambda f: f.decay, frame, decay, **no_leaf)
        rows = frame.weights_to_rows(problem.w1, problem.w2)
        if not is_zero:
            size = square_norm(problem.w1) + square_norm(problem.w2)
            given = s, self.lmda, decay
            s, self.lmda, self.decay = refusing(*given, size, throw=problem.throw)
            decay, frame = self.decay, eqx.tree_at(lambda f: f.s, frame, s)
            half = jnp.where(self.lmda >= 0, self.lmda, -self.lmda) / 2
            tilt = self.lmda / 2 * falling(s, half, decay).ratio
            rows = rows.at[:m].add(-tilt[:, None] * rows[rows.shape[0] - m :])
        lower, *others, pivots = eliminated(rows, frame, throw=problem.throw)
        # Rows before a column's pivot don't depend on it: not by rounding, either.
        place = jnp.argsort(by_falling_rate(m, rates.size))
        of_pivots = place.at[pivots].get(mode="fill", fill_value=0)
        depends = place[:, None] >= of_pivots[None]
        self.frame = eqx.tree_at(
            lambda f: (f.lower, f.echelon, f.inverse, f.basis, f.pivots),
            frame,
            (jnp.where(depends, lower, 0.0), *others, pivots),
        )
        own = jnp.concatenate([problem.w1.mT, problem.w2])
        self.start = short_dot(own, self.frame.basis.mT)

    def product(
        self, ts: Float[Array, " times"], part: str
    ) -> Float[Array, "times rows columns"]:
        r"""A part of $QQ^\top$, as `Solved.product` of the engine without decay."""
        if self.is_zero:
            return _fast_product(self, ts, part=part)
        return self.general_product(ts, part)

    def general_product(
        self, ts: Float[Array, " times"], part: str
    ) -> Float[Array, "times rows columns"]:
        """`product` by the solutions of the modes."""
        if part == "function":

            def of(frame, state):
                return frame.from_singular_basis(function(frame, state))

            return self._at(ts, of, self._function)
        q = self._units(ts)
        rows, columns = SLICES[part](self.frame.right.shape[0])
        return dot(q[:, rows], q[:, columns].mT)

    def remaining(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        """The decay of the balance, and of all that no gradient changes."""
        return jnp.exp(-2 * self.decay * ts)

    def excess(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        r"""$|W_2 W_1 - \Sigma|^2 / 2$."""
        return _fast_excess(self, ts) if self.is_zero else self.general_excess(ts)

    def general_excess(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        """`excess` by the solutions of the modes."""
        return jax.vmap(square_norm)(self._errors(ts)) / 2

    def factor(self, ts: Float[Array, " times"]) -> Float[Array, "times n hidden"]:
        """Q up to a rotation of the hidden units."""
        return dot(self._units(ts), self.frame.basis)

    def _units(self, ts: Float[Array, " times"]) -> Float[Array, "times n columns"]:
        def of(frame, state):
            return frame.factor_from_rows(state.q)

        return self._at(ts, of, lambda q: q)

    def _function(self, q: Float[Array, "n columns"]) -> Float[Array, "out in"]:
        n_in = self.frame.right.shape[0]
        return dot(q[n_in:], q[:n_in].mT)

    def _errors(self, ts: Float[Array, " times"]) -> Float[Array, "times out in"]:
        """The function less the task's, in the singular basis or rotated."""
        return self._at(ts, function_error, self._function)

    def _at(
        self,
        ts: Float[Array, " times"],
        quantity: Callable[[Frame, State], Array],
        of_units: Callable[[Float[Array, "n columns"]], Array],
    ) -> Float[Array, "times ..."]:
        """`quantity`, with the value `of_units` of Q where the task is zero."""
        # Nothing changes later, and derivatives keep their digits.
        late = jnp.minimum(ts, self._settled_time())
        # The sizes of terms that cancel, in units of rounding.
        size = jnp.abs(self.lmda) * jnp.minimum(late, 1 / (2 * self.decay + 1 / late))
        lost = jnp.finfo(ts.dtype).eps * size > MOST_LOST

        def at(t):
            found = quantity(self.frame, self._solved(t))
            # Derivatives are those of the form for any task.
            alone = of_units(self._alone(t)) + (found - jax.lax.stop_gradient(found))
            return jnp.where(self.frame.s[0] == 0, alone, found)

        found = jax.vmap(at)(late)
        return jnp.where((lost | jnp.isnan(ts))[:, None, None], jnp.nan, found)

    def _settled_time(self) -> Float[Array, ""]:
        """A time after which nothing changes.

        A mode whose strength equals the decay changes as 1/t for ever.
        """
        s, decay = self.frame.s, self.decay
        limits = jnp.finfo(decay.dtype)
        gaps = [jnp.abs(s - decay), s + decay, s[:-1] - s[1:], 2 * decay[None]]
        gaps = jnp.concatenate(gaps)
        slowest = jnp.min(jnp.where(gaps > 0, gaps, jnp.inf))
        fastest = jnp.where(gaps[0] > 0, jnp.maximum(s[0], decay), 1.0)
        # Enough for any start: networks with the same task share all that is by times.
        time = 2 * (20 - math.log(limits.tiny) + jnp.log1p(jnp.abs(self.lmda)))
        time = time / slowest
        algebraic = jnp.any(gaps[: 2 * s.size] == 0)
        least = 1 / (limits.eps**0.75 * fastest)
        time = jnp.where(algebraic, jnp.maximum(time, least), time)
        return jax.lax.stop_gradient(jnp.minimum(time, last_time(decay.dtype)))

    def _solved(self, t: Float[Array, ""]) -> State:
        """The solution at one time."""
        frame, decay = self.frame, self.decay
        if self.is_zero:
            x = uncoupled(frame.s, decay, t)
        else:
            x = pairs(frame.s, self.lmda, decay, t)
        return solve(frame, x, self._left_over(t), t)

    def _alone(self, t: Float[Array, ""]) -> Float[Array, "n columns"]:
        """Q at one time, if the task is zero."""
        start, lmda, decay, t = jax.lax.stop_gradient(
            (self.start, self.lmda, self.decay, t)
        )
        return unforced(start, self.frame.right.shape[0], lmda, decay, t)

    def _left_over(self, t: Float[Array, ""]) -> tuple[Exponential, Exponential]:
        """Left-over directions, and the root of their square's integral.

        They grow or fall with the balance alone.
        """
        n_out, n_in = self.frame.left.shape[0], self.frame.right.shape[0]
        spent = t * mean_decay(2 * self.decay * t)
        total = (self.lmda if n_out > n_in else -self.lmda) * spent
        up, down = parts(total)
        gain = jnp.log(spent) + jnp.log(mean_decay(up + down)) + up
        zero = jnp.zeros(abs(n_out - n_in), t.dtype)
        return (
            Exponential(zero - self.decay, zero + total / 2),
            Exponential(zero, zero + gain / 2),
        )


@eqx.filter_custom_jvp
def _fast_product(
    solution: Decaying, ts: Float[Array, " times"], *, part: str
) -> Float[Array, "times rows columns"]:
    return values.product(solution.frame, ts, part)


@_fast_product.def_jvp
def _fast_product_jvp(primals, tangents, *, part):
    slope = eqx.filter_jvp(lambda x, ts: x.general_product(ts, part), primals, tangents)
    return _fast_product(*primals, part=part), slope[1]


@eqx.filter_custom_jvp
def _fast_excess(
    solution: Decaying, ts: Float[Array, " times"]
) -> Float[Array, " times"]:
    return losses.excess(solution.frame, ts)


@_fast_excess.def_jvp
def _fast_excess_jvp(primals, tangents):
    slope = eqx.filter_jvp(lambda x, ts: x.general_excess(ts), primals, tangents)
    return _fast_excess(*primals), slope[1]
