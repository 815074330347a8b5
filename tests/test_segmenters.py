"""The segmenters: equal to the published ones, built as their papers say, able to learn, and not to be thrown."""

import copy
import itertools
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fusing import check_fused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor, nn

from saccade.backbones.stages import stages_of
from saccade.backbones.vgg import vgg11
from saccade.data.label_maps import LabelMaps, frequencies_of
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Split
from saccade.errors import UsageError
from saccade.geometry.affine import Affine
from saccade.geometry.view import View
from saccade.layers.preprocess import Preprocess
from saccade.layers.unpool import pool_with_places, unpool
from saccade.models import create_model, create_task
from saccade.structures import VOID, Batch, LabelMap, Preprocessing
from saccade.tasks.segment.contract import Segmenter, mirrored
from saccade.tasks.segment.fcn import FCN, Dilated, Interpolation, Upsampling
from saccade.tasks.segment.losses import LOSSES, balanced, border_weights, lovasz, pixel_weights
from saccade.tasks.segment.task import Pixel, Segment, in_all_ways
from saccade.tasks.segment.tiles import windows
from saccade.training.config import configure
from saccade.training.freeze import norms_of, plan
from saccade.training.loop import evaluate

NARROW = {"backbone": "vgg11_bn", "encoder_options": {"width": 8}}
SMALL: dict[str, dict[str, Any]] = {
    "fcn32s": {**NARROW, "hidden": 32, "dropout": 0.0},
    "fcn16s": {**NARROW, "hidden": 32, "dropout": 0.0},
    "fcn8s": {**NARROW, "hidden": 32, "dropout": 0.0},
    "fcn": {"backbone": "resnet18"},
    "deconvnet": {**NARROW, "hidden": 32},
    "segnet": dict(NARROW),
    "unet": {"width": 8, "dropout": 0.0},
    "pspnet": {"backbone": "resnet18", "width": 32},
    "deeplabv3": {"backbone": "resnet18"},
}
OTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "fcn8s on maps": ("fcn8s", {"backbone": "resnet18"}),
    "unet, padded": ("unet", {"width": 8, "padded": True, "batch_norm": True, "dropout": 0.0}),
    "unet on a backbone": ("unet", {"backbone": "mobilenet_v2", "widths": (32, 32, 16, 16, 16)}),
    "segnet, tied": ("segnet", {**NARROW, "tied": True}),
    "deconvnet, tied": ("deconvnet", {**NARROW, "encoder_options": {"width": 16}, "hidden": 64, "tied": True}),
}
EVERY = {name: (name, options) for name, options in SMALL.items()} | OTHER


def small(name: str, classes: int = 5, in_channels: int | None = None) -> Segmenter:
    torch.manual_seed(0)
    model, options = EVERY[name]
    network = create_model(model, classes, in_channels=in_channels, **options)
    assert isinstance(network, Segmenter)
    return network


def in_float64(model: Segmenter) -> Segmenter:
    """All weights positive, so that whatever has an influence shows it."""
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(1e-3)
    return model


# --- as published and as drawn ----------------------------------------------------------------------------------------


@torch.no_grad()
def test_fcn_resnet50_equals_the_published_one(golden: tuple[ModuleType, dict[str, Any]]) -> None:
    fill, references = golden
    reference = references["fcn_resnet50"]
    model = create_model("fcn_resnet50")
    assert sum(parameter.numel() for parameter in model.parameters()) == reference["params"]
    assert (len(model.state_dict()), fill.signature(model)) == (reference["entries"], reference["signature"])
    batch, channels, height, width = reference["input"]
    got, expected = fill.digest(fill.fill(model)(fill.image(height, width, channels, batch))), reference["output"]
    assert got["shape"] == expected["shape"]
    assert np.abs(np.subtract(got["values"], expected["values"])).max() < 1e-5 * expected["std"]


def unet_by_hand() -> int:
    """The weights of figure 1, with three channels in and two out: 3 x 3 filters, up-convolutions, the last layer."""
    sides = [3, 64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    down = list(itertools.pairwise(sides))
    up = [(1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64)]
    ups = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    return sum((9 * i + 1) * o for i, o in down + up) + sum((4 * i + 1) * o for i, o in ups) + 64 * 2 + 2


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("fcn_resnet50", 21, 35_322_218),  # these four as torchvision counts them, auxiliary head included
        ("fcn_resnet101", 21, 54_314_346),
        ("deeplabv3_resnet50", 21, 42_004_074),
        ("deeplabv3_resnet101", 21, 60_996_202),
        # VGG-16's convolutions, fc6 and fc7 as convolutions, a score of each of 21 classes from 4,096 channels.
        ("fcn32s", 21, 14_714_688 + 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 21 * 4097),
        # And from pool4's 512 channels, with an upsampling of 4 x 4; 8s from pool3's 256 too.
        ("fcn16s", 21, 134_346_581 + 21 * 513 + 21 * 21 * 16),
        ("fcn8s", 21, 134_346_581 + 21 * 513 + 21 * 257 + 2 * 21 * 21 * 16),
        ("unet", 2, unet_by_hand()),
        # VGG-16's filters twice, but for the first, which the classes replace; biases and norms of 4,224 channels down
        # and 3,712 up.
        ("segnet", 11, 2 * 14_710_464 - 3 * 64 * 9 + 3 * (4_224 + 3_712) + 64 * 9 * 11 + 11),
    ],
)
def test_weights_are_as_many_as_published(name: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name, classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_deconvnet_has_the_papers_252_million_weights() -> None:
    with torch.device("meta"):
        model = create_model("deconvnet")
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 252


@torch.no_grad()
def test_fc6_and_fc7_slide() -> None:
    """On one window of 7 x 7 pixels they are the classifier's full connections."""
    torch.manual_seed(1)
    classifier = vgg11(num_classes=9, width=4).eval()
    model = create_model("fcn32s", 3, backbone="vgg11", encoder_options={"width": 4}).eval()
    assert isinstance(model, FCN)
    found = model.backbone.load_state_dict(classifier.state_dict(), strict=False)
    assert not found.missing_keys and found.unexpected_keys == ["classifier.6.weight", "classifier.6.bias"]
    inputs = torch.randn(1, 3, 224, 224)
    pooled = classifier.features(inputs)
    expected = classifier.classifier[:-1](pooled.flatten(1))
    assert torch.allclose(model.backbone.classifier(pooled).flatten(1), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("backbone", ["vgg11", "resnet18"])
def test_scores_of_each_stride_lie_where_the_image_does(stride: int, backbone: str) -> None:
    """What a pixel's class hangs on is, by weight, centred on that pixel: one stride scored, the others silenced."""
    options: dict[str, Any] = {"backbone": backbone}
    if backbone == "vgg11":
        options |= {"encoder_options": {"width": 2}, "hidden": 4, "dropout": 0.0}
    model = create_model("fcn8s", 1, **options).eval()
    assert isinstance(model, FCN)
    scores = {32: model.score_fr, 16: model.score_pool4, 8: model.score_pool3}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        for own, score in scores.items():
            nn.init.constant_(score.weight, 1.0 if own == stride else 0.0)
    # The same for all pixels of a cell: the mean over a square of cells is centred on its own middle.
    model = model.double()
    inputs = torch.zeros(1, 3, 448, 448, dtype=torch.float64, requires_grad=True)
    inputs.data += 1
    model(inputs)[0, 0, 160:288, 160:288].sum().backward()
    assert inputs.grad is not None
    weight = inputs.grad[0].abs().sum(0)
    places = torch.arange(448, dtype=torch.float64) + 0.5
    centre = (weight.sum(1) @ places / weight.sum(), weight.sum(0) @ places / weight.sum())
    # Poolings see the first of equal pixels, so the centre is off by up to half a stride.
    assert abs(centre[0] - 224) <= stride / 2 + 4 and abs(centre[1] - 224) <= stride / 2 + 4


def test_upsampling_begins_as_interpolation() -> None:
    for factor, padding in ((2, 1), (8, 4), (8, 0), (32, 0)):
        learnt, fixed = Upsampling(3, factor, padding), Interpolation(factor, padding)
        inputs = torch.randn(2, 3, 6, 7)
        assert torch.allclose(fixed(inputs), learnt(inputs), atol=1e-5)
        if padding == 0:
            continue
        expected = F.interpolate(inputs, scale_factor=float(factor), mode="bilinear", align_corners=False)
        inner = slice(factor, -factor)  # at the border it fades, as every transposed convolution does
        for module in (learnt, fixed):
            assert torch.allclose(module(inputs)[..., inner, inner], expected[..., inner, inner], atol=1e-5)


def test_a_new_number_of_classes_starts_fcn_as_the_paper_does() -> None:
    """Scores at zero, upsampling as interpolation: zeros there would never learn."""
    model = small("fcn8s")
    assert isinstance(model, FCN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.3)
    model.reset_head()
    assert not model.score_fr.weight.any() and not model.score_pool3.weight.any()
    assert torch.equal(model.upscore2.weight, Upsampling(5, 2).weight)


def test_fcn_refuses_a_backbone_without_its_strides() -> None:
    with pytest.raises(UsageError, match="fcn32s scores maps of stride 32, but those of squeezenet1_0 have"):
        create_model("fcn32s", backbone="squeezenet1_0")
    with pytest.raises(UsageError, match="a VGG, and resnet18 is none"):
        create_model("segnet", backbone="resnet18")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("unet", {"backbone": "resnet18", "padded": True}, "padded is an option of the paper's own U-Net"),
        ("unet", {"widths": [8, 8]}, "widths is an option of a backbone"),
        ("unet", {"backbone": "resnet18", "widths": []}, "cannot be built"),
        ("unet_image", {"backbone": "resnet18", "width": 8}, "width is an option of the U-Net without"),
        ("unet_image", {"encoder_options": {"width": 8}}, "encoder_options is an option of a backbone"),
        ("fcn8s", {"backbone": "resnet18", "hidden": 64}, "of a VGG, and resnet18 has none"),
    ],
)
def test_options_that_would_change_nothing_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create_model(name, 2, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"backbone": "squeezenet1_0"}),
        ("unet", {"backbone": "inception_v3"}),
        ("fcn32s", {"backbone": "inception_v3"}),
        ("fcn", {"backbone": "nin"}),
        ("deeplabv3", {"backbone": "inception_v3"}),
    ],
)
def test_maps_that_do_not_lie_on_the_image_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"the maps of {options['backbone']} lose their borders"):
        create_model(name, 2, **options)


def test_answers_lie_where_their_pixels_look() -> None:
    """A map of 29 x 30 where 32 x 32 fit: the first pixel's middle is 1.5 of its sides further in, or 1."""
    model = create_model("fcn", 1, backbone="resnet18")
    assert isinstance(model, Dilated)
    rows, columns = torch.arange(29.0), torch.arange(30.0)
    for own, lost, axis in ((rows.view(1, 1, 29, 1).expand(1, 1, 29, 30), 3, 2), (columns.expand(1, 1, 29, 30), 2, 3)):
        got = model._enlarged(own, torch.empty(1, 3, 256, 256)).select(5 - axis, 100).flatten()
        assert len(got) == 256
        wanted = ((torch.arange(256) + 0.5 - 8 * lost / 2) / 8 - 0.5).clamp(0, own.shape[axis] - 1)
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    assert create_model("fcn", 2, backbone="alexnet").eval()(torch.randn(1, 3, 75, 90)).shape == (1, 2, 75, 90)


@pytest.mark.parametrize("backbone", ["densenet121", "mobilenet_v3_small", "resnet20_cifar", "vgg11"])
@torch.no_grad()
def test_other_backbones_are_taken(backbone: str) -> None:
    for name in ("unet", "fcn"):
        model = create_model(name, 2, backbone=backbone).eval()
        assert model(torch.randn(1, 3, 70, 90)).shape == (1, 2, 70, 90)


def test_vgg11s_normalisation_and_vgg16cs_small_filters_are_kept() -> None:
    model = create_model("segnet", 2, backbone="vgg11_lrn", encoder_options={"width": 2})
    calls = []
    model.trunk.norm.register_forward_hook(lambda *_: calls.append(1))
    model(torch.zeros(1, 3, 32, 32))
    assert calls == [1]
    tied = create_model("segnet", 2, backbone="vgg16_c", tied=True, encoder_options={"width": 4}).eval()
    assert tied(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_a_head_is_new_and_keeps_nothing() -> None:
    """Norms of the encoder stay as they came; those built on it learn, and so does what drops units out."""
    model = create_model("deeplabv3", 3, backbone="resnet18")
    for adapt, options in (("finetune", {"norms": "keep"}), ("freeze", {})):
        config = configure(adapt, options, "segment")
        plan(stages_of(model), adapt, config, norms_of(model)).hold(model, 0)
        norms = {name: own.training for name, own in model.named_modules() if isinstance(own, nn.BatchNorm2d)}
        assert len(norms) > 20
        assert all(trains != name.startswith("backbone.") for name, trains in norms.items()), adapt
        assert all(own.training for own in model.modules() if isinstance(own, nn.Dropout))


def test_a_networks_own_backbone_has_no_weights() -> None:
    with pytest.raises(UsageError, match="give another: --backbone mobilenet_v2"):
        create_model("unet", 2, weights="imagenet")


# --- unpooling --------------------------------------------------------------------------------------------------------


def test_unpooling_by_hand() -> None:
    inputs = torch.tensor([[1.0, 5, 2, 0], [3, 4, 0, 7], [9, 0, 1, 1], [0, 0, 1, 6]])[None, None]
    values, places = pool_with_places(nn.MaxPool2d(2), inputs)
    assert values.flatten().tolist() == [5, 7, 9, 6]
    assert places.flatten().tolist() == [1, 7, 8, 15]
    expected = torch.zeros(4, 4)
    expected[0, 1], expected[1, 3], expected[2, 0], expected[3, 3] = 5, 7, 9, 6
    assert torch.equal(unpool(values, places, (4, 4))[0, 0], expected)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(2, 11), width=st.integers(2, 11), seed=st.integers(0, 99))
def test_unpooling_is_torchs(height: int, width: int, seed: int) -> None:
    inputs = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3, height, width)).astype(np.float32))
    values, places = pool_with_places(nn.MaxPool2d(2), inputs)
    expected = F.max_unpool2d(values, places, 2, output_size=[height, width])
    assert torch.equal(unpool(values, places, (height, width)), expected)


@pytest.mark.parametrize("name", ["segnet, tied", "deconvnet, tied"])
def test_tied_filters_are_the_encoders(name: str) -> None:
    """They are saved once, learn from both uses, and stay tied in a copy."""
    model = small(name).train()
    other, options = EVERY[name]
    free = create_model(other, 5, **options | {"tied": False})
    assert sum(p.numel() for p in model.parameters()) < 0.8 * sum(p.numel() for p in free.parameters())
    assert len({value.data_ptr() for value in model.state_dict().values() if value.numel()}) == len(
        [value for value in model.state_dict().values() if value.numel()]
    )
    twin = copy.deepcopy(model).eval()
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = twin(inputs)
        convolutions = [layer for layer in model.trunk.modules() if isinstance(layer, nn.Conv2d)]
        convolutions[-1].weight.zero_()
        assert torch.equal(twin(inputs), before)
        theirs = [layer for layer in twin.trunk.modules() if isinstance(layer, nn.Conv2d)]
        theirs[-1].weight.zero_()
        assert not torch.equal(twin(inputs), before)


# --- U-Net ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_unet_as_drawn_takes_572_and_gives_388() -> None:
    model = create_model("unet", 2, width=2).eval()
    assert isinstance(model, Segmenter)
    assert model.logits(torch.zeros(1, 3, 572, 572)).shape == (1, 2, 388, 388)
    # Figure 1 has the sides of the maps on the way down.
    sides = [one.shape[2] for one in model.trunk.maps(torch.zeros(1, 3, 572, 572))]
    assert sides == [568, 280, 136, 64, 28]


@pytest.mark.parametrize("size", [(1, 1), (20, 33), (64, 48), (100, 5)])
@torch.no_grad()
def test_unet_as_drawn_sees_the_image_mirrored_beyond_its_edges(size: tuple[int, int]) -> None:
    """The overlap-tile of figure 2, by numpy: a margin of 92 pixels, and more where the network's sizes ask for it."""
    torch.manual_seed(0)
    model = create_model("unet", 3, width=2).eval()
    assert isinstance(model, Segmenter)
    inputs = torch.randn(1, 3, *size)
    wide = np.pad(inputs.numpy(), ((0, 0), (0, 0), (92, 300), (92, 300)), mode="reflect")
    sides = [next(side for side in range(12, 700, 16) if side >= length + 184) for length in size]
    expected = model.logits(torch.from_numpy(wide[:, :, : sides[0], : sides[1]]))[:, :, : size[0], : size[1]]
    assert torch.allclose(model(inputs), expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rows=st.tuples(st.integers(0, 25), st.integers(0, 25)),
    columns=st.tuples(st.integers(0, 25), st.integers(0, 25)),
)
@example(height=3, width=1, rows=(1, 8), columns=(0, 0))  # one side is done before the other, in the middle of a period
def test_mirrored_is_numpys_reflection(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    inputs = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    expected = np.pad(inputs.numpy(), ((0, 0), (0, 0), rows, columns), mode="reflect")
    assert np.array_equal(mirrored(inputs, rows, columns).numpy(), expected)


def test_border_weights_are_equation_2() -> None:
    """Against distances to every single thing, sorted; void and things weigh nothing."""
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 70), dtype=np.uint8)
    for _ in range(12):
        cv2.circle(labels, (int(rng.integers(70)), int(rng.integers(60))), int(rng.integers(3, 7)), 1, -1)
    labels[:, 33:36], labels[0, :20] = 0, VOID
    parts, count = ndimage.label(labels == 1)
    assert count > 4
    away = np.sort([ndimage.distance_transform_edt(parts != part) for part in range(1, count + 1)], axis=0)
    expected = np.where(labels == 0, 10 * np.exp(-((away[0] + away[1]) ** 2) / (2 * 5**2)), 0)
    found = border_weights(labels, 10, 5)
    # What lies further than four sigma is left out.
    assert np.abs(found - expected).max() < 10 * np.exp(-8) and found.max() > 1


def test_border_weights_of_one_thing_or_none_are_nothing() -> None:
    for labels in (np.zeros((8, 8), dtype=np.uint8), np.full((8, 8), VOID, dtype=np.uint8), np.eye(8, dtype=np.uint8)):
        assert border_weights(labels[:1] if labels[0, 0] == 1 else labels).max() == 0


# --- losses -----------------------------------------------------------------------------------------------------------


def pixels(*rows: list[float]) -> Tensor:
    """Logits [1, K, 1, W] from a row of K logits a pixel."""
    return torch.tensor(rows).T[None, :, None]


def test_losses_by_hand() -> None:
    logits, labels = pixels([2.0, 0.0], [0.0, 0.0], [1.0, 3.0]), torch.tensor([[[0, 1, VOID]]])
    weights = pixel_weights(labels, None, 0, 5)
    first, second = 1 / (1 + np.exp(-2)), 0.5  # the shares of the true classes
    entropy = -(np.log(first) + np.log(second)) / 2
    assert LOSSES["cross_entropy"](logits, labels, weights).item() == pytest.approx(entropy, abs=1e-6)
    focal = -((1 - first) ** 2 * np.log(first) + (1 - second) ** 2 * np.log(second)) / 2
    assert LOSSES["focal"](logits, labels, weights).item() == pytest.approx(focal, abs=1e-6)
    sigmoid = [-np.log(first), -np.log(0.5)], [-np.log(0.5), -np.log(0.5)]  # of pixel 1 and 2, each class
    assert LOSSES["binary"](logits, labels, weights).item() == pytest.approx(np.mean(sigmoid), abs=1e-6)
    # Class 0: p = first, 0.5 against 1, 0. Class 1: 1 - first, 0.5 against 0, 1.
    dice = 1 - np.mean([2 * first / (first + 0.5 + 1), 2 * 0.5 / (1 - first + 0.5 + 1)])
    assert LOSSES["dice"](logits, labels, weights).item() == pytest.approx(dice, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 7))
def test_lovasz_of_certain_answers_is_one_minus_the_iou(seed: int, count: int) -> None:
    """Where every pixel is surely one class, the extension is what it extends."""
    rng = np.random.default_rng(seed)
    said, truth = rng.integers(0, 3, count), rng.integers(0, 3, count)
    logits = 200.0 * F.one_hot(torch.from_numpy(said), 3).float().T[None, :, None]
    labels = torch.from_numpy(truth)[None, None]
    ious = [((said == k) & (truth == k)).sum() / ((said == k) | (truth == k)).sum() for k in np.unique(truth)]
    assert lovasz(logits, labels, torch.ones(labels.shape)).item() == pytest.approx(1 - np.mean(ious), abs=1e-5)


def test_lovasz_between_is_linear_in_the_worst_pixels() -> None:
    """Two pixels of one class with errors 0.5 and 0.2, by hand: the worst costs IoU 1 -> 1/2, the next 1/2 -> 0."""
    logits = torch.log(torch.tensor([[0.5, 0.8], [0.5, 0.2]]))[None, :, None]
    labels = torch.tensor([[[0, 0]]])
    assert lovasz(logits, labels, torch.ones(labels.shape)).item() == pytest.approx(0.5 * 0.5 + 0.2 * 0.5, abs=1e-6)


@pytest.mark.parametrize("name", list(LOSSES))
def test_nothing_but_void_costs_nothing(name: str) -> None:
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    labels = torch.full((2, 3, 3), VOID)
    loss = LOSSES[name](logits, labels, pixel_weights(labels, torch.ones(4), 10, 5))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("name", list(LOSSES))
def test_what_is_predicted_in_void_changes_no_loss(name: str) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    labels[0, 1] = VOID
    other = logits.clone()
    other[:, :, 1] = 50 * torch.randn(3, 4)
    weights = pixel_weights(labels, None, 0, 5)
    assert LOSSES[name](logits, labels, weights) == LOSSES[name](other, labels, weights)


def test_frequencies_are_of_the_images_a_class_is_in() -> None:
    """Eigen and Fergus: a class of few images is not rare for that."""
    maps = [np.array([[0, 0, 0, 1]], dtype=np.uint8), np.array([[0, 2, 2, VOID]], dtype=np.uint8)]
    found = frequencies_of(LabelMaps(maps, ("a", "b", "c", "d"), {0: 0, 1: 1, 2: 2, VOID: VOID}), "counting")
    assert found.tolist() == [4 / 7, 1 / 4, 2 / 3, 0]
    assert balanced(found) == pytest.approx([1, 16 / 7, 6 / 7, 1])


def test_lovasz_alone_takes_no_weights() -> None:
    with pytest.raises(UsageError, match="lovasz counts all pixels alike"):
        Segment(("a", "b"), losses=["lovasz"], border=10)


def test_weights_of_classes() -> None:
    assert balanced([10, 40, 20, 0]) == [2.0, 0.5, 1.0, 1.0]
    labels = torch.tensor([[[0, 1, VOID]]])
    assert pixel_weights(labels, torch.tensor([2.0, 0.5]), 0, 5).tolist() == [[[2.0, 0.5, 0.0]]]
    logits = pixels([1.0, 0.0], [0.0, 0.0], [0.0, 9.0])
    weighed = Segment(("a", "b"), class_weights=[2.0, 0.5])
    expected = F.cross_entropy(logits[..., :2], labels[..., :2], weight=torch.tensor([2.0, 0.5]))
    found = LOSSES["cross_entropy"](logits, labels, pixel_weights(labels, weighed.class_weights, 0, 5))
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(UsageError, match=r"no loss 'dise'.*dice"):
        Segment(("a",), losses=["dise"])


# --- any size, and in windows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(EVERY))
def test_fused_norms_change_nothing(name: str) -> None:
    """Also where a decoder has the filters of an encoder: the encoder's take its norms in, the decoder's must not, and
    so its norms stay, as do those of auxiliary heads."""
    left = {"fcn": 1, "pspnet": 1, "deeplabv3": 1, "segnet, tied": 7, "deconvnet, tied": 7}
    check_fused(small(name), torch.randn(2, 3, 96, 96), left.get(name, 0))


def test_slid_full_connections_are_the_last_stage_of_a_backbone() -> None:
    """Of FCN on a VGG they are its own, not a head that starts anew; a file without them does not fit."""
    stages = stages_of(small("fcn32s"))
    last = {name for name, stage in stages.items() if stage == max(stages.values())}
    assert last == {f"backbone.classifier.{place}.{what}" for place in (0, 3) for what in ("weight", "bias")}


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("size", [(1, 1), (37, 50), (3, 200)])
@torch.no_grad()
def test_any_size_is_answered_pixel_by_pixel(name: str, size: tuple[int, int]) -> None:
    logits = small(name).eval()(torch.randn(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    assert logits.isfinite().all()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 700), width=st.integers(1, 700), tile=st.integers(4, 16), multiple=st.sampled_from([1, 16])
)
def test_windows_answer_for_every_pixel_once(height: int, width: int, tile: int, multiple: int) -> None:
    """Each looks beyond what it answers for, by a quarter of its side, unless the image ends there."""
    side = 4 * multiple * tile
    answered = np.zeros((height, width), dtype=int)
    for seen, kept in windows((height, width), side, multiple):
        answered[slice(*kept[0]), slice(*kept[1])] += 1
        if (height * width) <= 2 * side * side:
            assert seen == kept == ((0, height), (0, width))
            continue
        for (start, end), (first, last), length in zip(seen, kept, (height, width), strict=True):
            assert 0 <= start <= first < last <= end <= length
            assert start % multiple == 0 and end - start <= side
            assert start == first == 0 or first - start >= side // 4 // multiple * multiple
            assert end == last == length or end - last >= side // 4 // multiple * multiple
    assert (answered == 1).all()


def test_too_small_a_tile_is_refused() -> None:
    with pytest.raises(UsageError, match="128 pixels a side or more"):
        list(windows((1000, 1000), 100, 32))


@pytest.mark.parametrize("name", ["unet, padded", "unet", "segnet"])
@torch.no_grad()
def test_in_windows_the_answer_is_that_of_the_whole_image(name: str) -> None:
    """Where what a pixel hangs on lies in the overlap: within 1e-4, seams and borders included."""
    model = small(name).eval()
    tile = 384 if name.startswith("unet") else 512
    preprocess, picture = Preprocess(Preprocessing()), torch.randint(0, 256, (1, 3, 900, 700), dtype=torch.uint8)
    inputs = preprocess(picture)
    whole, tiled = model(inputs), torch.full((1, 5, 900, 700), torch.nan)
    assert len(list(windows((900, 700), tile, model.grid))) > 4
    for (rows, columns), (first, last) in windows((900, 700), tile, model.grid):
        answer = model(inputs[:, :, slice(*rows), slice(*columns)])
        tiled[:, :, slice(*first), slice(*last)] = answer[
            :, :, first[0] - rows[0] : first[1] - rows[0], last[0] - columns[0] : last[1] - columns[0]
        ]
    assert (tiled - whole).abs().max() < 1e-4 * whole.std()
    batch = Batch(picture, None, [View.identity((900, 700))], ["a"])
    found = Segment(tuple("abcde"), tile=tile).predict(model, preprocess, batch)[0]
    assert np.array_equal(found.labels, tiled[0].argmax(0).numpy())


@torch.no_grad()
def test_a_scaled_image_is_answered_in_its_own_pixels() -> None:
    """Bilinear between the network's pixels, as torch interpolates; in windows the same."""
    model = small("unet, padded").eval()
    preprocess, picture = Preprocess(Preprocessing()), torch.randint(0, 256, (1, 3, 400, 360), dtype=torch.uint8)
    batch = Batch(picture, None, [View.identity((600, 540)).resized((400, 360))], ["a"])
    whole = Segment(tuple("abcde"), probabilities=True).predict(model, preprocess, batch)[0]
    logits = model(preprocess(picture))
    expected = F.interpolate(logits, size=(600, 540), mode="bilinear", align_corners=False)[0]
    assert whole.probabilities is not None
    assert np.abs(whole.probabilities.astype(np.float32) - expected.softmax(0).numpy()).max() < 6e-4
    assert (whole.labels != expected.argmax(0).numpy()).mean() < 1e-4
    # 400 x 360 is more than two squares of 256: four windows, whose overlap of 64 hides little.
    tiled = Segment(tuple("abcde"), tile=256).predict(model, preprocess, batch)[0]
    assert tiled.labels.shape == (600, 540) and (tiled.labels != whole.labels).mean() < 0.02


@torch.no_grad()
def test_padding_of_a_batch_is_not_looked_at() -> None:
    """An image that stands at the top left of a larger batch is answered as alone."""
    model, preprocess = small("unet, padded").eval(), Preprocess(Preprocessing())
    images = torch.randint(0, 256, (2, 3, 64, 80), dtype=torch.uint8)
    views = [View.identity((64, 80)), View.identity((40, 50))]
    both = Segment(tuple("abcde")).predict(model, preprocess, Batch(images, None, views, ["a", "b"]))
    alone = Batch(images[1:, :, :40, :50], None, views[1:], ["b"])
    assert np.array_equal(both[1].labels, Segment(tuple("abcde")).predict(model, preprocess, alone)[0].labels)


def test_score_is_one_pixels_logit_and_has_a_gradient() -> None:
    model, task = small("unet, padded").eval(), Segment(tuple("abcde"))
    inputs = torch.randn(2, 3, 40, 40, requires_grad=True)
    score = task.score(model, inputs, Pixel(7, 9, "c"))
    assert torch.equal(score, model(inputs)[:, 2, 7, 9])
    (gradient,) = torch.autograd.grad(score.sum(), inputs)
    assert gradient[0].any()


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3"])
def test_who_sees_the_whole_image_says_so(name: str) -> None:
    """The far corner changes the answer where `sees_all`, and does not where it is False."""
    model = small(name)
    assert model.sees_all and not small("segnet").sees_all
    one = torch.rand(1, 3, 640, 640)
    other = one.clone()
    other[..., 600:, 600:] += 5
    with torch.no_grad():
        assert not torch.equal(model.eval()(one)[..., 0, 0], model(other)[..., 0, 0])


# --- learning ---------------------------------------------------------------------------------------------------------


def shapes(side: int) -> Split:
    """Four images of noisy ground, each with a disc and a rectangle that overlaps it, in other places and sizes."""
    rng = np.random.default_rng(0)
    images, maps = [], []
    for _ in range(4):
        labels = np.zeros((side, side), dtype=np.uint8)
        centre = (int(rng.integers(side // 3, side // 2)), int(rng.integers(side // 3, side // 2)))
        cv2.circle(labels, centre, int(rng.integers(side // 4, side // 3)), 1, -1)
        top, left = (int(start) for start in rng.integers(side // 3, side // 2, 2))
        labels[top : top + side // 2, left : left + side // 2] = 2
        colours = rng.integers(60, 200, (3, 3))
        images.append((colours[labels] + rng.normal(0, 20, (side, side, 3))).clip(0, 255).astype(np.uint8))
        maps.append(labels)
    known = LabelMaps(maps, ("ground", "disc", "rectangle"), {0: 0, 1: 1, 2: 2})
    return Split(np.stack(images), [str(number) for number in range(4)], label_maps=known)


def by_heart(model: Segmenter, steps: int, rate: float, side: int) -> float:
    """The mean IoU on four images after so many steps on them."""
    split, preprocessing = shapes(side), Preprocessing.windows(side)
    task, preprocess = create_task("segment", ("ground", "disc", "rectangle"), model), Preprocess(preprocessing)
    loader = Loader(Dataset(split, preprocessing, known="label_maps"), 4, shuffle=True)
    batch = next(iter(loader.epoch()))
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    torch.manual_seed(0)
    for _ in range(steps):
        loss = torch.stack(list(task.loss(model, preprocess(batch.images), batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    once = Loader(loader.dataset, 4, shuffle=False)
    return evaluate(task, model, preprocess, once).result()["mean_iou"]


# Steps, learning rate and side of the images: what looks at a pixel in 32 needs large ones.
HEART = {"fcn32s": (300, 3e-3, 192)} | dict.fromkeys(
    ("deconvnet", "deconvnet, tied", "segnet", "segnet, tied"), (250, 3e-3, 96)
)


LONG = ("fcn32s", "fcn", "deconvnet", "deconvnet, tied", "pspnet", "deeplabv3")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in EVERY])
def test_four_images_are_learnt_by_heart(name: str) -> None:
    assert by_heart(small(name, 3).train(), *HEART.get(name, (100, 3e-3, 96))) > 95


# --- contracts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(EVERY))
def test_every_parameter_learns(name: str) -> None:
    """After a step or two: the scores of FCN begin at zero, and nothing behind them has a gradient before."""
    model = small(name).train()
    inputs, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64), dtype=torch.uint8)
    batch = Batch(inputs, labels, [View.identity((64, 64))] * 2, ["a", "b"])
    task = Segment(tuple("abcde"))
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        torch.stack(list(task.loss(model, inputs, batch).values())).sum().backward()
        optimiser.step()
    without = [name for name, own in model.named_parameters() if own.grad is None or not own.grad.any()]
    # A bias before a batch norm is taken off again.
    assert not [own for own in without if not own.endswith("bias")]


@pytest.mark.parametrize("name", list(SMALL))
def test_forward_and_training_logits_agree(name: str) -> None:
    """The first of what a loss asks for is what inference gives."""
    model = small(name).eval()
    inputs = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model.training_logits(inputs)[0], model(inputs))


def test_options_of_a_backbone_are_checked() -> None:
    with pytest.raises(UsageError, match="option of resnet18 called 'widht'"):
        create_model("pspnet", backbone="resnet18", encoder_options={"widht": 3})


def test_turned_views_never_come_back() -> None:
    """Evaluation does not turn images; what brings labels back reads scale and offset only."""
    view = Preprocessing.windows(64).view((100, 80))
    assert view.affine == Affine() and view.size == (100, 80)
    scaled = Preprocessing.windows(64).scaled_to(50).view((100, 80))
    assert scaled.size == (62, 50) and not (scaled.affine.b or scaled.affine.d)
    assert LabelMap(np.zeros((2, 3), dtype=np.uint8), ("a",)).areas() == {"a": 6}


@pytest.mark.parametrize("size", [(32, 32), (40, 56)])
def test_all_ways_to_look_by_hand(size: tuple[int, int]) -> None:
    """The mean of eight, each turned back with numpy; so it hardly matters any more how the image lies."""
    torch.manual_seed(0)
    model = create_model("unet", 3, width=8, padded=True).eval()
    inputs = torch.randn(1, 3, *size)
    by_hand = np.zeros((3, *size))
    with torch.no_grad():
        for quarters in range(4):
            for mirrored in (False, True):
                seen = np.rot90(inputs[0].numpy(), quarters, (1, 2))
                seen = seen[:, :, ::-1] if mirrored else seen
                said = model(torch.from_numpy(seen.copy())[None])[0].softmax(0).numpy()
                said = said[:, :, ::-1] if mirrored else said
                by_hand += np.rot90(said, -quarters, (1, 2)) / 8
        got = in_all_ways(model, inputs)
        other = in_all_ways(model, torch.rot90(inputs, 1, (2, 3)))
    assert np.allclose(got[0].exp().numpy(), by_hand, atol=1e-6)
    assert torch.allclose(torch.rot90(got, 1, (2, 3)), other, atol=1e-5)


def test_in_all_ways_what_is_all_but_impossible_can_still_be_interpolated() -> None:
    def model(seen: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, -120.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, *seen.shape[2:])

    said = in_all_ways(model, torch.zeros(1, 3, 8, 8))  # pyright: ignore[reportArgumentType]
    assert torch.isfinite(said).all() and said[0, 1].max() < said[0, 2].min() < said[0, 0].min()
