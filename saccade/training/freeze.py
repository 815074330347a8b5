"""Keeping a part of a network as it is."""

from torch import nn


def freeze_all_but(model: nn.Module, head: tuple[str, ...]) -> list[nn.Module]:
    """Take the gradients from everything but the head, and say which modules must be held in evaluation mode.

    head  how the names of the parameters that go on learning begin

    A norm that is frozen but in training mode would still normalise by the batch and move its statistics, and so it
    would not be the network that was trained: the modules returned are to be set to `eval()` after each `train()`.
    """
    names = tuple(f"{prefix}." for prefix in head)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(names))
    leaves = ((name, module) for name, module in model.named_modules() if not list(module.children()))
    return [module for name, module in leaves if not f"{name}.".startswith(names)]
