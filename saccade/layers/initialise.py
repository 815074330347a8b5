"""What weights begin with."""

from torch import nn


def initialise_he(model: nn.Module) -> None:
    """He et al. 2015, equation 10, by the number of outputs for filters; 0.01 for full connections; no biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
