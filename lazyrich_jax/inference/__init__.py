"""Inference: fit the theory to data, ask what the data say, design with it."""

from .design import Design as Design
from .design import design as design
from .goals import AbstractGoal as AbstractGoal
from .goals import Forgetting as Forgetting
from .goals import KernelDistance as KernelDistance
from .goals import LearningTime as LearningTime
from .goals import LossAt as LossAt
from .goals import ReversalTime as ReversalTime
from .goals import SequenceLoss as SequenceLoss
from .information import Information as Information
from .sensitivity import Sensitivity as Sensitivity
from .sensitivity import sensitivity as sensitivity
from .variables import Choice as Choice
from .variables import orders as orders
