"""The Inception family: GoogLeNet in three forms, BN-Inception, Inception v3, Inception-ResNet v2."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones import bn_inception, googlenet, inception_resnet_v2, inception_v3
from saccade.backbones.contract import Backbone
from saccade.backbones.googlenet import BiasedConvolution, Inception, NaiveInception, SpacedMean
from saccade.structures import Batch
from saccade.tasks.classify import Classify

BUILDERS: dict[str, Callable[..., Backbone]] = {
    "googlenet": googlenet.googlenet,
    "googlenet_2014": googlenet.googlenet_2014,
    "googlenet_naive": googlenet.googlenet_naive,
    "bn_inception": bn_inception.bn_inception,
    "inception_v3": inception_v3.inception_v3,
    "inception_resnet_v2": inception_resnet_v2.inception_resnet_v2,
}

# Table 1 of "Going Deeper with Convolutions": K weights (of 1024), million multiply-adds.
TABLE_1 = {
    "conv1": (2.7, 34), "conv2, conv3": (112, 360), "inception3a": (159, 128), "inception3b": (380, 304),
    "inception4a": (364, 73), "inception4b": (437, 88), "inception4c": (463, 100), "inception4d": (580, 119),
    "inception4e": (840, 170), "inception5a": (1072, 54), "inception5b": (1388, 71), "fc": (1000, 1),
}  # fmt: skip


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


@cache
def shell(name: str) -> Backbone:
    """The network without memory for its weights: for counting and for shapes."""
    with torch.device("meta"):
        return BUILDERS[name]().eval()


def weights_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, *shape: int) -> dict[str, int]:
    """Of each convolution and full connection, by name: outputs times the weights that make one of them."""
    work = {}

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            work[name] = output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(partial(note, name)) for name, module in model.named_modules()]
    model(torch.empty(1, *shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return work


@pytest.mark.parametrize(
    ("name", "total", "deployed", "work"),
    [
        ("googlenet", 13_004_888, 6_624_904, 1.498e9),  # torchvision's own count: 6,624,904 and 1.498
        ("googlenet_2014", 13_378_280, 6_998_552, 1.583e9),  # table 1: 6.96 million, 1.502e9 + 0.084e9 (see below)
        ("googlenet_naive", 104_274_376, 97_526_008, 12.568e9),  # the paper has no figure for it
        ("bn_inception", 11_188_288, 11_188_288, 1.935e9),  # Szegedy et al. 2016, table 3: 2.0e9
        ("inception_v3", 27_161_264, 23_834_568, 5.713e9),  # abstract: less than 25 million, 5e9; torchvision: 5.713
        ("inception_resnet_v2", 55_843_464, 55_843_464, 13.156e9),  # the paper has no figure for it
    ],
)
def test_weights_and_work_are_the_papers(name: str, total: int, deployed: int, work: float) -> None:
    """With and without the auxiliary classifiers, against the papers' and torchvision's counts."""
    model = shell(name)
    assert weights_of(model) == total
    auxiliary = [child for key, child in model.named_children() if key in ("aux1", "aux2", "AuxLogits")]
    assert total - sum(map(weights_of, auxiliary)) == deployed
    assert sum(multiply_adds(model, 3, *model.input_size).values()) == pytest.approx(work, rel=5e-4)


def test_googlenet_2014_is_table_1_row_by_row() -> None:
    """Weights (biases aside) and multiply-adds of every row; the three rows that contradict themselves are told."""
    model = shell("googlenet_2014")
    work = multiply_adds(model, 3, 224, 224)
    for row, (kilo, million) in TABLE_1.items():
        prefixes = tuple(f"{part}." for part in row.split(", "))
        filters = sum(p.numel() for key, p in model.named_parameters() if key.startswith(prefixes) and p.ndim > 1)
        operations = sum(count for key, count in work.items() if f"{key}.".startswith(prefixes))
        if row == "conv1":
            assert filters == 7 * 7 * 3 * 64
            assert (kilo, million) == pytest.approx((2712 / 1e3, 112**2 * 2712 / 1e6), rel=0.01)  # a separable one
            assert 2712 == 7 * 7 * 3 * 8 + 3 * 8 * 64
            assert operations == 112**2 * filters
            continue
        assert operations == pytest.approx(1e6 * million, rel={"inception5a": 0.06}.get(row, 0.025))
        slack = {"inception4c": 0.08, "inception5a": 0.06}.get(row, 0.02)
        assert filters == pytest.approx(1024 * kilo, rel=slack)


def test_what_the_reductions_save_by_hand() -> None:
    """(4a), 480 channels on 14 x 14: each branch with and without its 1 x 1, multiplied out."""
    row = (480, 192, 96, 208, 16, 48, 64)
    reduced = multiply_adds(on_meta(lambda: Inception(BiasedConvolution, 5, *row)), 480, 14, 14)
    direct = multiply_adds(on_meta(lambda: NaiveInception(*row)), 480, 14, 14)
    five = reduced["branch3.0.conv"] + reduced["branch3.1.conv"]
    assert five == 196 * (480 * 16 + 16 * 48 * 25) == 5_268_480
    assert direct["branch3.conv"] == 196 * 480 * 48 * 25 == 112_896_000  # 21 times as much
    three = reduced["branch2.0.conv"] + reduced["branch2.1.conv"]
    assert three == 196 * (480 * 96 + 96 * 208 * 9) == 44_255_232
    assert direct["branch2.conv"] == 196 * 480 * 208 * 9 == 176_117_760
    assert reduced["branch1.conv"] == direct["branch1.conv"] == 196 * 480 * 192
    assert sum(direct.values()) > 4 * sum(reduced.values())


def test_naive_module_passes_its_pooled_input_on() -> None:
    """The last channels are the input's own 3 x 3 maxima, so that a module can only grow."""
    torch.manual_seed(0)
    module = NaiveInception(5, 2, 9, 3, 9, 4, 9)
    inputs = torch.randn(1, 5, 6, 7)
    out = module(inputs)
    assert module.channels == out.shape[1] == 2 + 3 + 4 + 5
    assert torch.equal(out[:, -5:], F.max_pool2d(inputs, 3, 1, 1))
    channels = shell("googlenet_naive").channels
    growth = [(64, 128, 32), (128, 192, 96), (192, 208, 48), (160, 224, 64), (128, 256, 64), (112, 288, 64),
              (256, 320, 128), (256, 320, 128), (384, 384, 128)]  # fmt: skip
    grown = 192 + np.cumsum([sum(row) for row in growth])
    assert channels == (64, 192, grown[1], grown[6], grown[8]) == (64, 192, 832, 3344, 4944)


MODULES: list[tuple[Callable[[], nn.Module], int, list[tuple[str, int]]]] = [
    (
        lambda: Inception(BiasedConvolution, 5, 6, 2, 3, 4, 3, 5, 7), 6,
        [("branch1", 2), ("branch2", 4), ("branch3", 5), ("branch4", 7)],
    ),
    (lambda: NaiveInception(6, 2, 3, 4, 3, 5, 7), 6, [("branch1", 2), ("branch2", 4), ("branch3", 5), ("branch4", 6)]),
    (
        lambda: bn_inception.Inception(6, 2, 3, 4, 3, 5, nn.AvgPool2d(3, 1, 1), 7), 6,
        [("branch1x1", 2), ("branch3x3", 4), ("branch_double3x3", 5), ("branch_pool", 7)],
    ),
    (lambda: bn_inception.Reduction(6, 3, 4, 3, 5), 6, [("branch3x3", 4), ("branch_double3x3", 5), ("branch_pool", 6)]),
    (
        lambda: inception_v3.InceptionA(6, 32), 6,
        [("branch1x1", 64), ("branch5x5_2", 64), ("branch3x3dbl_3", 96), ("branch_pool", 32)],
    ),
    (lambda: inception_v3.ReductionA(6), 6, [("branch3x3", 384), ("branch3x3dbl_3", 96), ("pool", 6)]),
    (
        lambda: inception_v3.InceptionB(6, 8), 6,
        [("branch1x1", 192), ("branch7x7_3", 192), ("branch7x7dbl_5", 192), ("branch_pool", 192)],
    ),
    (lambda: inception_v3.ReductionB(6), 6, [("branch3x3_2", 320), ("branch7x7x3_4", 192), ("pool", 6)]),
    (
        lambda: inception_v3.InceptionC(6), 6,
        [
            ("branch1x1", 320), ("branch3x3_2a", 384), ("branch3x3_2b", 384), ("branch3x3dbl_3a", 384),
            ("branch3x3dbl_3b", 384), ("branch_pool", 192),
        ],
    ),
    (inception_resnet_v2._mixed_5b, 192, [("branch0", 96), ("branch1", 64), ("branch2", 96), ("branch3", 64)]),
    (inception_resnet_v2._mixed_6a, 320, [("branch0", 384), ("branch1", 384), ("branch2", 320)]),
    (
        inception_resnet_v2._mixed_7a, 1088,
        [("branch0", 384), ("branch1", 288), ("branch2", 320), ("branch3", 1088)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("build", "channels", "branches"), MODULES)
def test_branches_are_concatenated_in_their_documented_order(
    build: Callable[[], nn.Module], channels: int, branches: Sequence[tuple[str, int]]
) -> None:
    """With all branches but one silenced, only that one's channels answer."""
    module = build().eval()
    inputs = torch.rand(1, channels, 7, 7)
    start = 0
    for speaker, width in branches:
        hooks = [
            module.get_submodule(name).register_forward_hook(lambda module, inputs, output: output * 0)
            for name, _ in branches
            if name != speaker
        ]
        hooks.append(
            module.get_submodule(speaker).register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
        )
        with torch.no_grad():
            out = module(inputs)
        for hook in hooks:
            hook.remove()
        assert torch.equal(out[0].flatten(1).amax(1).nonzero().flatten(), torch.arange(start, start + width))
        start += width
    assert out.shape[1] == start


def test_five_by_five_is_three_by_three_in_torchvisions() -> None:
    sides = {}
    for name in ("googlenet", "googlenet_2014"):
        state = shell(name).state_dict()
        sides[name] = state["inception3a.branch3.1.conv.weight"].shape[2]
    assert sides == {"googlenet": 3, "googlenet_2014": 5}


def test_local_response_normalisation_after_the_first_pool_and_before_the_second() -> None:
    """Figure 3's order of layers; the formula by numpy: x / (1 + 1e-4 / 5 times the squares of 5 channels) ** 0.75."""
    model = googlenet.googlenet_2014(num_classes=2).eval()
    order = []
    for name, child in model.named_children():
        child.register_forward_hook(lambda module, inputs, output, name=name: order.append(name))
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    assert order[:8] == ["conv1", "maxpool1", "norm1", "conv2", "conv3", "norm2", "maxpool2", "inception3a"]
    inputs = 100 * torch.randn(1, 7, 2, 2)
    squares = np.pad(inputs.numpy().astype(float) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    near = sum(squares[:, offset : offset + 7] for offset in range(5))
    for norm in (model.norm1, model.norm2):
        np.testing.assert_allclose(norm(inputs), inputs.numpy() / (1 + 1e-4 / 5 * near) ** 0.75, rtol=1e-5)


def test_spaced_mean_by_hand() -> None:
    """At the paper's sizes the mean of 5 x 5 pixels every 3; below, the image in so many parts."""
    ramp = torch.arange(14.0).expand(1, 1, 14, 14)
    assert torch.equal(SpacedMean(4)(ramp)[0, 0], torch.tensor([2.0, 5, 8, 11]).expand(4, 4))  # centres of 0-4, 3-7 ...
    assert SpacedMean(5)(torch.zeros(1, 1, 17, 17)).shape[2:] == (5, 5)
    assert SpacedMean(5)(torch.zeros(1, 1, 20, 17)).shape[2:] == (6, 5)
    small = SpacedMean(4)(torch.arange(8.0).expand(1, 1, 8, 8))
    assert torch.equal(small[0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    assert SpacedMean(5)(torch.zeros(1, 1, 1, 3)).shape[2:] == (5, 5)


@pytest.mark.parametrize(
    ("name", "size", "count"), [("googlenet", 32, 2), ("googlenet_2014", 32, 2), ("inception_v3", 75, 1)]
)
def test_auxiliary_logits_appear_only_for_a_loss(name: str, size: int, count: int) -> None:
    """`forward` never runs them, in training neither; the main logits are the same either way."""
    torch.manual_seed(0)
    model = BUILDERS[name](num_classes=3)
    calls = []
    for key in ("aux1", "aux2", "AuxLogits"):
        for part in [child for name, child in model.named_children() if name == key]:
            part.register_forward_hook(lambda module, inputs, output: calls.append(module))
    inputs = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert model.train()(inputs).shape == (2, 3)
        assert not calls
        main, *auxiliary = model.eval().training_logits(inputs)
        assert len(calls) == len(auxiliary) == count
        assert torch.equal(main, model(inputs))
    assert all(logits.shape == (2, 3) for logits in auxiliary)
    assert len(BUILDERS[name](num_classes=0).training_logits(inputs)) == 1


@pytest.mark.parametrize(
    ("name", "size", "seen"),
    [
        ("googlenet_2014", 32, {"aux1": "inception4a", "aux2": "inception4d"}),  # section 5: after (4a) and (4d)
        ("inception_v3", 75, {"AuxLogits": "Mixed_6e"}),  # figure 8: on top of the last 17 x 17 layer
    ],
)
def test_what_the_auxiliary_classifiers_look_at(name: str, size: int, seen: dict[str, str]) -> None:
    model, taken, given = BUILDERS[name](num_classes=2).eval(), {}, {}
    for key, source in seen.items():
        classifier, module = model.get_submodule(key), model.get_submodule(source)
        classifier.register_forward_hook(lambda module, inputs, output, key=key: taken.update({key: inputs[0]}))
        module.register_forward_hook(lambda module, inputs, output, key=key: given.update({key: output}))
    with torch.no_grad():
        model.training_logits(torch.rand(1, 3, size, size))
    assert taken.keys() == seen.keys()
    assert all(taken[key] is given[key] for key in seen)


@pytest.mark.parametrize(("name", "size", "weight"), [("googlenet", 32, 0.3), ("inception_v3", 75, 0.4)])
def test_loss_of_the_auxiliary_classifiers_by_hand(name: str, size: int, weight: float) -> None:
    """The weight times the sum of -log softmax at the truth, each averaged over the batch, by numpy."""
    torch.manual_seed(0)
    model = BUILDERS[name](num_classes=3)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs, targets = torch.randn(4, 3, size, size), torch.tensor([0, 2, 1, 1])
    batch = Batch(torch.zeros(4, 3, size, size, dtype=torch.uint8), targets, [], ["a", "b", "c", "d"])
    with torch.no_grad():
        losses = Classify("xyz").loss(model, inputs, batch)
        every = [logits.double().numpy() for logits in model.training_logits(inputs)]
    main, *auxiliary = (np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(4), targets.numpy()]) for z in every)
    assert losses["classification"].item() == pytest.approx(main, rel=1e-5)
    assert losses["auxiliary"].item() == pytest.approx(weight * sum(auxiliary), rel=1e-5)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_learn_from_a_new_head(name: str) -> None:
    """All logits are zero, and every last layer has a gradient to leave zero by."""
    torch.manual_seed(0)
    model = BUILDERS[name](num_classes=3).eval()
    model.reset_head()
    every = model.training_logits(torch.rand(2, 3, 75, 75))
    assert not torch.stack(every).any()
    sum(F.cross_entropy(logits, torch.tensor([0, 1])) for logits in every).backward()
    last = {"googlenet": ["fc", "aux1.fc2", "aux2.fc2"], "inception_v3": ["fc", "AuxLogits.fc"]}[name]
    for key in last:
        gradient = model.get_parameter(f"{key}.weight").grad
        assert gradient is not None and gradient.any()


def test_headless_networks_lack_the_auxiliary_classifiers_too() -> None:
    """What is left is what the maps need, and nothing else."""
    for name in ("googlenet", "inception_v3"):
        whole, bare = shell(name), on_meta(partial(BUILDERS[name], num_classes=0))
        kept = {key for key in whole.state_dict() if not key.startswith(("fc.", "aux1.", "aux2.", "AuxLogits."))}
        assert set(bare.state_dict()) == kept


@pytest.mark.parametrize(
    ("name", "least"),
    [("googlenet", 15), ("googlenet_2014", 31), ("googlenet_naive", 31), ("bn_inception", 1), ("inception_v3", 75),
     ("inception_resnet_v2", 75)],
)  # fmt: skip
def test_smallest_image(name: str, least: int) -> None:
    """As documented: with the auxiliary classifiers too; a pixel less is too small for a filter or a pooling."""
    model = shell(name)
    assert model.training_logits(torch.empty(1, 3, least, least, device="meta"))[0].shape == (1, 1000)
    if least > 1:
        with pytest.raises(RuntimeError):
            model(torch.empty(1, 3, least - 1, least - 1, device="meta"))


def test_first_layer_of_bn_inception_is_separable() -> None:
    """Eight filters see one colour each: changing the third changes only the last eight of 24."""
    torch.manual_seed(0)
    layer = bn_inception.Separable(3, 8, 64)
    assert layer.depthwise.weight.numel() + layer.pointwise.conv.weight.numel() == 2712
    inputs = torch.randn(1, 3, 16, 16)
    other = inputs.clone()
    other[:, 2] += 1
    changed = (layer.depthwise(inputs) != layer.depthwise(other))[0].flatten(1).any(1)
    assert changed.tolist() == [False] * 16 + [True] * 8
    assert layer(inputs).shape == (1, 64, 8, 8)


def test_bn_inception_has_the_output_sizes_of_figure_5() -> None:
    """Every row's height, width and channels at 224 x 224."""
    figure = {"conv1": (112, 64), "maxpool1": (56, 64), "conv2": (56, 192), "maxpool2": (28, 192),
              "inception3a": (28, 256), "inception3b": (28, 320), "inception3c": (14, 576), "inception4a": (14, 576),
              "inception4b": (14, 576), "inception4c": (14, 576), "inception4d": (14, 576), "inception4e": (7, 1024),
              "inception5a": (7, 1024), "inception5b": (7, 1024)}  # fmt: skip
    model = on_meta(bn_inception.bn_inception).eval()
    sizes = {}
    for name, child in model.named_children():
        child.register_forward_hook(lambda module, inputs, output, name=name: sizes.update({name: output.shape[1:]}))
    model(torch.empty(1, 3, 224, 224, device="meta"))
    for name, (side, channels) in figure.items():
        assert sizes[name] == (channels, side, side)


def test_grids_of_inception_v3_and_inception_resnet_v2() -> None:
    """The papers' 35 x 35, 17 x 17 and 8 x 8 from 299 x 299, and 147 and 71 before."""
    for name in ("inception_v3", "inception_resnet_v2"):
        model = shell(name)
        maps = model.maps(torch.empty(1, 3, *model.input_size, device="meta"))
        assert [feature.shape[2] for feature in maps] == [147, 71, 35, 17, 8]


def test_average_pools_at_the_border() -> None:
    """Nine ones, of which the corner sees four: torchvision divides by nine, TensorFlow (and timm) by four."""
    ones = torch.ones(1, 1, 3, 3)
    expected = {"inception_v3": 4 / 9, "bn_inception": 1.0, "inception_resnet_v2": 1.0}
    for name, corner in expected.items():
        model = shell(name)
        pools = [m for key, m in model.named_modules() if isinstance(m, nn.AvgPool2d) and "AuxLogits" not in key]
        assert len(pools) == {"inception_v3": 9, "bn_inception": 7, "inception_resnet_v2": 1}[name]
        for pool in pools:
            assert pool(ones)[0, 0, 0, 0].item() == pytest.approx(corner)


@pytest.mark.parametrize(
    ("build", "channels", "scale"),
    [
        (inception_resnet_v2._block35, 320, 0.17),
        (inception_resnet_v2._block17, 1088, 0.10),
        (partial(inception_resnet_v2._block8, scale=0.20, rectified=True), 2080, 0.20),
        (partial(inception_resnet_v2._block8, scale=1.0, rectified=False), 2080, 1.0),
    ],
)
def test_scaled_residual_by_hand(build: Callable[[], nn.Module], channels: int, scale: float) -> None:
    """With 1 x 1 weights of zero and a bias b, inputs + scale b, negative parts cut off unless it is the last block."""
    torch.manual_seed(0)
    block = build().eval()
    convolution = block.get_submodule("conv2d")
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    nn.init.zeros_(convolution.weight)
    nn.init.normal_(convolution.bias)
    inputs = torch.randn(1, channels, 3, 3)
    with torch.no_grad():
        expected = inputs + scale * convolution.bias[:, None, None]
        assert expected.min() < 0
        expected = expected if scale == 1.0 else expected.clamp(min=0)
        assert torch.allclose(block(inputs), expected, atol=1e-6)


def test_inception_resnet_v2_has_the_released_blocks() -> None:
    """10, 20 and 10 residual modules with scales 0.17, 0.10 and 0.20; the last alone is not scaled, and linear."""
    model = shell("inception_resnet_v2")
    blocks = [module for module in model.modules() if isinstance(module, inception_resnet_v2.Residual)]
    assert [block.scale for block in blocks] == [0.17] * 10 + [0.10] * 20 + [0.20] * 9 + [1.0]
    assert [isinstance(block.relu, nn.ReLU) for block in blocks] == [True] * 39 + [False]


def test_residual_adds_what_its_branches_make() -> None:
    """Two linear branches of one weight each: relu(x + 0.5 (3 (2 x) + 5 (-x))) is 1.5 x for positive x."""
    branches = [nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)]
    block = inception_resnet_v2.Residual(branches, 2, 1, scale=0.5)
    nn.init.constant_(branches[0].weight, 2.0)
    nn.init.constant_(branches[1].weight, -1.0)
    with torch.no_grad():
        block.conv2d.weight.copy_(torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1))
        block.conv2d.bias.zero_()
        out = block(torch.tensor([-1.0, 0, 2]).reshape(1, 1, 1, 3))
    assert out.flatten().tolist() == [0, 0, 3]


def test_googlenet_2014_neither_grows_nor_fades_with_depth() -> None:
    """Without batch norm the start must hold the scale: 22 layers up, noise is still of order one."""
    torch.manual_seed(0)
    model = googlenet.googlenet_2014(num_classes=10).eval()
    with torch.no_grad():
        *maps, last = model.maps(torch.randn(1, 3, 96, 96))
        logits = torch.stack(model.training_logits(torch.randn(1, 3, 96, 96)))
    assert all(0.3 < feature.std() < 10 for feature in [*maps, last])
    assert logits.std() < 3


def test_inception_v3_starts_as_the_reference() -> None:
    """Deviations of 0.1, and 0.01 and 0.001 in the auxiliary classifier."""
    torch.manual_seed(0)
    state = inception_v3.inception_v3(num_classes=50).state_dict()
    for key, deviation in {"Mixed_5b.branch1x1.conv": 0.1, "fc": 0.1, "AuxLogits.conv0.conv": 0.1,
                           "AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.items():  # fmt: skip
        assert state[f"{key}.weight"].std().item() == pytest.approx(deviation, rel=0.05)
