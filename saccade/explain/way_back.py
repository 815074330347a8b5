"""Other ways back through a network than the gradient's: what guided backpropagation and the DeconvNet have in common.

Every ReLU and max-pooling is met as torch runs it, whether it is a layer, a layer used several times, a plain function,
or works in place; so nothing of the network is changed, and nothing is missed.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from saccade.errors import UsageError

Unpooling = Literal["switches", "nearest", "bed_of_nails"]
UNPOOLINGS: tuple[Unpooling, ...] = ("switches", "nearest", "bed_of_nails")

_RELU = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6 = {F.relu6}
_HARDTANH = {F.hardtanh, F.hardtanh_}
_CLAMP = {torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clip, Tensor.clip, Tensor.clip_}
_CLAMP_BELOW = {torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_}
_THRESHOLD = {torch.threshold, F.threshold, torch.threshold_}
_MAXIMUM = {torch.maximum, Tensor.maximum, torch.fmax, Tensor.fmax}
_MAX_POOL = {torch.max_pool2d, F.max_pool2d}
_IN_PLACE = {
    torch.relu_,
    Tensor.relu_,
    F.hardtanh_,
    torch.clamp_,
    Tensor.clamp_,
    Tensor.clip_,
    torch.clamp_min_,
    Tensor.clamp_min_,
    torch.threshold_,
}
_SIGMOID = {torch.sigmoid, F.sigmoid, Tensor.sigmoid}
_PRODUCT = {torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__, torch.multiply}
# Rectifiers that nobody has said how to go back through.
_OTHERS: dict[Any, str] = {
    F.silu: "SiLU",
    F.gelu: "GELU",
    F.hardswish: "hard swish",
    F.mish: "Mish",
    F.elu: "ELU",
    F.selu: "SELU",
    F.celu: "CELU",
    F.leaky_relu: "leaky ReLU",
    torch.prelu: "PReLU",
    F.prelu: "PReLU",
    F.softplus: "softplus",
    F.rrelu: "randomised leaky ReLU",
    F.elu_: "ELU",
    F.selu_: "SELU",
    torch.selu: "SELU",
    torch.selu_: "SELU",
    F.celu_: "CELU",
    torch.celu: "CELU",
    torch.celu_: "CELU",
    F.leaky_relu_: "leaky ReLU",
    F.rrelu_: "randomised leaky ReLU",
    torch.rrelu: "randomised leaky ReLU",
    torch.rrelu_: "randomised leaky ReLU",
    F.softshrink: "soft shrinkage",
    F.hardshrink: "hard shrinkage",
    torch.hardshrink: "hard shrinkage",
    F.tanhshrink: "tanh shrinkage",
    F.softsign: "softsign",
    F.logsigmoid: "log sigmoid",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
    torch.tanh_: "tanh",
    Tensor.tanh_: "tanh",
    F.tanh: "tanh",
}


class Rectified(TorchFunctionMode):
    """While it lasts, what comes back through a ReLU is rectified itself: nothing negative goes on.

    method      who asks, for the error
    guided      and nothing goes on where the ReLU was closed on the way up, as in the gradient
    unpooling   what comes back through max-pooling stands where the maximum was ("switches"), in all of the window
                ("nearest") or at its first pixel ("bed_of_nails")

    Raises UsageError, in the forward pass, for other rectifiers.
    """

    def __init__(self, method: str, guided: bool, unpooling: Unpooling = "switches") -> None:
        super().__init__()
        if unpooling not in UNPOOLINGS:
            raise UsageError(f"unpooling is one of {', '.join(UNPOOLINGS)}, got {unpooling!r}")
        self.method, self.guided, self.unpooling = method, guided, unpooling
        self.gates = WeakTensorKeyDictionary()  # what sigmoids gave, and of what

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _OTHERS:
            raise self._unknown(_OTHERS[func])
        if func in _MAXIMUM:
            args = _with_nothing_last(args)
        top = _upper_end(func, args, kwargs)
        if top is not None:
            return self._rectify(func, args, kwargs, top)
        if func in _HARDTANH:
            raise self._unknown("a hard tanh")
        if func in _THRESHOLD:
            raise self._unknown("threshold")
        if func in _SIGMOID:
            gate = func(*args, **kwargs)
            self.gates[gate] = args[0] if args else kwargs["input"]
            return gate
        if func in _PRODUCT and self._is_gated_by_itself(args):
            raise self._unknown("SiLU")
        if func in _MAX_POOL and not kwargs.get("return_indices") and self.unpooling != "switches":
            return _max_pool(self.unpooling, *args, **kwargs)
        return func(*args, **kwargs)

    def _is_gated_by_itself(self, args: Any) -> bool:
        """Whether a map is multiplied by its own sigmoid, which rectifies it; any other gate is a weight."""
        both = len(args) == 2 and all(isinstance(one, Tensor) for one in args)
        return both and any(self.gates.get(one) is other for one, other in (args, args[::-1]))

    def _unknown(self, rectifier: str) -> UsageError:
        return UsageError(
            f"{self.method} says how to go back through ReLU, but this network has {rectifier}: "
            f"take saliency, smoothgrad, integrated_gradients, grad_cam or occlusion"
        )

    def _rectify(self, func: Any, args: Any, kwargs: dict[str, Any], top: float) -> Tensor:
        inputs = args[0] if args else kwargs["input"]
        result: Tensor = _Rectifier.apply(inputs, top, self.guided)  # pyright: ignore[reportAssignmentType]
        in_place = func in _IN_PLACE or kwargs.get("inplace", False) or (func is F.relu and args[1:2] == (True,))
        # Whoever works in place may go on with what was changed, and not with what is returned.
        return inputs.copy_(result) if in_place else result


def _upper_end(func: Any, args: Any, kwargs: dict[str, Any]) -> float | None:
    """Where the rectifier ends above; None for what is none that begins at 0."""

    def given(*named: tuple[str, Any]) -> list[Any]:
        return [kwargs.get(name, args[n] if len(args) > n else other) for n, (name, other) in enumerate(named, 1)]

    if func in _RELU:
        return float("inf")
    if func in _RELU6:
        return 6.0
    if func in _HARDTANH:
        low, high = given(("min_val", -1.0), ("max_val", 1.0))
    elif func in _CLAMP:
        low, high = given(("min", None), ("max", None))
    elif func in _CLAMP_BELOW:
        low, high = *given(("min", None)), None
    elif func in _THRESHOLD:
        low, high = given(("threshold", None), ("value", None))
        return float("inf") if low == high == 0 else None
    elif func in _MAXIMUM:
        low, high = *given(("other", None)), None
        low = 0 if isinstance(low, Tensor) and _is_nothing(low) else None
    else:
        return None
    begins_at_0 = isinstance(low, (int, float)) and low == 0
    if not begins_at_0 or isinstance(high, Tensor) or (high is not None and high <= 0):
        return None
    return float("inf") if high is None else float(high)


def _is_nothing(values: Tensor) -> bool:
    return not values.requires_grad and not bool(values.any())


def _with_nothing_last(args: Any) -> Any:
    """The larger of two is the same in either order."""
    both = len(args) == 2 and all(isinstance(one, Tensor) for one in args)
    return (args[1], args[0]) if both and _is_nothing(args[0]) and not _is_nothing(args[1]) else args


class _Rectifier(torch.autograd.Function):
    """min(max(x, 0), top) forward; rectified backward."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, top: float, guided: bool) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.guided = guided
        if guided:
            ctx.save_for_backward((inputs > 0) & (inputs < top))
        return inputs.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, back: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        back = back.clamp(min=0)
        return (back * ctx.saved_tensors[0] if ctx.guided else back), None, None


def _max_pool(
    unpooling: str,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Max-pooling with another way back. The arguments have torch's names, as torch hands them over."""
    stride = kernel_size if stride is None or stride == [] else stride

    def pool(inputs: Tensor) -> Tensor:
        return F.max_pool2d(inputs, kernel_size, stride, padding, dilation, ceil_mode)

    back = _from_windows if unpooling == "nearest" else _to_first_pixels(_pair(stride), _pair(padding))
    return _Pool.apply(input, pool, back)  # pyright: ignore[reportReturnType]


class _Pool(torch.autograd.Function):
    """Any pooling forward, any unpooling backward."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, pool: Callable[[Tensor], Tensor], back: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.back, ctx.size = back, inputs.shape[2:]
        return pool(inputs)

    @staticmethod
    def backward(ctx: Any, back: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.back(back, ctx.size), None, None


def _from_windows(back: Tensor, size: torch.Size) -> Tensor:
    """Each pixel has what the pooled pixel above it has."""
    return F.interpolate(back, size=tuple(size), mode="nearest")


def _to_first_pixels(stride: tuple[int, int], padding: tuple[int, int]) -> Callable[[Tensor, torch.Size], Tensor]:
    def unpool(back: Tensor, size: torch.Size) -> Tensor:
        out = back.new_zeros(*back.shape[:2], *size)
        rows, columns = (
            (torch.arange(count, device=back.device) * step - pad).clamp(0, length - 1)
            for count, step, pad, length in zip(back.shape[2:], stride, padding, size, strict=True)
        )
        out[:, :, rows[:, None], columns] = back
        return out

    return unpool


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, (list, tuple)):
        return (int(value[0]), int(value[-1]))
    return (int(value), int(value))
