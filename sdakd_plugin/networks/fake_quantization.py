"""Fake quantisation: a float network that computes as its int8 file will, so that training can adapt to it.

A convolution computes with integers, as the QDQ file of ``export/quantizer.py`` does: weights symmetric by output
channel, inputs and results asymmetric by tensor, biases as sums of their products. The integers are held in float32,
which is exact below 2 ** 24. Gradients pass the rounding unchanged. The ends of the ranges are parameters, learnt in
the logarithm as in TQT (Jain et al., 2020), so that a step of an optimizer is relative to the range. They are not in
the state dict, which stays that of the float network.

With fewer than 8 bits, the first and the last convolution keep 8, as is usual (PACT, LSQ), and so do all results: they
are sums, and hardware holds them in more bits than it multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.registry import family_of

OCTAVES, PER_OCTAVE = (-20, 10), 16  # the magnitudes that an end of a range may be fitted to
SMALLEST = 2.0 ** OCTAVES[0]  # a range always contains 0


class _Round(torch.autograd.Function):
    """Rounds half to even, as ONNX does; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def quantize(values: Tensor, low: Tensor, high: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Round values to ``levels + 1`` evenly spaced ones from ``low`` <= 0 to ``high`` >= 0, of which one is 0.

    Returns:
        The values as integers, in units of the second result.
    """
    step = (high - low) / levels
    zero = _Round.apply(-low / step)
    integers, lowest, highest = _Round.apply(values / step), -zero, levels - zero
    integers = torch.where(integers < lowest, lowest, integers)  # clamp halves the gradient of what is equal to an end
    return torch.where(integers > highest, highest, integers), step


def quantize_weight(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Round weights (out, in, h, w) to ``2 ** bits - 1`` values, symmetric, by output channel.

    Returns:
        The weights as integers, in units of the second result, (out, 1, 1, 1).
    """
    largest = weight.detach().abs().amax((1, 2, 3), keepdim=True)
    step = largest.clamp(min=SMALLEST) / (2 ** (bits - 1) - 1)
    return _Round.apply(weight / step), step


def magnitudes(device: torch.device | str = 'cpu') -> Tensor:
    """What the ends of a range may be fitted to, ascending."""
    return 2 ** torch.arange(*OCTAVES, 1 / PER_OCTAVE, device=device)


class TensorRange(nn.Module):
    """The learnt range of a tensor.

    Args:
        bits: of the values in that range.

    Attributes:
        ends: the logarithms of ``-low`` and ``high``.
        seen: of all values that it was fitted to, the negative and the positive ones: by bin of ``magnitudes`` their
            number, the sum of their magnitudes and that of the squares, (2, 3, bins).
    """

    seen: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        self.ends = nn.Parameter(torch.full((2,), SMALLEST).log())
        self.register_buffer('seen', torch.zeros(2, 3, len(magnitudes())))

    @property
    def low_high(self) -> Tensor:
        magnitudes = self.ends.exp()
        return torch.stack([-magnitudes[0], magnitudes[1]])

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The values as integers, and their unit."""
        low, high = self.low_high
        return quantize(values, low, high, self.levels)

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Fit to these values and those of all calls before: the smallest squared error of rounding and clipping."""
        ends = magnitudes(values.device)
        for tail, part in zip(self.seen, (-values, values), strict=True):
            part = part.flatten().nan_to_num(0, 0, 0).clamp(min=0)  # a single NaN would stay
            moments = torch.stack([torch.ones_like(part), part, part.square()])
            batch = torch.zeros_like(tail).index_add_(1, torch.bucketize(part, ends[1:], right=True), moments)
            tail += batch  # not value by value: float32 cannot count beyond 2 ** 24
        beyond = self.seen.flip(-1).cumsum(-1).flip(-1)  # of the values from an end on
        number, total, squares = beyond.unbind(1)
        clipped = squares - 2 * ends * total + ends.square() * number
        step = (ends[:, None] + ends) / self.levels
        rounded = number[:, 1].sum() * step.square() / 12  # 0 is exact
        best = (clipped[0][:, None] + clipped[1] + rounded).argmin()
        self.ends.copy_(ends[torch.stack([best // len(ends), best % len(ends)])].log())

    def _save_to_state_dict(self, *arguments: Any) -> None:
        """Nothing: a checkpoint is that of the float network."""

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Nothing."""


class Quantization(nn.Module):
    """How a convolution is quantised. Inactive at first."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits, self.active = bits, False
        self.input, self.result = TensorRange(bits), TensorRange(8)


class FakeQuantizedConv2d(nn.Conv2d):
    """A convolution with fake quantisation; made from an ``nn.Conv2d`` by ``insert``."""

    quantization: Quantization

    def forward(self, input: Tensor) -> Tensor:
        own = self.quantization
        if not own.active:
            unused = 0 * (own.input.ends.sum() + own.result.ends.sum())  # distributed training needs their gradient
            return self._conv_forward(input, self.weight + unused, self.bias)
        weight, unit = quantize_weight(self.weight, own.bits)
        input, input_unit = own.input(input)
        unit = unit.flatten() * input_unit
        bias = None if self.bias is None else _Round.apply(self.bias / unit)
        result, unit = own.result(self._conv_forward(input, weight, bias) * unit[:, None, None])
        return result * unit


def insert(net: nn.Module, bits: int, role: str) -> None:
    """Make the convolutions of a network ready for fake quantisation, in place.

    Args:
        net: the generator, not wrapped.
        bits: of weights and inputs.
        role: the option that asks for it; every message begins with it.

    Raises:
        UserError: the network has layers that cannot be quantised, or none that can.
    """
    kind = type(net).__name__
    if family_of(net).export.size_hint(net) is not None:
        raise UserError(f'{role}: {kind} is not quantised: the weights of its layers depend on the image; remove it')
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            raise UserError(
                f"{role}: {kind} has BatchNorm ('{name}'), which an export folds into the convolutions, so that others "
                'than the trained ones would be quantised; use a student without'
            )
        if isinstance(module, _ConvNd) and type(module) is not nn.Conv2d:
            raise UserError(
                f"{role}: layer '{name}' of {kind} is a {type(module).__name__}, and only Conv2d is quantised"
            )
    convolutions = [module for module in net.modules() if type(module) is nn.Conv2d]
    if not convolutions:
        raise UserError(f'{role}: {kind} has no Conv2d, and only Conv2d is quantised; remove it')
    for conv in convolutions:
        conv.__class__ = FakeQuantizedConv2d
        conv.quantization = Quantization(8 if conv in (convolutions[0], convolutions[-1]) else bits)
        conv.quantization.to(conv.weight.device)


def layers(net: nn.Module) -> dict[str, FakeQuantizedConv2d]:
    """The convolutions with fake quantisation, by name; of a network that is not wrapped."""
    return {name: module for name, module in net.named_modules() if isinstance(module, FakeQuantizedConv2d)}


@torch.no_grad()
def calibrate(net: nn.Module, run: Callable[[], object]) -> None:
    """Fit the ranges to what a float pass, ``run``, and those before it give to each convolution."""

    def fit(conv: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        own = cast(FakeQuantizedConv2d, conv).quantization
        own.input.fit(inputs[0])
        own.result.fit(result)

    convolutions = layers(net).values()
    handles = [conv.register_forward_hook(fit) for conv in convolutions]
    active = [conv.quantization.active for conv in convolutions]
    for conv in convolutions:
        conv.quantization.active = False
    try:
        run()
    finally:
        for conv, handle, was in zip(convolutions, handles, active, strict=True):
            handle.remove()
            conv.quantization.active = was


def ends(net: nn.Module) -> dict[str, Tensor]:
    """The parameters of all ranges by layer: for input and result the logarithms of ``-low`` and ``high``, (2, 2).

    They are on the device of the network.
    """
    return {
        name: torch.stack([conv.quantization.input.ends, conv.quantization.result.ends]).detach()
        for name, conv in layers(net).items()
    }


def seen(net: nn.Module) -> dict[str, Tensor]:
    """What all ranges have been fitted to, by layer: for input and result ``TensorRange.seen``, (2, 2, 3, bins)."""
    return {
        name: torch.stack([conv.quantization.input.seen, conv.quantization.result.seen]).cpu()
        for name, conv in layers(net).items()
    }


@torch.no_grad()
def restore_seen(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set what ``seen`` returns."""
    for name, conv in layers(net).items():
        conv.quantization.input.seen.copy_(values[name][0])
        conv.quantization.result.seen.copy_(values[name][1])


@torch.no_grad()
def activate(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set what ``ends`` returns, and quantise from now on."""
    for name, conv in layers(net).items():
        own = conv.quantization
        own.input.ends.copy_(values[name][0])
        own.result.ends.copy_(values[name][1])
        own.active = True
