"""Darknet's networks and files of weights: the published sizes, every number in its place, damaged files refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from saccade.backbones.darknet import darknet53, darknet_tiny, extraction
from saccade.backbones.darknet_weights import is_darknet
from saccade.backbones.probed import Probed
from saccade.backbones.published import DARKNET
from saccade.backbones.weights import Weights, resolve
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model, is_whole
from saccade.recipes.fit_job import preprocessing_for
from saccade.structures import Preprocessing
from saccade.training.config import Config

TINY = 8_858_734  # numbers of yolov3-tiny.weights, whose 35,434,956 bytes begin with 20 of a header
ANCHORS = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]


def write(path: Path, values: np.ndarray, version: tuple[int, int, int] = (0, 2, 0)) -> Path:
    seen = "q" if version[0] * 10 + version[1] >= 2 else "i"
    path.write_bytes(struct.pack(f"<3i{seen}", *version, 1000) + values.astype("<f4").tobytes())
    return path


def in_order(module: nn.Module) -> np.ndarray:
    """The numbers of a network as Darknet's own code would write them: a second implementation, down the tree."""
    children, parts = list(module.children()), [np.zeros(0, dtype=np.float32)]
    for child, after in zip(children, [*children[1:], nn.Identity()], strict=bool(children)):
        if not isinstance(child, nn.Conv2d):
            parts.append(in_order(child))
            continue
        own = [child.bias]
        if isinstance(after, nn.BatchNorm2d):
            own = [after.bias, after.weight, after.running_mean, after.running_var]
        parts += [one.detach().flatten().numpy() for one in [*own, child.weight] if one is not None]
    return np.concatenate(parts)


def scrambled(name: str, classes: int) -> nn.Module:
    model = create_model(name, classes)
    generator = torch.Generator().manual_seed(classes)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return model


def test_as_many_numbers_as_published() -> None:
    """darknet53.conv.74 has 162,482,580 bytes, 20 of them a header."""
    with torch.device("meta"):
        numbers = sum(value.numel() for value in darknet53(0).state_dict().values() if value.ndim)
        assert 20 + 4 * numbers == 162_482_580
        assert sum(value.numel() for value in darknet53().parameters()) == 41_609_928
        assert sum(isinstance(module, nn.Conv2d) for module in darknet53().modules()) == 53
        assert sum(isinstance(module, nn.Conv2d) for module in extraction(0).modules()) == 20


def test_the_small_networks_last_pooling_keeps_the_size() -> None:
    """Rows and columns beyond the edge never win: the largest of what there is."""
    last = list(darknet_tiny(0).stages[-1].children())
    pool = nn.Sequential(*last[2:4])
    inputs = -torch.rand(1, 2, 3, 4)
    by_hand = torch.stack(
        [
            torch.stack([inputs[0, :, row : row + 2, column : column + 2].amax((1, 2)) for column in range(4)])
            for row in range(3)
        ]
    )
    assert torch.equal(pool(inputs)[0], by_hand.permute(2, 0, 1))


@pytest.mark.parametrize("version", [(0, 2, 0), (0, 1, 0)])
def test_every_number_comes_to_its_place(tmp_path: Path, version: tuple[int, int, int]) -> None:
    model = scrambled("yolov3_tiny", 80)
    values = in_order(model)
    assert len(values) == TINY
    path = write(tmp_path / "yolov3-tiny.weights", values, version)
    other = create_model("yolov3_tiny", weights=path)
    for key, value in model.state_dict().items():
        if value.ndim:
            assert torch.allclose(other.state_dict()[key], value, rtol=1e-5, atol=0), key
    assert resolve("yolov3_tiny", path).classes is not None, "a published file is known by its name"


def test_a_silent_filter_is_normalised_as_darknet_does(tmp_path: Path) -> None:
    """(x - mean) / (sqrt(variance) + 1e-6) * scale, also where hardly anything varies."""
    model = scrambled("darknet_tiny", 0)
    norm = model.get_submodule("stages.0.0.1")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.running_mean is not None
    norm.running_var[:3] = torch.tensor([0.0, 1e-9, 1e-4])
    other = create_model("darknet_tiny", 5, weights=write(tmp_path / "tiny.conv.11", in_order(model))).eval()
    x = torch.rand(1, 16, 1, 1)
    scale = (norm.weight / (norm.running_var.sqrt() + 1e-6)).view(1, -1, 1, 1)
    wanted = (x - norm.running_mean.view(1, -1, 1, 1)) * scale + norm.bias.view(1, -1, 1, 1)
    assert torch.allclose(other.get_submodule("stages.0.0.1")(x), wanted, rtol=1e-4)


def test_other_classes_keep_all_but_the_last_layers(tmp_path: Path) -> None:
    model = scrambled("yolov3_tiny", 80)
    other = create_model("yolov3_tiny", 3, weights=write(tmp_path / "own.weights", in_order(model)))
    for key, value in model.state_dict().items():
        mine = other.state_dict()[key]
        if ".answers." not in key:
            assert torch.allclose(mine, value, rtol=1e-5, atol=0), key
        elif key.endswith("weight"):
            assert not mine.any()


def test_a_backbones_file_goes_to_the_backbone(tmp_path: Path) -> None:
    backbone = scrambled("darknet_tiny", 0)
    path = write(tmp_path / "tiny.conv.11", in_order(backbone))
    for name in ("yolov3_tiny", "darknet_tiny"):
        trunk = create_model(name, 5, weights=path).trunk
        for key, value in backbone.state_dict().items():
            assert torch.allclose(trunk.state_dict()[key], value, rtol=1e-5, atol=0), key


def test_of_a_file_that_ends_in_the_head_the_backbone_is_taken(tmp_path: Path) -> None:
    """yolov3-tiny.conv.15 has two convolutions more than the backbone's seven, yolov3-tiny.conv.11 one less."""
    numbers, backbone = in_order(scrambled("yolov3_tiny", 3)), scrambled("yolov3_tiny", 3).trunk
    ends = {}
    for layers, more in ((15, 1024 * 256 + 4 * 256 + 256 * 512 * 9 + 4 * 512), (11, -(512 * 1024 * 9 + 4 * 1024))):
        end = len(in_order(backbone)) + more
        ends[layers] = write(tmp_path / f"yolov3-tiny.conv.{layers}", numbers[:end])
        cut = write(tmp_path / f"short.conv.{layers}", numbers[: end - 1])
        with pytest.raises(SaccadeError, match="cut short, or is for another network"):
            create_model("yolov3_tiny", 5, weights=cut)
    model = create_model("yolov3_tiny", 5, weights=ends[15])
    assert not is_whole(model, Weights(ends[15]))
    for key, value in backbone.state_dict().items():
        assert torch.allclose(model.trunk.state_dict()[key], value, rtol=1e-5, atol=0), key
    with pytest.raises(SaccadeError, match="has 6 of the 7 convolutions of this backbone"):
        create_model("yolov3_tiny", 5, weights=ends[11])
    whole = write(tmp_path / "yolov3-tiny.weights", numbers[: len(in_order(backbone)) + 4])
    with pytest.raises(SaccadeError, match="cut short, or is for another network"):
        create_model("yolov3_tiny", 5, weights=whole)


def test_a_classifiers_file_goes_to_the_backbone_too(tmp_path: Path) -> None:
    """ImageNet's 1,000 classes are left out; another detector on that backbone takes what is the backbone's."""
    classifier = scrambled("darknet_tiny", 1000)
    path = write(tmp_path / "tiny.weights", in_order(classifier))
    built = [
        create_model("yolov3_tiny", 5, weights=path),
        create_model("yolov1", 5, weights=path, backbone="darknet_tiny", width=8, hidden=8),
        create_model("darknet_tiny", 0, weights=path),
    ]
    for model in built:
        for key, value in model.trunk.state_dict().items():
            assert torch.allclose(classifier.state_dict()[key], value, rtol=1e-5, atol=0), key
    with pytest.raises(SaccadeError, match="cut short, or is for another network"):
        create_model("yolov3_tiny", weights=write(tmp_path / "short.weights", in_order(classifier)[:-1]))


def test_whether_a_file_is_of_all_of_the_network(tmp_path: Path) -> None:
    """Of a detector it is known with which anchors it has learnt, of a backbone there are none yet."""
    model = create_model("yolov3_tiny", 3)
    whole = write(tmp_path / "own.weights", in_order(scrambled("yolov3_tiny", 80)))
    half = write(tmp_path / "tiny.conv.11", in_order(scrambled("darknet_tiny", 0)))
    assert is_whole(model, Weights(whole)) and not is_whole(model, Weights(half))
    for path in (whole, half):
        preprocessing = resolve("yolov3_tiny", path).preprocessing
        assert preprocessing is not None and (preprocessing.mean, preprocessing.std) == ((0.0,) * 3, (1.0,) * 3), (
            "0 to 1"
        )
    assert not is_darknet(tmp_path / "my.conv.best.pth") and is_darknet(half)


def test_a_classifiers_file_gives_its_colours_and_not_its_size(tmp_path: Path) -> None:
    """Darknet's classifiers see whole images, as the detectors do."""
    file = Weights(write(tmp_path / "tiny.conv.11", in_order(scrambled("darknet_tiny", 0))), DARKNET)
    built = {"backbone": "darknet_tiny", "width": 8}
    assert preprocessing_for(create_model("aligned", 3, **built), file, Config()).resize == 320
    assert preprocessing_for(create_model("aligned", 3, **built), file, Config()).mean == DARKNET.mean
    # A probe is the classifier itself, and sees what that saw.
    small = Preprocessing((24, 24), 26, "L", (0.5,), (0.5,))
    seen = Weights(tmp_path / "lenet.safetensors", small)
    assert preprocessing_for(Probed(create_model("lenet", 0), 3), seen, Config()) == small
    whole = Weights(write(tmp_path / "own.weights", in_order(scrambled("yolov3_tiny", 80))), DARKNET)
    assert preprocessing_for(create_model("yolov3_tiny", 3), whole, Config()).resize == 416


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    values = np.zeros(TINY, dtype=np.float32)
    whole = write(tmp_path / "whole.weights", values)
    with pytest.raises(SaccadeError, match=r"8,858,734 numbers, but this network takes 62,001,757"):
        create_model("yolov3", weights=whole)
    with pytest.raises(UsageError, match=r"fit darknet53, darknet_tiny, extraction.*but this is another network"):
        create_model("resnet18", weights=whole)
    with pytest.raises(UsageError, match="but the backbone here is resnet18"):
        create_model("yolov3", weights=whole, backbone="resnet18")
    with pytest.raises(SaccadeError, match="cut short, or is for another network"):
        create_model("yolov3_tiny", weights=write(tmp_path / "short.weights", values[:-1000]))
    with pytest.raises(SaccadeError, match="cut short, or is for another network"):
        create_model("yolov3_tiny", weights=write(tmp_path / "long.weights", np.zeros(TINY + 1)))
    (tmp_path / "odd.weights").write_bytes(whole.read_bytes()[:-3])
    with pytest.raises(SaccadeError, match="does not end with a whole number of 4 bytes"):
        create_model("yolov3_tiny", weights=tmp_path / "odd.weights")
    with pytest.raises(UsageError, match="There is no weights file"):
        create_model("yolov3_tiny", weights=tmp_path / "missing.weights")
    for length in range(25):
        (tmp_path / "stump.weights").write_bytes(whole.read_bytes()[:length])
        with pytest.raises(SaccadeError, match="cut short"):
            create_model("yolov3_tiny", weights=tmp_path / "stump.weights")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_bytes_at_all_give_anything_but_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise.weights"
    path.write_bytes(data)
    with pytest.raises(SaccadeError, match=r"noise\.weights"):
        create_model("darknet_tiny", 0, weights=path)
