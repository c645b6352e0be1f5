"""A generator for ncnn, through pnnx, checked in ncnn on the CPU.

pnnx is a program that reads TorchScript and leaves eight files where it runs: so it runs in a temporary folder.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import Exported, check, exportable, input_sizes, multiple_of, package, photograph
from sdakd_plugin.inference.model import Model

Sizes = tuple[tuple[int, int], ...]
TRACED = ((8, 12), (12, 16))  # pixels, height and width; small: pnnx runs the network


def export(model: Model, half: bool = False, size: int | None = None) -> Exported:
    """Export to a ``.param`` and a ``.bin`` file with the blobs ``in0`` and ``out0``.

    Args:
        model: the generator.
        half: store convolutions' weights in half precision; ncnn chooses its precision of computation itself.
        size: height and width of the input in pixels; ``None`` for any.

    Raises:
        UserError: it cannot be exported, or gives something else in ncnn than in PyTorch.
    """
    pnnx, ncnn = package('pnnx'), package('ncnn')
    sizes = input_sizes(model, size)
    with TemporaryDirectory() as folder:
        param, binary = _convert(pnnx.EXEC_PATH, model, half, sizes if size else TRACED, Path(folder))
        error = check(model, _runner(ncnn, param, binary), sizes, half)
        return Exported(
            {'.ncnn.param': param.read_bytes(), '.ncnn.bin': binary.read_bytes()}, error, _about(model, half, size)
        )


def _convert(program: str, model: Model, half: bool, sizes: Sizes, folder: Path) -> tuple[Path, Path]:
    """Run pnnx. Dimensions that differ between the two input shapes become dynamic."""
    text = f'{model.name}: {model.identity.network["type"]} does not export to ncnn'
    net, images = exportable(_apart(model.net)), [photograph(model, *one) for one in sizes]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about the sizes in the traced checks of the input, and its age
        try:
            torch.jit.trace(net, images[0], check_trace=False).save(str(folder / 'net.pt'))
        except Exception as error:  # a network's own code may raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f'{text}: PyTorch cannot trace it: {reason}') from error
    shapes = [
        f'inputshape{index or ""}=[{",".join(map(str, image.shape))}]f32'
        for index, image in zip((0, 2), images, strict=False)
    ]
    done = subprocess.run(
        [program, 'net.pt', *shapes, f'fp16={int(half)}'], cwd=folder, text=True, errors='replace', capture_output=True
    )
    if done.returncode:
        reason = (done.stderr.splitlines() or ['it was killed, perhaps for its memory'])[-1]
        raise UserError(f'{text}: pnnx ended with code {done.returncode}: {reason}')
    missing = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if 'not supported' in line or line.startswith('ignore ')
    ]
    if missing:
        raise UserError(f'{text}: pnnx: {missing[0]}')
    return folder / 'net.ncnn.param', folder / 'net.ncnn.bin'


def _apart(net: nn.Module) -> nn.Module:
    """A copy with an identity layer after every block.

    Without, pnnx needs far too much memory where many residual blocks follow one another: at a quarter of x4plus' width
    10 blocks took 0.1 GB and 23 more than 5 GB, x4plus was killed at 17 GB; with the layer that quarter takes 0.2 GB.
    """
    net = deepcopy(net)
    body = getattr(net, 'body', None)
    for block in body if isinstance(body, nn.Sequential) else ():
        block.register_forward_hook(lambda module, inputs, output: pixel_shuffle(output, 1))
    return net


def _runner(ncnn: Any, param: Path, binary: Path) -> Callable[[Tensor], np.ndarray]:
    """The exported network in ncnn, which takes one image and has no batches."""
    net = ncnn.Net()
    # float32, as PyTorch: the file is checked here, not the arithmetic that ncnn chooses on a device
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = torch.get_num_threads()  # as the user set it; threads that wait for one another spin
    if net.load_param(str(param)) or net.load_model(str(binary)):
        raise UserError('nothing is written: ncnn does not load what pnnx made')

    def run(image: Tensor) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input('in0', ncnn.Mat(image[0].contiguous().numpy()).clone())  # else memory that ends
            status, out = extractor.extract('out0')
            if status:
                raise UserError(f'nothing is written: ncnn does not run what pnnx made (status {status})')
            return np.array(out)[None]

    return run


def _about(model: Model, half: bool, size: int | None) -> str:
    shape = f'{size}x{size} pixels' if size else 'any height and width'
    if multiple_of(model.net) > 1 and not size:
        shape += f' (multiples of {multiple_of(model.net)})'
    return f'blobs in0, out0: RGB, 0..1, {shape}; weights in {"float16" if half else "float32"}'
