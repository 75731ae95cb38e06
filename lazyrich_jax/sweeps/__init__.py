"""Functions of one point over a grid of points: in parallel and in bounded memory.

`grid`, `run` and the modules below them know no science. `ready` has functions to
sweep, and `spec` reads sweeps from a file.
"""

from .grid import Grid as Grid
from .grid import Zip as Zip
from .ready import learning as learning
from .ready import phase_diagram as phase_diagram
from .run import load as load
from .run import run as run
from .status import succeeded as succeeded
from .status import summary as summary
