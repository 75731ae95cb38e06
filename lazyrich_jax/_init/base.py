"""What an initialiser is: a distribution of a network's weights before learning."""

import abc

import equinox as eqx
from jaxtyping import PRNGKeyArray

from .._network import LinearNetwork


class AbstractInitialiser(eqx.Module):
    """Draws a two-layer network of given sizes."""

    @abc.abstractmethod
    def __call__(
        self, in_size: int, hidden_size: int, out_size: int, *, key: PRNGKeyArray
    ) -> LinearNetwork:
        """Draw a network with weights (hidden, in) and (out, hidden)."""
