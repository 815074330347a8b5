"""Whether a network says the same when its norms are parts of its convolutions."""

from typing import Any

from torch import Tensor, nn

from saccade.layers.fuse import fuse_norms


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


def stirred(model: nn.Module) -> nn.Module:
    """In float64, with norms that do something: as they begin, they could be left out."""
    for norm in norms_of(model):
        assert norm.running_mean is not None and norm.running_var is not None
        for tensor, low, high in (
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.5, 0.5),
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 2.0),
        ):
            nn.init.uniform_(tensor, low, high)
    return model.double().eval().requires_grad_(False)


def said(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    def flat(part: Any) -> list[Tensor]:
        if isinstance(part, Tensor):
            return [part]
        return [one for inner in part for one in flat(inner)] if isinstance(part, (list, tuple)) else []

    return flat(model(inputs))


def check_fused(model: nn.Module, inputs: Tensor, left: int = 0) -> None:
    """To a millionth of the deviation, as some heads answer in float32.

    left  norms that stay
    """
    model, inputs = stirred(model), inputs.double()
    fused = fuse_norms(model, inputs[:1])
    assert len(norms_of(fused)) == left
    before, after = said(model, inputs), said(fused, inputs)
    assert len(before) == len(after) > 0
    for old, new in zip(before, after, strict=True):
        assert old.shape == new.shape
        if old.is_floating_point() and old.numel() > 1:
            assert (new - old).abs().max() <= 1e-6 * max(old.std().item(), 1e-30)
