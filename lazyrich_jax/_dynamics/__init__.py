"""The laws of learning, one in each file, on one protocol."""

from .base import AbstractDynamics as AbstractDynamics
from .base import failure as failure
from .descent import GradientDescent as GradientDescent
from .exact import Exact as Exact
from .flow import GradientFlow as GradientFlow
from .nearly_exact import NearlyExact as NearlyExact
from .solution import ExactSolution as ExactSolution
from .wide_limit import LimitSolution as LimitSolution
from .wide_limit import WideLimit as WideLimit
