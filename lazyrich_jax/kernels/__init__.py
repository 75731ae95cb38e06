"""Tangent kernels and representational similarity."""

from .empirical import empirical_ntk as empirical_ntk
from .linear import input_similarity as input_similarity
from .linear import ntk as ntk
from .linear import ntk_blocks as ntk_blocks
from .linear import ntk_of_representations as ntk_of_representations
from .linear import ntk_operator as ntk_operator
from .linear import ntk_trace as ntk_trace
from .linear import output_similarity as output_similarity
