"""Tangents that have no transpose: derivatives in forward mode alone."""

from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def only_forward(x: Float[Array, "..."], law: str) -> Float[Array, "..."]:
    """A tangent `x` of a law; its transpose, in reverse mode, is a `TypeError`."""
    return _only_forward.bind(x, law=law)


def _refuse(cotangent: Any, x: Any, *, law: str) -> Any:
    raise TypeError(
        f"Derivatives of `{law}` must be taken in forward mode (`jax.jvp`, "
        "`jax.jacfwd`), but reverse mode was asked for."
    )


_only_forward = Primitive("only_forward")
_only_forward.def_impl(lambda x, law: x)
_only_forward.def_abstract_eval(lambda x, law: x)
batching.defvectorized(_only_forward)
ad.deflinear2(_only_forward, _refuse)
mlir.register_lowering(_only_forward, lambda ctx, x, law: [x])
