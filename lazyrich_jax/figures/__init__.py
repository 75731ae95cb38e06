"""The figures of the paper and of related papers, one module each: see record.py."""

from .registry import FIGURES as FIGURES
from .registry import Reproduction as Reproduction
from .registry import reproduce as reproduce
