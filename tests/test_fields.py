"""What a unit sees: nothing outside its box reaches it, and its corners do, in every network of the catalogue."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.fields import Fields, fields_of, lattice_of
from saccade.explain.layers import is_map, watch_all
from saccade.models import create_model, list_models
from saccade.recipes.explain_question import of_backbone
from saccade.summary import summarise
from saccade.tasks.detect.faster_rcnn import FasterRCNN

# Parallel filters of 1 x 3 and 3 x 1 see a cross, whose box has corners that nothing sees; so see the layers after.
CROSSES = {"inception_v3", "inception_v4", "inception_resnet_v1", "inception_resnet_v2"}


def made_positive(model: nn.Module) -> nn.Module:
    """Every weight above 0 and every bias 0, so that of an image of zeros with one pixel above 0 each unit is above 0
    exactly if it hangs on that pixel; nothing cancels out."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
    for name, parameter in model.named_parameters():
        drawn = 0.5 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        # Of one size however many inputs a unit has, so that the numbers neither vanish nor explode.
        fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
        parameter.data = torch.zeros_like(drawn) if name.endswith("bias") else drawn / fan
    return model


def marked(size: tuple[int, int], box: tuple[int, int, int, int], channels: int) -> Tensor:
    """Six images [6, C, H, W]: all that is outside the box, each of its corners, and all."""
    left, top, right, bottom = box
    images = torch.zeros(6, channels, *size, dtype=torch.float64)
    images[[0, 5]] = 1
    images[0, :, top:bottom, left:right] = 0
    for n, (row, column) in enumerate([(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]):
        images[n + 1, :, row, column] = 1
    return images


def look(model: Any, images: Tensor) -> object:
    """Of detectors with two stages the first alone: the second looks at a thousand boxes, one by one."""
    return model.backbone(images) if isinstance(model, FasterRCNN) else model(images)


class Reached(Exception):
    """What comes behind a layer need not be computed."""


@torch.no_grad()
def activity_of(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """What a layer gives, [B, C, h, w]."""
    found = []

    def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found.append(output)
        raise Reached

    handle = model.get_submodule(layer).register_forward_hook(stop)
    try:
        look(model, images)
    except Reached:
        pass
    finally:
        handle.remove()
    return found[0]


def check_layer(model: nn.Module, layer: str, inputs: Tensor, corners: bool = True) -> int:
    """Try three units of a layer; how many of their fields were smaller than the image."""
    size = (inputs.shape[2], inputs.shape[3])
    fields = fields_of(model, layer, inputs, run=look)
    rows, columns = activity_of(model, layer, inputs).shape[2:]
    smaller = 0
    for row, column in {(0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)}:
        box = fields.box(row, column)
        activity = activity_of(model, layer, marked(size, box, inputs.shape[1]))[:, :, row, column].abs().sum(1)
        assert activity[0] == 0, f"{layer} at {row, column}: something outside {box} reaches it"
        # FCN's padding is so wide that its outermost units see nothing else; theirs is the nearest pixel.
        if corners and activity[5] > 0:
            assert (activity[1:5] > 0).all(), f"{layer} at {row, column}: a corner of {box} does not reach it"
        smaller += box != (0, 0, size[1], size[0])
    return smaller


def some_layers(model: nn.Module, inputs: Tensor, count: int) -> list[str]:
    """Layers with maps of the whole image, spread from the first to the last."""
    among = of_backbone(model)
    with torch.no_grad():
        _, calls = watch_all(model, lambda: look(model, inputs))
    calls = [call for call in calls if among is None or call.name in among]
    uses = [call.name for call in calls]
    names = [call.name for call in calls if is_map(call.output) and uses.count(call.name) == 1]
    return names[:: max(1, len(names) // count)]


SMALL = {"lenet", "squeezenet1_0", "resnet18", "mobilenet_v2"}


@pytest.mark.parametrize(
    "name",
    [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in list_models()],
)
def test_nothing_outside_the_box_reaches_a_unit_and_its_corners_do(name: str) -> None:
    """Of detectors and segmenters in the layers of their backbone: what comes behind may see one box alone."""
    torch.manual_seed(0)
    model = made_positive(create_model(name, 10))
    height = model.input_size[0] if model.input_size[0] < 100 else 149
    inputs = torch.zeros(1, model.in_channels, height, height, dtype=torch.float64)
    try:
        layers = some_layers(model, inputs, 8)
    except RuntimeError:  # full connections take one size
        inputs = torch.zeros(1, model.in_channels, *model.input_size, dtype=torch.float64)
        layers = some_layers(model, inputs, 8)
    smaller = [check_layer(model, layer, inputs, corners=name not in CROSSES) for layer in layers]
    assert sum(smaller) > 0, "every unit saw all of the image: nothing was tested"


# By hand


def box_of(model: nn.Module, layer: str, size: tuple[int, int], place: tuple[int, int], gates: bool = False) -> tuple:
    return fields_of(model, layer, torch.zeros(1, 1, *size), gates).box(*place)


def test_a_stride_leaves_the_last_pixels_over() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=3), nn.Conv2d(1, 1, 3, padding=1))
    # Of 11 pixels the first layer takes 0-2, 3-5, 6-8, and nobody the last two.
    assert box_of(model, "0", (11, 11), (2, 2)) == (6, 6, 9, 9)
    assert box_of(model, "1", (11, 11), (2, 0)) == (0, 3, 6, 9)


@pytest.mark.parametrize(
    ("layer", "place", "box"),
    [
        (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 2), (4, 4, 6, 6)),  # the last window hangs over the edge
        (nn.AvgPool2d(2), (1, 2), (4, 2, 6, 4)),
        (nn.AdaptiveAvgPool2d(4), (1, 3), (4, 1, 6, 3)),  # floor(i 6 / 4) to ceil((i + 1) 6 / 4)
        (nn.ConvTranspose2d(1, 1, 2, stride=2), (5, 0), (0, 2, 1, 3)),
        (nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1), (4, 3), (1, 2, 3, 3)),
        (nn.Upsample(scale_factor=2, mode="nearest"), (3, 4), (2, 1, 3, 2)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2), (0, 0, 2, 2)),
        (nn.ReflectionPad2d(2), (0, 1), (1, 2, 2, 3)),
        (nn.ZeroPad2d((1, 0, 2, 0)), (2, 1), (0, 0, 1, 1)),
        (nn.Conv2d(1, 1, 3, dilation=2, padding=2), (0, 3), (1, 0, 6, 3)),
        (nn.Hardswish(), (2, 3), (3, 2, 4, 3)),
        (nn.PReLU(), (2, 3), (3, 2, 4, 3)),
        (nn.LogSigmoid(), (2, 3), (3, 2, 4, 3)),
        (nn.Softmax(dim=3), (0, 0), (0, 0, 6, 6)),  # an operation that mixes places: all is seen
    ],
)
def test_one_layer_of_each_kind(layer: nn.Module, place: tuple[int, int], box: tuple[int, ...]) -> None:
    assert box_of(nn.Sequential(layer), "0", (6, 6), place) == box


def test_what_norms_see_of_the_others() -> None:
    """The statistics of an image, or of a batch, hang on all of it; those that were kept do not."""
    for norm in (nn.InstanceNorm2d(1), nn.GroupNorm(1, 1), nn.BatchNorm2d(1, track_running_stats=False)):
        assert box_of(nn.Sequential(nn.Conv2d(1, 1, 3), norm), "1", (9, 9), (3, 3)) == (0, 0, 9, 9)
    assert box_of(nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)), "1", (9, 9), (3, 3)) == (3, 3, 6, 6)


class Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.last = nn.MaxPool2d(2, return_indices=True), nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        pooled, places = self.pool(inputs)
        return self.last(nn.functional.max_unpool2d(pooled, places, 2, output_size=inputs.shape[2:]))


def test_unpooling_goes_to_the_window_that_was_pooled() -> None:
    # Of 5 rows the windows are 0-1 and 2-3.
    assert box_of(Unpooled(), "last", (5, 5), (2, 0)) == (0, 2, 2, 4)


def test_where_maps_are_joined_the_finest_tells_where_a_unit_looks() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.last = nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Identity()

        def forward(self, inputs: Tensor) -> Tensor:
            fine = self.fine(inputs)
            coarse = nn.functional.interpolate(nn.functional.avg_pool2d(fine, 4), size=fine.shape[2:])
            whole = nn.functional.interpolate(fine.mean((2, 3), keepdim=True), size=fine.shape[2:])
            return self.last(torch.cat([whole, coarse, fine + coarse, fine], 1))

    found = lattice_of(Joined(), "last", torch.zeros(1, 1, 32, 48))
    assert (found.first, found.step) == ((0.5, 0.5), (2.0, 2.0))


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("lenet", "avgpool", (28, 28)),
        ("vgg11", "avgpool", (224, 224)),
        ("alexnet", "avgpool", (224, 224)),
        ("unet", None, (80, 100)),
        ("deeplabv3", None, (96, 128)),
        ("pspnet", None, (96, 128)),
        ("aligned", None, (96, 128)),
        ("googlenet", None, (100, 128)),
    ],
)
def test_a_network_s_maps_lie_on_the_image(name: str, layer: str | None, size: tuple[int, int]) -> None:
    """A map of n places covers the image: n steps are its length, and its first place looks near its edge."""
    options = {"backbone": "resnet18"} if name in ("unet", "deeplabv3", "pspnet", "aligned") else {}
    model = create_model(name, 3, **options).eval()
    inputs = torch.zeros(1, model.in_channels, *size)
    with torch.no_grad():
        _, calls = watch_all(model, lambda: look(model, inputs))
    uses = [call.name for call in calls]
    maps = [call for call in calls if is_map(call.output) and min(call.output.shape[2:]) > 2]
    shown = [call for call in maps if uses.count(call.name) == 1 and layer in (None, call.name)]
    assert shown
    for call in shown[:: max(1, len(shown) // 12)]:
        found = lattice_of(model, call.name, inputs)
        for n, first, step, length in zip(
            call.output.shape[2:], found.first[::-1], found.step[::-1], size, strict=True
        ):
            # A segmenter's input is continued to a multiple of its coarsest stride.
            length = -(-length // getattr(model, "multiple", 1)) * getattr(model, "multiple", 1)
            assert n * step == pytest.approx(length, abs=2.5 * step), call.name
            assert -2 * step < first < 2 * step, call.name


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.squeeze, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.first(inputs)
        return self.last(maps * self.squeeze(maps.mean((2, 3), keepdim=True)).sigmoid())


def test_a_gate_sees_everything_and_can_be_left_out() -> None:
    assert box_of(Gated(), "last", (9, 9), (4, 4)) == (3, 3, 6, 6)
    assert box_of(Gated(), "last", (9, 9), (4, 4), gates=True) == (0, 0, 9, 9)


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 1, (1, 3), padding=(0, 1)), nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.first(inputs).transpose(2, 3))


def test_a_turned_map_is_said_to_see_everything() -> None:
    # Its rows are columns of the image: a box too large is true, one that is turned would not be.
    assert box_of(Turned(), "last", (8, 6), (2, 5)) == (0, 0, 6, 8)


def test_in_the_middle_it_is_the_formula_of_the_summary() -> None:
    model, inputs = create_model("resnet18", 10).eval(), torch.zeros(1, 3, 224, 224)
    known = {layer.name: layer for layer in summarise(model, inputs).layers}
    for name in ("conv1", "layer1.1.conv2", "layer2.0.conv1"):
        rows = known[name].rows
        assert rows is not None
        fields: Fields = fields_of(model, name, inputs)
        middle = len(fields.rows) // 2
        top, bottom = fields.rows[middle]
        assert (bottom - top, top) == (rows.size, rows.start + middle * rows.stride)


def test_units_look_where_their_filters_are_and_not_in_the_middle_of_their_pixels() -> None:
    def half() -> nn.Module:
        return nn.Conv2d(1, 1, 3, stride=2, padding=1)

    image = torch.zeros(1, 1, 32, 48)
    found = lattice_of(nn.Sequential(half(), half(), half()), "2", image)
    # Unit 0 is about pixel 0, whose middle is 0.5, however many strides; the middle of its 8 pixels were 4.
    assert (found.first, found.step) == ((0.5, 0.5), (8.0, 8.0))
    even = lattice_of(nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.MaxPool2d(2)), "1", image)
    assert (even.first, even.step) == ((2.0, 2.0), (4.0, 4.0))
    # What sees everything still stands where it stands.
    whole = lattice_of(nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.Softmax(dim=3), nn.GroupNorm(1, 2)), "2", image)
    assert (whole.first, whole.step) == ((1.0, 1.0), (2.0, 2.0))
    bins = lattice_of(nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(4)), "1", image)
    # Of 24 columns and 16 rows, at 0.5, 2.5 ..., 6 and 4 each.
    assert (bins.first, bins.step) == ((0.5 + 5, 0.5 + 3), (12.0, 8.0))
    for name, start in (("resnet18", 0.5), ("mobilenet_v2", 0.5), ("squeezenet1_0", None)):
        model = create_model(name, 10).eval()
        layer = {"resnet18": "layer4", "mobilenet_v2": "features.18", "squeezenet1_0": "features.12"}[name]
        found = lattice_of(model, layer, torch.zeros(1, 3, 224, 224))
        rows = summarise(model, torch.zeros(1, 3, 224, 224)).layers
        known = [one.rows for one in rows if one.name.startswith(layer) and one.rows and len(one.output) == 3][-1]
        assert found.first[1] == known.start + known.size / 2
        assert found.step[1] == known.stride
        assert start is None or found.first[1] == start


def test_a_layer_without_maps_is_an_error() -> None:
    with pytest.raises(UsageError, match="no spatial extent"):
        fields_of(create_model("resnet18", 10), "fc", torch.zeros(1, 3, 64, 64))
