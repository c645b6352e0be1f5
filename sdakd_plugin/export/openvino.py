"""A generator for OpenVINO, converted from ONNX and checked in OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdakd_plugin.export import onnx
from sdakd_plugin.export.exportable import Exported, check, input_shape, input_sizes, package
from sdakd_plugin.inference.model import Model

SUFFIXES = ('.xml', '.bin')


def export(model: Model, half: bool = False, size: int | None = None) -> Exported:
    """Export to a ``.xml`` and a ``.bin`` file with the input ``lq`` and the output ``sr``.

    Args:
        model: the generator.
        half: store the weights in half precision; OpenVINO chooses its precision of computation itself.
        size: height and width of the input in pixels, for a batch of one; ``None`` for any batch and size.

    Raises:
        UserError: it cannot be exported, or gives something else in OpenVINO than in PyTorch.
    """
    package('openvino')
    sizes = input_sizes(model, size)
    files = convert(onnx.program(model, size=size).SerializeToString(), half)
    once = runner(files)

    def run(image: Tensor) -> np.ndarray:
        return once(image) if size else once(image.repeat(2, 1, 1, 1))[-1:]  # a batch must give what its images give

    error = check(model, run, sizes, half)
    precision = 'float16' if half else 'float32'
    return Exported(files, error, f'input lq, output sr: RGB, 0..1, {input_shape(model, size)}; weights in {precision}')


def convert(program: bytes, half: bool = False) -> dict[str, bytes]:
    """ONNX to OpenVINO's two files; the metadata are under ``rt_info``, ``framework``."""
    openvino = package('openvino')
    converted = openvino.Core().read_model(program)
    _copy_by_convolution(converted)
    with TemporaryDirectory() as folder:
        path = Path(folder, 'net.xml')
        openvino.save_model(converted, path, compress_to_fp16=half)
        return {suffix: path.with_suffix(suffix).read_bytes() for suffix in SUFFIXES}


def _copy_by_convolution(program: Any) -> None:
    """Have a convolution of 1x1 pixels copy an image's channels, which SRVGGNetCompact adds (``AddedBeforeShuffle``).

    The numbers are the same. It writes the channels of a pixel side by side, as OpenVINO computes the sum; what it
    replaces puts whole channels together, which are then put into that order.
    """
    opset = package('openvino.opset13')
    for node in program.get_ordered_ops():
        sources = [port.get_source_output() for port in node.inputs()] if node.get_type_name() == 'Concat' else []
        splits = {source.get_node() for source in sources}
        if len(splits) != 1 or 'Split' not in (split := splits.pop()).get_type_name():
            continue
        if node.get_attributes()['axis'] != 1 or any(source.partial_shape[1] != 1 for source in sources):
            continue
        kernel = np.eye(split.get_output_size(), dtype=np.float32)[[source.get_index() for source in sources]]
        sides = [[1, 1], [0, 0], [0, 0], [1, 1]]  # strides, padding at both ends, dilation
        copies = opset.convolution(split.input_value(0), kernel[..., None, None], *sides)
        node.output(0).replace(copies.output(0))


def runner(files: Mapping[str, bytes]) -> Callable[[Tensor], np.ndarray]:
    """The exported network in OpenVINO on the CPU: images (n, c, h, w) to enlarged ones."""
    core = package('openvino').Core()
    program = core.read_model(files['.xml'], files['.bin'])
    # float32 as PyTorch, where OpenVINO would choose bfloat16; threads as the user set them
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    compiled = core.compile_model(program, 'CPU', settings)

    def run(image: Tensor) -> np.ndarray:
        return np.array(compiled([image.contiguous().numpy()])[0])  # a copy: the next call writes over the result

    return run
