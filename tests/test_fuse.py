"""Batch norms as parts of the convolutions before them: the same answers, from fewer steps."""

from collections import OrderedDict

import pytest
import torch
from fusing import norms_of, said, stirred
from torch import Tensor, nn

from saccade.layers.fuse import fuse_norms
from saccade.layers.twin import keep_in, twin_of
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


class Asked(nn.Module):
    """Convolutions whose output is not for one norm alone: only `last` and `before` can be fused."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("shared", "left", "right", "twice", "kept", "under", "last"):
            self.add_module(name, nn.Conv2d(3, 3, 1))
        for name in ("one", "other", "both", "after", "late", "branch", "over", "before"):
            self.add_module(name, nn.BatchNorm2d(3))
        self.rectifier = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        one, other = self.one(self.shared(inputs)), self.other(self.shared(inputs))  # a head that levels share
        both = self.both(self.left(one)) + self.both(self.right(other))  # one norm of two
        again = self.late(self.after(self.twice(both)).relu()) + self.twice(one)  # once without a norm
        kept = self.kept(again)
        kept = kept + self.branch(kept).relu()  # a shortcut past the norm
        under = self.over(self.rectifier(self.under(kept)))  # something in place between
        return self.before(self.last(under))


def test_what_a_norm_does_not_have_alone_stays() -> None:
    torch.manual_seed(0)
    model, inputs = stirred(Asked()), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    fused = fuse_norms(model, inputs[:1])
    changed = {name for name, layer in fused.named_modules() if isinstance(layer, nn.Identity)}
    assert changed == {"before"}
    torch.testing.assert_close(said(fused, inputs), said(model, inputs))


def test_a_transposed_convolution_is_fused() -> None:
    torch.manual_seed(0)
    model = stirred(nn.Sequential(nn.ConvTranspose2d(2, 3, 3, 2), nn.BatchNorm2d(3)))
    inputs = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    fused = fuse_norms(model, inputs[:1])
    assert not norms_of(fused)
    torch.testing.assert_close(said(fused, inputs), said(model, inputs))


def test_a_layer_with_two_names_is_replaced_under_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
            self.b = self.a

        def forward(self, inputs: Tensor) -> Tensor:
            return self.norm(self.b(self.norm(self.a(inputs))))

    torch.manual_seed(0)
    model, inputs = stirred(Twice()), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    fused = fuse_norms(model, inputs[:1])
    assert not norms_of(fused)
    torch.testing.assert_close(said(fused, inputs), said(model, inputs))


def test_hooks_stay_with_the_model() -> None:
    model, seen = create_model("resnet18", 3).eval(), []
    handle = model.get_submodule("layer1").register_forward_hook(lambda *_: seen.append(1))
    fused = fuse_norms(model, torch.empty(1, 3, 64, 64))
    fused(torch.zeros(1, 3, 64, 64))
    assert not seen
    model(torch.zeros(1, 3, 64, 64))
    assert seen == [1]
    handle.remove()


def test_hooks_that_change_meanwhile_are_not_read() -> None:
    class Changing(OrderedDict):  # as while another thread hangs one up
        def __reduce_ex__(self, _):
            raise RuntimeError("dictionary changed size during iteration")

    model = create_model("resnet20_cifar", 3)
    for layer in model.modules():
        layer._forward_hooks, layer._forward_pre_hooks = Changing(), Changing()
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in twin_of(model).modules())


def test_gradients_go_through_what_was_fused_in_the_middle_of_a_prediction() -> None:
    model = create_model("resnet20_cifar", 3).eval().requires_grad_(False)
    with torch.inference_mode():
        fused = fuse_norms(model, torch.empty(1, 3, 32, 32))
    inputs = torch.randn(1, 3, 32, 32, requires_grad=True)
    fused(inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.any()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11_bn"])
def test_numbers_kept_in_bfloat16_are_those_of_autocast(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, 3).eval().requires_grad_(False)
    inputs, kept = torch.randn(1, 3, 64, 64), keep_in(model, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(kept(inputs), model(inputs))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    kinds = {type(layer): weight.dtype for layer in kept.modules() for weight in layer.parameters(recurse=False)}
    assert kinds[nn.Conv2d] == kinds[nn.Linear] == torch.bfloat16
    assert kinds[nn.BatchNorm2d] == torch.float32


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
