"""A generator in 8 bits, for ONNX Runtime or OpenVINO, that is compared with the float one before it is written.

Both are quantised by ONNX Runtime's tools. OpenVINO runs the result as fast as nncf's (docs/export.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration, int8_report, onnx, openvino
from sdakd_plugin.export.calibration import Sample
from sdakd_plugin.export.exportable import Exported, input_shape, input_sizes, package
from sdakd_plugin.export.fidelity import Fidelity, Judge, psnr
from sdakd_plugin.export.float_layers import Choice, choose
from sdakd_plugin.export.limits import Limits
from sdakd_plugin.export.quantizer import Quantizer
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model
from sdakd_plugin.losses.backbone import load_features
from sdakd_plugin.losses.lpips_loss import LPIPSLoss
from sdakd_plugin.networks import learnt_ranges
from sdakd_plugin.networks.learnt_ranges import LearntRanges

Files = Mapping[str, bytes]
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

    def run(self, program: bytes) -> Callable[[Tensor], Tensor]:
        """A program as a function of images."""
        runner = self.runner(self.files(program))
        return lambda image: torch.from_numpy(runner(image))


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

    A checkpoint of a quantised stage (``train.quantize``) is quantised in its learnt ranges. It is compared with the
    float network of the same weights, as any other; the report also has the distance from what was trained.

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
    refuse_fixed_size(model)
    learnt = _learnt_ranges(model)
    for name in runtime.needs:
        package(name)
    if size is not None:
        input_sizes(model, size)
    distance = lpips_distance(lpips)
    images = calibration.images(model, calibrate)
    program = onnx.program(model)
    float_run = runtime.run(program.SerializeToString())
    quantizer = Quantizer(
        program, [sample.lq for sample in images.calibrating], runtime.results, learnt.by_layer if learnt else None
    )
    judge = Judge(images.checking, ImageToImage(model.net), model.identity.scale or 1, limits, distance)
    ranges, choice = _search(quantizer, judge, runtime, float_run, images.calibrating[:RANKING])
    best = choice.attempt
    if not best.good:
        raise UserError(int8_report.refusal(model.name, choice, len(quantizer.layers)))
    lq = max((sample.lq for sample in images.checking), key=Tensor.numel)
    report = (
        int8_report.layers_line(choice, len(quantizer.layers), ranges),
        *int8_report.quality_lines(best.fidelity, [sample.name for sample in images.checking]),
        *_simulation(model, learnt, runtime.run(best.program), images.checking),
        int8_report.speed_line(lq, float_run, runtime.run(best.program)),
    )
    about = f'input lq, output sr: float32, RGB, 0..1, {input_shape(model, size)}'
    files = runtime.files(_fixed(best.program, size) if size else best.program)
    return Exported(files, best.fidelity.largest, about, report)


def _search(
    quantizer: Quantizer,
    judge: Judge,
    runtime: Runtime,
    float_run: Callable[[Tensor], Tensor],
    samples: Sequence[Sample],
) -> tuple[float | str, Choice[Candidate]]:
    """The ranges that come nearest to the float network, and the layers that stay in float.

    Both are ranked by the PSNR to ``float_run`` on ``samples``; ``judge`` decides which layers suffice.
    """
    ranking = [(sample.lq, float_run(sample.lq)) for sample in samples]

    def psnr_of(ranges: float | str, in_float: Sequence[str]) -> float:
        run = runtime.run(quantizer.quantize(ranges, in_float))
        return float(np.mean([psnr(run(lq), reference) for lq, reference in ranking]))

    ranges = max(quantizer.ranges, key=lambda one: psnr_of(one, ()))

    def attempt(in_float: Sequence[str]) -> Candidate:
        quantized = quantizer.quantize(ranges, in_float)
        return Candidate(quantized, judge.fidelity(runtime.run(quantized)))

    return ranges, choose(quantizer.layers, attempt, lambda in_float: psnr_of(ranges, in_float))


def _learnt_ranges(model: Model) -> LearntRanges | None:
    """The ranges of a checkpoint of a quantised stage; ``None`` for another one."""
    learnt = learnt_ranges.read(model.path)
    if learnt is not None and learnt.bits != 8:
        raise UserError(
            f'--int8: {model.path} was trained for {learnt.bits} bits, and files have 8; train with '
            'train.quantize.bits: 8'
        )
    return learnt


def _simulation(
    model: Model, learnt: LearntRanges | None, run: Callable[[Tensor], Tensor], samples: Sequence[Sample]
) -> list[str]:
    """How near the file is to the fake-quantised network, which was trained; empty for a network that was not."""
    if learnt is None:
        return []
    trained = ImageToImage(learnt.simulate(deepcopy(model.net)))
    return [int8_report.simulation_line([(run(sample.lq), trained(sample.lq)) for sample in samples])]


def refuse_fixed_size(model: Model) -> None:
    """Refuse a network whose file is for one input size."""
    if family_of(model.net).export.size_hint(model.net) is not None:
        raise UserError(
            f'--int8: {model.identity.network["type"]} is not quantised: a file of it would be for one '
            'input size; leave out --int8'
        )


def lpips_distance(lpips: str | None) -> LPIPSLoss | None:
    """LPIPS with the weights in a file, or nothing without one."""
    if lpips is None:
        return None
    load_features('alexnet', lpips, '--lpips')
    return LPIPSLoss('alex', backbone_path=lpips)


def _fixed(content: bytes, size: int) -> bytes:
    """The program for one image of a fixed size."""
    tools = package('onnxruntime.tools.onnx_model_utils')
    program: Any = package('onnx').load_from_string(content)
    for name, value in {'n': 1, 'h': size, 'w': size}.items():
        tools.make_dim_param_fixed(program.graph, name, value)
    tools.fix_output_shapes(program)
    fixed: bytes = program.SerializeToString()
    return fixed
