r"""The slope of a function of $P = QQ^\top$: of the loss, or of a weighted part of P.

In: the function's error, or weights of a part. Out: a `SlopeByP`, in the singular
basis, and its products with rows and between kinds of rows.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._xla import kept
from .constants import Constants, GradientConstants
from .lanes import contracted, crossed
from .values import on_side


class SlopeByP(eqx.Module):
    """Twice the slope by P, symmetric, in the singular basis; None stands for zero."""

    inputs: Float[Array, "in in ..."] | None
    across: Float[Array, "out in ..."] | None
    outputs: Float[Array, "out out ..."] | None
    # Whether the slope is by P minus its target, 2 F on the growing modes of F.
    from_target: bool = eqx.field(static=True)

    def times(self, x: GradientConstants, rows: Array) -> Float[Array, "rows k ..."]:
        """The slope times `rows` of the eigenbasis."""
        m = x.sizes[0]
        cos, sin = x.base.cos[:, None], x.base.sin[:, None]

        def sides():
            by_kind = x.base.by_kind(rows)
            return tuple(on_side(y, x.base, by_kind) for y in ("outputs", "inputs"))

        outputs, inputs = kept(sides)

        def products():
            to, back = jnp.zeros_like(outputs), jnp.zeros_like(inputs)
            if self.across is not None:
                to = contracted(self.across, inputs.swapaxes(0, 1))
                back = crossed(self.across, outputs)
            if self.outputs is not None:
                to += contracted(self.outputs, outputs.swapaxes(0, 1))
            if self.inputs is not None:
                back += contracted(self.inputs, inputs.swapaxes(0, 1))
            return to, back

        to, back = kept(products)

        def by_kind():
            grow, down = sin * back[:m] + cos * to[:m], cos * back[:m] - sin * to[:m]
            return jnp.concatenate([grow, back[m:], to[m:], down])

        return kept(by_kind)

    def between(
        self, rows: list["Kind"], columns: list["Kind"]
    ) -> Float[Array, "some others ..."]:
        """The slope between rows of the eigenbasis, of one or more kinds."""
        blocks = [[self._between(a, b) for b in columns] for a in rows]
        joined = [jnp.concatenate(row, axis=1) for row in blocks]
        return jnp.concatenate(joined)

    def _between(self, rows: "Kind", columns: "Kind") -> Array:
        terms = []
        for matrix, a, b in (
            (self.inputs, rows.inputs, columns.inputs),
            (self.outputs, rows.outputs, columns.outputs),
            (self.across, rows.outputs, columns.inputs),
            (_turned(self.across), rows.inputs, columns.outputs),
        ):
            if matrix is not None and a is not None and b is not None:
                place = matrix[a.units, b.units]
                terms.append(a.share[:, None] * b.share[None] * place)
        if terms:
            return sum(terms[1:], terms[0])
        matrices = self.inputs, self.across, self.outputs
        lanes = next(y for y in matrices if y is not None).shape[2:]
        return jnp.zeros(
            (len(rows.share), len(columns.share), *lanes), rows.share.dtype
        )


class Side(NamedTuple):
    """The singular vectors in which rows lie, and the rows' components."""

    units: slice
    share: Float[Array, "rows ..."]


class Kind(NamedTuple):
    """A kind of rows by its components along inputs and outputs."""

    inputs: Side | None
    outputs: Side | None

    @property
    def share(self) -> Float[Array, "rows ..."]:
        """The components on either side."""
        sides = [side for side in (self.inputs, self.outputs) if side is not None]
        return sides[0].share


def kinds(x: Constants, is_wide: bool) -> tuple[Kind, Kind, Kind]:
    """Growing rows, left-over directions and decaying rows."""
    m, r, _ = x.sizes
    modes = slice(m)
    grow = Kind(Side(modes, x.sin), Side(modes, x.cos))
    fall = Kind(Side(modes, x.cos), Side(modes, -x.sin))
    rest = Side(slice(m, None), jnp.ones_like(x.lower[m : m + r, 0]))
    return grow, Kind(rest, None) if is_wide else Kind(None, rest), fall


def _turned(matrix: Array | None) -> Array | None:
    return None if matrix is None else matrix.swapaxes(0, 1)


def of_error(error: Float[Array, "out in ..."]) -> SlopeByP:
    """The slope of the loss, by the function's error in the singular basis."""
    return SlopeByP(None, error, None, from_target=True)


def of_part(
    x: Constants, part: str, weights: Float[Array, "rows columns ..."]
) -> SlopeByP:
    """The slope of the sum of `weights` times a part of P in the basis of the units.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    n_in = x.right.shape[0]
    of_inputs = (x.right, weights[:n_in, :n_in])
    of_outputs = (x.left, weights[-x.left.shape[0] :, -x.left.shape[0] :])

    def rotated(left: Array, matrix: Array, right: Array) -> Array:
        half = kept(lambda: crossed(left, matrix))
        return kept(lambda: contracted(half, right.swapaxes(0, 1)))

    def twice(basis: Array, matrix: Array) -> Array:
        return rotated(basis, matrix + matrix.swapaxes(0, 1), basis)

    inputs = twice(*of_inputs) if part in ("qqt", "inputs") else None
    outputs = twice(*of_outputs) if part in ("qqt", "outputs") else None
    across = None
    if part == "function":
        across = rotated(x.left, weights, x.right)
    if part == "qqt":
        both = weights[n_in:, :n_in] + weights[:n_in, n_in:].swapaxes(0, 1)
        across = rotated(x.left, both, x.right)
    return SlopeByP(inputs, across, outputs, from_target=False)
