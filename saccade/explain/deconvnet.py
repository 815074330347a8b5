"""DeconvNet: what in the image a unit answers to, by going back through the network layer by layer.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1, figure 1: the unit's
activation, all others zero, is unpooled (to where the maxima were), rectified, and filtered with the transposed
filters, down to the pixels. That is the gradient but for the ReLU, through which goes what is positive of that which
comes back, whatever its input was (Simonyan et al. 2014, section 4).

Norms go back as the linear maps they are in a trained network; local response norms by their gradient.
"""

from torch import Tensor

from saccade.explain.score import Score, gradient
from saccade.explain.way_back import Rectified, Unpooling


def deconvnet(score: Score, inputs: Tensor, unpooling: Unpooling = "switches") -> Tensor:
    """[B, C, H, W] float of normalised images [B, C, H, W]: what the score answers to, projected down to the pixels.

    score      of a unit, or of all of a channel, `score.of_activity`: its activation is projected, and of a silent one
               nothing; of anything else, such as a class, 1 is
    unpooling  "switches": to where the maxima were; "nearest": to all pixels of a window; "bed_of_nails": to its first
               one. Only the first knows the image

    Raises UsageError for networks with other rectifiers than ReLU and ReLU6, SaccadeError when a gradient is not
    finite.
    """
    way_back = Rectified("the DeconvNet", guided=False, unpooling=unpooling)
    return gradient(score, inputs, way_back)
