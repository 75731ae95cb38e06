"""One program where values are concrete, not one for each of its operations.

Where values are traced a compiled function is as if it were written out.
"""

import functools

import jax

compiled = functools.partial(jax.jit, inline=True)
