r"""The balanced weights of a function, with derivatives wherever these exist.

Quantities that are invariant under rotations of the hidden units depend only on the
function and the balance. The dependence is smooth where no mode and no hidden unit
vanishes, also at equal singular values. Singular vectors have no derivative there, and
are constants here.

modes     A function's modes, and its best approximation of a rank.
pair      The weights of the modes.
weights   The weights of all hidden units.
"""

from .modes import Modes as Modes
from .modes import leading_part as leading_part
from .modes import modes_of_matrix as modes_of_matrix
from .pair import OF_LMDA as OF_LMDA
from .pair import balanced_pair as balanced_pair
from .pair import leading_pair as leading_pair
from .weights import Weights as Weights
from .weights import beside_fixed as beside_fixed
from .weights import beside_modes as beside_modes
from .weights import rebalanced_pair as rebalanced_pair
from .weights import with_surplus as with_surplus
