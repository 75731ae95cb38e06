"""Functions of many networks at many times; no formula of the Riccati equation."""
