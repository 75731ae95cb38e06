"""Sizes at which another way becomes faster, each with the benchmark that varies it.

They decide how numbers are computed, not what they are.
"""

# `python -m benchmarks.tuned_sizes`, on a CPU:
SUM_TERMS = 5  # longer sums of products are a library's
TRIANGLE_COLUMNS = 8  # triangular factors are written out in blocks of as many
QR_COLUMNS = 8  # thin QR decompositions are written out up to as many
LANE_COLUMNS = 16  # matrices with more are a library's, not lanes on the last axes
FEW_LANES = 64  # (network, time) that aren't worth a loop
CACHE_BYTES = 250_000  # of K in a block
ROTATED_ON_CPU = 2, 4  # smaller and larger side of matrices decomposed by rotations
FEW_MATRICES = 16  # that aren't worth a loop of rotations

# `python -m benchmarks.vectorised`: sums of more products are no vector instructions.
LOOP_TERMS = 64

# `python -m benchmarks.scalar_loop`: beyond 2000 operations, which come with six inputs
# and outputs, XLA's code generator for CPUs fails.
SCALAR_UNITS = 5

# `python -m benchmarks.card`, on an H200:
CARD_BYTES = 20_000_000  # of K in a block: all cores of a card work on one
ROTATED = 5, 10
