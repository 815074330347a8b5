"""The summary of a network: against exercises done by hand, published figures, and the network's own gradients."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from saccade.layers.meta import on_meta
from saccade.models import create_model, list_models
from saccade.recipes.catalogue import count_facts, describe, known_facts, layers
from saccade.recipes.measure import measure
from saccade.report.family import draw_family
from saccade.summary import ReceptiveField, Summary, summarise


def by_name(summary: Summary) -> dict:
    return {layer.name: layer for layer in summary.layers}


def test_the_lectures_exercise() -> None:
    """256x256x3, 16 filters of 4x4 with zero padding, pool 4, 32 filters of 4x4, pool 4, 8192 to 10: by hand."""
    pad = (1, 2, 1, 2)
    model = nn.Sequential(
        nn.ZeroPad2d(pad), nn.Conv2d(3, 16, 4), nn.MaxPool2d(4),
        nn.ZeroPad2d(pad), nn.Conv2d(16, 32, 4), nn.MaxPool2d(4),
        nn.Flatten(), nn.Linear(8192, 10),
    )  # fmt: skip
    summary = summarise(model, torch.empty(1, 3, 256, 256))
    found = by_name(summary)
    assert [found[name].weights for name in ("1", "4", "7")] == [768, 8_192, 81_920]
    assert [found[name].biases for name in ("1", "4", "7")] == [16, 32, 10]
    assert [found[name].output for name in ("1", "2", "4", "5")] == [
        (16, 256, 256), (16, 64, 64), (32, 64, 64), (32, 16, 16),
    ]  # fmt: skip
    assert found["1"].units == 256 * 256 * 16
    assert found["1"].multiply_adds == 768 * 256 * 256
    assert summary.depth == 3


def test_the_bottlenecks_arithmetic() -> None:
    """256 channels: 3x3 to 256 takes 590K multiplies a pixel; 1x1 to 64, 3x3 to 64, 1x1 to 256 takes 70K (lectures)."""
    direct = summarise(nn.Conv2d(256, 256, 3, padding=1), torch.empty(1, 256, 14, 14))
    bottleneck = nn.Sequential(nn.Conv2d(256, 64, 1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 256, 1))
    thrifty = summarise(bottleneck, torch.empty(1, 256, 14, 14))
    assert direct.multiply_adds / 14**2 == 589_824
    assert thrifty.multiply_adds / 14**2 == 16_384 + 36_864 + 16_384


# torchvision 0.27 states these for its networks ("GFLOPS", which are multiply-adds).
GIGA = {
    "alexnet": 0.714, "vgg11": 7.609, "vgg13": 11.308, "vgg16": 15.470, "vgg19": 19.632, "vgg16_bn": 15.470,
    "googlenet": 1.498, "inception_v3": 5.713, "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089,
    "resnet101": 7.801, "resnet152": 11.514, "resnext50_32x4d": 4.230, "resnext101_32x8d": 16.414,
    "resnext101_64x4d": 15.460, "wide_resnet50_2": 11.398, "wide_resnet101_2": 22.753, "densenet121": 2.834,
    "densenet161": 7.728, "densenet169": 3.360, "densenet201": 4.291, "squeezenet1_0": 0.819, "squeezenet1_1": 0.349,
    "mobilenet_v2": 0.301, "mobilenet_v3_small": 0.057, "mobilenet_v3_large": 0.217,
}  # fmt: skip


@pytest.mark.parametrize("name", GIGA)
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    """Those of the catalogue, which another test holds against the networks."""
    assert round(known_facts()[name].multiply_adds / 1e9, 3) == GIGA[name]


@pytest.mark.parametrize(
    ("name", "depth"),
    [("lenet", 5), ("alexnet_2012", 8), ("vgg16", 16), ("vgg19", 19), ("googlenet", 22), ("googlenet_2014", 22),
     ("resnet50", 50), ("resnet152", 152), ("resnet110_cifar", 110), ("densenet121", 121), ("densenet201", 201),
     ("densenet_bc_cifar", 100), ("prelu_net_a", 19), ("prelu_net_c", 22), ("squeezenet1_0", 18)],
)  # fmt: skip
def test_depth_is_what_the_name_says(name: str, depth: int) -> None:
    """Layers with weights on the longest path; shortcuts lie beside it."""
    assert known_facts()[name].depth == depth


@pytest.mark.parametrize(
    ("name", "field"),
    # Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019, table 1.
    [("alexnet", 195), ("vgg16", 212), ("resnet50_v1", 483), ("resnet101_v1", 1027), ("resnet152_v1", 1507),
     ("bn_inception", 699), ("inception_v3", 1311), ("inception_resnet_v2", 3039)],
)  # fmt: skip
def test_receptive_fields_are_the_published_ones(name: str, field: int) -> None:
    assert known_facts()[name].receptive_field == field


def seen_by_gradient(model: nn.Module, size: tuple[int, int], at: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the input pixels that move the output pixel `at`."""
    inputs = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    model.double().eval()(inputs)[..., at[0], at[1]].sum().backward()
    assert inputs.grad is not None
    rows, columns = inputs.grad.abs().sum((0, 1)).nonzero().unbind(1)
    return tuple(int(value) for value in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1))  # pyright: ignore


class Residual(nn.Module):
    """Branches of different reach, joined by adding and by concatenating, in plain functions."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv2d(3, 4, 1, stride=2)
        self.long = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.asymmetric = nn.Conv2d(8, 4, (1, 5), padding=(0, 2))
        self.pool = nn.AvgPool2d(2)

    def forward(self, inputs: Tensor) -> Tensor:
        short, long = self.short(inputs), self.long(inputs)
        return self.pool(self.asymmetric(torch.cat([short + long, long], 1)))


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(3, 2, 3, stride=2, padding=1),
        nn.Sequential(nn.Conv2d(3, 2, 7, 2, 3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, dilation=2, padding=2)),
        nn.Sequential(nn.Conv2d(3, 2, (3, 7)), nn.BatchNorm2d(2), nn.Sigmoid(), nn.Conv2d(2, 2, 2)),
        nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.ConvTranspose2d(2, 2, 4, 2, 1)),
        nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3, 1), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3)),
        Residual(),
    ],
    ids=["strided", "pooled and dilated", "oblong", "transposed", "enlarged", "shuffled", "branched"],
)
def test_receptive_field_is_where_the_gradient_is(model: nn.Module) -> None:
    """Size, stride and start against the pixels whose change an output pixel notices, in the middle of the map."""
    torch.manual_seed(0)
    size = (61, 67)
    last = summarise(model, torch.empty(1, 3, *size)).layers[-1]
    assert last.rows
    assert last.columns
    height, width = last.output[1:]
    for row, column in ((height // 2, width // 2), (height // 2 + 1, width // 2 - 1)):
        seen = seen_by_gradient(model, size, (row, column))
        told = [field.start + at * field.stride for field, at in ((last.rows, row), (last.columns, column))]
        if isinstance(model, nn.Sequential) and isinstance(
            model[1], (nn.ConvTranspose2d, nn.Upsample, nn.PixelShuffle)
        ):
            # Enlarged, the output's pixels differ in where they look, by less than one pixel of what was enlarged.
            coarse = 2 * last.rows.stride
            assert abs(told[0] - seen[0]) < coarse
            assert abs(told[0] + last.rows.size - seen[2]) < 2 * coarse
            assert last.rows.size - coarse < seen[2] - seen[0] <= last.rows.size
            continue
        assert (seen[0], seen[1]) == (told[0], told[1])
        assert (seen[2], seen[3]) == (told[0] + last.rows.size, told[1] + last.columns.size)


def test_whatever_averages_sees_all() -> None:
    """A global average of 8 pixels 2 apart that each see 3: 3 + 7 x 2 = 17 pixels, one of them padding."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    summary = summarise(model, torch.empty(1, 3, 16, 16))
    assert by_name(summary)["1"].rows == ReceptiveField(17, 16, -1)
    assert by_name(summary)["3"].rows == ReceptiveField(17, 16, -1)
    assert summary.receptive_field == (3, 3)


def test_a_module_used_twice_costs_twice_and_weighs_once() -> None:
    layer = nn.Conv2d(3, 3, 1)
    summary = summarise(nn.Sequential(layer, layer), torch.empty(1, 3, 4, 4))
    assert [found.weights for found in summary.layers] == [9, 0]
    assert summary.multiply_adds == 2 * 9 * 16
    assert summary.parameters == 12


def test_products_outside_of_layers_are_counted() -> None:
    """Attention by hand: two products of 5 x 8 matrices, 5 x 5 x 8 multiply-adds each, belong to the module itself."""

    class Attention(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.bmm(torch.bmm(inputs, inputs.transpose(1, 2)).softmax(2), inputs)

    summary = summarise(Attention(), torch.empty(1, 5, 8))
    assert summary.multiply_adds == 2 * 5 * 5 * 8


@pytest.mark.parametrize(
    ("model", "shape", "weights"),
    [
        (nn.MultiheadAttention(8, 2, batch_first=True), (1, 5, 8), 4 * 64),
        (nn.LSTM(8, 8, batch_first=True), (1, 5, 8), 2 * 4 * 64),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8), 4 * 64 + 2 * 128 + 2 * 8),
    ],
    ids=["attention", "recurrent", "transformer"],
)
def test_no_weights_are_passed_over(model: nn.Module, shape: tuple[int, ...], weights: int) -> None:
    """Attention: 4 matrices of 8 x 8, two products of 5 x 5 x 8; recurrence: 8 of them at each of 5 steps. By hand."""

    def run(model: nn.Module, inputs: Tensor) -> object:
        return model(inputs, inputs, inputs) if isinstance(model, nn.MultiheadAttention) else model(inputs)

    summary = summarise(model, torch.empty(*shape), run)
    assert sum(layer.weights for layer in summary.layers) == weights
    assert sum(layer.weights + layer.biases for layer in summary.layers) == summary.parameters
    attention = 5 * 4 * 64 + 2 * 5 * 5 * 8
    expected = {nn.MultiheadAttention: attention, nn.LSTM: 5 * 8 * 64}.get(type(model), attention + 5 * 2 * 128)
    assert summary.multiply_adds == expected


def test_a_batch_of_several_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a batch of one image but got shape \[4, 8\]"):
        summarise(nn.Linear(8, 3), torch.empty(4, 8))


def test_the_network_is_left_alone() -> None:
    model = create_model("resnet20_cifar").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    summarise(model, torch.empty(1, 3, 32, 32))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    twin = on_meta(model)
    assert all(parameter.is_meta for parameter in twin.parameters())
    assert {key: value.shape for key, value in twin.state_dict().items()} == {k: v.shape for k, v in before.items()}


def test_other_sizes_scale_as_areas() -> None:
    """Twice the sides, four times the multiply-adds of all but the last layer."""
    small, large = layers("resnet18", (224, 224)), layers("resnet18", (448, 448))
    assert large.multiply_adds - 512_000 == 4 * (small.multiply_adds - 512_000)


def test_facts_csv_is_up_to_date() -> None:
    """Against the networks themselves; `python -m saccade.recipes.catalogue` writes it anew."""
    assert list(known_facts()) == list_models()
    for name in list_models():
        assert count_facts(name) == known_facts()[name], name


def test_described_states_published_errors() -> None:
    """torchvision's 76.130 and 92.862 % for the first weights of ResNet-50."""
    found = describe("resnet50")
    assert (found.top1_error, found.top5_error) == (23.87, 7.138)
    assert found.weights == ["imagenet", "imagenet_v2"]
    assert describe("lenet").top1_error is None


def test_ratios_of_activations() -> None:
    """LeNet, by hand: every layer's outputs, its ReLUs', its pools' and the flattening pool's."""
    hand = 6 * 28**2 * 2 + 6 * 14**2 + 16 * 10**2 * 2 + 16 * 5**2 * 2 + 2 * 120 + 2 * 84 + 10
    assert layers("lenet").activations == hand
    assert math.isclose(hand, 15_002)


def saccade(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saccade", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_verb_lists_sorts_and_speaks_json() -> None:
    done = saccade("models", "resnet*_cifar", "--sort", "depth", "--json")
    rows = json.loads(done.stdout)
    assert [row["depth"] for row in rows] == [20, 32, 44, 56, 110]
    assert rows[0]["parameters"] == 269_722
    assert rows[0]["top1_error"] is None


def test_the_verb_shows_layers_of_any_size() -> None:
    told = json.loads(saccade("models", "resnet18", "--layers", "--size", 96, 64, "--json").stdout)
    assert told["layers"][0]["output"] == [64, 48, 32]
    shown = saccade("models", "lenet", "--layers").stdout
    assert "61,706 parameters" in shown
    assert re.search(r"conv2 +Conv2d +16 x 10 x 10 +1,600 +2,400 +240,000 +14 +2 +0", shown)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("resnett18", "--layers"), 2, "did you mean 'resnet18'"),
        (("resnet*", "--layers"), 2, "--layers shows one network"),
        (("lenet", "--layers", "--size", 0, 5), 2, "at least 1, got 0 5"),
        (("inception_v3", "--layers", "--size", 20, 20), 2, "cannot take an input of 20 x 20"),
        (("lenet", "--measure", "--size", 1, 1), 2, "cannot take an input of 1 x 1"),
        (("lenet", "--layers", "--plot", "a.png"), 2, "--layers and --plot do not go together"),
        (("lenet", "--size", 64, 64), 2, "--size is for --layers and --measure"),
        (("*", "--sort", "deepth"), 2, "did you mean 'depth'"),
        (("lenet", "--plot", "family.svg"), 2, "no accuracy to draw"),
        (("*", "--plot", "family.bmp"), 2, ".svg, .png, .pdf"),
    ],
)
def test_the_verb_says_what_is_wrong(arguments: tuple, code: int, message: str) -> None:
    done = saccade("models", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert message in done.stderr


def test_the_plot_names_each_network_once_and_apart(tmp_path: Path) -> None:
    """Names are text in an SVG; no two of them may cover each other (as matplotlib measures them)."""
    rows = [describe(name) for name in list_models()]
    drawn = draw_family(rows, tmp_path / "family.svg")
    published = [row.name for row in rows if row.top1_error is not None]
    assert drawn == len(published) > 20
    boxes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *_, **__: boxes.extend(texts(figure)))
        draw_family(rows, tmp_path / "again.svg")
    assert sorted(name for name, _ in boxes) == sorted(published)
    for index, (_, box) in enumerate(boxes):
        for _, other in boxes[:index]:
            assert not (box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1)


def texts(figure: Figure) -> list:
    """The names in the plot and the boxes they take, a pixel less all around."""
    figure.draw_without_rendering()
    return [(text.get_text(), text.get_window_extent().padded(-1)) for text in figure.axes[0].texts]


def test_measuring_gives_a_time_and_a_memory() -> None:
    """LeNet takes less than a second and, with its 61,706 numbers of 4 bytes, less than 100 MB."""
    found = measure("lenet")
    assert 0 < found.milliseconds < 1000
    assert 0 < found.peak_megabytes < 100
