r"""Results of the literature on linear networks, in closed form.

Nothing here uses `lazyrich_jax.ExactSolution`, the simulations or the measures: their
agreement is evidence. (`deep_modes` integrates one equation; `convergence_rates` and
`single_neuron` follow from the derivation of the exact solution;
`symmetric_factorisation` and `oja_flow` are evaluated by its engine.) docs/theorems.md
lists every theorem with the function that implements it and the test that checks it.
"""

from .correlations import forgetting as forgetting
from .correlations import function_rate as function_rate
from .correlations import loss as loss
from .correlations import loss_rate as loss_rate
from .curvature import final_sharpness as final_sharpness
from .curvature import hessian_spectrum as hessian_spectrum
from .curvature import largest_stable_step as largest_stable_step
from .curvature import sharpness as sharpness
from .decay import crossover_time as crossover_time
from .decay import decayed_balance as decayed_balance
from .decay import soft_thresholded_limit as soft_thresholded_limit
from .deep import deep_modes as deep_modes
from .generalisation import best_stopping_time as best_stopping_time
from .generalisation import test_error as test_error
from .initialisation import balance_variance as balance_variance
from .initialisation import expected_balance as expected_balance
from .initialisation import wide_balance as wide_balance
from .limits import lazy_limit as lazy_limit
from .limits import rich_limit as rich_limit
from .mode_times import time_to_reach as time_to_reach
from .modes import aligned_modes as aligned_modes
from .modes import exponential_modes as exponential_modes
from .modes import shallow_modes as shallow_modes
from .modes import sigmoidal_modes as sigmoidal_modes
from .neuron import SingleNeuron as SingleNeuron
from .neuron import neuron_from_function as neuron_from_function
from .neuron_flow import neuron_boundary as neuron_boundary
from .neuron_flow import neuron_one_datum as neuron_one_datum
from .neuron_flow import single_neuron as single_neuron
from .rates import convergence_rates as convergence_rates
from .rates import delayed_rich_time as delayed_rich_time
from .representations import Representations as Representations
from .representations import balanced_representations as balanced_representations
from .representations import converged_representations as converged_representations
from .saddle import saddle_distance as saddle_distance
from .shallow import shallow_function as shallow_function
from .shallow import shallow_steps as shallow_steps
from .spiked import NoisyModes as NoisyModes
from .spiked import noisy_modes as noisy_modes
from .spiked import spiked_modes as spiked_modes
from .steps import descent_lag as descent_lag
from .symmetric import oja_flow as oja_flow
from .symmetric import symmetric_factorisation as symmetric_factorisation
from .wide import WideScales as WideScales
from .wide import wide_function as wide_function
from .wide import wide_representations as wide_representations
from .wide import wide_scales as wide_scales
