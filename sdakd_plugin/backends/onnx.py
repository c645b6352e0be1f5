"""ONNX Runtime, on the CPU: a generator of PyTorch, through the exporter to ONNX, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdakd_plugin.backends.refusal import refusal
from sdakd_plugin.export.onnx import export
from sdakd_plugin.inference.model import Model
from sdakd_plugin.utils.available_memory import ALIVE

# Pixels of an image that is not computed: so large that no weight, dequantised, is as large as its features.
SIDE = 1024
DTYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}


class ONNXRuntime(nn.Module):
    """A session with one input and one output.

    Args:
        content: an ONNX model, as its bytes or as the path of its file.
    """

    def __init__(self, content: bytes | str) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()  # as the user set it
        options.enable_cpu_mem_arena = False  # it keeps the memory of the largest image, rounded up generously
        self.session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
        (lq,) = self.session.get_inputs()
        self.name = lq.name
        self.input_shape: tuple[int, ...] = tuple(side if isinstance(side, int) else -1 for side in lq.shape)
        self.dtype = DTYPES.get(lq.type, np.float32)

    def forward(self, lq: Tensor) -> Tensor:
        try:
            found = self.session.run(None, {self.name: lq.cpu().contiguous().numpy().astype(self.dtype, copy=False)})
        except Exception as error:  # the runtime has a dozen kinds
            raise refusal('onnx', lq, error) from error
        return torch.from_numpy(found[0].astype(np.float32, copy=False)).to(lq.device)


def from_net(model: Model) -> ONNXRuntime:
    """Convert a generator in memory, for images of any size.

    Raises:
        UserError: it cannot be converted.
    """
    return ONNXRuntime(export(model).files['.onnx'])


def from_file(path: Path) -> tuple[ONNXRuntime, float]:
    """Load a file, and tell what one pass needs for each pixel of an image, in bytes.

    Raises:
        Exception: it is damaged, or holds operators that ONNX Runtime lacks.
    """
    return ONNXRuntime(str(path)), _bytes_per_pixel(path)


def _bytes_per_pixel(path: Path) -> float:
    """As ``available_memory.bytes_per_pixel``; 0 where the file's shapes do not tell."""
    import onnx

    program = onnx.load(path, load_external_data=False)
    for dimension, size in zip(program.graph.input[0].type.tensor_type.shape.dim, (1, 3, SIDE, SIDE), strict=True):
        dimension.dim_value = size
    for output in program.graph.output:  # its sizes have the input's names, which are numbers now
        output.type.tensor_type.ClearField('shape')
    inferred = onnx.shape_inference.infer_shapes(program, data_prop=True).graph
    features = [_values(one) for one in (*inferred.value_info, *inferred.output)]
    return ALIVE * 4 * max(features, default=0) / SIDE**2


def _values(value: Any) -> int:
    """The number of values of an intermediate image; 0 if unknown."""
    return int(np.prod([dimension.dim_value for dimension in value.type.tensor_type.shape.dim]))
