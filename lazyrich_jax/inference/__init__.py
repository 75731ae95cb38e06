"""Inference: fit the theory to data, ask what the data say, design with it."""

from .design import Design as Design
from .design import design as design
from .goals import AbstractGoal as AbstractGoal
from .goals import KernelDistance as KernelDistance
from .goals import LossAt as LossAt
from .information import Information as Information
from .sensitivity import Sensitivity as Sensitivity
from .sensitivity import sensitivity as sensitivity
from .sequences import Forgetting as Forgetting
from .sequences import SequenceLoss as SequenceLoss
from .times import LearningTime as LearningTime
from .times import ReversalTime as ReversalTime
from .variables import Choice as Choice
from .variables import orders as orders
