"""Networks before learning: random ones (initialisers), and those of a function.

base       What an initialiser is.
balanced   `LambdaBalanced`, `Aligned`: lambda-balanced weights.
gaussian   `Gaussian`: independent weights, for any depth.
wide       `WideOrthogonal`, `wide_network`: the class of wide random layers.
of_function `balanced_network`: the lambda-balanced network of a function.
"""

from .balanced import Aligned as Aligned
from .balanced import LambdaBalanced as LambdaBalanced
from .base import AbstractInitialiser as AbstractInitialiser
from .gaussian import Gaussian as Gaussian
from .of_function import balanced_network as balanced_network
from .of_function import network_of_multiple as network_of_multiple
from .wide import WideOrthogonal as WideOrthogonal
from .wide import wide_network as wide_network
