"""A generator as ONNX, checked in ONNX Runtime.

PyTorch's exporter by tracing, not the newer one by ``torch.export``: it takes 3 seconds instead of 50 for x4plus,
writes no source paths of this machine into the file and needs no further package. PyTorch calls it deprecated.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import (
    Exported,
    check,
    exportable,
    input_shape,
    input_sizes,
    metadata,
    package,
    photograph,
)
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model

OPSET = 20  # ONNX Runtime from 1.17 on; the tracing exporter knows none above
AXES = {'lq': {0: 'n', 2: 'h', 3: 'w'}, 'sr': {0: 'n', 2: 'sr_h', 3: 'sr_w'}}


def export(model: Model, half: bool = False, size: int | None = None) -> Exported:
    """Export to one file with the weights inside.

    Args:
        model: the generator.
        half: weights, input, output and computation in half precision.
        size: height and width of the input in pixels, for a batch of one; ``None`` for any batch and size.

    Raises:
        UserError: it cannot be exported, or gives something else in ONNX Runtime than in PyTorch.
    """
    if half and not family_of(model.net).export.onnx_half:
        raise UserError(
            f'--fp16: {model.identity.network["type"]} exports to ONNX in float32 only: tracing it in half '
            'precision takes a CPU more than five minutes; leave out --fp16'
        )
    package('onnxruntime')
    sizes = input_sizes(model, size)
    content = program(model, half, size).SerializeToString()
    once = runner(content)

    def run(image: Tensor) -> np.ndarray:
        given = image if size else image.repeat(2, 1, 1, 1)  # a batch must give what its images give
        return once(given.to(_dtype(half)))[-1:]

    error = check(model, run, sizes, half)
    precision = str(_dtype(half)).removeprefix('torch.')
    about = f'input lq, output sr: {precision}, RGB, 0..1, {input_shape(model, size)}; opset {OPSET}'
    return Exported({'.onnx': content}, error, about)


def program(model: Model, half: bool = False, size: int | None = None) -> Any:
    """The network as an ``onnx.ModelProto`` with its metadata, not yet checked; arguments as for ``export``."""
    onnx = package('onnx')
    lq = photograph(model, *((size, size) if size else (16, 24)))
    traced = onnx.load_from_string(_trace(model, lq, half, size is None))
    onnx.helper.set_model_props(traced, metadata(model.identity.network, model.identity.scale))
    return traced


def runner(content: bytes) -> Callable[[Tensor], np.ndarray]:
    """A file in ONNX Runtime on the CPU: images (n, c, h, w) to enlarged ones."""
    onnxruntime = package('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()  # as the user set it
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return lambda image: session.run(['sr'], {'lq': image.numpy()})[0]


def _trace(model: Model, lq: Tensor, half: bool, dynamic: bool) -> bytes:
    """What PyTorch's exporter writes."""
    keywords: dict[str, Any] = {'dynamo': False} if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter('ignore')  # about the sizes in the traced checks of the input, and its age
        path = Path(folder, 'net.onnx')
        try:
            net, lq = _prepared(model, lq, half)
            torch.onnx.export(
                net,
                (lq,),
                str(path),
                input_names=['lq'],
                output_names=['sr'],
                opset_version=OPSET,
                dynamic_axes=AXES if dynamic else None,
                **keywords,
            )
        except UserError:
            raise
        except Exception as error:  # the exporter has a dozen kinds
            raise UserError(
                f'{model.name}: {model.identity.network["type"]} does not export to ONNX '
                f'{"in half precision " if half else ""}with PyTorch {torch.__version__}: '
                f'{(str(error).splitlines() or [type(error).__name__])[0]}'
            ) from error
        return path.read_bytes()


def _prepared(model: Model, lq: Tensor, half: bool) -> tuple[nn.Module, Tensor]:
    """The network and its input, ready to be traced.

    StyleGAN2's layers take the shape of a convolution's weights from their input, and the exporter wants a constant;
    ``make_fx`` makes it one, with all other sizes.
    """
    net = exportable(deepcopy(model.net).to(_dtype(half))).eval()
    lq = lq.to(_dtype(half))
    if not family_of(model.net).export.onnx_constants:
        return net, lq
    net(lq)  # the matrices of utils/bicubic.py, which are made once, are then constants
    plain = {torch.ops.aten._unsafe_view.default: torch.ops.aten.view.default}  # matmul's; the exporter knows only view
    return make_fx(net, plain)(lq), lq


def _dtype(half: bool) -> torch.dtype:
    return torch.float16 if half else torch.float32
