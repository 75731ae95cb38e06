"""Benchmarks: the speed of the exact solution beside other methods."""

from .measurements import GROUPS as GROUPS
from .report import run as run
