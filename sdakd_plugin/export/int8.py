"""A generator in 8 bits, for ONNX Runtime or OpenVINO, that is compared with the float one before it is written.

Both come from one QDQ program, quantised by ONNX Runtime. OpenVINO on it is as fast as on nncf's, and more exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration, onnx, openvino, processor
from sdakd_plugin.export.exportable import Exported, input_shape, input_sizes, package
from sdakd_plugin.export.fidelity import Fidelity, Judge, Limits, psnr
from sdakd_plugin.export.float_layers import Choice, choose
from sdakd_plugin.export.quantizer import PERCENTILES, Quantizer
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model
from sdakd_plugin.losses.backbone import load_features
from sdakd_plugin.losses.lpips_loss import LPIPSLoss

Files = Mapping[str, bytes]
NAMED = 5  # layers that a message names
RANKING = 4  # images that layers and percentiles are ranked by


@dataclass(frozen=True)
class Runtime:
    """What runs a quantised program.

    Args:
        results: see ``Quantizer``.
        files: the program to files.
        runner: files to a function of images.
        needs: the packages.
    """

    results: bool
    files: Callable[[bytes], dict[str, bytes]]
    runner: Callable[[Files], Callable[[Tensor], np.ndarray]]
    needs: tuple[str, ...]


RUNTIMES = {
    'onnx': Runtime(
        True, lambda program: {'.onnx': program}, lambda files: onnx.runner(files['.onnx']), ('onnx', 'onnxruntime')
    ),
    'openvino': Runtime(False, openvino.convert, openvino.runner, ('onnx', 'onnxruntime', 'openvino')),
}


@dataclass(frozen=True)
class Candidate:
    """Attributes: program (ONNX), fidelity."""

    program: bytes
    fidelity: Fidelity

    @property
    def good(self) -> bool:
        return self.fidelity.good


@torch.no_grad()
def export(
    model: Model,
    runtime: Runtime,
    limits: Limits,
    calibrate: str | None = None,
    lpips: str | None = None,
    size: int | None = None,
) -> Exported:
    """Quantise, with the most sensitive layers in float, as few as keep the limits.

    Args:
        model: the generator.
        runtime: one of ``RUNTIMES``.
        limits: how far it may be from the float network.
        calibrate: a folder of LQ images; ``None``: scikit-image's photographs.
        lpips: torchvision's AlexNet, whole or its features, to measure LPIPS too.
        size: height and width of the input in pixels, for a batch of one; ``None`` for any batch and size.

    Raises:
        UserError: it cannot be exported, a package or image is missing, or the limits are not kept.
    """
    if family_of(model.net).export.size_hint(model.net) is not None:
        raise UserError(
            f'--int8: {model.identity.network["type"]} is not quantised: its input size is fixed and the weights of '
            'its layers depend on the image; leave out --int8'
        )
    for name in runtime.needs:
        package(name)
    if size is not None:
        input_sizes(model, size)
    distance = _distance(lpips)
    images = calibration.images(model, calibrate)
    program = onnx.program(model)
    float_run = _as_tensors(runtime.runner(runtime.files(program.SerializeToString())))
    quantizer = Quantizer(program, [sample.lq for sample in images.calibrating], runtime.results)
    ranking = [(sample.lq, float_run(sample.lq)) for sample in images.calibrating[:RANKING]]

    def psnr_of(percentile: float, in_float: Sequence[str]) -> float:
        run = _as_tensors(runtime.runner(runtime.files(quantizer.quantize(percentile, in_float))))
        return float(np.mean([psnr(run(lq), reference) for lq, reference in ranking]))

    percentile = max(PERCENTILES, key=lambda one: psnr_of(one, ()))
    judge = Judge(images.checking, ImageToImage(model.net), model.identity.scale or 1, limits, distance)

    def attempt(in_float: Sequence[str]) -> Candidate:
        quantized = quantizer.quantize(percentile, in_float)
        return Candidate(quantized, judge.fidelity(_as_tensors(runtime.runner(runtime.files(quantized)))))

    choice = choose(quantizer.layers, attempt, lambda in_float: psnr_of(percentile, in_float))
    if not choice.attempt.good:
        raise UserError(_refusal(model, choice, len(quantizer.layers)))
    files = runtime.files(_fixed(choice.attempt.program, size) if size else choice.attempt.program)
    int8_run = _as_tensors(runtime.runner(runtime.files(choice.attempt.program)))
    lq = max((sample.lq for sample in images.checking), key=Tensor.numel)
    about = f'input lq, output sr: float32, RGB, 0..1, {input_shape(model, size)}'
    report = (
        _layers(choice, len(quantizer.layers), percentile),
        *_quality(choice.attempt.fidelity, [sample.name for sample in images.checking]),
        _speed(lq, float_run, int8_run),
    )
    return Exported(files, choice.attempt.fidelity.largest, about, report)


def _distance(lpips: str | None) -> LPIPSLoss | None:
    if lpips is None:
        return None
    load_features('alexnet', lpips, '--lpips')
    return LPIPSLoss('alex', backbone_path=lpips)


def _as_tensors(run: Callable[[Tensor], np.ndarray]) -> Callable[[Tensor], Tensor]:
    return lambda image: torch.from_numpy(run(image))


def _fixed(content: bytes, size: int) -> bytes:
    """The program for one image of a fixed size."""
    tools = package('onnxruntime.tools.onnx_model_utils')
    program: Any = package('onnx').load_from_string(content)
    for name, value in {'n': 1, 'h': size, 'w': size}.items():
        tools.make_dim_param_fixed(program.graph, name, value)
    tools.fix_output_shapes(program)
    fixed: bytes = program.SerializeToString()
    return fixed


def _costliest(choice: Choice[Candidate], number: int) -> str:
    return ', '.join(f'{layer} {db:.1f} dB' for layer, db in list(choice.costs.items())[:number])


def _refusal(model: Model, choice: Choice[Candidate], layers: int) -> str:
    found = choice.attempt.fidelity
    problems = []
    if not found.loss <= found.limits.max_loss:
        problems.append(f'it loses {found.loss:.3f} dB to the ground truth (--max-loss {found.limits.max_loss:g})')
    if not found.psnr >= found.limits.min_fidelity:
        problems.append(
            f"it is {found.psnr:.1f} dB from the float network's images (--min-fidelity {found.limits.min_fidelity:g})"
        )
    return (
        f'{model.name}: nothing is written: in int8, with {len(choice.in_float)} of {layers} layers in float, '
        f'{" and ".join(problems)}; the layers that cost most, each quantised alone: {_costliest(choice, NAMED)}'
    )


def _layers(choice: Choice[Candidate], layers: int, percentile: float) -> str:
    line = f'int8: {layers - len(choice.in_float)} of {layers} convolutions, ranges at percentile {percentile:g}'
    if not choice.in_float:
        return f'{line}; none has to stay in float'
    return f'{line}; in float, since they cost most (PSNR if quantised alone): ' + _costliest(
        choice, len(choice.in_float)
    )


def _quality(found: Fidelity, names: list[str]) -> list[str]:
    limits, verb = found.limits, 'lost' if found.loss > 0 else 'gained'
    lines = [
        f"to the float network's images ({', '.join(names)}): PSNR {found.psnr:.2f} dB, lowest {found.lowest:.2f} "
        f'(allowed: {limits.min_fidelity:g}); largest difference {found.largest:.3f} of the range',
        f'to the ground truth ({", ".join(calibration.CHECKING)}): PSNR on luma {found.of_float:.3f} dB in float, '
        f'{found.of_int8:.3f} in int8: {abs(found.loss):.3f} {verb} (allowed: {limits.max_loss:g})',
    ]
    if found.lpips is not None:
        between, of_float, of_int8 = found.lpips
        lines.append(
            f"LPIPS to the float network's images {between:.4f}; to the ground truth {of_float:.4f}, {of_int8:.4f}"
        )
    return lines


def _speed(lq: Tensor, float_run: Callable[[Tensor], Tensor], int8_run: Callable[[Tensor], Tensor]) -> str:
    """Seconds for one image, the best of some, in turns."""
    seconds: dict[str, float] = {}
    for _ in range(3):
        for name, run in (('float', float_run), ('int8', int8_run)):
            start = perf_counter()
            run(lq)
            seconds[name] = min(seconds.get(name, np.inf), perf_counter() - start)
    line = (
        f'{lq.shape[3]}x{lq.shape[2]} pixels here: {seconds["float"]:.3f} s in float, {seconds["int8"]:.3f} s in int8, '
        f'{seconds["float"] / seconds["int8"]:.1f} times as fast'
    )
    if processor.has_int8() is False:
        line += '; this processor has no instructions for int8, so that it is not faster here'
    return line
