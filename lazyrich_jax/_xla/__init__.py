"""All code that steers how XLA compiles programs.

    programs   `compiled`: one program for many operations. `traced_once`: one trace
               for many uses. `kept`, `keeping`, `keeping_here`, `once`,
               `inverse_root`, `mapped`: evaluation once, in one loop, in vector
               instructions. `is_few`: whether a number is known and small.
    generator  `outermost`, `quick_options`, `compile_quickly`: the code generator that
               compiles in less time.
    sharding   `sharded_over`, `varying`, `varying_like`: types inside `jax.shard_map`.
               `on_any_mesh`: functions on explicit meshes.
    sizes      The sizes from which another algorithm is faster, with their benchmarks.
    cards      `has_kernels`: whether Pallas compiles kernels for this machine's card.
    cache      `keep_programs`, `prepare`: JAX's persistent cache, for the command.
    threads    NPROC, the size of XLA's thread pool, on machines with few cores. Nothing
               else is set at import. `concurrent_programs`, for sweeps and fits.
               `make_room_for_all_cores`, for the command.
    concurrent `side_by_side`, `traced_side_by_side`: programs in several threads.

`_riccati.batching.primitive` and `_singular` choose an algorithm for each platform.
docs/speed.md has the measurements.
"""

from . import sizes as sizes
from . import threads as threads  # before XLA is started
from .cache import keep_programs as keep_programs
from .cache import prepare as prepare
from .cards import has_kernels as has_kernels
from .concurrent import side_by_side as side_by_side
from .concurrent import traced_side_by_side as traced_side_by_side
from .generator import compile_quickly as compile_quickly
from .generator import outermost as outermost
from .generator import quick_options as quick_options
from .programs import compiled as compiled
from .programs import inverse_root as inverse_root
from .programs import is_few as is_few
from .programs import keeping as keeping
from .programs import keeping_here as keeping_here
from .programs import kept as kept
from .programs import mapped as mapped
from .programs import once as once
from .programs import traced_once as traced_once
from .sharding import on_any_mesh as on_any_mesh
from .sharding import sharded_over as sharded_over
from .sharding import varying as varying
from .sharding import varying_like as varying_like
from .threads import concurrent_programs as concurrent_programs
from .threads import make_room_for_all_cores as make_room_for_all_cores
