"""The loss of a frame, by the form that is faster for its size."""

from jaxtyping import Array, Float

from ..frame import Frame
from . import scalar_loop, values


def excess(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$; few units use `scalar_loop`."""
    form = scalar_loop if scalar_loop.fits(frame) else values
    return form.excess(frame, ts)
