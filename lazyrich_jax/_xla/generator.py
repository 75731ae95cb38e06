"""The choice between XLA's two code generators for CPUs.

The newer one is XLA's default. Programs of the older one compile in less time, and are
nearly as fast (docs/speed.md). The library chooses it for programs that no other
program contains, the command for its process. Nothing is set at import.
"""

import functools
import os
from collections.abc import Callable
from importlib import metadata
from typing import Any, TypeVar

import equinox as eqx
import jax

T = TypeVar("T")

NEWER = "xla_cpu_use_fusion_emitters"
# Versions of jaxlib that have this flag. Others may end a process that has it in its
# environment.
KNOWN = (0, 6), (0, 10)


def outermost(function: Callable[..., T]) -> Callable[..., T]:
    """`equinox.filter_jit` of a program that no other program contains.

    JAX accepts `quick_options` for such programs only.
    """

    @functools.cache
    def program() -> Callable[..., T]:
        options: dict[str, Any] = {"compiler_options": quick_options()}
        return eqx.filter_jit(function, **options)

    @functools.wraps(function)
    def called(*args: Any) -> T:
        return program()(*args)

    return called


@functools.cache
def quick_options() -> dict[str, Any] | None:
    """JAX's `compiler_options` for the older generator; None where there is none.

    Other platforms need not know an option for CPUs.
    """
    if jax.default_backend() != "cpu":
        return None
    older: dict[str, Any] = {NEWER: False}
    try:
        jax.jit(lambda x: x).lower(0.0).compile(compiler_options=older)
    except RuntimeError:  # no such option
        return None
    return older


def compile_quickly() -> None:
    """Choose the older generator for this process, before it computes.

    Its children inherit the choice. A choice in the environment comes first.
    """
    version = tuple(int(x) for x in metadata.version("jaxlib").split(".")[:2])
    flags = os.environ.get("XLA_FLAGS", "")
    if KNOWN[0] <= version <= KNOWN[1] and NEWER not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{NEWER}=false".strip()
