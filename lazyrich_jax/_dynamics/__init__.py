"""The laws of learning, each in its file, with one form."""

from .base import AbstractDynamics as AbstractDynamics
from .base import failure as failure
from .descent import GradientDescent as GradientDescent
from .exact import Exact as Exact
from .flow import GradientFlow as GradientFlow
from .solution import ExactSolution as ExactSolution
