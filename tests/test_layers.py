"""Parts that several networks share."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from saccade.layers.blur import gaussian_blur
from saccade.layers.depthwise import DepthwiseConv2d
from saccade.layers.dilate import DilatedAvgPool2d, DilatedMaxPool2d, dilate
from saccade.layers.preprocess import Preprocess
from saccade.structures import Preprocessing


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_preprocess_is_the_textbook_normalisation(mode: str, memory_format: torch.memory_format) -> None:
    """(pixel / 255 - mean) / std, computed by numpy in float64."""
    channels = {"RGB": 3, "L": 1}[mode]
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    images = torch.randint(0, 256, (2, channels, 5, 7), dtype=torch.uint8).contiguous(memory_format=memory_format)
    got = Preprocess(Preprocessing((5, 7), 7, mode, mean, std))(images)
    expected = (images.numpy() / 255 - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


@given(
    kernel=st.integers(1, 4), dilation=st.integers(1, 3), padded=st.booleans(), counted=st.booleans(),
    size=st.tuples(st.integers(14, 18), st.integers(14, 18)),
)  # fmt: skip
def test_dilated_average_is_the_average_of_every_so_many_th_pixel(
    kernel: int, dilation: int, padded: bool, counted: bool, size: tuple[int, int]
) -> None:
    """Each phase of the pixels, pooled on its own by torch's AvgPool2d, is that phase of the dilated result."""
    padding = kernel // 2 if padded else 0
    inputs = torch.randn(2, 3, *size, dtype=torch.float64)
    got = DilatedAvgPool2d(kernel, dilation, dilation * padding, counted)(inputs)
    for row in range(dilation):
        for column in range(dilation):
            phase = inputs[..., row::dilation, column::dilation]
            expected = F.avg_pool2d(phase, kernel, 1, padding, count_include_pad=counted)
            assert torch.allclose(got[..., row::dilation, column::dilation], expected)


@given(kernel=st.integers(1, 4), dilation=st.integers(1, 3), padded=st.booleans(), side=st.integers(14, 18))
def test_dilated_maximum_is_the_maximum_of_every_so_many_th_pixel(
    kernel: int, dilation: int, padded: bool, side: int
) -> None:
    """As above, by torch's MaxPool2d."""
    padding = kernel // 2 if padded else 0
    inputs = torch.randn(2, 3, side, side) - 5  # far below the zeros that a wrong border would bring
    got = DilatedMaxPool2d(kernel, dilation, dilation * padding)(inputs)
    for row in range(dilation):
        for column in range(dilation):
            expected = F.max_pool2d(inputs[..., row::dilation, column::dilation], kernel, 1, padding)
            assert torch.equal(got[..., row::dilation, column::dilation], expected)


def test_dilate_by_hand() -> None:
    """Stride 4 at most: the third stride stands still, and what follows it spreads by two."""
    strided = [nn.Conv2d(1, 1, 3, 2, 1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, padding=1)]
    model = nn.Sequential(*strided, nn.AvgPool2d(3, 1, 1))
    dilate(model, torch.empty(1, 1, 64, 64, device="meta"), output_stride=4)
    first, second, third, fourth, last = model
    assert (first.stride, second.stride, third.stride) == ((2, 2), 2, 1)
    assert (fourth.dilation, fourth.padding) == ((2, 2), (2, 2))
    assert isinstance(last, DilatedAvgPool2d)
    assert (last.dilation, last.padding) == (2, 2)
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 15, 15)  # the unpadded pool of 2 loses a pixel


def test_a_long_stride_is_shortened_only_as_far_as_asked() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 11, 4, 2), nn.Conv2d(1, 1, 3, padding=1))
    plain = copy.deepcopy(model)
    dilate(model, torch.empty(1, 1, 512, 512, device="meta"), output_stride=2)
    assert (model[0].stride, model[1].dilation) == ((2, 2), (2, 2))
    inputs = torch.randn(1, 1, 67, 67)
    assert torch.allclose(model(inputs)[..., ::2, ::2], plain(inputs), atol=1e-5)


@pytest.mark.parametrize("output_stride", [0, 3, -4])
def test_dilate_wants_a_power_of_two(output_stride: int) -> None:
    with pytest.raises(ValueError, match=f"got {output_stride}"):
        dilate(nn.Conv2d(1, 1, 1), torch.empty(1, 1, 8, 8, device="meta"), output_stride)


@pytest.mark.parametrize(("mirrored", "mode"), [(False, "constant"), (True, "mirror")])
def test_a_gaussian_blur_is_that_of_scipy(mirrored: bool, mode: str) -> None:
    from scipy.ndimage import gaussian_filter

    maps = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = gaussian_filter(maps.numpy(), 2.0, axes=(2, 3), mode=mode, radius=6)
    np.testing.assert_allclose(gaussian_blur(maps, 2.0, mirrored).numpy(), theirs, rtol=1e-9)


def test_a_mirrored_blur_of_a_small_map_reaches_as_far_as_there_is() -> None:
    maps = torch.tensor([[[[1.0], [0.0]]]], dtype=torch.float64)
    near, far = 1.0, float(np.exp(-0.5 / 4**2))
    lost = 2 * far / (near + 2 * far)  # both neighbours of the first pixel are the second
    expected = torch.tensor([[[[1 - lost], [lost]]]], dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(maps, 4.0, mirrored=True), expected)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (7, 2)])
def test_a_depthwise_convolution_is_torch_s_with_its_gradients_in_bfloat16_too(kernel: int, stride: int) -> None:
    """Against the same in float64, to within what bfloat16 can say; and bit by bit where nothing is trained."""
    torch.manual_seed(0)
    own = DepthwiseConv2d(6, 12, kernel, stride, kernel // 2, bias=False)
    plain = nn.Conv2d(6, 12, kernel, stride, kernel // 2, groups=6, bias=False)
    plain.load_state_dict(own.state_dict())
    inputs, wanted = torch.randn(2, 6, 17, 14), torch.randn_like(plain(torch.zeros(2, 6, 17, 14)))
    assert own(inputs).equal(plain(inputs))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert own(inputs).equal(plain(inputs))
    exact, exact_inputs = copy.deepcopy(plain).double(), inputs.double().requires_grad_()
    exact(exact_inputs).backward(wanted.double())
    inputs.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = own(inputs)
    assert found.dtype == torch.bfloat16
    found.backward(wanted.to(torch.bfloat16))
    assert inputs.grad is not None and exact_inputs.grad is not None
    assert own.weight.grad is not None and exact.weight.grad is not None
    pairs = [(inputs.grad, exact_inputs.grad), (own.weight.grad, exact.weight.grad), (found, exact(exact_inputs))]
    for ours, theirs in pairs:
        away = (ours.double() - theirs).norm() / theirs.norm()
        assert away < 2**-7
