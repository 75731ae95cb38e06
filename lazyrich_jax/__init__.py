"""Exact learning dynamics of deep linear networks, from the lazy to the rich regime."""

from importlib.metadata import PackageNotFoundError as _NotInstalled
from importlib.metadata import version as _version

from . import _xla as _xla  # before XLA is started
from . import applications as applications
from . import inference as inference
from . import kernels as kernels
from . import measures as measures
from . import plot as plot
from . import reductions as reductions
from . import richness as richness
from . import sweeps as sweeps
from . import theory as theory
from ._dynamics import AbstractDynamics as AbstractDynamics
from ._dynamics import Exact as Exact
from ._dynamics import ExactSolution as ExactSolution
from ._dynamics import GradientDescent as GradientDescent
from ._dynamics import GradientFlow as GradientFlow
from ._dynamics import NearlyExact as NearlyExact
from ._dynamics import WideLimit as WideLimit
from ._explore import explore as explore
from ._init import AbstractInitialiser as AbstractInitialiser
from ._init import Aligned as Aligned
from ._init import Gaussian as Gaussian
from ._init import LambdaBalanced as LambdaBalanced
from ._init import WideOrthogonal as WideOrthogonal
from ._init import balanced_network as balanced_network
from ._init import wide_network as wide_network
from ._learn import learn as learn
from ._network import LinearNetwork as LinearNetwork
from ._rebalance import rebalance as rebalance
from ._task import Task as Task
from ._trajectory import RESULTS as RESULTS
from ._trajectory import Trajectory as Trajectory
from ._whitening import Whitening as Whitening

try:
    __version__ = _version("lazyrich_jax")
except _NotInstalled:  # a source tree
    __version__ = "unknown"
