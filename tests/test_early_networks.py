"""AlexNet, ZFNet, NIN, VGG and PReLU-net: each idea by hand, each count against its paper."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones import alexnet, nin, prelu_net, vgg, zfnet
from saccade.backbones.contract import Backbone
from saccade.explain.cam import cam
from saccade.models import create_model

BUILDERS: list[Callable[..., Backbone]] = [
    alexnet.alexnet, alexnet.alexnet_2012, zfnet.zfnet, nin.nin, nin.nin_cifar,
    vgg.vgg11, vgg.vgg11_lrn, vgg.vgg11_bn, vgg.vgg13, vgg.vgg13_bn, vgg.vgg16_c, vgg.vgg16, vgg.vgg16_bn, vgg.vgg19,
    vgg.vgg19_bn, prelu_net.prelu_net_a, prelu_net.prelu_net_b, prelu_net.prelu_net_c,
]  # fmt: skip


def weightless(build: Callable[..., Backbone], **options: int) -> Backbone:
    with torch.device("meta"):
        return build(**options).eval()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def output_sizes(model: Backbone, side: int) -> dict[str, torch.Size]:
    """The shape [C, H, W] or [C] that each filter bank and full connection gives for a picture of side x side."""
    sizes: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, out: sizes.update({name: out.shape[1:]})

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note(name))
    model(torch.empty(1, 3, side, side, device="meta"))
    return sizes


def multiply_adds(model: Backbone) -> int:
    """Of filters and full connections, for a picture of 224 x 224."""
    sizes = output_sizes(model, 224)
    return sum(size.numel() * model.get_parameter(f"{name}.weight")[0].numel() for name, size in sizes.items())


def normalised(values: list[float]) -> list[float]:
    """Section 3.3 of Krizhevsky et al., as it is written: k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    neighbours = [values[max(0, i - 2) : min(len(values) - 1, i + 2) + 1] for i in range(len(values))]
    return [a / (2 + 1e-4 * sum(b * b for b in near)) ** 0.75 for a, near in zip(values, neighbours, strict=True)]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        # 34,944 + 307,456 + 885,120 + 663,936 + 442,624 + 37,752,832 + 16,781,312 + 4,097,000
        (alexnet.alexnet_2012, 60_965_224),
        # 14,208 + 614,656 + 885,120 + 1,327,488 + 884,992 + 37,752,832 + 16,781,312 + 4,097,000
        (zfnet.zfnet, 62_357_608),
        # 34,944 + 2 x 9,312 + 614,656 + 2 x 65,792 + 885,120 + 2 x 147,840 + 3,539,968 + 1,049,600 + 1,025,000
        (nin.nin, 7_595_176),
        # 14,592 + 30,880 + 15,456 + 460,992 + 2 x 37,056 + 331,968 + 37,056 + 1,930
        (nin.nin_cifar, 966_986),
        # 14,208 + 221,440 + 4 x 590,080 + 1,180,160 + 9 x 2,359,808 + 132,124,672 + 16,781,312 + 4,097,000 and the
        # slopes: 96 + 5 x 256 + 10 x 512 + 2 x 4,096
        (prelu_net.prelu_net_a, 178_032_072),
    ],
)
def test_weights_are_counted_by_hand(build: Callable[..., Backbone], expected: int) -> None:
    """Layer by layer, filters times their size plus biases; the first paper says 60 million."""
    assert count(weightless(build)) == expected


@pytest.mark.parametrize(
    ("build", "millions"),
    [(vgg.vgg11, 133), (vgg.vgg11_lrn, 133), (vgg.vgg13, 133), (vgg.vgg16_c, 134), (vgg.vgg16, 138), (vgg.vgg19, 144)],
)
def test_vgg_has_the_weights_of_table_2(build: Callable[..., Backbone], millions: int) -> None:
    assert round(count(weightless(build)) / 1e6) == millions


@pytest.mark.parametrize(
    ("build", "layers", "billions", "tolerance"),
    [
        # He et al. 2016, section 4.1: 15.3 and 19.6 billion; the former leaves out the full connections.
        (vgg.vgg16, 16, 15.3, 0.012),
        (vgg.vgg19, 19, 19.6, 0.005),
        # He et al. 2015, table 3; how C comes to one percent less than its layers add up to, the paper does not say.
        (prelu_net.prelu_net_a, 19, 19.0, 0.005),
        (prelu_net.prelu_net_b, 22, 23.2, 0.005),
        (prelu_net.prelu_net_c, 22, 53.0, 0.01),
    ],
)
def test_depth_and_work_are_the_papers(
    build: Callable[..., Backbone], layers: int, billions: float, tolerance: float
) -> None:
    model = weightless(build)
    assert len(output_sizes(model, 224)) == layers
    assert multiply_adds(model) / 1e9 == pytest.approx(billions, rel=tolerance)


@pytest.mark.parametrize("build", BUILDERS)
def test_the_head_is_what_depends_on_the_classes(build: Callable[..., Backbone]) -> None:
    """Two numbers of classes: exactly the entries that `head` names differ in shape."""
    three, five = weightless(build, num_classes=3), weightless(build, num_classes=5)
    sizes = {key: value.shape for key, value in five.state_dict().items()}
    differ = {key for key, value in three.state_dict().items() if value.shape != sizes[key]}
    assert differ == {key for key in sizes if key.rpartition(".")[0] in three.last_layers}
    assert len(differ) == 2


@pytest.mark.parametrize("side", [224, 227])
def test_alexnet_has_the_neurons_of_figure_2(side: int) -> None:
    """Its caption counts 186,624, 64,896, 64,896, 43,264, 4,096, 4,096 and 1,000 after the first layer.

    For the first it says 253,440, which are not 96 squares; 55 x 55 x 96 is 290,400.
    """
    sizes = output_sizes(weightless(alexnet.alexnet_2012), side)
    neurons = {name: size.numel() for name, size in sizes.items() if name != "conv1"}
    assert list(neurons.values()) == [186_624, 64_896, 64_896, 43_264, 4_096, 4_096, 1_000]
    if side == 224:
        assert sizes["conv1"] == (96, 55, 55)


def test_zfnet_has_the_maps_of_figure_3() -> None:
    """110 filtered and 55 pooled, 26 and 13, 13, 13, 13 and 6 pixels a side."""
    model = weightless(zfnet.zfnet)
    maps = model.maps(torch.empty(1, 3, 224, 224, device="meta"))
    assert [feature.shape[1:] for feature in maps] == [(96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13)]
    assert isinstance(model, zfnet.ZFNet)
    assert model.pool5(maps[-1]).shape[1:] == (256, 6, 6)
    assert {name: size[0] for name, size in output_sizes(model, 224).items()} == {
        "conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256, "fc6": 4096, "fc7": 4096, "fc8": 1000,
    }  # fmt: skip


def test_local_response_normalisation_by_hand() -> None:
    """Large values, so that the neighbours weigh as much as the constant; torch divides alpha, the paper does not."""
    values = [300.0, -50.0, 20.0, 0.0, 700.0, 1.0, -120.0]
    got = alexnet.local_response_norm()(torch.tensor(values).reshape(1, 7, 1, 1)).flatten()
    assert got.tolist() == pytest.approx(normalised(values), rel=1e-5)


def test_normalisation_stands_where_the_papers_have_it() -> None:
    """AlexNet normalises before it pools, ZFNet after, VGG's A-LRN at the end of the first stage, A nowhere."""
    torch.manual_seed(0)
    inputs = 200 * torch.randn(1, 3, 64, 64)
    one, two, three, bare = (build(0).eval() for build in (alexnet.alexnet_2012, zfnet.zfnet, vgg.vgg11_lrn, vgg.vgg11))
    assert isinstance(one, alexnet.AlexNet2012)
    assert isinstance(two, zfnet.ZFNet)
    bare.load_state_dict(three.state_dict())  # the norm has no entries: a file for A fits A-LRN

    def by_hand(feature: Tensor) -> Tensor:
        pixels = feature.permute(0, 2, 3, 1).flatten(0, 2)[:40]
        return torch.tensor([normalised(pixel) for pixel in pixels.tolist()])

    def first_pixels(feature: Tensor) -> Tensor:
        return feature.permute(0, 2, 3, 1).flatten(0, 2)[:40]

    with torch.no_grad():
        for before, after in [
            (F.relu(one.conv1(inputs)), one.maps(inputs)[0]),
            (F.max_pool2d(F.relu(two.conv1(inputs)), 3, 2, ceil_mode=True), two.maps(inputs)[1]),
            (bare.maps(inputs)[0], three.maps(inputs)[0]),
        ]:
            assert torch.allclose(first_pixels(after), by_hand(before), rtol=1e-4, atol=1e-6)


def test_overlapping_pooling_by_hand() -> None:
    """Three by three pixels, two apart: the middle of five by five lies in all four windows, a corner in one."""
    pool = alexnet.alexnet_2012(0).get_submodule("pool1")
    ramp = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert pool(ramp).tolist() == [[[[12, 14], [22, 24]]]]
    for row, column, windows in [(2, 2, 4), (2, 0, 2), (0, 0, 1)]:
        peak = torch.zeros(1, 1, 5, 5)
        peak[..., row, column] = 1
        assert pool(peak).sum() == windows


def test_two_towers_meet_only_where_figure_2_says() -> None:
    """A filter of the upper tower is changed: who notices? In conv3 both towers, in conv2, conv4 and conv5 one."""
    torch.manual_seed(0)
    model = alexnet.alexnet_2012(0).eval()
    assert isinstance(model, alexnet.AlexNet2012)
    inputs = torch.randn(1, 3, 96, 96)
    outputs: dict[str, Tensor] = {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda module, inputs, out, name=name: outputs.update({name: out}))

    def changed(layer: str, next_layer: str) -> tuple[bool, bool]:
        """Whether the upper and the lower half of the next layer's outputs move with the first filter of this one."""
        model.maps(inputs)
        before = outputs[next_layer].chunk(2, 1)
        model.get_parameter(f"{layer}.weight")[0].mul_(-3)
        model.maps(inputs)
        upper, lower = (not torch.equal(a, b) for a, b in zip(before, outputs[next_layer].chunk(2, 1), strict=True))
        return upper, lower

    with torch.no_grad():
        assert changed("conv1", "conv2") == (True, False)
        assert changed("conv2", "conv3") == (True, True)
        assert changed("conv3", "conv4") == (True, False)
        assert changed("conv4", "conv5") == (True, False)


def test_alexnet_starts_as_section_5_says() -> None:
    """Weights gaussian of deviation 0.01; biases one in conv2, conv4, conv5 and the hidden connections, else zero."""
    torch.manual_seed(0)
    model = alexnet.alexnet_2012(2)
    biases = {name.partition(".")[0]: value for name, value in model.named_parameters() if name.endswith("bias")}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert {name for name, bias in biases.items() if torch.equal(bias, torch.ones_like(bias))} == ones
    assert {name for name, bias in biases.items() if not bias.any()} == {"conv1", "conv3", "fc8"}
    for name, weight in model.named_parameters():
        if name in ("conv1.weight", "conv4.weight", "fc7.weight"):
            assert weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_a_perceptron_layer_is_a_perceptron_at_every_pixel() -> None:
    """The 1 x 1 filters are matrices: applied to one pixel's channels by hand they give the map's pixel."""
    torch.manual_seed(0)
    model = nin.nin_cifar(4).eval()
    assert isinstance(model, nin.CifarNIN)
    inputs = torch.randn(1, 3, 12, 10)
    weights = model.state_dict()
    with torch.no_grad():
        patch = F.pad(inputs, (2, 2, 2, 2))[0, :, 3:8, 6:11].flatten()  # the 5 x 5 around row 3, column 6
        hidden = patch
        for layer in (0, 2, 4):
            matrix, bias = weights[f"features.{layer}.weight"].flatten(1), weights[f"features.{layer}.bias"]
            hidden = (matrix @ hidden + bias).clamp(min=0)
        assert torch.allclose(model.maps(inputs)[0][0, :, 3, 6], hidden, rtol=1e-4, atol=1e-5)


def test_logits_are_the_means_of_one_map_a_class() -> None:
    """Section 3.2: no full connections; the last perceptron ends in as many maps as classes, which are averaged."""
    torch.manual_seed(0)
    model = nin.nin_cifar(4).eval()
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    weights = model.state_dict()
    with torch.no_grad():
        model.get_parameter("features.20.bias").zero_()  # so that some pixels are below zero, which the mean leaves out
        coarsest = model.maps(torch.randn(2, 3, 20, 20))[-1]
        maps = torch.einsum("kc,bchw->bkhw", weights["features.20.weight"].flatten(1), coarsest)
        expected = (maps + weights["features.20.bias"][:, None, None]).clamp(min=0).mean((2, 3))
        assert torch.allclose(model.classify(coarsest), expected, rtol=1e-4, atol=1e-6)


def test_nin_keys_are_those_of_the_converted_file() -> None:
    """Filters with their rectifiers, and pooling and dropout, in one row: so the authors' layers are numbered."""
    keys = [int(key.split(".")[1]) for key in weightless(nin.nin).state_dict() if key.endswith("weight")]
    assert keys == [0, 2, 4, 7, 9, 11, 14, 16, 18, 22, 24, 26]


def test_a_new_head_of_nin_learns_from_zero() -> None:
    """Its logits pass a ReLU; at zero none would get a gradient."""
    torch.manual_seed(0)
    for build, size in ((nin.nin_cifar, 12), (nin.nin, 48)):
        model = build(num_classes=3).eval()
        model.reset_head()
        out = model(torch.randn(2, 3, size, size))
        assert torch.equal(out, torch.ones(2, 3))
        F.cross_entropy(out, torch.tensor([0, 1])).backward()
        gradient = model.get_parameter(f"{model.last_layers[0]}.weight").grad
        assert gradient is not None
        assert gradient.flatten(1).abs().sum(1).min() > 0


@pytest.mark.parametrize(("build", "layers", "field"), [(vgg.vgg11, 1, 3), (vgg.vgg13, 2, 5)])
def test_stacked_small_filters_see_as_far_as_one_large(build: Callable[..., Backbone], layers: int, field: int) -> None:
    """Section 2.3: two 3 x 3 see 5 x 5 pixels: the gradient of one output pixel reaches no further."""
    model = build(0)
    assert isinstance(model, vgg.VGG)
    stage = model.features[: model.ends[0]]
    assert sum(isinstance(module, nn.Conv2d) for module in stage.modules()) == layers
    for parameter in stage.parameters():
        nn.init.constant_(parameter, 0.1)  # positive, so that every rectifier lets through
    inputs = torch.ones(1, 3, 11, 11, requires_grad=True)
    stage(inputs)[0, 0, 5, 5].backward()
    assert inputs.grad is not None
    reach = torch.zeros(11, 11)
    reach[5 - field // 2 : 6 + field // 2, 5 - field // 2 : 6 + field // 2] = 1
    assert torch.equal((inputs.grad[0, 0] > 0).float(), reach)


def test_vgg_c_ends_its_last_stages_in_pointwise_filters() -> None:
    """Table 1, column C: 3, 3, then 1 in stages three to five; D and E have nothing but 3."""

    def kernels(build: Callable[..., Backbone]) -> list[int]:
        filters = [module for module in weightless(build).modules() if isinstance(module, nn.Conv2d)]
        return [module.kernel_size[0] for module in filters]

    assert kernels(vgg.vgg16_c) == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]
    assert kernels(vgg.vgg16) == [3] * 13
    assert kernels(vgg.vgg19) == [3] * 16


@pytest.mark.parametrize(("build", "expected"), [(vgg.vgg16, 15_227_688), (vgg.vgg16_bn, 15_236_136)])
def test_vgg_without_full_connections_has_one_layer_behind_its_filters(
    build: Callable[..., Backbone], expected: int
) -> None:
    """14,714,688 in filters, 512 x 1,000 + 1,000 behind them; of norms two a filter, 2 x 4,224."""
    assert count(weightless(build, global_pool=True)) == expected


def test_vgg_without_full_connections_classifies_the_mean_of_its_last_map() -> None:
    """Of 3 x 3 places, none of which a pooling would drop; CAM, which was made for it, says all of the logit."""
    torch.manual_seed(0)
    model = vgg.vgg11(num_classes=3, width=4, global_pool=True).eval()
    inputs, weight = torch.randn(2, 3, 48, 48), model.get_parameter("classifier.weight")
    nn.init.normal_(weight)
    last = model.maps(inputs)[-1]
    assert last.shape[2:] == (3, 3)
    expected = torch.stack([last[:, :, row, column] @ weight.T for row in range(3) for column in range(3)]).mean(0)
    torch.testing.assert_close(model(inputs), expected + model.get_parameter("classifier.bias"))
    torch.testing.assert_close(cam(model, inputs, 1).mean((1, 2)), expected[:, 1])
    model.reset_head()
    assert torch.equal(model(inputs), torch.zeros(2, 3))


def test_a_vgg_without_classes_names_the_layers_of_one_with_them() -> None:
    """FCN gives it its full connections back, and they are not its last layer."""
    assert weightless(vgg.vgg16, num_classes=0).last_layers == weightless(vgg.vgg16).last_layers
    assert weightless(vgg.vgg16, num_classes=0, global_pool=True).last_layers == ("classifier.6",)


def test_vgg_without_full_connections_takes_the_filters_of_one_with_them(tmp_path: Path) -> None:
    whole = vgg.vgg11(num_classes=3, width=4)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    model = create_model("vgg11", 3, tmp_path / "whole.pth", width=4, global_pool=True)
    assert isinstance(model, vgg.VGG)
    for name, value in model.features.state_dict().items():
        assert torch.equal(value, whole.features.state_dict()[name])
    assert not model.get_parameter("classifier.weight").any()


def small_prelu_net(num_classes: int = 0) -> prelu_net.PReLUNet:
    return prelu_net.PReLUNet((64, 64, 64), 2, num_classes, 3, 0.5)


def test_the_slopes_gradient_by_hand() -> None:
    """Equation 3: the sum, over pictures and pixels, of the gradient from above times the inputs below zero."""
    torch.manual_seed(0)
    rectifier = small_prelu_net().prelu1
    assert torch.equal(rectifier.weight, torch.full((96,), 0.25))
    inputs, above = torch.randn(2, 96, 3, 4), torch.randn(2, 96, 3, 4)
    out = rectifier(inputs)
    assert torch.equal(out, torch.where(inputs > 0, inputs, 0.25 * inputs))
    out.backward(above)
    expected = [
        sum(
            above[picture, channel, row, column].item() * inputs[picture, channel, row, column].item()
            for picture in range(2)
            for row in range(3)
            for column in range(4)
            if inputs[picture, channel, row, column] < 0
        )
        for channel in range(96)
    ]
    assert rectifier.weight.grad is not None
    assert rectifier.weight.grad.tolist() == pytest.approx(expected, abs=1e-5)


def test_every_layer_has_slopes_of_its_own() -> None:
    """Table 1 of the paper lists them for each filter bank and both hidden connections, one a channel."""
    for build, layers in ((prelu_net.prelu_net_a, 16), (prelu_net.prelu_net_b, 19), (prelu_net.prelu_net_c, 19)):
        model = weightless(build)
        slopes = [module.num_parameters for module in model.modules() if isinstance(module, nn.PReLU)]
        widths = [size[0] for size in output_sizes(model, 224).values()]
        assert slopes == widths[:-1]
        assert len(slopes) == layers + 2


def test_rectifiers_pass_on_the_strength_of_their_input() -> None:
    """Section 2.2: with variance 2 / ((1 + 0.25^2) n) the mean square of what enters a layer stays what it was."""
    torch.manual_seed(0)
    model = small_prelu_net()
    weight = model.get_parameter("stage2.2.weight")
    assert weight.std().item() == pytest.approx((2 / ((1 + 0.25**2) * 64 * 9)) ** 0.5, rel=0.02)
    hidden = torch.randn(4, 64, 32, 32)
    with torch.no_grad():
        strengths = []
        for layer in (model.stage2[2], model.stage3[0], model.stage3[2]):
            hidden = F.prelu(layer(hidden), torch.full((64,), 0.25))
            strengths.append(hidden[..., 4:-4, 4:-4].square().mean().item())
    assert strengths == pytest.approx([1, 1, 1], rel=0.25)


def test_the_pyramid_by_hand() -> None:
    """On a ramp of 14 x 14 a bin's maximum is its last pixel; bins end at 2, 4 .. 14, or 5, 10, 14, or 7, 14, or 14."""
    ramp = torch.arange(196.0).reshape(1, 1, 14, 14)
    ends = [[2, 4, 6, 8, 10, 12, 14], [5, 10, 14], [7, 14], [14]]
    expected = [14.0 * (row - 1) + column - 1 for level in ends for row in level for column in level]
    pyramid = prelu_net.SpatialPyramid()
    assert pyramid(ramp).tolist() == [expected]
    for height, width in ((14, 14), (10, 13), (4, 3)):
        assert pyramid(torch.zeros(2, 5, height, width)).shape == (2, 5 * 63)
