"""OpenVINO, on the CPU and in float32: a generator of PyTorch, or a file of OpenVINO (``.xml``) or ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdakd_plugin.backends.refusal import refusal
from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import exportable, photograph
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.model import Model
from sdakd_plugin.utils import available_memory

# Pixels of an image that is not computed: so large that no weight, dequantised, is as large as its features.
SIDE = 1024
ALIVE = 1.5 * available_memory.ALIVE  # where PyTorch needs 4 tensors of the largest size, 5.3 were measured at most


class OpenVINO(nn.Module):
    """A compiled program with one input and one output.

    Args:
        program: an ``openvino.Model``. Where it is quantised it computes in integers, elsewhere in float32.
    """

    def __init__(self, program: Any) -> None:
        from openvino import Core

        super().__init__()
        self.input_shape: tuple[int, ...] = tuple(
            -1 if one.is_dynamic else one.get_length() for one in program.input(0).partial_shape
        )
        self.dtype = program.input(0).element_type.to_dtype()
        options = {
            'INFERENCE_PRECISION_HINT': 'f32',  # else processors with bfloat16 or float16 would round to it
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),  # as the user set it
        }
        self.compiled = Core().compile_model(program, 'CPU', options)

    def forward(self, lq: Tensor) -> Tensor:
        image = lq.cpu().contiguous().numpy().astype(self.dtype, copy=False)
        try:  # a request for each image: nothing writes over its result, which then need not be copied
            found = self.compiled.create_infer_request().infer([image], share_inputs=True, share_outputs=True)[0]
        except Exception as error:  # RuntimeError for almost everything
            raise refusal('openvino', lq, error) from error
        return torch.from_numpy(found.astype(np.float32, copy=False)).to(lq.device)


def from_net(model: Model) -> OpenVINO:
    """Convert a generator in memory, for images of any size.

    Not by ``openvino.convert_model``, which does this and reports every use to a server of its makers.

    Raises:
        UserError: it cannot be converted.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about the sizes in the traced checks of the input
            decoder = TorchScriptPythonDecoder(exportable(model.net), example_input=(photograph(model, 16, 24),))
            frontend = FrontEndManager().load_by_framework('pytorch')
            program = frontend.convert(frontend.load(decoder))
        program.reshape([-1, model.identity.network.get('num_in_ch', 3), -1, -1])
        return OpenVINO(program)
    except Exception as error:  # tracing, the front end and the compiler have a dozen kinds
        raise UserError(
            f'{model.identity.network["type"]} does not convert to OpenVINO: {str(error).strip().splitlines()[-1]}'
        ) from error


def bytes_per_pixel(model: Model) -> float:
    """What one pass of a converted generator needs for each pixel of an image."""
    of_torch = available_memory.bytes_per_pixel(ImageToImage(model.net), model.identity.network.get('num_in_ch', 3))
    return ALIVE / available_memory.ALIVE * of_torch


def from_file(path: Path) -> tuple[OpenVINO, float]:
    """Load a file, and tell what one pass needs for each pixel of an image, in bytes.

    Raises:
        RuntimeError: it is damaged, or holds operators that OpenVINO lacks.
    """
    from openvino import Core

    program = Core().read_model(path)
    return OpenVINO(program), _bytes_per_pixel_of_program(program.clone())


def from_content(xml: bytes, weights: bytes) -> OpenVINO:
    """Load what the two files of a program hold."""
    from openvino import Core

    return OpenVINO(Core().read_model(xml, weights))


def _bytes_per_pixel_of_program(program: Any) -> float:
    """As ``bytes_per_pixel``; 0 for a file of one input size."""
    if not program.is_dynamic():
        return 0.0
    program.reshape([1, 3, SIDE, SIDE])
    outputs = [output for operation in program.get_ordered_ops() for output in operation.outputs()]
    features = [one for one in outputs if one.partial_shape.is_static and one.get_node().get_type_name() != 'Constant']
    return ALIVE * max(4 * int(np.prod(list(one.shape))) for one in features) / SIDE**2
