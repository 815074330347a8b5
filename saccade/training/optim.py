"""Optimiser, parameter groups, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from saccade.training.config import Config
from saccade.training.freeze import Freeze


def parameter_groups(
    model: nn.Module, stages: Mapping[str, int], config: Config, freeze: Freeze
) -> list[dict[str, Any]]:
    """The parameters that ever learn, in groups by learning rate, weight decay and beginning.

    stages  of the encoder's parameters, 0 the finest; all others are the head's

    The head learns at the full rate, the encoder at `encoder_rate` of it; with `layer_decay` below 1 each stage at so
    much of the rate of the next coarser one (Howard and Ruder 2018, section 3.2; layer by layer in Clark et al. 2020).
    Biases and the weights of norms (all that have one dimension) are never decayed.

    Each group says its `part` ("head", "encoder", "stage 1" ..., the finest first), its `rate`, the factor on the
    learning rate, and from which epoch on it learns: `begin`.
    """
    by_stage = config.layer_decay < 1 or config.unfreeze > 0
    last = max(stages.values(), default=0)
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        begin = freeze.begins.get(name, 0.0)
        if math.isinf(begin):
            continue
        part, rate = "head", 1.0
        if (stage := stages.get(name)) is not None:
            part = f"stage {stage + 1}" if by_stage else "encoder"
            rate = config.encoder_rate * config.layer_decay ** (last - stage)
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        own = {"part": part, "params": [], "rate": rate, "begin": begin, "weight_decay": decay}
        groups.setdefault((part, parameter.ndim > 1), own)["params"].append(parameter)
    # In the order of the network, so that a table of them reads from the finest stage to the head.
    return sorted(groups.values(), key=lambda group: (group["part"] == "head", group["part"]))


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


def rates_of(optimiser: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate that each part has now."""
    return {group["part"]: group["lr"] for group in optimiser.param_groups}


def set_rates(optimiser: torch.optim.Optimizer, rate: float, epoch: int) -> None:
    """Give every group its share of the learning rate; 0 before it begins."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"] if epoch >= group["begin"] else 0.0
