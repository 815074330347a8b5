"""Which parts of a network learn, and from when on: what does not is held exactly as it is."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from torch import nn

from saccade.errors import UsageError
from saccade.training.config import Config


@dataclass(frozen=True)
class Freeze:
    """From which epoch on each parameter learns; before, it and the module it is in are as they were.

    A norm whose weights are frozen but which is in training mode would still normalise by the batch and move its
    statistics, and so it would not be the network that was trained: it is held in evaluation mode. So is what has no
    weights (dropout), until everything learns; in the head nothing is ever held.

    begins  epoch by the name of each parameter of the encoder; inf is never. All others are the head's, and learn from
            the first on. Empty: everything does
    keep    whether batch norms go on normalising by what they learnt before: the statistics of a few images at a time
            are worse than those of a million
    """

    begins: Mapping[str, float] = field(default_factory=dict)
    keep: bool = False

    def hold(self, model: nn.Module, epoch: int) -> None:
        """Put the network into training mode as far as it learns in this epoch."""
        model.train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(epoch >= self.begins.get(name, 0))
        # What is built on the encoder is new, and has learnt nothing to keep.
        encoder = getattr(model, "trunk", model)
        for module in encoder.modules() if self.keep else ():
            if getattr(module, "running_mean", None) is not None:
                module.eval()
        if all(epoch >= begin for begin in self.begins.values()):
            return
        heads = {name.rpartition(".")[0] for name, _ in model.named_parameters() if name not in self.begins}
        inside = set(encoder.modules())
        for name, module in model.named_modules():
            if module not in inside:
                continue
            if list(module.children()) or any(f"{name}.".startswith(f"{head}.") for head in heads):
                continue
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


def norms_of(model: nn.Module) -> set[str]:
    """The names of the weights of batch norms."""
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if getattr(module, "running_mean", None) is not None
        for own, _ in module.named_parameters(recurse=False)
    }


def plan(stages: Mapping[str, int], adapt: str, config: Config, norms: Set[str] = frozenset()) -> Freeze:
    """Which parameters learn from when on.

    stages  of the encoder's parameters, 0 the finest
    adapt   "freeze": only the head, ever; "finetune": the head, after `config.warm_start` epochs all others, or where
            `config.unfreeze` says so one stage after the other, from the coarsest to the finest
    norms   the names of the weights of batch norms, which may be kept from learning

    Raises UsageError when a stage would begin after the last epoch.
    """
    if adapt == "freeze":
        return Freeze(dict.fromkeys(stages, math.inf))
    keep = config.norms != "learn"
    never = {name for name, stage in stages.items() if stage < config.frozen}
    never |= (norms & stages.keys()) if config.norms == "freeze" else set()
    if not config.warm_start and not config.unfreeze and not never:
        return Freeze(keep=keep)
    last = max(stages.values())
    if config.frozen > last:
        raise UsageError(f"frozen={config.frozen} of {last + 1} stages would leave none to learn; choose fewer")
    begins = {name: float(config.warm_start + config.unfreeze * (last - stage)) for name, stage in stages.items()}
    begins |= dict.fromkeys(never, math.inf)
    finest = max((begin for begin in begins.values() if begin < math.inf), default=0.0)
    if config.unfreeze and finest >= config.epochs:
        raise UsageError(
            f"with warm_start={config.warm_start} and unfreeze={config.unfreeze} the finest of {last + 1} stages "
            f"would begin to learn after {finest:g} of {config.epochs} epochs; choose smaller ones"
        )
    return Freeze(begins, keep)
