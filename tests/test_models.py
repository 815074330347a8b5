"""Every network is the published one, keeps the backbone contract, and learns."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fusing import check_fused
from torch import nn

from saccade.backbones import resnet
from saccade.backbones.contract import Backbone
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model, list_models

# One of each family, quick to run; the tests marked slow take them all.
SMALL = [
    "lenet", "alexnet", "nin", "vgg11_bn", "googlenet", "bn_inception", "inception_v3", "resnet18", "resnet50",
    "resnet20_cifar", "squeezenet1_0", "squeezenet1_1", "densenet121", "densenet_bc_cifar", "mobilenet_v2",
    "mobilenet_v3_small", "darknet_tiny",
]  # fmt: skip
EVERY = [
    pytest.param(name, marks=() if name in SMALL else (pytest.mark.slow,)) for name in list_models(task="classify")
]
GOLDEN = [
    "alexnet", "vgg11", "vgg16", "vgg19", "vgg11_bn", "vgg16_bn", "resnet18", "resnet34", "resnet50", "resnet152",
    "resnext101_32x8d", "densenet121", "densenet201", "squeezenet1_1", "googlenet", "inception_v3", "mobilenet_v2",
    "mobilenet_v3_small", "inception_resnet_v2",
]  # fmt: skip
# Squeeze-and-excitation weighs channels by an average over the whole map, which a finer map changes a little.
SEES_ALL = ["mobilenet_v3_small", "mobilenet_v3_large"]
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid)


def least_size(name: str) -> int:
    """The side of a small input that the network can do something with."""
    return 128 if "inception" in name or "googlenet" in name else 64


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_published_implementation(name: str, golden: tuple[ModuleType, dict[str, Any]]) -> None:
    """Same parameters, same state dict, same outputs for the same weights, within 1e-4."""
    fill, references = golden
    reference = references[name]
    model = fill.fill(create_model(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == reference["params"]
    assert len(model.state_dict()) == reference["entries"]
    assert fill.signature(model) == reference["signature"]
    batch, channels, height, width = reference["input"]
    with torch.no_grad():
        got = fill.digest(model(fill.image(height, width, channels, batch)))
    expected = reference["output"]
    assert got["shape"] == expected["shape"]
    scale = np.abs(expected["values"]).max()
    assert np.abs(np.subtract(got["values"], expected["values"])).max() < 1e-4 * scale
    assert got["std"] == pytest.approx(expected["std"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet", 61_706),  # 156 + 2,416 + 48,120 + 10,164 + 850
        ("squeezenet1_0", 1_248_424),  # table 1 says 1,248,424
        ("resnet101", 44_549_160),
        ("resnet20_cifar", 269_722),  # table 6 says 0.27 million, and so on
        ("resnet32_cifar", 464_154),
        ("resnet44_cifar", 658_586),
        ("resnet56_cifar", 853_018),
        ("resnet110_cifar", 1_727_962),
    ],
)
def test_parameter_counts_are_the_papers(name: str, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_option_a_by_hand() -> None:
    """Every second pixel is kept; the new channels are zero; there is nothing to learn."""
    shortcut = resnet.PaddedShortcut(extra=2, stride=2)
    inputs = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.tensor([[0.0, 2], [8, 10]])
    out = shortcut(inputs)
    assert out.shape == (1, 3, 2, 2)
    assert torch.equal(out[0, 0], expected)
    assert not out[0, 1:].any()
    assert not list(shortcut.parameters())


@pytest.mark.parametrize("more", [(0, 0), (1, 33), (63, 16)])
@pytest.mark.parametrize("name", EVERY)
def test_maps_channels_and_strides_tell_the_truth(name: str, more: tuple[int, int]) -> None:
    """At three sizes of input, odd ones among them."""
    model = create_model(name, num_classes=0).eval()
    size = (least_size(name) + more[0], least_size(name) + more[1])
    with torch.no_grad():
        maps = model.maps(torch.zeros(1, model.in_channels, *size))
    assert [feature.shape[1] for feature in maps] == list(model.channels)
    assert len(maps) == len(model.strides)
    for feature, stride in zip(maps, model.strides, strict=True):
        for length, got in zip(size, feature.shape[2:], strict=True):
            # Unpadded filters lose a few pixels at the border, and poolings round.
            assert abs(got - length / stride) <= 5


@pytest.mark.parametrize("name", EVERY)
def test_each_map_responds_at_its_stride(name: str) -> None:
    """Moving the image by one stride moves the interior of the map by one pixel."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=0).eval()
    image = torch.randn(1, model.in_channels, 128, 640)
    with torch.no_grad():
        still = model.maps(image)
        # Deeper maps see beyond the border of any image small enough for a test.
        for level, stride in enumerate(model.strides[:2]):
            moved, here = model.maps(torch.roll(image, stride, 3))[level], still[level]
            middle = slice(here.shape[3] // 2 - 1, here.shape[3] // 2 + 2)
            shifted = slice(middle.start + 1, middle.stop + 1)
            rows = slice(here.shape[2] // 2 - 1, here.shape[2] // 2 + 2)
            tolerance = 1e-4 * here.abs().max().item()
            # A gate over the whole map notices the border's change; nothing else does.
            tolerance *= 100 if name in SEES_ALL else 1
            assert torch.allclose(moved[..., rows, shifted], here[..., rows, middle], atol=tolerance)


@pytest.mark.parametrize("name", EVERY)
def test_headless_gives_pooled_features_and_has_no_classifier(name: str) -> None:
    """What is left is exactly what the maps depend on."""
    torch.manual_seed(0)
    model, whole = create_model(name, num_classes=0).eval(), create_model(name, num_classes=2).eval()
    inputs = torch.randn(2, model.in_channels, least_size(name), least_size(name))
    with torch.no_grad():
        assert torch.allclose(model(inputs), model.maps(inputs)[-1].mean((2, 3)), atol=1e-5, rtol=1e-4)
    sum(feature.sum() for feature in whole.maps(inputs)).backward()
    needed = {key for key, parameter in whole.named_parameters() if parameter.grad is not None}
    assert {key for key, _ in model.named_parameters()} == needed
    kept = set(whole.state_dict()) - set(model.state_dict())
    assert any(key.startswith(tuple(f"{prefix}." for prefix in whole.last_layers)) for key in kept)


@pytest.mark.parametrize("name", EVERY)
def test_head_is_all_that_depends_on_the_number_of_classes(name: str) -> None:
    with torch.device("meta"):
        two, three = create_model(name, num_classes=2).state_dict(), create_model(name, num_classes=3).state_dict()
        head = create_model(name).last_layers
    differ = {key for key in two if two[key].shape != three[key].shape}
    assert differ == {key for key in two if key.startswith(tuple(f"{prefix}." for prefix in head))}


@pytest.mark.parametrize("finer", [2, 4])
@pytest.mark.parametrize("name", [name for name in EVERY if name.values[0] not in SEES_ALL])
def test_dilated_network_equals_the_strided_one_where_both_look(name: str, finer: int) -> None:
    """A dilated filter computes what the strided one computes, only at more places: every so-many-th pixel agrees."""
    torch.manual_seed(0)
    plain = create_model(name, num_classes=0).eval()
    output_stride = plain.strides[-1] // finer
    dilated = create_model(name, num_classes=0, output_stride=output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    assert dilated.strides == tuple(min(stride, output_stride) for stride in plain.strides)
    for module in [*plain.modules(), *dilated.modules()]:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False  # rounding up, it looks beyond the border, where the finer map ends
    inputs = torch.randn(1, plain.in_channels, 160, 192)
    with torch.no_grad():
        for stride, coarse, fine in zip(plain.strides, plain.maps(inputs), dilated.maps(inputs), strict=True):
            step = max(1, stride // output_stride)
            same = fine[..., ::step, ::step][..., : coarse.shape[2], : coarse.shape[3]]
            assert torch.allclose(same, coarse, rtol=1e-4, atol=1e-4 * coarse.abs().max().item())


@pytest.mark.parametrize("name", EVERY)
def test_no_activation_is_used_twice_and_every_weight_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3).train()
    uses: dict[nn.Module, int] = {}
    for module in model.modules():
        if isinstance(module, ACTIVATIONS):
            uses[module] = 0
            module.register_forward_hook(lambda module, inputs, output: uses.update({module: uses[module] + 1}))
    outs = model.training_logits(torch.randn(2, model.in_channels, least_size(name), least_size(name)))
    assert uses
    assert set(uses.values()) == {1}
    sum(out.square().sum() for out in outs).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


# Side of the input and learning rate where 32 and 1e-3 will not do.
OVERFIT = {
    "alexnet": (64, 1e-4), "alexnet_2012": (64, 1e-3), "zfnet": (64, 1e-4), "nin": (64, 1e-4), "nin_cifar": (32, 3e-4),
    "vgg11": (32, 1e-4), "vgg11_lrn": (32, 1e-4), "vgg13": (32, 1e-4), "vgg16_c": (32, 1e-4), "vgg16": (32, 1e-4),
    "vgg19": (32, 1e-4),
    "vgg11_bn": (32, 1e-4), "vgg13_bn": (32, 1e-4), "vgg16_bn": (32, 1e-4), "vgg19_bn": (32, 1e-4),
    "googlenet": (64, 1e-3), "googlenet_2014": (64, 3e-4), "googlenet_naive": (32, 1e-4),
    "inception_v3": (75, 1e-3), "inception_resnet_v2": (75, 1e-3), "bn_inception": (48, 1e-3),
    "prelu_net_a": (32, 1e-4), "prelu_net_b": (32, 1e-4), "prelu_net_c": (32, 1e-4), "resnet152_v1": (32, 3e-4),
    "resnext101_32x8d": (32, 3e-4), "resnext101_64x4d": (32, 3e-4), "wide_resnet50_2": (32, 3e-4),
    "wide_resnet101_2": (32, 3e-4), "densenet_bc_cifar": (16, 1e-3),
    # Their logits pass a ReLU, which larger steps can put to sleep for good.
    "squeezenet1_0": (48, 3e-4), "squeezenet1_1": (48, 3e-4),
}  # fmt: skip
QUICK = ["lenet", "resnet18", "resnet20_cifar", "squeezenet1_1", "mobilenet_v3_small", "googlenet"]


@pytest.mark.parametrize(
    "name", [pytest.param(name.values[0], marks=() if name.values[0] in QUICK else pytest.mark.slow) for name in EVERY]
)
def test_overfits_a_handful(name: str) -> None:
    """32 random images with random labels are learnt by heart."""
    torch.manual_seed(0)
    size, rate = OVERFIT.get(name, (32, 1e-3))
    model = create_model(name, num_classes=3).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # which is there to prevent just this
    images = torch.randn(32, model.in_channels, size, size)
    labels = torch.arange(32) % 3
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(200):
        main, *others = (nn.functional.cross_entropy(logits, labels) for logits in model.training_logits(images))
        if main.item() < 0.05:
            break
        optimiser.zero_grad()
        (main + model.auxiliary_weight * sum(others, torch.zeros(()))).backward()
        optimiser.step()
    assert main.item() < 0.05


@pytest.mark.parametrize("name", EVERY)
def test_fused_norms_change_nothing(name: str) -> None:
    """What stays: in DenseNets the norm of what many layers gave, one a layer and a transition and the last; and those
    of auxiliary classifiers."""
    layers = {"121": 58, "161": 78, "169": 82, "201": 98}
    left = {"googlenet": 2, "inception_v3": 2, "densenet_bc_cifar": 3 * 16 + 2 + 1}
    left |= {f"densenet{depth}": count + 3 + 1 for depth, count in layers.items()}
    torch.manual_seed(0)
    model, side = create_model(name, 5), 32 if name == "lenet" else least_size(name)
    check_fused(model, torch.randn(2, model.in_channels, side, side), left.get(name, 0))


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        create_model("resnet_18")
    with pytest.raises(UsageError, match="did you mean 'classify'"):
        list_models(task="clasify")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": -3}, "num_classes must be a whole number of at least 0, got -3"),
        ({"num_classes": 2.5}, "at least 0, got 2.5"),
        ({"in_channels": 0}, "in_channels must be a whole number of at least 1, got 0"),
        ({"output_stride": 7}, "output_stride must be 1, 2, 4, 8 ... 64, got 7"),
        ({"shortcat": "A"}, "did you mean 'shortcut'"),
    ],
)
def test_options_without_meaning(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        create_model("resnet18", **options)


def test_list_models_takes_patterns() -> None:
    assert list_models("squeeze*") == ["squeezenet1_0", "squeezenet1_1"]
    assert "resnet20_cifar" in list_models("*resnet*")
    assert list_models("nothing") == []


def test_weights_that_do_not_fit_say_which_keys(tmp_path: Path) -> None:
    torch.save(create_model("resnet34").state_dict(), tmp_path / "other.pth")
    with pytest.raises(SaccadeError, match=r"layer1\.2\.bn1\.bias: the network has nothing, the file \[64\]"):
        create_model("resnet18", weights=tmp_path / "other.pth")


def test_only_the_classifier_may_differ(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = create_model("resnet20_cifar", num_classes=10)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "ten.pth")
    model = create_model("resnet20_cifar", num_classes=3, weights=tmp_path / "ten.pth")
    state, own = source.state_dict(), model.state_dict()
    assert all(torch.equal(state[key], own[key]) for key in state if not key.startswith("fc."))
    assert own["fc.weight"].shape == (3, 64)
    assert not own["fc.weight"].any()
    assert not own["fc.bias"].any()
    same = create_model("resnet20_cifar", num_classes=10, weights=tmp_path / "ten.pth")
    assert torch.equal(same.state_dict()["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "inception_v3", "densenet121", "mobilenet_v2"])
def test_a_whole_file_loads_into_a_network_without_a_classifier(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = create_model(name, num_classes=3).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    model = create_model(name, num_classes=0, weights=tmp_path / "whole.pth").eval()
    inputs = torch.randn(1, 3, least_size(name), least_size(name))
    with torch.no_grad():
        assert torch.equal(model.maps(inputs)[-1], whole.maps(inputs)[-1])


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_file_may_lack_auxiliary_classifiers(name: str, tmp_path: Path) -> None:
    """Nothing else may be missing; the classifier of the same classes is taken over all the same."""
    whole = create_model(name, num_classes=3)
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith(tuple(whole.auxiliary))}
    torch.save(state, tmp_path / "plain.pth")
    model = create_model(name, num_classes=3, weights=tmp_path / "plain.pth")
    assert torch.equal(model.state_dict()["fc.weight"], state["fc.weight"])
    del state["fc.weight"], state[next(iter(state))]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(SaccadeError, match="the file nothing"):
        create_model(name, num_classes=3, weights=tmp_path / "broken.pth")


def test_densenets_old_keys_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the published files: norm.1, relu.1, conv.1 where the modules say norm1, conv1."""
    model = create_model("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in model.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121-imagenet.pth")
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path))
    loaded = create_model("densenet121", weights="imagenet").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


def test_tensorflows_background_class_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model("inception_resnet_v2", num_classes=1001)
    torch.save(model.state_dict(), tmp_path / "inception_resnet_v2-imagenet.pth")
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path))
    loaded = create_model("inception_resnet_v2", weights="imagenet").state_dict()
    assert torch.equal(loaded["classif.weight"], model.state_dict()["classif.weight"][1:])


def test_a_new_head_learns_from_zero_even_behind_a_relu() -> None:
    torch.manual_seed(0)
    model = create_model("squeezenet1_1", num_classes=3)
    model.reset_head()
    inputs = torch.randn(2, 3, 64, 64)
    out = model(inputs)
    assert torch.equal(out, out[:, :1].expand_as(out))  # no class is preferred
    nn.functional.cross_entropy(out, torch.tensor([0, 1])).backward()
    gradient = dict(model.named_parameters())["classifier.1.weight"].grad
    assert gradient is not None
    assert gradient.flatten(1).abs().sum(1).min() > 0


def test_contract_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Backbone()  # pyright: ignore[reportAbstractUsage]
