"""Inference: fit the theory to data, ask what the data say, design with it."""

from .compare import Comparison as Comparison
from .compare import compare as compare
from .experiment import Experiment as Experiment
from .fisher import Information as Information
from .fisher import fisher as fisher
from .fit import Fit as Fit
from .fit import fit as fit
from .fit import fit_curves as fit_curves
from .likelihood import LogLikelihood as LogLikelihood
from .likelihood import log_likelihood as log_likelihood
from .noise import AbstractNoise as AbstractNoise
from .noise import Additive as Additive
from .noise import Counts as Counts
from .noise import Relative as Relative
from .profile import intervals as intervals
from .profile_curve import Profile as Profile
from .profile_curve import profile as profile
