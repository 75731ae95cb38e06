"""How rich the training of a real model was: measures of Equinox, Flax and plain ones.

A model is a tree with floating-point arrays as its parameters: an Equinox module, a
dict of Flax parameters, any other tree, or a dict of NumPy arrays such as PyTorch's
state dicts. `apply(model, x)` maps one sample, without batch axis, to an array of
outputs. Without `apply` the model itself is called.
"""

from .balance import PairBalance as PairBalance
from .balance import balances as balances
from .chain import Chain as Chain
from .describe import describe as describe
from .described import Description as Description
from .gaps import Gaps as Gaps
from .kernels import kernel_products as kernel_products
from .layers import Layer as Layer
from .layers import activations as activations
from .layers import layers as layers
from .linearised import linearised as linearised
from .products import KernelProducts as KernelProducts
from .recorder import Recorder as Recorder
from .report import report as report
from .reported import Report as Report
from .sharpness import sharpness as sharpness
