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

from saccade.errors import UsageError

Unpooling = Literal["switches", "nearest", "bed_of_nails"]
UNPOOLINGS: tuple[Unpooling, ...] = ("switches", "nearest", "bed_of_nails")

_RELU = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6 = {F.relu6}
_HARDTANH = {F.hardtanh, F.hardtanh_}
_MAX_POOL = {torch.max_pool2d, F.max_pool2d}
_IN_PLACE = {torch.relu_, Tensor.relu_, F.hardtanh_}
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
    F.threshold: "threshold",
    F.softsign: "softsign",
    F.logsigmoid: "log sigmoid",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
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

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _OTHERS:
            raise UsageError(
                f"{self.method} says how to go back through ReLU, but this network has {_OTHERS[func]}: "
                f"take saliency, smoothgrad, integrated_gradients, grad_cam or occlusion"
            )
        if func in _RELU or func in _RELU6 or func in _HARDTANH:
            return self._rectify(func, args, kwargs)
        if func in _MAX_POOL and not kwargs.get("return_indices") and self.unpooling != "switches":
            return _max_pool(self.unpooling, *args, **kwargs)
        return func(*args, **kwargs)

    def _rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        inputs = args[0] if args else kwargs["input"]
        top = _upper_end(func, args, kwargs)
        if top is None:
            raise UsageError(f"{self.method} says how to go back through ReLU, but this network has a hard tanh")
        result: Tensor = _Rectifier.apply(inputs, top, self.guided)  # pyright: ignore[reportAssignmentType]
        in_place = func in _IN_PLACE or kwargs.get("inplace", False) or (func is F.relu and args[1:2] == (True,))
        # Whoever works in place may go on with what was changed, and not with what is returned.
        return inputs.copy_(result) if in_place else result


def _upper_end(func: Any, args: Any, kwargs: dict[str, Any]) -> float | None:
    """Where the rectifier ends above; None where it does not begin at 0."""
    if func in _RELU:
        return float("inf")
    if func in _RELU6:
        return 6.0
    low, high = (
        kwargs.get(name, args[n] if len(args) > n else default)
        for n, (name, default) in enumerate((("min_val", -1.0), ("max_val", 1.0)), 1)
    )
    return float(high) if low == 0 else None


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
