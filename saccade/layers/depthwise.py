"""Convolutions of each channel by itself, trained fast on a processor."""

import torch
from torch import Tensor, nn

QUICK = ((3, 3), (1, 1))  # the only size and stride that oneDNN trains quickly in bfloat16


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with as many groups as channels, whose gradients do not make a training in bfloat16 slow.

    On the processor the way back through strides of 2 or through filters of 5 x 5 has no fast code for bfloat16 in
    oneDNN: it takes 1.7 to 50 times as long as in float32. So in training these few are computed in float32.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(channels, out, kernel, stride, padding, groups=channels, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        slow = (self.kernel_size, self.stride) != QUICK
        training = torch.is_grad_enabled() and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not (slow and training):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            found = super().forward(input.float())
        return found.to(torch.get_autocast_dtype("cpu"))
