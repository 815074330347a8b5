"""What a unit sees: nothing outside its box reaches it, and its corners do, in every network of the catalogue."""

import pytest
import torch
from torch import Tensor, nn

from saccade.explain.fields import fields_of
from saccade.explain.layers import is_map, watch, watch_all
from saccade.models import create_model, list_models

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
    """Five images [5, C, H, W]: all that is outside the box, and each of its corners."""
    left, top, right, bottom = box
    images = torch.zeros(5, channels, *size, dtype=torch.float64)
    images[0] = 1
    images[0, :, top:bottom, left:right] = 0
    for n, (row, column) in enumerate([(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]):
        images[n + 1, :, row, column] = 1
    return images


def check_layer(model: nn.Module, layer: str, inputs: Tensor, corners: bool = True) -> int:
    """Try three units of a layer; how many of their fields were smaller than the image."""
    size = (inputs.shape[2], inputs.shape[3])
    fields = fields_of(model, layer, inputs)
    with torch.no_grad():
        _, found = watch(model, [layer], lambda: model(inputs))
    rows, columns = found[layer].shape[2:]
    smaller = 0
    for row, column in {(0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)}:
        box = fields.box(row, column)
        images = marked(size, box, inputs.shape[1])
        with torch.no_grad():
            _, found = watch(model, [layer], lambda images=images: model(images))
        activity = found[layer][:, :, row, column].abs().sum(1)
        assert activity[0] == 0, f"{layer} at {row, column}: something outside {box} reaches it"
        if corners:
            assert (activity[1:] > 0).all(), f"{layer} at {row, column}: a corner of {box} does not reach it"
        smaller += box != (0, 0, size[1], size[0])
    return smaller


def some_layers(model: nn.Module, inputs: Tensor, count: int) -> list[str]:
    """Layers with maps, spread from the first to the last."""
    with torch.no_grad():
        _, calls = watch_all(model, lambda: model(inputs))
    uses = [call.name for call in calls]
    names = [call.name for call in calls if is_map(call.output) and uses.count(call.name) == 1]
    return names[:: max(1, len(names) // count)]


SMALL = {"lenet", "alexnet", "zfnet", "vgg11", "resnet18", "squeezenet1_0", "mobilenet_v2", "googlenet"}


@pytest.mark.parametrize(
    "name",
    [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in list_models(task="classify")],
)
def test_nothing_outside_the_box_reaches_a_unit_and_its_corners_do(name: str) -> None:
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
