"""Saliency: how much the score would change with each pixel.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
Saliency Maps", ICLR 2014 workshop, section 3: the gradient of the score before the softmax, its absolute value, the
largest over the channels (3.1).
"""

from torch import Tensor

from saccade.explain.score import Score, gradient


def saliency(score: Score, inputs: Tensor) -> Tensor:
    """[B, H, W] float, 0 and more, of normalised images [B, C, H, W]; each from its own score alone.

    Raises SaccadeError when a gradient is not finite.
    """
    return gradient(score, inputs).abs().amax(1)
