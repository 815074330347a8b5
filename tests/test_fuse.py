"""Batch norms as parts of the convolutions before them: the same answers, from fewer steps."""

import torch
from fusing import norms_of, said, stirred
from torch import Tensor, nn

from saccade.layers.fuse import fuse_norms
from saccade.models import create_model


def test_a_norm_by_hand() -> None:
    """Of a 1 x 1 filter 3 without bias, mean 2, variance 4 (less epsilon), weight 6 and bias 1: 6 (3 x - 2) / 2 + 1."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1.0), nn.ReLU())
    state = {
        "0.weight": [[[[3.0]]]],
        "1.weight": [6.0],
        "1.bias": [1.0],
        "1.running_mean": [2.0],
        "1.running_var": [3.0],
    }
    model.load_state_dict({key: torch.tensor(value) for key, value in state.items()}, strict=False)
    fused = fuse_norms(model, torch.empty(1, 1, 2, 2))
    assert [type(layer) for layer in fused] == [nn.Conv2d, nn.Identity, nn.ReLU]
    assert (fused[0].weight.item(), fused[0].bias.item()) == (9, -5)
    assert model[0].weight.item() == 3 and isinstance(model[1], nn.BatchNorm2d)


class Shared(nn.Module):
    """One convolution under two norms, as on levels that share a head; and one norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.one, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.left, self.right, self.both = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.twice, self.after = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.late = nn.BatchNorm2d(3)

    def forward(self, inputs: Tensor) -> Tensor:
        one, other = self.one(self.shared(inputs)), self.other(self.shared(inputs))
        both = self.both(self.left(one)) + self.both(self.right(other))
        return self.late(self.after(self.twice(both)).relu()) + self.twice(one)


def test_what_is_not_one_after_the_other_stays() -> None:
    torch.manual_seed(0)
    model, inputs = stirred(Shared()), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    fused = fuse_norms(model, inputs[:1])
    assert len(norms_of(fused)) == 5
    torch.testing.assert_close(said(fused, inputs), said(model, inputs))


def test_what_two_places_share_is_fused_once() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    model = stirred(nn.Sequential(layer, nn.ReLU(), layer))
    fused = fuse_norms(model, torch.empty(1, 2, 5, 5, dtype=torch.float64))
    assert not norms_of(fused)
    inputs = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(said(fused, inputs), said(model, inputs))


def test_all_but_the_fused_is_shared() -> None:
    model = create_model("resnet18", 3).eval()
    fused = fuse_norms(model, torch.empty(1, 3, 64, 64))
    assert not norms_of(fused)
    assert fused.get_parameter("fc.weight") is model.get_parameter("fc.weight")
    assert len(norms_of(model)) == 20
