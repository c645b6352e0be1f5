"""Copies of an ONNX program that compute in 8 bits, by ONNX Runtime's quantisation in the QDQ format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import package
from sdakd_plugin.export.silence import silent

ACTIVATIONS = ('LeakyRelu', 'PRelu', 'Relu')
PERCENTILES = (99.7, 99.9, 99.97, 99.99)  # of a layer's values: the range that 8 bits cover. The whole is too coarse
LEARNT = 'learnt'  # the ranges of a quantised student


class Quantizer:
    """Quantises an ONNX program's convolutions: weights by channel, activations in the ranges of some images, or in
    learnt ones.

    The ranges are measured once, so that each copy takes a moment. This is ``quantize_static`` in its two halves.

    Args:
        program: an ``onnx.ModelProto`` with the input ``lq``.
        images: LQ images (1, c, h, w).
        results: whether results of convolutions and of the activations behind them are quantised too. ONNX Runtime
            needs it to compute a convolution in 8 bits; OpenVINO does not, and is faster and more exact without.
        learnt: instead of measuring on images, by layer the range of its input and of its result,
            ((low, high), (low, high)). Activations are then in float up to the next convolution, as in training.

    Attributes:
        layers: the names of the convolutions.
        ranges: the names of the ranges to choose from: ``PERCENTILES`` or ``LEARNT``.

    Raises:
        UserError: the program has no convolutions, or others than the learnt ranges.
    """

    def __init__(
        self, program: Any, images: Sequence[Tensor], results: bool, learnt: Mapping[str, Tensor] | None = None
    ) -> None:
        self._program = package('onnx').shape_inference.infer_shapes(program)
        self._types = ['Conv', *(ACTIVATIONS if results and learnt is None else ())]
        self._results = results
        nodes = self._program.graph.node
        self._nodes = {
            _layer(conv.name): [conv.name]
            + [node.name for node in nodes if node.op_type in ACTIVATIONS and conv.output[0] in node.input]
            for conv in nodes
            if conv.op_type == 'Conv'
        }
        self.layers = tuple(self._nodes)
        if not self.layers:
            raise UserError('--int8: this network has no convolutions, and only they are quantised')
        if learnt is None:
            self._ranges: dict[Any, Any] = _ranges(self._program, self._types, images)
        else:
            self._ranges = {LEARNT: self._given(learnt)}
        self.ranges = tuple(self._ranges)

    def _given(self, learnt: Mapping[str, Tensor]) -> Any:
        """The learnt ranges by tensor."""
        if learnt.keys() != self._nodes.keys():
            raise UserError('--int8: the learnt ranges of this checkpoint are of other layers than the exported ones')
        calibrate = package('onnxruntime.quantization').calibrate
        by_name = {node.name: node for node in self._program.graph.node}
        found = {}
        for layer, ranges in learnt.items():
            conv = by_name[self._nodes[layer][0]]
            for tensor, (low, high) in zip((conv.input[0], conv.output[0]), ranges.numpy(), strict=True):
                found[tensor] = (low, high)
        return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, found)

    def quantize(self, ranges: float | str, in_float: Collection[str] = ()) -> bytes:
        """The program with all layers in 8 bits but those ``in_float``, each with the activation behind it.

        Args:
            ranges: one of ``ranges``; values beyond them are clipped.
            in_float: some of ``layers``.
        """
        quantization = package('onnxruntime.quantization')
        quantizer = package('onnxruntime.quantization.qdq_quantizer').QDQQuantizer(
            deepcopy(self._program),
            per_channel=True,
            reduce_range=False,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=self._ranges[ranges],
            nodes_to_quantize=[],  # all
            nodes_to_exclude=[node for layer in in_float for node in self._nodes[layer]],
            op_types_to_quantize=self._types,
            extra_options={'OpTypesToExcludeOutputQuantization': [] if self._results else ['Conv']},
        )
        with silent():
            quantizer.quantize_model()
        quantizer.model.topological_sort()  # which ONNX demands, and quantising does not keep
        content: bytes = quantizer.model.model.SerializeToString()
        return content


def _layer(node: str) -> str:
    """The name in PyTorch, ``body.0.rdb1.conv1``, of an ONNX node such as ``/net/body/body.0/rdb1/conv1/Conv``."""
    parts = node.removesuffix('/Conv').removeprefix('/net').strip('/').split('/')
    following = [*parts[1:], '']
    return '.'.join(part for part, after in zip(parts, following, strict=True) if not after.startswith(f'{part}.'))


def _ranges(program: Any, types: list[str], images: Sequence[Tensor]) -> dict[float, Any]:
    """By percentile the range of every tensor over the images."""
    quantization = package('onnxruntime.quantization')
    with TemporaryDirectory() as folder, silent():
        path = Path(folder, 'net.onnx')
        package('onnx').save(program, path)
        calibrator = quantization.calibrate.create_calibrator(
            path,
            types,
            Path(folder, 'with_all_results.onnx'),
            quantization.CalibrationMethod.Percentile,
            extra_options={'symmetric': False},
        )
        for image in images:  # one by one: each leaves the results of all layers in memory
            reader = iter([{'lq': image.numpy()}, None])
            calibrator.collect_data(SimpleNamespace(get_next=reader.__next__))
        # All of it, as 8 bits then hold an image of 8 bits exactly: SRVGGNetCompact adds it to its result.
        of_an_image = quantization.calibrate.TensorData(lowest=np.float32(0), highest=np.float32(1))
        found = {}
        for percentile in PERCENTILES:  # of the same histograms
            calibrator.collector.percentile = percentile
            found[percentile] = calibrator.compute_data()
            if 'lq' in found[percentile]:  # not where the first convolution takes it unshuffled
                found[percentile]['lq'] = of_an_image
        return found
