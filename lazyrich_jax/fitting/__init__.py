"""Fits of tables: the work of `lazyrich fit`."""

from .options import add_options as add_options
from .report import FILES as FILES
from .report import prepare as prepare
from .report import run as run
