r"""Other models as two-layer linear networks: network, task and clock, and back.

Every function takes a model and returns a `Reduction`: a `LinearNetwork`, a `Task` and
a clock for `lazyrich_jax.ExactSolution` and `lazyrich_jax.learn`. Its methods return
the model's own functions, weights and losses at the model's own times. A model for
which the reduction is not exact is refused. docs/beyond.md, section 5, derives each.
"""

from .attention import linear_attention as linear_attention
from .gated import GatedPathways as GatedPathways
from .gated import gated_pathways as gated_pathways
from .inputs import commuting_inputs as commuting_inputs
from .inputs import denoising_autoencoder as denoising_autoencoder
from .rates import heavy_ball as heavy_ball
from .rates import layer_rates as layer_rates
from .rates import schedule as schedule
from .recurrent import linear_recurrent as linear_recurrent
from .reduction import Reduction as Reduction
from .relu import antisymmetric_relu as antisymmetric_relu
from .scale import output_scale as output_scale
