"""A generator in 8 bits for LiteRT: weights by channel, activations in the range that each image has in each layer.

Nothing is calibrated, and all convolutions are quantised: that is nearer to the float network than the other int8
formats, whose ranges are fixed (docs/export.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration, int8_report, litert
from sdakd_plugin.export.exportable import Exported, cut, package
from sdakd_plugin.export.fidelity import Judge
from sdakd_plugin.export.int8 import lpips_distance, refuse_fixed_size
from sdakd_plugin.export.limits import Limits
from sdakd_plugin.export.silence import silent
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.model import Model


@torch.no_grad()
def export(
    model: Model, limits: Limits, calibrate: str | None = None, lpips: str | None = None, size: int | None = None
) -> Exported:
    """Quantise, and compare with the float network.

    Args:
        model: the generator.
        limits: how far it may be from the float network.
        calibrate: a folder of LQ images, of which every fourth is for checking; ``None``: scikit-image's photographs.
        lpips: torchvision's AlexNet, whole or its features, to measure LPIPS too.
        size: height and width of the input in pixels.

    Raises:
        UserError: there is no size, it cannot be exported, a package or image is missing, or the limits are not kept.
    """
    refuse_fixed_size(model)
    side = litert.only_size(model, size)
    distance = lpips_distance(lpips)
    samples = _of_size(calibration.images(model, calibrate).checking, side, model.identity.scale or 1)
    content = litert.convert(model, side)
    quantized = _quantize(content)
    run = _tensors(quantized)
    fidelity = Judge(samples, ImageToImage(model.net), model.identity.scale or 1, limits, distance).fidelity(run)
    if not fidelity.good:
        raise UserError(f'{model.name}: nothing is written: in int8, {int8_report.problems(fidelity)}')
    report = (
        'int8: weights by channel, activations in the range of each image; nothing is calibrated',
        *int8_report.quality_lines(fidelity, [sample.name for sample in samples]),
        int8_report.speed_line(samples[0].lq, _tensors(content), run),
    )
    return Exported({'.tflite': quantized}, fidelity.largest, litert.about(model, side), report)


def _quantize(content: bytes) -> bytes:
    recipe = package('ai_edge_quantizer.recipe', litert.EXTRA)
    quantizer = litert.quantizer(content)
    quantizer.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    with silent():
        return bytes(quantizer.quantize().quantized_model)


def _of_size(samples: list[calibration.Sample], side: int, scale: int) -> list[calibration.Sample]:
    """The samples, cut or repeated to the file's size."""
    return [
        replace(
            sample,
            lq=cut(sample.lq, side, side),
            gt=None if sample.gt is None else cut(sample.gt, side * scale, side * scale),
        )
        for sample in samples
    ]


def _tensors(content: bytes) -> Callable[[Tensor], Tensor]:
    """A file as a function of images."""
    run = litert.runner(content)
    return lambda image: torch.from_numpy(run(image))
