"""Loops without vector instructions, on every instruction set this machine has.

`python -m benchmarks.vectorised` compiles the loops over networks and times for SSE4.2,
AVX2 and AVX-512, in both precisions, and reads LLVM's optimised code of every kernel:
the status is 1 where one has much arithmetic and no vectors. With `--here`, only some
of them, for this machine's own instructions.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SETS = "SSE4_2", "AVX2", "AVX512"
LEAST = 200  # operations: LLVM unrolls short loops without vectors
FLAGS = (
    "--xla_dump_hlo_as_text",
    "--xla_dump_hlo_module_re=.*loop_over_networks.*",
    "--xla_cpu_parallel_codegen_split_count=1",
)
OPERATION = re.compile(
    r"= (?:tail )?(?:fadd|fsub|fmul|fdiv|fneg|call)\b[^<%@]*?"
    r"(?:<(\d+) x (?:double|float)>|\b(?:double|float)\b)"
)


class Kernel(NamedTuple):
    """A function of the compiled program, and its floating-point operations."""

    name: str
    scalar: int
    vector: int

    @property
    def is_scalar(self) -> bool:
        """Whether it has much arithmetic and no vector instruction."""
        return self.scalar >= LEAST and self.vector == 0


def kernels(folder: Path) -> Iterator[Kernel]:
    """Those whose code XLA has written to a folder."""
    for file in folder.glob("*loop_over_networks*.ir-with-opt.ll"):
        for text in file.read_text(encoding="utf-8").split("\ndefine ")[1:]:
            widths = OPERATION.findall(text)
            vector = sum(width not in ("", "1") for width in widths)
            name = re.search(r"@\"?([\w.]+)", text)
            yield Kernel(name[1] if name else "", len(widths) - vector, vector)


def programs(few: bool) -> Iterator[tuple[str, Callable, tuple]]:
    """Loops, by name, and the shapes of their arguments."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    from lazyrich_jax._riccati.batching.blocks import of_one
    from lazyrich_jax._riccati.fast import gradient, part_gradient, scalar_loop, values
    from lazyrich_jax._riccati.fast.constants import Constants, ScalarConstants
    from lazyrich_jax._riccati.fast.numbers import count_of_numbers
    from lazyrich_jax.bench.problems import solution

    cases = [("float64", (5, 5, 5)), ("float32", (5, 5, 5)), ("float64", (8, 8, 8))]
    if not few:
        cases += [("float32", (8, 8, 8)), ("float64", (3, 5, 7))]
        cases += [("float64", (12, 12, 12)), ("float32", (16, 16, 16))]
    for dtype, (n_in, hidden, n_out) in cases:
        w1, w2, sigma, ts, weights = (
            jax.ShapeDtypeStruct((200, *shape), jnp.dtype(dtype))
            for shape in (
                (hidden, n_in),
                (n_out, hidden),
                (n_out, n_in),
                (100,),
                (100, 1),
            )
        )
        solved = jax.eval_shape(jax.vmap(solution), w1, w2, sigma)
        frames = solved.frame
        whole = solved.problem, frames, ts
        count = count_of_numbers(frames)
        numbers = jax.ShapeDtypeStruct((200, count, 2), ts.dtype)
        name = f"{n_in}-{hidden}-{n_out} {dtype}"
        is_few = scalar_loop.fits(of_one(frames))
        if is_few:
            constants = jax.eval_shape(jax.vmap(ScalarConstants), frames)
            yield f"{name} loss in scalars", scalar_loop.losses, (constants, ts)
        constants = jax.eval_shape(jax.vmap(Constants), frames)
        if not (few and is_few):
            yield f"{name} loss", values.losses, (constants, ts)
        if few:
            continue
        for part, product in values.products.items():
            yield f"{name} {part}", product, (constants, ts)
        yield f"{name} jvp", gradient.operations[False][0], (*whole, numbers)
        yield f"{name} vjp", gradient.operations[False][1], (*whole, weights)
        changes, pulled = part_gradient.operations["function"]
        alone = jax.ShapeDtypeStruct((200, count, 1), ts.dtype)
        yield f"{name} function jvp", changes, (*whole, alone)
        weights = jax.ShapeDtypeStruct((200, 100, n_out, n_in, 1), ts.dtype)
        yield f"{name} function vjp", pulled, (*whole, weights)


def check(few: bool, folder: Path) -> int:
    """Compile every loop, print its scalar kernels, and return their number."""
    import jax

    bad = 0
    for name, loop, args in programs(few):

        def loop_over_networks(*args, loop=loop):
            return loop(*args)

        jax.jit(loop_over_networks).lower(*args).compile()
        found = sorted(kernels(folder), key=lambda kernel: -kernel.scalar)
        scalar = [kernel for kernel in found if kernel.is_scalar]
        bad += len(scalar) + (not found)
        print(
            f"{name}: {len(found)} kernels, {len(scalar)} without vectors", flush=True
        )
        for kernel in scalar:
            print(f"    {kernel.name}: {kernel.scalar} operations")
        for file in filter(Path.is_file, folder.rglob("*loop_over_networks*")):
            file.unlink()
    return bad


def main() -> int:
    """Check every instruction set, each in a process of its own."""
    parser = argparse.ArgumentParser(description="Loops without vector instructions.")
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        return int(check(options.here, options.folder) > 0)
    status = 0
    for name in (None,) if options.here else SETS:
        isa = [] if name is None else [f"--xla_cpu_max_isa={name}"]
        print(f"{name or 'this machine'}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            flags = " ".join([*FLAGS, *isa, f"--xla_dump_to={folder}"])
            here = ["--here"] if options.here else []
            command = [sys.executable, "-m", "benchmarks.vectorised", *here]
            done = subprocess.run(
                [*command, "--folder", folder], env={**os.environ, "XLA_FLAGS": flags}
            )
            status |= done.returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
