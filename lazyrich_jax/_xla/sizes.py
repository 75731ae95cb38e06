"""Sizes from which another algorithm is faster, each with the benchmark that varies it.

They change the speed of a result, not its value.
"""

# `python -m benchmarks.tuned_sizes`, on a CPU:
SUM_TERMS = 5  # a library computes longer sums of products
TRIANGLE_COLUMNS = 8  # columns in a written-out block of a triangular factor
QR_COLUMNS = 8  # most columns of a written-out thin QR decomposition
LANE_COLUMNS = 16  # most columns of matrices in lanes; a library computes larger ones
FEW_LANES = 64  # most pairs (network, time) that are evaluated without a loop
CACHE_BYTES = 250_000  # bytes of K in a block
ROTATED_ON_CPU = 2, 4  # largest smaller and larger side decomposed by rotations
FEW_MATRICES = 16  # most matrices that are left to a library

# `python -m benchmarks.wide_starts`: LAPACK decomposes more rows in threads, which wait
# for the cores that XLA's threads hold.
LIBRARY_ROWS = 512

# `python -m benchmarks.vectorised`: a loop over more terms has no vector instructions.
LOOP_TERMS = 64  # most terms of a written-out sum in one loop

# `python -m benchmarks.scalar_loop`: XLA's code generator for CPUs fails beyond 2000
# operations, which six inputs and outputs reach.
SCALAR_UNITS = 5

# `python -m benchmarks.card`, on an H200:
CARD_BYTES = 20_000_000  # bytes of K in a block: all cores of a card work on one block
KERNEL_LANES = 32  # times in a block of one kernel, a power of two from 32 on
KERNEL_TIMES = 8  # fewest times for which one kernel is faster than XLA's
ROTATED = 5, 10  # as `ROTATED_ON_CPU`, on a card
