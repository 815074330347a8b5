"""Any network, layer by layer: shapes, weights, multiply-adds, depth, and what each unit sees of the input.

Nothing is computed: the network runs on torch's "meta" device, which knows shapes only, so this takes as long for the
largest network as for the smallest. Each operation is watched as torch dispatches it, so what a module does in plain
functions counts as what its layers do.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from saccade.layers.meta import on_meta, tensors

aten = torch.ops.aten


@dataclass(frozen=True)
class ReceptiveField:
    """What one unit of a map sees, along one direction, in input pixels.

    size    how many pixels
    stride  from one unit's field to the next one's
    start   where the first unit's begins: below 0 it sees the border's padding
    """

    size: float = 1
    stride: float = 1
    start: float = 0

    def whole(self, count: int) -> "ReceptiveField":
        """Of a unit that sees `count` of these in a row."""
        return ReceptiveField(self.size + (count - 1) * self.stride, self.stride * count, self.start)

    def slid(self, kernel: int, stride: int, padding: int, dilation: int) -> "ReceptiveField":
        """After a filter (Dumoulin and Visin 2016; Araujo, Norris and Sim 2019, section 3)."""
        size = self.size + (kernel - 1) * dilation * self.stride
        return ReceptiveField(size, self.stride * stride, self.start - padding * self.stride)

    def spread(self, kernel: int, stride: int, padding: int) -> "ReceptiveField":
        """After a transposed filter: each output pixel comes from kernel / stride input ones."""
        size = self.size + (math.ceil(kernel / stride) - 1) * self.stride
        return ReceptiveField(size, self.stride / stride, self.start - (kernel - 1 - padding) * self.stride / stride)

    def enlarged(self, factor: float, reach: int) -> "ReceptiveField":
        """After upsampling: `factor` units for each, each made of `reach` neighbours."""
        return ReceptiveField(self.size + (reach - 1) * self.stride, self.stride / factor, self.start)

    def __or__(self, other: "ReceptiveField") -> "ReceptiveField":
        """Of a unit made of one of each."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return ReceptiveField(end - start, min(self.stride, other.stride), start)


@dataclass(frozen=True)
class Layer:
    """One call of one module that computes something itself.

    name           its path in the network
    kind           its class
    output         shape of what it gives for one image, such as (64, 56, 56)
    weights        how many numbers it learns, biases apart
    biases         how many of those
    multiply_adds  for one image: a product and a sum count as one
    depth          layers with weights on the longest way from the input to its output, this one included
    rows, columns  what a unit sees down and across; None where that has no meaning
    """

    name: str
    kind: str
    output: tuple[int, ...]
    weights: int
    biases: int
    multiply_adds: int
    depth: int
    rows: ReceptiveField | None
    columns: ReceptiveField | None

    @property
    def units(self) -> int:
        """How many numbers it gives for one image."""
        return math.prod(self.output)


@dataclass(frozen=True)
class Summary:
    """A network at one size of input.

    layers      in the order they run
    parameters  of the whole network, those of layers that did not run included
    """

    layers: tuple[Layer, ...]
    parameters: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activations(self) -> int:
        """How many numbers all layers give for one image; in training all are kept."""
        return sum(layer.units for layer in self.layers)

    @property
    def depth(self) -> int:
        """Layers with weights on the longest way through."""
        return max((layer.depth for layer in self.layers), default=0)

    @property
    def receptive_field(self) -> tuple[float, float] | None:
        """(height, width) in pixels: the most that a unit of any map sees, before whatever sees a map as a whole."""
        maps = [layer for layer in self.layers if len(layer.output) == 3 and min(layer.output[1:]) > 1]
        fields = [(layer.rows.size, layer.columns.size) for layer in maps if layer.rows and layer.columns]
        return (max(rows for rows, _ in fields), max(columns for _, columns in fields)) if fields else None


def summarise(model: nn.Module, inputs: Tensor, run: Callable[[Any, Tensor], object] = nn.Module.__call__) -> Summary:
    """What each layer of a network gives and costs.

    model   any module; it is not changed
    inputs  [1, C, H, W] or whatever it takes, with a batch of one; its values do not matter
    run     how the network is called on them

    Raises ValueError for another batch than one; RuntimeError, torch's own, when the network cannot take inputs of this
    shape, or looks at values to decide what to do.
    """
    if inputs.shape[0] != 1:
        raise ValueError(f"inputs must be a batch of one image but got shape {list(inputs.shape)}")
    twin = on_meta(model).eval()
    probe = inputs.to("meta")
    watch = _Watch(probe)
    names = {module: name for name, module in twin.named_modules()}
    # torch has a short cut for attention, in which its products cannot be seen.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with watch.modules(names), watch, torch.no_grad():
            run(twin, probe)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Summary(tuple(watch.layers), parameters)


@dataclass(frozen=True)
class _Trace:
    """What is known of a tensor: how deep it lies and, for each of its last two axes, what a unit sees."""

    depth: int = 0
    fields: tuple[ReceptiveField, ReceptiveField] | None = None

    def __or__(self, other: "_Trace") -> "_Trace":
        fields = self.fields or other.fields
        if self.fields and other.fields:
            fields = (self.fields[0] | other.fields[0], self.fields[1] | other.fields[1])
        return _Trace(max(self.depth, other.depth), fields)


@dataclass
class _Call:
    """A module that is running: what its own operations cost so far."""

    module: nn.Module
    multiply_adds: int = 0


class _Watch(TorchDispatchMode):
    """Sees every operation, follows every tensor, and writes down a line when a module ends."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._calls: list[_Call] = []
        self._counted: set[nn.Module] = set()
        self._traces = WeakTensorKeyDictionary()
        self._traces[inputs] = _Trace(0, (ReceptiveField(), ReceptiveField()) if inputs.ndim == 4 else None)

    @contextmanager
    def modules(self, names: dict[nn.Module, str]) -> Iterator[None]:
        """Watch these modules begin and end."""
        handles = []
        for module, name in names.items():
            handles.append(module.register_forward_pre_hook(lambda module, _: self._calls.append(_Call(module))))
            handles.append(module.register_forward_hook(lambda module, _, output, name=name: self._end(name, output)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _end(self, name: str, output: Any) -> None:
        call = self._calls.pop()
        leaf = not any(True for _ in call.module.children())
        output = next(tensors([output]), None)  # of several, such as a recurrent layer's, the first
        if output is None or not (leaf or call.multiply_adds) or isinstance(call.module, nn.Identity):
            return
        # torch's attention reads the weights of its output layer without calling it.
        deep = isinstance(call.module, nn.MultiheadAttention)
        own = {} if call.module in self._counted else dict(call.module.named_parameters(recurse=deep))
        self._counted.add(call.module)
        biases = sum(parameter.numel() for key, parameter in own.items() if "bias" in key)
        weights = sum(parameter.numel() for parameter in own.values()) - biases
        trace = self._trace(output)
        rows, columns = trace.fields or (None, None)
        kind, shape = type(call.module).__name__, tuple(output.shape[1:])
        self.layers.append(Layer(name, kind, shape, weights, biases, call.multiply_adds, trace.depth, rows, columns))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        outputs = list(tensors([output]))
        if not outputs:
            return output
        work = _work(func, args, outputs[0])
        if work and self._calls:
            self._calls[-1].multiply_adds += work
        sources = [tensor for tensor in tensors(args) if tensor in self._traces]
        if sources:
            trace = _follow(func, args, sources[0], outputs[0], self._joined(sources))
            if work:
                trace = replace(trace, depth=trace.depth + 1)
            for result in outputs:
                self._traces[result] = trace
        return output

    def _joined(self, sources: list[Tensor]) -> _Trace:
        """What is known of a tensor made of these. A gate of one value a map says nothing of where its pixels look."""
        maps = [source for source in sources if source.ndim < 4 or source.shape[2:].numel() > 1] or sources
        trace = self._trace(maps[0])
        for source in maps[1:]:
            trace |= self._trace(source)
        return replace(trace, depth=max(self._trace(source).depth for source in sources))

    def _trace(self, tensor: Any) -> _Trace:
        return self._traces.get(tensor) or _Trace()


def _work(func: Any, args: tuple[Any, ...], output: Tensor) -> int:
    """Multiply-adds of one image of an operation that has weights; 0 for all others, as the papers count."""
    match func:
        case aten.convolution.default:
            inputs, weight, transposed = args[0], args[1], args[6]
            pixels = (inputs if transposed else output).shape[2:].numel()
            # Of one image there may be several: a detector's boxes.
            return len(inputs) * weight.numel() * pixels
        case aten.addmm.default:
            return args[1].shape[0] * args[2].numel()
        case aten.mm.default:
            return args[0].shape[0] * args[1].numel()
        case aten.bmm.default:
            return args[0].numel() * args[1].shape[2]
        case _:
            return 0


def _follow(func: Any, args: tuple[Any, ...], source: Tensor, output: Tensor, trace: _Trace) -> _Trace:
    """What a unit of the result sees, given what one of the sources sees."""
    if trace.fields is None:
        return trace
    match func:
        case aten.convolution.default:
            kernel, (stride, padding, dilation, transposed) = args[1].shape[2:], args[3:7]
        case aten.max_pool2d_with_indices.default:
            kernel, stride, padding, dilation = with_defaults(args, [None, args[1], 0, 1])
            transposed = False
        case aten.avg_pool2d.default:
            kernel, stride, padding = with_defaults(args, [None, args[1], 0])
            dilation, transposed = 1, False
        case (
            aten.upsample_nearest2d.default
            | aten.pixel_shuffle.default
            | aten.max_unpool2d.default
            | aten.upsample_bilinear2d.default
        ):
            reach = 2 if func is aten.upsample_bilinear2d.default else 1
            factors = [after / before for before, after in zip(source.shape[2:], output.shape[2:], strict=True)]
            rows, columns = (one.enlarged(by, reach) for one, by in zip(trace.fields, factors, strict=True))
            return replace(trace, fields=(rows, columns))
        case aten.constant_pad_nd.default:
            before = (args[1][2] if len(args[1]) > 2 else 0, args[1][0])
            rows, columns = (one.slid(1, 1, pad, 1) for one, pad in zip(trace.fields, before, strict=True))
            return replace(trace, fields=(rows, columns))
        case aten.slice.Tensor:
            return replace(trace, fields=_sliced(source.ndim, args, trace.fields))
        case _:
            return replace(trace, fields=_whole(source, output, trace.fields))
    fields = []
    for axis, one in enumerate(trace.fields):
        k, s, p, d = (at_axis(values, axis) for values in (kernel, stride or kernel, padding, dilation))
        fields.append(one.spread(k, s, p) if transposed else one.slid(k, s, p, d))
    return replace(trace, fields=(fields[0], fields[1]))


def _sliced(
    axes: int, args: tuple[Any, ...], fields: tuple[ReceptiveField, ReceptiveField]
) -> tuple[ReceptiveField, ReceptiveField]:
    """Where every so-many-th pixel is taken."""
    axis, first, _, step = with_defaults(args, [0, 0, None, 1])
    which = axis % axes - (axes - 2)
    if which < 0:
        return fields
    moved = fields[which].slid(1, step, -(first or 0), 1)
    return (moved, fields[1]) if which == 0 else (fields[0], moved)


def _whole(
    source: Tensor, output: Tensor, fields: tuple[ReceptiveField, ReceptiveField]
) -> tuple[ReceptiveField, ReceptiveField]:
    """Where an axis has collapsed (averaged, flattened), a unit sees all of it."""
    if source.ndim < 4 or output.shape[-2:] == source.shape[-2:]:
        return fields
    sizes = output.shape[-2:] if output.ndim == source.ndim else (1, 1)
    rows, columns = (
        one.whole(before) if after == 1 and before > 1 else one
        for one, before, after in zip(fields, source.shape[-2:], sizes, strict=True)
    )
    return rows, columns


def with_defaults(args: tuple[Any, ...], values: list[Any]) -> list[Any]:
    """The arguments of an operation after the first, the missing or empty ones as they are by default."""
    given = list(args[1 : len(values) + 1])
    given += values[len(given) :]
    return [default if value == [] else value for value, default in zip(given, values, strict=True)]


def at_axis(values: Any, axis: int) -> int:
    """Of a number for both axes, or of one for each, that of this axis."""
    return values[axis % len(values)] if isinstance(values, (list, tuple, torch.Size)) else values
