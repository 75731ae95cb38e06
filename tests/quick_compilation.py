"""XLA's settings that compile in half the time, for the tests and `.ci/run`.

Optimisation is a quarter of the time, and the newer of XLA's two code generators takes
twice as long as the older one. Each core runs a process of its own.

    XLA_FLAGS=$(python tests/quick_compilation.py) lazyrich reproduce --quick
"""

import mmap
from pathlib import Path

import jaxlib


def knows(flag):
    """Whether this jaxlib has the flag; an unknown flag ends the process.

    The binary may keep the name of a removed flag, but not the name of its setter.
    """
    setter = f"set_{flag}".encode()
    for library in Path(jaxlib.__file__).parent.glob("*.so"):
        with library.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                if text.find(setter) >= 0:
                    return True
    return False


FLAGS = ["--xla_backend_optimization_level=0"]
if knows("xla_cpu_parallel_codegen_split_count"):
    FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
AS_USERS = None  # options of `jax.jit` for the newer code generator
if knows("xla_cpu_use_fusion_emitters"):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_USERS = {"xla_cpu_use_fusion_emitters": True}

if __name__ == "__main__":
    print(*FLAGS)
