"""Local response normalisation, before there was batch normalisation."""

from torch import nn


def local_response_norm() -> nn.LocalResponseNorm:
    """Divide by (2 + 1e-4 times the sum of squares of five neighbouring channels) to the power 0.75.

    Krizhevsky, Sutskever and Hinton 2012, section 3.3.
    """
    # Torch divides alpha by the number of channels, which the paper does not.
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
