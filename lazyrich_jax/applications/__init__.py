"""Experiments in a few lines: networks whose task changes.

They are continual learning, reversal, transfer and fine-tuning (Domine et al. 2025,
sections 4 and 5). They are exact by default and simulated with another `dynamics`. Each
returns a result that prints a table.
"""

from .attribute import NewAttribute as NewAttribute
from .attribute import new_attribute as new_attribute
from .continual import Continual as Continual
from .continual import continual as continual
from .related import low_rank_change as low_rank_change
from .related import related_task as related_task
from .reversal import Reversal as Reversal
from .reversal import reversal as reversal
from .transfer import FineTuning as FineTuning
from .transfer import Transfer as Transfer
from .transfer import finetune as finetune
from .transfer import transfer as transfer
