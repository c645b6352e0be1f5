"""A generator for LiteRT (TensorFlow Lite), converted by litert-torch and checked in LiteRT on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import Exported, check, exportable, input_shape, input_sizes, package, photograph
from sdakd_plugin.export.silence import silent
from sdakd_plugin.inference.model import Model

EXTRA = 'litert'


def export(model: Model, half: bool = False, size: int | None = None) -> Exported:
    """Export to one file with the input ``lq`` and the output ``sr``, for one size of image.

    Args:
        model: the generator.
        half: store the weights in half precision; LiteRT computes in what the device offers.
        size: height and width of the input in pixels.

    Raises:
        UserError: there is no size, it cannot be exported, or gives something else in LiteRT than in PyTorch.
    """
    side = only_size(model, size)
    content = convert(model, side)
    if half:
        content = _in_half_precision(content)
    error = check(model, runner(content), ((side, side),), half)
    return Exported({'.tflite': content}, error, f'{about(model, side)}; weights in {"float16" if half else "float32"}')


def about(model: Model, size: int) -> str:
    """How to call a file."""
    return f'input lq, output sr: float32, RGB, 0..1, {input_shape(model, size)}'


def only_size(model: Model, size: int | None) -> int:
    """The size of a file's images, which it must have.

    Raises:
        UserError: it is missing, or the network does not take it.
    """
    ((side, _), *others) = input_sizes(model, size)
    if others:
        raise UserError('--size: a LiteRT file takes images of one size, such as --size 128; larger ones go in tiles')
    return side


def convert(model: Model, size: int) -> bytes:
    """A float file for images of one size. Converting for any size fails where a network interpolates."""
    with silent():
        litert_torch = package('litert_torch', EXTRA)
        try:
            net = _Named(exportable(model.net)).eval()
            content: bytes = litert_torch.convert(
                net, sample_kwargs={'lq': photograph(model, size, size)}
            ).model_content()
        except Exception as error:  # the exporter, the lowerings and the converter have a dozen kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition('error: ')[2]
            raise UserError(
                f'{model.name}: {model.identity.network["type"]} does not export to LiteRT: {shorten(reason, 120)}'
            ) from error
    return content


def runner(content: bytes) -> Callable[[Tensor], np.ndarray]:
    """A file in LiteRT on the CPU: an image (1, c, h, w) to its enlarged one."""
    with silent():
        interpreter = package('ai_edge_litert.interpreter', EXTRA).Interpreter(
            model_content=content, num_threads=torch.get_num_threads()
        )
        interpreter.allocate_tensors()
        enlarge = interpreter.get_signature_runner()
    return lambda image: enlarge(lq=image.contiguous().numpy())['sr']


def quantizer(content: bytes) -> Any:
    """ai-edge-quantizer on a float file."""
    return package('ai_edge_quantizer.quantizer', EXTRA).Quantizer(bytearray(content))


def _in_half_precision(content: bytes) -> bytes:
    types = package('ai_edge_quantizer.qtyping', EXTRA)
    casting = quantizer(content)
    casting.add_weight_only_config(
        '.*', types.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key='float_casting'
    )
    with silent():
        return bytes(casting.quantize().quantized_model)


class _Named(nn.Module):
    """Names the output, as the input takes the argument's name."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor) -> dict[str, Tensor]:
        return {'sr': self.net(lq)}
