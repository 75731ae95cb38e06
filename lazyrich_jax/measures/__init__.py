r"""Scalar measures of representations, kernels, losses and weights.

All are pure functions of matrices or curves without leading axes. They work under
`jax.jit`, `jax.vmap` and `jax.grad` (but for `sharpness`, of a network and a task);
`jax.vmap` adds further axes. docs/theorems.md
lists their values at zero, rank-one and repeated arguments. Measures of features and
of derivatives take arrays; `lazyrich_jax.richness` takes them from models.
"""

from .alignment import centred_kernel_alignment as centred_kernel_alignment
from .alignment import kernel_alignment as kernel_alignment
from .alignment import kernel_distance as kernel_distance
from .alignment import target_alignment as target_alignment
from .alignment import task_specificity as task_specificity
from .alignment import (
    unbiased_centred_kernel_alignment as unbiased_centred_kernel_alignment,
)
from .collapse import NeuralCollapse as NeuralCollapse
from .collapse import neural_collapse as neural_collapse
from .course import balance as balance
from .course import convergence_time as convergence_time
from .curvature import sharpness as sharpness
from .dimension import effective_rank as effective_rank
from .dimension import mode_strengths as mode_strengths
from .dimension import participation_ratio as participation_ratio
from .dimension import update_rank as update_rank
from .distance import bures_distance as bures_distance
from .distance import linearisation_gap as linearisation_gap
from .distance import procrustes_distance as procrustes_distance
from .distance import representational_change as representational_change
from .distance import rich_lazy_index as rich_lazy_index
from .distance import weight_movement as weight_movement
from .features import activation_flips as activation_flips
from .features import dynamical_richness as dynamical_richness
from .features import feature_alignment as feature_alignment
from .features import feature_change as feature_change
from .gradients import agop as agop
from .gradients import neural_feature_alignment as neural_feature_alignment
