"""The ideas of the residual, dense and mobile networks, each held against a computation by hand, and their sizes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones import densenet, mobilenet_v2, mobilenet_v3, resnet, resnext, wide_resnet
from saccade.backbones.contract import Backbone
from saccade.backbones.weights import class_names, read_state
from saccade.errors import UsageError
from saccade.layers.dilate import dilate


def meta(build: Callable[..., Backbone], **options: object) -> Backbone:
    """The network without its numbers."""
    with torch.device("meta"):
        return build(**options).eval()


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: Backbone) -> int:
    """Of one image of the paper's size: each output value of a convolution or linear layer takes one per weight."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        total += output.numel() * layer.weight[0].numel()

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, *model.input_size, device="meta"))
    return total


@torch.no_grad()
def scramble(model: nn.Module) -> nn.Module:
    """Batch norms as after a training, so that none of their numbers is the neutral one; in eval mode."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def normalise(inputs: Tensor, norm: nn.Module, channels: slice = slice(None)) -> Tensor:
    """Batch norm in eval mode, for some of its channels."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight[channels] / (norm.running_var[channels] + norm.eps).sqrt()
    shift = norm.bias[channels] - norm.running_mean[channels] * scale
    return inputs * scale[:, None, None] + shift[:, None, None]


# How large they are


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (resnet.resnet50_v1, 25_557_032),  # no other than resnet50, as of all "v1"
        (resnet.resnet101_v1, 44_549_160),
        (resnet.resnet152_v1, 60_192_808),
        (resnet.plain18, 11_515_688),
        (resnet.plain34, 21_623_848),
        (resnet.plain20_cifar, 269_722),  # table 6 counts as many for ResNet-20: 0.27 million; and so on
        (resnet.plain32_cifar, 464_154),
        (resnet.plain44_cifar, 658_586),
        (resnet.plain56_cifar, 853_018),
        (resnext.resnext50_32x4d, 25_028_904),  # table 1: 25.0 million
        (resnext.resnext101_32x8d, 88_791_336),
        (resnext.resnext101_64x4d, 83_455_272),
        (wide_resnet.wide_resnet50_2, 68_883_240),  # table 8: 68.9 million
        (wide_resnet.wide_resnet101_2, 126_886_696),
        (densenet.densenet121, 7_978_856),
        (densenet.densenet161, 28_681_000),
        (densenet.densenet169, 14_149_480),
        (densenet.densenet201, 20_013_928),
        (densenet.densenet_bc_cifar, 769_162),  # table 2: 0.8 million
        (mobilenet_v2.mobilenet_v2, 3_504_872),  # table 4: 3.4 million; 34,112 of ours are those of batch norms
        (mobilenet_v3.mobilenet_v3_large, 5_483_032),  # table 3: 5.4 million
        (mobilenet_v3.mobilenet_v3_small, 2_542_856),  # table 3: 2.5 million
    ],
)
def test_parameter_counts(build: Callable[..., Backbone], count: int) -> None:
    """Oracle: torchvision's networks where it has them, else the paper's own figure in the comment."""
    assert parameters(meta(build)) == count


@pytest.mark.parametrize(
    ("build", "millions", "published"),
    [
        (resnet.resnet18, 1814, 1800),
        (resnet.resnet34, 3664, 3600),
        (partial(resnet.resnet34, shortcut="A"), 3644, 3600),
        (resnet.resnet50_v1, 3858, 3800),
        (resnet.resnet101_v1, 7570, 7600),
        (resnet.resnet152_v1, 11282, 11300),
        (resnext.resnext50_32x4d, 4230, 4200),
        (mobilenet_v2.mobilenet_v2, 301, 300),
        (mobilenet_v3.mobilenet_v3_large, 217, 219),
        (mobilenet_v3.mobilenet_v3_small, 57, 56),
    ],
)
def test_multiply_adds_are_the_papers(build: Callable[..., Backbone], millions: int, published: int) -> None:
    """Oracle: the tables named in each file; the papers round, and do not say what all they count: within 2 %."""
    count = multiply_adds(meta(build)) / 1e6
    assert round(count) == millions
    assert count == pytest.approx(published, rel=0.02)


def test_the_stride_in_the_3x3_costs_more() -> None:
    """Oracle: by hand. In the first block of stages 2 to 4, only the first 1 x 1 runs at four times the pixels."""
    extra = sum(3 * side**2 * out // 2 * out // 4 for out, side in ((512, 28), (1024, 14), (2048, 7)))
    assert multiply_adds(meta(resnet.resnet50)) - multiply_adds(meta(resnet.resnet50_v1)) == extra


# ResNet


def test_shortcut_options_by_their_weights() -> None:
    """Oracle: a projection has in * out weights and 2 * out of its norm; A has none, B three, C one in each block."""
    a, b, c = (parameters(meta(resnet.resnet18, shortcut=option)) for option in "ABC")
    changing = [(64, 128), (128, 256), (256, 512)]
    keeping = [(64, 64), (64, 64), (128, 128), (256, 256), (512, 512)]
    assert b - a == sum(into * out + 2 * out for into, out in changing)
    assert c - b == sum(into * out + 2 * out for into, out in keeping)
    assert parameters(meta(resnet.resnet18)) == b
    assert not [key for key in meta(resnet.resnet50, shortcut="A").state_dict() if "downsample" in key]
    with pytest.raises(UsageError, match="known are: A, B, C"):
        resnet.resnet18(shortcut="none")


def test_option_a_of_bottlenecks_pads_where_nothing_strides() -> None:
    """Oracle: the first stage of ResNet-50 goes from 64 to 256 channels at the same resolution."""
    shortcut = resnet.padding(64, 256, 1)
    assert shortcut is not None
    inputs = torch.randn(1, 64, 5, 5)
    assert torch.equal(shortcut(inputs), torch.cat([inputs, torch.zeros(1, 192, 5, 5)], 1))
    assert resnet.padding(64, 64, 1) is None
    assert resnet.projection(64, 64, 1) is None
    assert resnet.projection_everywhere(64, 64, 1) is not None


@pytest.mark.parametrize(
    ("plain", "shortcuts"),
    [
        (resnet.plain18, partial(resnet.resnet18, shortcut="A")),
        (resnet.plain34, partial(resnet.resnet34, shortcut="A")),
        (resnet.plain56_cifar, resnet.resnet56_cifar),
    ],
)
def test_plain_networks_have_the_weights_of_option_a(
    plain: Callable[..., Backbone], shortcuts: Callable[..., Backbone]
) -> None:
    """Oracle: section 4.1: no parameter more than the plain counterpart; the state dicts are interchangeable."""
    shapes = [{key: value.shape for key, value in meta(build).state_dict().items()} for build in (plain, shortcuts)]
    assert shapes[0] == shapes[1]


def test_plain_and_basic_block_by_hand() -> None:
    """Oracle: y = relu(F(x)) without, y = relu(F(x) + x) with a shortcut, F written out."""
    torch.manual_seed(0)
    plain, basic = scramble(resnet.PlainBlock(6, 6, 1)), resnet.BasicBlock(6, 6, 1).eval()
    basic.load_state_dict(plain.state_dict())
    inputs = torch.randn(2, 6, 7, 5)
    hidden = normalise(F.conv2d(inputs, basic.conv1.weight, padding=1), basic.bn1).relu()
    residual = normalise(F.conv2d(hidden, basic.conv2.weight, padding=1), basic.bn2)
    torch.testing.assert_close(plain(inputs), residual.relu())
    torch.testing.assert_close(basic(inputs), (residual + inputs).relu())


@pytest.mark.parametrize("stride_first", [True, False])
def test_the_place_of_the_stride(stride_first: bool) -> None:
    """Oracle: a 1 x 1 with stride 2 never reads the odd pixels; a 3 x 3 does. The output shapes are the same."""
    torch.manual_seed(0)
    block = resnet.Bottleneck(8, 16, 2, stride_first=stride_first).eval()
    inputs = torch.randn(1, 8, 8, 8)
    changed = inputs.clone()
    changed[..., 1::2, :] += 1
    changed[..., 1::2] += 1
    assert block(inputs).shape == (1, 16, 4, 4)
    assert torch.equal(block(inputs), block(changed)) == stride_first


@pytest.mark.parametrize("build", [resnet.resnet50, resnext.resnext50_32x4d])
@torch.no_grad()
def test_bottlenecks_begin_as_their_shortcuts(build: Callable[..., Backbone]) -> None:
    """Oracle: Goyal et al. 2017, section 5.1: a residual adds nothing yet, whatever comes in."""
    model = build(10).eval()
    blocks = [module for module in model.modules() if isinstance(module, resnet.Bottleneck)]
    assert len(blocks) == 16
    for block in blocks:
        inputs = torch.randn(1, block.conv1.in_channels, 4, 4)
        shortcut = inputs if block.downsample is None else block.downsample(inputs)
        assert torch.equal(block(inputs), shortcut.relu())


# ResNeXt and wide ResNet


def test_grouped_bottleneck_is_the_sum_of_its_paths() -> None:
    """Oracle: figure 3 (a): each path 1 x 1, 3 x 3, 1 x 1 on its own, by plain convolutions, then all added up."""
    torch.manual_seed(0)
    block = resnet.Bottleneck(24, 32, 1, widen=2, groups=4)
    scramble(block)
    inputs = torch.randn(2, 24, 6, 6)
    total = torch.zeros(2, 32, 6, 6)
    for path in range(4):
        own = slice(4 * path, 4 * path + 4)
        hidden = normalise(F.conv2d(inputs, block.conv1.weight[own]), block.bn1, own).relu()
        hidden = normalise(F.conv2d(hidden, block.conv2.weight[own], padding=1), block.bn2, own).relu()
        total += F.conv2d(hidden, block.conv3.weight[:, own])
    assert isinstance(block.downsample, nn.Sequential)
    shortcut = normalise(F.conv2d(inputs, block.get_parameter("downsample.0.weight")), block.downsample[1])
    torch.testing.assert_close(block(inputs), (normalise(total, block.bn3) + shortcut).relu())


@pytest.mark.parametrize(
    ("build", "groups", "first", "last"),
    [
        (resnext.resnext50_32x4d, 32, 128, 1024),  # table 1
        (resnext.resnext101_32x8d, 32, 256, 2048),
        (resnext.resnext101_64x4d, 64, 256, 2048),
        (wide_resnet.wide_resnet50_2, 1, 128, 1024),  # twice the 64 and 512 of a ResNet
        (wide_resnet.wide_resnet101_2, 1, 128, 1024),
    ],
)
def test_widths_inside_and_outside(build: Callable[..., Backbone], groups: int, first: int, last: int) -> None:
    """Oracle: the paper's width of the 3 x 3 in the first and last stage; outside they are as wide as a ResNet."""
    model = meta(build)
    for stage, width in (("layer1", first), ("layer4", last)):
        convolution = model.get_submodule(f"{stage}.1.conv2")
        assert isinstance(convolution, nn.Conv2d)
        assert (convolution.in_channels, convolution.out_channels, convolution.groups) == (width, width, groups)
    assert model.channels == (256, 512, 1024, 2048)


# DenseNet


def test_dense_connectivity_by_hand() -> None:
    """Oracle: x_l = H([x_0 ... x_l-1]) of equation 2; layer l reads k0 + k (l - 1) channels, and 4k lie within."""
    torch.manual_seed(0)
    block = densenet.DenseBlock(count=3, channels=5, growth=2, dropout=0.0, memory_efficient=False)
    scramble(block)
    inputs = torch.randn(2, 5, 6, 4)
    maps = [inputs]
    for number, layer in enumerate(block, 1):
        assert isinstance(layer, densenet.DenseLayer)
        assert layer.conv1.weight.shape == (4 * 2, 5 + 2 * (number - 1), 1, 1)
        squeezed = F.conv2d(normalise(torch.cat(maps, 1), layer.norm1).relu(), layer.conv1.weight)
        maps.append(F.conv2d(normalise(squeezed, layer.norm2).relu(), layer.conv2.weight, padding=1))
        assert maps[-1].shape == (2, 2, 6, 4)
    torch.testing.assert_close(block(inputs), torch.cat(maps, 1))


def test_each_dense_layer_depends_on_every_former_map() -> None:
    """Oracle: section 3: layer l has l inputs, the block's and what each of the l - 1 layers before it gave."""
    block = densenet.DenseBlock(count=4, channels=3, growth=2, dropout=0.0, memory_efficient=False)
    seen: list[list[Tensor]] = []
    given: list[Tensor] = [torch.randn(2, 3, 5, 5)]
    for layer in block:
        layer.register_forward_pre_hook(lambda layer, inputs: seen.append(list(inputs[0])))
        layer.register_forward_hook(lambda layer, inputs, output: given.append(output))  # pyright: ignore
    block(given[0])
    assert [len(maps) for maps in seen] == [1, 2, 3, 4]
    assert all(map_ is given[index] for maps in seen for index, map_ in enumerate(maps))


def test_transition_halves_channels_and_resolution_by_hand() -> None:
    """Oracle: norm, relu, a 1 x 1 to half the channels (compression 0.5), the mean of each 2 x 2 pixels."""
    torch.manual_seed(0)
    transition = densenet.Transition(10)
    scramble(transition)
    inputs = torch.randn(1, 10, 4, 6)
    halved = F.conv2d(normalise(inputs, transition.norm).relu(), transition.conv.weight)
    assert halved.shape == (1, 5, 4, 6)
    torch.testing.assert_close(transition(inputs), halved.reshape(1, 5, 2, 2, 3, 2).mean((3, 5)))


@pytest.mark.parametrize(
    ("build", "channels"),
    [
        (densenet.densenet121, (256, 512, 1024, 1024)),  # 64 + 6 * 32; half of it + 12 * 32; and so on
        (densenet.densenet169, (256, 512, 1280, 1664)),
        (densenet.densenet201, (256, 512, 1792, 1920)),
        (densenet.densenet161, (384, 768, 2112, 2208)),
        (densenet.densenet_bc_cifar, (216, 300, 342)),  # 24 + 16 * 12; 108 + 192; 150 + 192
    ],
)
def test_dense_channels_by_hand(build: Callable[..., Backbone], channels: tuple[int, ...]) -> None:
    """Oracle: k0 + k times the layers of table 1, halved before each further block."""
    model = meta(build)
    maps = model.maps(torch.empty(1, 3, 64, 64, device="meta"))
    assert model.channels == channels == tuple(feature.shape[1] for feature in maps)
    assert tuple(64 // feature.shape[3] for feature in maps) == model.strides


def dense_net(memory_efficient: bool, depth: int = 16) -> densenet.CifarDenseNet:
    torch.manual_seed(0)
    return densenet.CifarDenseNet(depth, 4, 3, 3, dropout=0.2, memory_efficient=memory_efficient)


@pytest.mark.parametrize("case", ["training", "averaging", "frozen"])
def test_memory_efficient_training_is_the_same_to_the_bit(case: str) -> None:
    """Oracle: the network that keeps everything: loss, gradients, running statistics, counters, later randomness."""
    results = []
    for memory_efficient in (False, True):
        model = dense_net(memory_efficient)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None if case == "averaging" else 0.1
                module.train(case != "frozen")
        torch.manual_seed(1)
        images = torch.randn(6, 3, 16, 16)
        losses = []
        for _ in range(2):
            loss = F.cross_entropy(model(images), torch.arange(6) % 3)
            loss.backward()  # gradients of both steps add up
            losses.append(loss.detach())
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert all(gradient is not None for gradient in gradients.values())
        results.append([*losses, gradients, model.state_dict(), torch.rand(4)])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    counter = results[1][3]["features.denseblock1.denselayer1.norm1.num_batches_tracked"]
    assert counter == (0 if case == "frozen" else 2)


def test_memory_efficient_training_keeps_less() -> None:
    """Oracle: bytes of what the graph holds after the forward pass; the maps that 1 x 1s read are not among them."""
    kept = []
    for memory_efficient in (False, True):
        storages: dict[int, int] = {}

        def note(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = dense_net(memory_efficient, depth=58)(torch.randn(2, 3, 16, 16))
        kept.append(sum(storages.values()))
        out.sum().backward()
    assert kept[1] < 0.6 * kept[0]


def test_memory_efficient_recomputes_only_in_training() -> None:
    """Oracle: what looks at the modules of a network in eval mode (an explanation) sees each of them once."""
    model = dense_net(True).eval()
    uses = []
    relu = model.get_submodule("features.denseblock1.denselayer2.relu1")
    relu.register_forward_hook(lambda module, inputs, output: uses.append(module))
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert len(uses) == 1


def test_old_keys_are_renamed() -> None:
    """Oracle: the keys of the published files, as torchvision renames them when it loads them."""
    old = {
        "features.norm0.weight": torch.zeros(1),
        "features.denseblock1.denselayer1.norm.1.weight": torch.zeros(2),
        "features.denseblock3.denselayer24.norm.2.running_var": torch.zeros(3),
        "features.denseblock4.denselayer16.conv.2.weight": torch.zeros(4),
        "features.transition1.norm.weight": torch.zeros(5),
        "features.transition2.conv.weight": torch.zeros(6),
        "classifier.bias": torch.zeros(7),
    }
    new = densenet.rename_old_keys(old)
    assert list(new) == [
        "features.norm0.weight",
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock3.denselayer24.norm2.running_var",
        "features.denseblock4.denselayer16.conv2.weight",
        "features.transition1.norm.weight",
        "features.transition2.conv.weight",
        "classifier.bias",
    ]
    assert [len(value) for value in new.values()] == list(range(1, 8))
    assert set(new) <= set(meta(densenet.densenet121).state_dict())


# MobileNets


def test_hard_swish_and_hard_sigmoid_by_hand() -> None:
    """Oracle: section 5.2: relu6(x + 3) / 6, and x times that, written out at the kinks and between them."""
    values = torch.tensor([-5.0, -3.0, -1.5, 0.0, 1.0, 3.0, 5.0])
    sigmoid = torch.tensor([0.0, 0.0, 0.25, 0.5, 2 / 3, 1.0, 1.0])
    model = mobilenet_v3.mobilenet_v3_small()
    swishes = [module for module in model.modules() if isinstance(module, nn.Hardswish)]
    scales = [m.scale_activation for m in model.modules() if isinstance(m, mobilenet_v3.SqueezeExcitation)]
    # Table 2: at the first convolution, twice in each of the last eight blocks, at the last convolution, in the head.
    assert len(swishes) == 1 + 2 * 8 + 1 + 1
    assert len(scales) == 9
    for swish in swishes:
        torch.testing.assert_close(swish(values), values * sigmoid)
    for scale in scales:
        torch.testing.assert_close(scale(values), sigmoid)


def test_squeeze_and_excitation_by_hand() -> None:
    """Oracle: the means of the channels, two small matrices with a ReLU between, a weight in [0, 1] a channel."""
    torch.manual_seed(0)
    layer = mobilenet_v3.SqueezeExcitation(32)
    inputs = 3 * torch.randn(2, 32, 5, 4)
    first, second, bias1, bias2 = (
        layer.get_parameter(name) for name in ("fc1.weight", "fc2.weight", "fc1.bias", "fc2.bias")
    )
    hidden = (inputs.mean((2, 3)) @ first[:, :, 0, 0].T + bias1).clamp(min=0)
    weights = ((hidden @ second[:, :, 0, 0].T + bias2 + 3) / 6).clamp(0, 1)
    torch.testing.assert_close(layer(inputs), inputs * weights[:, :, None, None])


@pytest.mark.parametrize(
    ("channels", "squeezed"),
    [(16, 8), (72, 24), (96, 24), (120, 32), (240, 64), (144, 40), (288, 72), (480, 120), (576, 144), (672, 168)],
)
def test_squeezed_to_a_quarter_in_multiples_of_eight(channels: int, squeezed: int) -> None:
    """Oracle: torchvision's state dicts. 18 is nearest to 16, which is less than nine tenths of it: so 24."""
    assert mobilenet_v3.SqueezeExcitation(channels).fc1.out_channels == squeezed


Residual = Callable[[int, int, int], nn.Module]


def second(channels: int, out: int, stride: int) -> nn.Module:
    return mobilenet_v2.InvertedResidual(channels, out, stride, expansion=6)


def third(channels: int, out: int, stride: int) -> nn.Module:
    return mobilenet_v3.InvertedResidual(channels, 5, 6 * channels, out, True, nn.Hardswish, stride)


def last_norm(block: nn.Module) -> nn.BatchNorm2d:
    """The norm after the projection: the last of the block's modules."""
    *_, norm = block.modules()
    assert isinstance(norm, nn.BatchNorm2d)
    return norm


@pytest.mark.parametrize("build", [second, third])
@pytest.mark.parametrize(("out", "stride", "adds"), [(8, 1, True), (16, 1, False), (8, 2, False), (16, 2, False)])
def test_inverted_residual_adds_only_what_has_its_shape(build: Residual, out: int, stride: int, adds: bool) -> None:
    """Oracle: with the residual silenced, the block is the identity if it adds, else zero."""
    block = build(8, out, stride).eval()
    nn.init.zeros_(last_norm(block).weight)
    inputs = torch.randn(1, 8, 6, 6)
    expected = inputs if adds else torch.zeros(1, out, 6 // stride, 6 // stride)
    assert torch.equal(block(inputs), expected)


@pytest.mark.parametrize("build", [second, third])
def test_the_bottleneck_is_linear(build: Residual) -> None:
    """Oracle: nothing follows the last norm: shifting its bias shifts the output by as much, below zero too."""
    torch.manual_seed(0)
    block = build(8, 16, 1).eval()
    inputs = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        before = block(inputs)
        last_norm(block).bias.sub_(100)
        torch.testing.assert_close(block(inputs), before - 100)


def test_inverted_residual_by_hand() -> None:
    """Oracle: 1 x 1 and ReLU6, one 3 x 3 a channel (each by a convolution of its own) and ReLU6, 1 x 1, the input."""
    torch.manual_seed(0)
    block = mobilenet_v2.InvertedResidual(4, 4, 1, expansion=6)
    scramble(block)
    widen, filters, project, norm = block.conv
    assert isinstance(widen, nn.Sequential) and isinstance(filters, nn.Sequential)
    assert isinstance(project, nn.Conv2d)
    inputs = 4 * torch.randn(2, 4, 6, 5)
    wide = normalise(F.conv2d(inputs, block.get_parameter("conv.0.0.weight")), widen[1]).clamp(0, 6)
    assert wide.shape[1] == 24
    assert (wide == 6).any()
    weight = block.get_parameter("conv.1.0.weight")
    each = [F.conv2d(wide[:, [index]], weight[[index]], padding=1) for index in range(24)]
    filtered = normalise(torch.cat(each, 1), filters[1]).clamp(0, 6)
    torch.testing.assert_close(block(inputs), inputs + normalise(F.conv2d(filtered, project.weight), norm))


def test_the_first_block_of_mobilenet_v2_expands_nothing() -> None:
    """Oracle: table 2 (t = 1): 32 channels filtered as they are, then projected to 16."""
    convolutions = [
        (module.in_channels, module.out_channels, module.groups)
        for module in meta(mobilenet_v2.mobilenet_v2).get_submodule("features.1").modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert convolutions == [(32, 32, 32), (32, 16, 1)]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (mobilenet_v2.mobilenet_v2, [(16, 112), (24, 56), (32, 28), (96, 14), (1280, 7)]),
        (mobilenet_v3.mobilenet_v3_large, [(16, 112), (24, 56), (40, 28), (112, 14), (960, 7)]),
        (mobilenet_v3.mobilenet_v3_small, [(16, 112), (16, 56), (24, 28), (48, 14), (576, 7)]),
    ],
)
def test_maps_are_the_last_of_each_resolution(build: Callable[..., Backbone], expected: list[tuple[int, int]]) -> None:
    """Oracle: tables 1 and 2: channels and pixels a side before each row with stride 2, and at the end."""
    model = meta(build)
    maps = model.maps(torch.empty(1, 3, 224, 224, device="meta"))
    assert [(feature.shape[1], feature.shape[3]) for feature in maps] == expected


def test_mobilenet_v3_normalises_slowly() -> None:
    """Oracle: section 6.1.1: batch norms with an average decay of 0.99; torchvision's eps."""
    norms = [module for module in meta(mobilenet_v3.mobilenet_v3_large).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.001, 0.01)}


@pytest.mark.parametrize("constant", [True, False])
def test_only_squeeze_and_excitation_tells_a_dilated_mobilenet_v3_from_the_strided_one(constant: bool) -> None:
    """Oracle: the strided network; with weights of channels that do not depend on the map, equal, else only nearly."""
    torch.manual_seed(0)
    plain = mobilenet_v3.mobilenet_v3_small()
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # strong enough for the weights to differ
    for module in plain.modules():
        if isinstance(module, mobilenet_v3.SqueezeExcitation) and constant:
            nn.init.zeros_(module.fc2.weight)
    scramble(plain)
    dilated = mobilenet_v3.mobilenet_v3_small().eval()
    dilated.load_state_dict(plain.state_dict())
    dilate(dilated, torch.empty(1, 3, 512, 512, device="meta"), 8, run=lambda model, inputs: model.maps(inputs))
    inputs = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        coarse, fine = plain.maps(inputs)[-1], dilated.maps(inputs)[-1]
    assert fine.shape[2:] == (12, 16)
    difference = (fine[..., ::4, ::4] - coarse).abs().max() / coarse.abs().max()
    assert difference < 1e-4 if constant else 1e-3 < difference < 0.5


def test_real_mobilenet_v2_weights(shared: Path, photographs: list[np.ndarray]) -> None:
    """Oracle: a photograph of a Chinese palace and one of a flower, whose like ImageNet calls daisies."""
    state = read_state(shared / "weights" / "mobilenet_v2-imagenet-fp16.safetensors")
    model = mobilenet_v2.mobilenet_v2().eval()
    model.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    names = class_names("imagenet")
    best = []
    for image in photographs:
        values = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        values = F.interpolate(values, size=(256, 384), mode="bilinear", antialias=True)[..., 16:240, 80:304]
        with torch.no_grad():
            best.append([names[index] for index in model(values)[0].topk(2).indices])
    assert best[0][0] == "palace"
    assert "daisy" in best[1]
