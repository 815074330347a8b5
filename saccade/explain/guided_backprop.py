"""Guided backpropagation: the gradient, of which at every ReLU only what speaks for the score goes on.

Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for Simplicity: The All Convolutional Net", ICLR 2015
workshop, section 3.4, figure 1: back through a ReLU goes what is positive, and only where its input was. Sharp pictures
that hardly depend on the class (Adebayo et al. 2018, `faithfulness.py`).
"""

from torch import Tensor

from saccade.explain.score import Score, gradient
from saccade.explain.way_back import Rectified


def guided_backprop(score: Score, inputs: Tensor) -> Tensor:
    """[B, C, H, W] float of normalised images [B, C, H, W].

    Raises UsageError for networks with other rectifiers than ReLU and ReLU6, SaccadeError when a gradient is not
    finite.
    """
    return gradient(score, inputs, Rectified("guided backpropagation", guided=True))
