"""Explanations of one number: against captum, by hand on a ramp, and on networks made to trip them up."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain import faithfulness
from saccade.explain.cam import cam
from saccade.explain.deconvnet import deconvnet
from saccade.explain.grad_cam import coarsest_layer, grad_cam
from saccade.explain.guided_backprop import guided_backprop
from saccade.explain.integrated_gradients import integrated_gradients
from saccade.explain.layers import find, watch, watch_all
from saccade.explain.occlusion import occlusion
from saccade.explain.saliency import saliency
from saccade.explain.score import at_once, of_activity, of_class, of_unit
from saccade.explain.shifts import shifts
from saccade.explain.smoothgrad import smoothgrad
from saccade.models import create_model

RAMP = torch.arange(16, dtype=torch.float32).view(1, 1, 4, 4)
NETWORKS = ("squeezenet1_0", "resnet18", "vgg11_bn")


def trained(name: str) -> nn.Module:
    """A network whose numbers are all in use, as after a training."""
    torch.manual_seed(0)
    model = create_model(name, 10).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
        elif len(parameter) == 10:  # the last layer, which begins near 0
            parameter.data = 0.05 * torch.randn_like(parameter)
    return model


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def assert_near(ours: Tensor, theirs: Tensor, share: float = 1e-4) -> None:
    """Within a share of the largest value; and the oracle has something to say."""
    largest = float(theirs.abs().max())
    assert largest > 0, "the oracle is silent: nothing is compared"
    assert float((ours - theirs).abs().max()) <= share * largest


@pytest.fixture(scope="module")
def captum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("captum.attr", reason="the oracle: pip install captum")


# Against captum


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
class TestAgainstCaptum:
    def test_saliency(self, name: str, captum) -> None:
        model, inputs = trained(name), images()
        theirs = captum.Saliency(model).attribute(inputs.clone().requires_grad_(), target=3).amax(1)
        assert_near(saliency(of_class(model, 3), inputs), theirs)

    @pytest.mark.filterwarnings("ignore:Setting backward hooks:UserWarning")
    def test_guided_backprop(self, name: str, captum) -> None:
        model, inputs = trained(name), images()
        theirs = captum.GuidedBackprop(model).attribute(inputs.clone().requires_grad_(), target=3)
        assert_near(guided_backprop(of_class(model, 3), inputs), theirs)

    @pytest.mark.filterwarnings("ignore:Setting backward hooks:UserWarning")
    def test_deconvnet(self, name: str, captum) -> None:
        model, inputs = trained(name), images(1)
        theirs = captum.Deconvolution(model).attribute(inputs.clone().requires_grad_(), target=3)
        assert_near(deconvnet(of_class(model, 3), inputs), theirs)

    def test_integrated_gradients(self, name: str, captum) -> None:
        model, inputs = trained(name), images(1)
        theirs = captum.IntegratedGradients(model).attribute(inputs, target=3, n_steps=20)
        assert_near(integrated_gradients(of_class(model, 3), inputs, steps=20), theirs.float())

    def test_occlusion(self, name: str, captum) -> None:
        model, inputs = trained(name), images(1)
        # A square that is cut off at the end, and rows and columns that differ.
        theirs = captum.Occlusion(model).attribute(
            inputs, target=3, sliding_window_shapes=(3, 20, 16), strides=(3, 9, 13)
        )
        ours = occlusion(of_class(model, 3), inputs, square=(20, 16), stride=(9, 13), batch_size=5)
        assert_near(ours.drop()[0], theirs[0, 0])


# By hand, on a ramp of 4 x 4


class Weighted(nn.Module):
    """Two classes: a weighted sum of the pixels after a ReLU, and its negative."""

    def __init__(self, bias: float = -5.0) -> None:
        super().__init__()
        self.weights, self.bias, self.relu = torch.linspace(-1, 2, 16).view(4, 4), bias, nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        total = (self.relu(inputs + self.bias) * self.weights).flatten(1).sum(1)
        return torch.stack([total, -total], 1)


WEIGHTS = torch.linspace(-1, 2, 16).view(4, 4)
OPEN = (RAMP[0, 0] > 5).float()  # where the ReLU lets through


def test_saliency_is_the_absolute_gradient() -> None:
    torch.testing.assert_close(saliency(of_class(Weighted(), 1), RAMP)[0], (WEIGHTS * OPEN).abs())


def test_guided_backprop_lets_through_only_what_speaks_for_it() -> None:
    torch.testing.assert_close(guided_backprop(of_class(Weighted(), 0), RAMP)[0, 0], WEIGHTS.clamp(min=0) * OPEN)
    torch.testing.assert_close(guided_backprop(of_class(Weighted(), 1), RAMP)[0, 0], (-WEIGHTS).clamp(min=0) * OPEN)


def test_the_deconvnet_does_not_ask_what_came_in() -> None:
    torch.testing.assert_close(deconvnet(of_class(Weighted(), 0), RAMP)[0, 0], WEIGHTS.clamp(min=0))
    # What speaks for the second class is what speaks against the first, though its logit is below 0 here.
    assert of_class(Weighted(), 1)(RAMP) < 0
    torch.testing.assert_close(deconvnet(of_class(Weighted(), 1), RAMP)[0, 0], (-WEIGHTS).clamp(min=0))


def test_integrated_gradients_share_out_the_rise() -> None:
    model = Weighted()
    ours = integrated_gradients(of_class(model, 0), RAMP, steps=2000)[0, 0]
    # Each pixel alone: its weight times what the ReLU gave at the end, less what it gave at the beginning (nothing).
    torch.testing.assert_close(ours, WEIGHTS * (RAMP[0, 0] - 5).clamp(min=0), atol=0.02, rtol=0.0)
    assert float(ours.sum()) == pytest.approx(float(model(RAMP)[0, 0] - model(RAMP * 0)[0, 0]), abs=0.05)


def test_occlusion_with_squares_that_do_not_meet() -> None:
    seen = occlusion(lambda x: x.flatten(1).sum(1), RAMP, square=2, stride=2)
    sums = torch.tensor([[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]], dtype=torch.float32)
    torch.testing.assert_close(seen.before, torch.tensor([120.0]))
    torch.testing.assert_close(seen.after[..., 0], 120 - sums)
    torch.testing.assert_close(seen.drop()[0], sums.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_occlusion_is_the_mean_of_all_squares_over_a_pixel() -> None:
    seen = occlusion(lambda x: x.flatten(1).sum(1), RAMP, square=3, stride=2)
    # Squares at 0 and 2; the second is cut off by the edge. Row 2 is under both.
    first, second = [0, 1, 2], [2, 3]
    lost = {
        (a, b): float(RAMP[0, 0][rows][:, columns].sum())
        for a, rows in enumerate((first, second))
        for b, columns in enumerate((first, second))
    }
    drop = seen.drop()[0]
    assert drop[0, 0] == lost[0, 0]
    assert drop[2, 0] == pytest.approx((lost[0, 0] + lost[1, 0]) / 2)
    assert drop[2, 2] == pytest.approx(sum(lost.values()) / 4)
    assert drop[3, 3] == lost[1, 1]


def test_occlusion_writes_down_several_numbers_in_one_pass() -> None:
    def both(x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).sum(1), x.flatten(1).amax(1)], 1)

    seen = occlusion(both, RAMP, square=2, stride=2)
    assert seen.after.shape == (2, 2, 2)
    assert seen.after[1, 1, 1] == 13  # without the last corner


def test_a_blurred_square_changes_nothing_on_a_plain_image() -> None:
    plain = torch.full((1, 3, 32, 32), 0.7)
    seen = occlusion(lambda x: x.flatten(1).sum(1), plain, square=8, fill="blur")
    assert float(seen.drop().abs().max()) < 1e-2
    grey = occlusion(lambda x: x.flatten(1).sum(1), plain, square=8)
    assert float(grey.drop().min()) == pytest.approx(0.7 * 3 * 64, rel=1e-4)


def test_large_images_are_looked_at_few_at_a_time() -> None:
    small, large = torch.empty(1, 3, 224, 224), torch.empty(1, 3, 2048, 1024)
    assert [at_once(16, small), at_once(100, small), at_once(16, large)] == [16, 83, 2]
    assert at_once(16, torch.empty(3, 5000, 5000, device="meta")) == 1


def test_smoothgrad_does_not_depend_on_how_many_are_looked_at_together() -> None:
    score = of_class(Weighted(), 0)
    one, other = (smoothgrad(score, RAMP, noise=0.2, copies=7, batch_size=size) for size in (3, 7))
    torch.testing.assert_close(one, other)


def test_what_comes_in_from_beyond_the_edge_is_the_fill() -> None:
    """An image of that colour alone stays as it is, wherever it is moved."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    grey = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)
    inputs = grey.expand(1, 3, 24, 24).contiguous()
    with_it, without = (shifts(model, inputs, ["1"], "translate", [6], fill=fill) for fill in (grey, 0.0))
    assert with_it.invariance.item() == pytest.approx(1)
    assert without.invariance.item() < 0.99


def test_smoothgrad_without_noise_is_saliency_and_with_it_the_mean() -> None:
    score = of_class(Weighted(), 0)
    torch.testing.assert_close(smoothgrad(score, RAMP, noise=0.0, copies=3), saliency(score, RAMP))
    noisy = smoothgrad(score, RAMP, noise=0.2, copies=4000, batch_size=500)[0]
    # How often the noise (of deviation 3) lifts each pixel over the threshold of the ReLU.
    chance = torch.distributions.Normal(5.0, 3.0).cdf(RAMP[0, 0])
    torch.testing.assert_close(noisy, (WEIGHTS * chance).abs(), atol=0.06, rtol=0.0)


class Averaged(nn.Module):
    """Three channels of the ramp, averaged, and a linear layer."""

    def __init__(self, pooled: bool = True) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 3, 1)
        self.linear = nn.Linear(3, 2, bias=True)
        self.pooled = pooled
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1, 1))
            self.maps.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))
            self.linear.weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 4.0]]))
            self.linear.bias.copy_(torch.tensor([10.0, -10.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.maps(inputs)
        return self.linear(found.mean((2, 3)) if self.pooled else found.amax((2, 3)))


def test_cam_weighs_the_maps_as_the_linear_layer_does() -> None:
    model, ramp = Averaged(), RAMP[0, 0]
    torch.testing.assert_close(cam(model, RAMP, 0)[0], ramp + 2 * (3 - ramp))
    torch.testing.assert_close(cam(model, RAMP, 1)[0], -(3 - ramp) + 4 * 0.5 * ramp)
    torch.testing.assert_close(cam(model, RAMP, 1).mean(), model(RAMP).detach()[0, 1] + 10)


def test_grad_cam_weighs_them_by_the_mean_gradient() -> None:
    model, ramp = Averaged(), RAMP[0, 0]
    ours = grad_cam(model, of_class(model, 0), RAMP, "maps")[0]
    torch.testing.assert_close(ours, ((ramp + 2 * (3 - ramp)) / 16).clamp(min=0))


def test_cam_is_refused_where_the_maps_are_not_averaged() -> None:
    with pytest.raises(UsageError, match="grad_cam"):
        cam(Averaged(pooled=False), RAMP, 0)


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18", "mobilenet_v2", "googlenet", "densenet121"])
def test_the_mean_of_cam_is_the_logit(name: str) -> None:
    model, inputs = trained(name), images(1)
    with torch.no_grad():
        bias = {key: value for key, value in model.state_dict().items() if value.shape == (10,) and "bias" in key}
        head = next((value for key, value in bias.items() if key.startswith(model.last_layers)), torch.zeros(10))
        wanted = model(inputs)[0, 4] - (0 if name == "squeezenet1_0" else head[4])
    torch.testing.assert_close(cam(model, inputs, 4).mean(), wanted, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("name", ["vgg11", "alexnet"])
def test_cam_is_refused_for_networks_with_full_connections(name: str) -> None:
    with pytest.raises(UsageError, match="one linear layer on the mean"):
        cam(trained(name), images(1, 224), 0)


# The DeconvNet


def test_of_one_linear_layer_it_is_the_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    model, inputs = nn.Sequential(layer), images(1, 12)
    with torch.no_grad():
        given = layer(inputs)
        row, column = divmod(int(given[0, 2].argmax()), given.shape[3])
        only = torch.zeros_like(given)
        only[0, 2, row, column] = given[0, 2, row, column]
        wanted = F.conv_transpose2d(only, layer.weight, stride=2, padding=1, output_padding=1)
        channel = torch.zeros_like(given)
        channel[0, 2] = given[0, 2].clamp(min=0)
        all_of_it = F.conv_transpose2d(channel, layer.weight, stride=2, padding=1, output_padding=1)
    torch.testing.assert_close(deconvnet(of_activity(model, "0", 2, (row, column)), inputs), wanted)
    torch.testing.assert_close(deconvnet(of_activity(model, "0", 2), inputs), all_of_it)
    row, column = divmod(int(given[0, 2].argmin()), given.shape[3])
    assert not deconvnet(of_activity(model, "0", 2, (row, column)), inputs).any()


def test_switches_put_values_back_where_the_maxima_were() -> None:
    image = torch.tensor([[1.0, 2, 0, 0], [3, 0, 0, 5], [0, 0, 0, 0], [0, 7, 0, 6]]).view(1, 1, 4, 4)
    model = nn.Sequential(nn.MaxPool2d(2))

    def back(unpooling: str) -> Tensor:
        return deconvnet(of_activity(model, "0", 0), image, unpooling)[0, 0]  # pyright: ignore[reportArgumentType]

    pooled = torch.tensor([[3.0, 5], [7, 6]])
    ends = torch.zeros(4, 4)
    ends[1, 0], ends[1, 3], ends[3, 1], ends[3, 3] = 3, 5, 7, 6
    torch.testing.assert_close(back("switches"), ends)
    torch.testing.assert_close(back("nearest"), pooled.repeat_interleave(2, 0).repeat_interleave(2, 1))
    corners = torch.zeros(4, 4)
    corners[::2, ::2] = pooled
    torch.testing.assert_close(back("bed_of_nails"), corners)


def test_an_unknown_unpooling_is_an_error() -> None:
    with pytest.raises(UsageError, match="switches, nearest, bed_of_nails"):
        deconvnet(of_class(Weighted(), 0), RAMP, "linear")  # pyright: ignore[reportArgumentType]


# Networks that trip hooks up


class Shared(nn.Module):
    """Every rectifier is one and the same layer, in place, or a plain function."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.linear = nn.Linear(3, 4)
        self.kind = kind
        self.one = nn.ReLU(inplace=kind == "in place")
        self.own = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for n, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if self.kind == "own":
                x = self.own[n](x)
            elif self.kind == "function":
                x = torch.relu(x) if n % 2 else F.relu(x)
            elif self.kind == "method":
                x = x.relu() if n % 2 else x.relu_()
            elif self.kind == "discarded":
                F.relu(x, inplace=True)
            else:
                x = self.one(x)
        return self.linear(x.mean((2, 3)))


KINDS = ("shared", "in place", "function", "method", "discarded")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [saliency, guided_backprop, deconvnet])
def test_a_reused_or_in_place_rectifier_gives_what_one_of_each_does(kind: str, method: Callable[..., Tensor]) -> None:
    inputs = images(2, 10)
    wanted = method(of_class(Shared("own"), 1), inputs)
    assert float(wanted.abs().max()) > 0
    torch.testing.assert_close(method(of_class(Shared(kind), 1), inputs), wanted)


def test_a_layer_that_runs_twice_is_refused_where_one_use_is_asked_for() -> None:
    model, inputs = Shared("shared"), images(1, 10)
    for look in (
        lambda: grad_cam(model, of_class(model, 0), inputs, "one"),
        lambda: watch(model, ["one"], lambda: model(inputs)),
        lambda: of_unit(model, "one", 0)(inputs),
    ):
        with pytest.raises(UsageError, match="runs more than once"):
            look()


def test_what_is_seen_is_what_the_layer_gave_though_the_next_works_in_place() -> None:
    model, inputs = Shared("in place"), images(1, 10)
    _, found = watch(model, ["convolutions.0"], lambda: model(inputs))
    torch.testing.assert_close(found["convolutions.0"], model.convolutions[0](inputs))
    ours = grad_cam(model, of_class(model, 1), inputs, "convolutions.2")
    own = Shared("own")
    torch.testing.assert_close(ours, grad_cam(own, of_class(own, 1), inputs, "convolutions.2"))


def test_choosing_the_coarsest_layer_passes_over_shared_ones() -> None:
    model, inputs = Shared("shared"), images(1, 10)
    assert coarsest_layer(model, of_class(model, 0), inputs) == "convolutions.3"


OTHERS = {
    "SiLU": nn.SiLU(), "GELU": nn.GELU(), "hard swish": nn.Hardswish(), "Mish": nn.Mish(), "ELU": nn.ELU(),
    "SELU": nn.SELU(), "CELU": nn.CELU(), "leaky ReLU": nn.LeakyReLU(), "PReLU": nn.PReLU(), "softplus": nn.Softplus(),
    "tanh": nn.Tanh(), "hard tanh": nn.Hardtanh(), "softsign": nn.Softsign(), "threshold": nn.Threshold(0.1, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_rectifiers_are_refused_by_name(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), OTHERS[name], nn.Flatten(), nn.LazyLinear(2))
    model(images(1, 6))
    for method in (guided_backprop, deconvnet):
        with pytest.raises(UsageError, match=f"this network has {'a ' if name == 'hard tanh' else ''}{name}"):
            method(of_class(model, 0), images(1, 6))
    assert saliency(of_class(model, 0), images(1, 6)).shape == (1, 6, 6)


class Spelled(nn.Module):
    """A rectifier in other words."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rectify, self.weights = rectify, torch.linspace(-1, 2, 16).view(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.rectify(inputs - 5) * self.weights).flatten(1).sum(1, keepdim=True)


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "clamp": lambda x: x.clamp(min=0),
    "clamp of a function": lambda x: torch.clamp(x, 0),
    "clip": lambda x: x.clip(0),
    "clamp_": lambda x: x.clamp_(min=0.0),
    "clamp_min": lambda x: x.clamp_min(0),
    "both ends": lambda x: x.clamp(0, 1000),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "threshold in place": lambda x: F.threshold(x, 0.0, 0.0, inplace=True),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "maximum, the other way": lambda x: torch.maximum(torch.zeros(1), x),
}


@pytest.mark.parametrize("name", RELUS)
def test_a_rectifier_in_other_words_is_one(name: str) -> None:
    model = Spelled(RELUS[name])
    torch.testing.assert_close(guided_backprop(of_class(model, 0), RAMP)[0, 0], WEIGHTS.clamp(min=0) * OPEN)
    torch.testing.assert_close(deconvnet(of_class(model, 0), RAMP)[0, 0], WEIGHTS.clamp(min=0))


SPELLED: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "selu": ("SELU", torch.selu),
    "selu_": ("SELU", F.selu_),
    "celu": ("CELU", torch.celu),
    "elu_": ("ELU", F.elu_),
    "leaky_relu_": ("leaky ReLU", F.leaky_relu_),
    "rrelu_": ("randomised leaky ReLU", F.rrelu_),
    "softshrink": ("soft shrinkage", F.softshrink),
    "gated by itself": ("SiLU", lambda x: x * torch.sigmoid(x)),
    "the other way": ("SiLU", lambda x: x.sigmoid() * x),
    "by a function": ("SiLU", lambda x: torch.mul(x, F.sigmoid(x))),
}


@pytest.mark.parametrize("name", SPELLED)
def test_other_rectifiers_are_refused_however_they_are_spelled(name: str) -> None:
    words, rectify = SPELLED[name]
    for method in (guided_backprop, deconvnet):
        with pytest.raises(UsageError, match=words):
            method(of_class(Spelled(rectify), 0), RAMP)


def test_a_gate_that_another_map_has_is_a_weight() -> None:
    """Squeeze and excitation: what goes back is the plain gradient of the gated map, rectified at the ReLU."""
    model = Spelled(lambda x: torch.relu(x) * torch.sigmoid(torch.zeros(1, requires_grad=True) + 1))
    half = torch.sigmoid(torch.ones(()))
    torch.testing.assert_close(deconvnet(of_class(model, 0), RAMP)[0, 0], WEIGHTS.clamp(min=0) * half)


def test_relu6_lets_nothing_through_where_it_is_full() -> None:
    ramp = torch.linspace(-3, 12, 16).view(1, 1, 4, 4)
    model = nn.Sequential(nn.ReLU6(), nn.Flatten(), nn.Linear(16, 1))
    with torch.no_grad():
        model[2].weight.fill_(1.0)
    inside = ((ramp > 0) & (ramp < 6)).float()
    torch.testing.assert_close(guided_backprop(of_class(model, 0), ramp), inside)


# Hooks never remain


def hooks_of(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


class Crashing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        self.second(self.first(inputs))
        raise RuntimeError("a crash in the network")


def test_no_hook_remains_after_success_a_wrong_layer_or_a_crash() -> None:
    model, inputs = trained("squeezenet1_0"), images(1)
    grad_cam(model, of_class(model, 0), inputs)
    cam(model, inputs, 0)
    watch_all(model, lambda: model(inputs))
    for wrong in (
        lambda: grad_cam(model, of_class(model, 0), inputs, "features.99"),
        lambda: grad_cam(model, of_class(model, 99), inputs, "features.3"),
        lambda: of_unit(model, "features.3", 999)(inputs),
        lambda: watch(model, ["features.3", "nowhere"], lambda: model(inputs)),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert hooks_of(model) == 0
    crashing = Crashing()
    for look in (
        lambda: grad_cam(crashing, of_class(crashing, 0), inputs, "first"),
        lambda: cam(crashing, inputs, 0),
        lambda: coarsest_layer(crashing, of_class(crashing, 0), inputs),
        lambda: guided_backprop(of_class(crashing, 0), inputs),
    ):
        with pytest.raises(RuntimeError, match="a crash in the network"):
            look()
    assert hooks_of(crashing) == 0


# Errors


def test_an_unknown_layer_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match=r"no layer 'features\.3\.squeze'.*features\.3\.squeeze"):
        find(create_model("squeezenet1_0", 10), "features.3.squeze")


@pytest.mark.parametrize("label", [-1, 10])
def test_a_class_out_of_range_is_an_error(label: int) -> None:
    with pytest.raises(UsageError, match=rf"no class {label}: the network knows 0 to 9"):
        saliency(of_class(trained("squeezenet1_0"), label), images(1))


def test_a_layer_without_spatial_extent_is_an_error() -> None:
    model = trained("resnet18")
    for look in (
        lambda: grad_cam(model, of_class(model, 0), images(1), "fc"),
        lambda: of_unit(model, "fc", 0, (0, 0))(images(1)),
    ):
        with pytest.raises(UsageError, match=r"layer fc has no spatial extent: it gives \[1, 10\]"):
            look()


def test_a_unit_that_is_not_there_is_an_error() -> None:
    model = trained("resnet18")
    with pytest.raises(UsageError, match=r"2 x 2 places, and none at \(2, 0\)"):
        of_unit(model, "layer4.1.conv2", 0, (2, 0))(images(1))
    with pytest.raises(UsageError, match="channels 0 to 511, not 512"):
        of_unit(model, "layer4.1.conv2", 512)(images(1))


def test_an_image_smaller_than_the_square_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"4 x 4 pixels.*square of 5 x 5"):
        occlusion(lambda x: x.flatten(1).sum(1), RAMP, square=5)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        occlusion(lambda x: x.flatten(1).sum(1), RAMP, square=0)


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    def broken(inputs: Tensor) -> Tensor:
        return inputs.clamp(min=0).sqrt().flatten(1).sum(1)  # its slope at 0 is infinite

    for method in (saliency, guided_backprop, deconvnet):
        with pytest.raises(SaccadeError, match="not finite"):
            method(broken, RAMP)
    model = trained("resnet18")
    model.layer4[1].conv2.weight.data[0] = torch.nan
    with pytest.raises(SaccadeError, match="not finite"):
        grad_cam(model, of_class(model, 0), images(1), "layer3.1.conv2")


def test_a_score_of_another_shape_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"one number an image, \[1\], but got shape \[1, 16\]"):
        saliency(lambda x: x.flatten(1), RAMP)
    with pytest.raises(SaccadeError, match="does not depend on the image"):
        saliency(lambda x: torch.ones(len(x)), RAMP)


def test_a_layer_that_the_score_does_not_hang_on_is_an_error() -> None:
    unused = nn.ModuleDict({"used": nn.Conv2d(3, 1, 1), "unused": nn.Conv2d(3, 1, 1)})

    def score(inputs: Tensor) -> Tensor:
        return unused["used"](inputs).flatten(1).sum(1)

    with pytest.raises(UsageError, match="unused did not run"):
        grad_cam(unused, score, images(1), "unused")

    def looked_at_in_vain(inputs: Tensor) -> Tensor:
        unused["unused"](inputs)
        return score(inputs)

    with pytest.raises(UsageError, match="does not hang on layer unused"):
        grad_cam(unused, looked_at_in_vain, images(1), "unused")


# Is it true?


def test_deletion_and_insertion_by_hand() -> None:
    def ask(inputs: Tensor) -> Tensor:
        return inputs.flatten(1).sum(1) / 120

    best, worst = RAMP[0, 0], -RAMP[0, 0]
    gone = faithfulness.deletion(ask, RAMP, best, steps=16)
    # After taking away 15, 14, ... what is left of 120.
    left = [120 - sum(range(16 - n, 16)) for n in range(17)]
    np.testing.assert_allclose(gone.scores, np.array(left) / 120, rtol=1e-6)
    np.testing.assert_allclose(gone.shares, np.arange(17) / 16)
    assert gone.area == pytest.approx(np.trapezoid(np.array(left) / 120, dx=1 / 16))
    assert gone.area < faithfulness.deletion(ask, RAMP, worst, steps=16).area


def test_insertion_ends_at_the_image_and_begins_out_of_focus() -> None:
    sharp = torch.zeros(1, 1, 16, 16)
    sharp[..., 8, 8] = 1

    def ask(inputs: Tensor) -> Tensor:
        return inputs.flatten(1).amax(1)

    right, wrong = torch.zeros(16, 16), torch.zeros(16, 16)
    right[8, 8] = wrong[0, 0] = 1.0
    good, bad = (faithfulness.insertion(ask, sharp, values, steps=8) for values in (right, wrong))
    assert good.scores[0] < 0.5
    assert good.scores[1] == good.scores[-1] == 1
    assert good.area > bad.area


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    one, other = images(2, 8)
    one, other = one[0], other[0] + one[0]
    wanted = spearmanr(one.abs().flatten().numpy(), other.abs().flatten().numpy()).statistic
    assert faithfulness.rank_correlation(one, other) == pytest.approx(wanted)


def test_forgetting_goes_from_the_last_layer_to_the_first_and_leaves_the_network_alone() -> None:
    model = trained("squeezenet1_0")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    order = ["features.0", "features.3.squeeze", "classifier.1"]
    for name, twin in faithfulness.randomised(model, order):
        changed = {key.rpartition(".")[0] for key, value in twin.state_dict().items() if not value.equal(before[key])}
        assert changed == set(order[order.index(name) :])
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_forgetting_is_repeatable_and_leaves_the_random_numbers_alone() -> None:
    model = trained("squeezenet1_0")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    twins = [list(faithfulness.randomised(model, ["classifier.1"]))[-1][1] for _ in range(2)]
    torch.testing.assert_close(torch.rand(3), wanted)
    assert twins[0].classifier[1].weight.equal(twins[1].classifier[1].weight)
