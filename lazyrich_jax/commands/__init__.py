"""The commands of `lazyrich`, each with its options: no science here.

Every module has `add(commands)`, which adds its commands to the parser. A parsed
command's `run` is a function of its options that returns the exit status.
"""

from . import figures, readings, speed, sweep
from .usage import UsageError as UsageError

ALL = figures, sweep, readings, speed  # in the order of the help
