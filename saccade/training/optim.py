"""Optimiser, parameter groups, and the learning rate as a function of the step."""

import math
from typing import Any

import torch
from torch import nn

from saccade.training.config import Config


def parameter_groups(model: nn.Module, head: tuple[str, ...], config: Config) -> list[dict[str, Any]]:
    """The trainable parameters in groups by learning rate and weight decay.

    head  how the names of the classifier's parameters begin; it learns at the full rate, the rest at `encoder_rate`

    Biases and the weights of norms (all that have one dimension) are never decayed. Each group says its `name`, its
    `rate`, the factor on the learning rate, and from which epoch on it learns: `begin`.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "head" if name.startswith(tuple(f"{prefix}." for prefix in head)) else "encoder"
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "name": f"{part}, {'decayed' if decayed else 'not decayed'}",
            "params": parameters,
            "rate": 1.0 if part == "head" else config.encoder_rate,
            "begin": 0 if part == "head" else round(config.head_share * config.epochs),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (part, decayed), parameters in groups.items()
    ]


def make_optimiser(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def rate_at(step: int, steps_per_epoch: int, config: Config) -> float:
    """The learning rate of a step, counted from 0 over the whole run."""
    total, warm = config.epochs * steps_per_epoch, config.warmup * steps_per_epoch
    warm = min(warm, total / 2)
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    if config.schedule == "step":
        return config.learning_rate * 0.1 ** sum(step >= milestone * total for milestone in config.milestones)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
