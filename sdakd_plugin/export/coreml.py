"""A generator for Core ML, as an ML program. It is converted here and runs on Apple's systems only.

What can be checked elsewhere is the file itself: it is read back, and its program is computed in PyTorch (``mil``).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import mil
from sdakd_plugin.export.exportable import (
    TOLERANCE,
    Exported,
    check,
    exportable,
    input_sizes,
    metadata,
    multiple_of,
    package,
    photograph,
)
from sdakd_plugin.export.silence import silent
from sdakd_plugin.inference.model import Model

WEIGHTS = 'Data/com.apple.CoreML/weights'
FILES = ('Manifest.json', 'Data/com.apple.CoreML/model.mlmodel', f'{WEIGHTS}/weight.bin')
LARGEST = 1024  # pixels; a Core ML file of variable size names its largest


def export(model: Model, half: bool = False, size: int | None = None) -> Exported:
    """Export to a folder ``.mlpackage`` with the input ``lq`` and the output ``sr``, for iOS 16 and macOS 13 on.

    Args:
        model: the generator.
        half: weights and computation in half precision; input and output stay in float32.
        size: height and width of the input in pixels; ``None`` for any up to ``LARGEST``.

    Raises:
        UserError: it cannot be exported, or its program computes something else than PyTorch.
    """
    with silent():
        package('coremltools', 'coreml')
    sizes = input_sizes(model, size)
    with TemporaryDirectory() as folder, silent():
        path = Path(folder, 'net.mlpackage')
        _convert(model, half, size).save(str(path))
        files = {f'.mlpackage/{name}': (path / name).read_bytes() for name in FILES}
        program = _read(path)
    error = check(model, mil.runner(program), sizes, half)
    shape = f'{size}x{size} pixels' if size else f'any height and width up to {LARGEST}'
    if multiple_of(model.net) > 1 and not size:
        shape += f' (multiples of {multiple_of(model.net)})'
    about = f'input lq, output sr: float32, RGB, 0..1, 1 image of {shape}; iOS 16, macOS 13 or later'
    report = (
        "converted, not run: Core ML runs on Apple's systems only",
        f'the file, read back and computed in PyTorch in float32: largest difference {error:.1e} '
        f'(allowed: {TOLERANCE[half]:g})',
    )
    return Exported(files, error, about, report)


def _convert(model: Model, half: bool, size: int | None) -> Any:
    """coremltools' own conversion, from a trace."""
    tools = package('coremltools')
    lq = photograph(model, *((size, size) if size else (48, 64)))
    sides = [size, size] if size else [tools.RangeDim(multiple_of(model.net), LARGEST, side) for side in lq.shape[2:]]
    try:
        converted = tools.convert(
            torch.jit.trace(exportable(model.net).eval(), lq, check_trace=False),
            inputs=[tools.TensorType('lq', shape=tools.Shape((*lq.shape[:2], *sides)))],
            outputs=[tools.TensorType('sr')],
            convert_to='mlprogram',
            compute_precision=tools.precision.FLOAT16 if half else tools.precision.FLOAT32,
            minimum_deployment_target=tools.target.iOS16,
            skip_model_load=True,
        )
    except Exception as error:  # the converter has a dozen kinds
        raise UserError(
            f'{model.name}: {model.identity.network["type"]} does not export to Core ML: '
            f'{(str(error).splitlines() or [type(error).__name__])[0]}'
        ) from error
    converted.user_defined_metadata.update(metadata(model.identity.network, model.identity.scale))
    return converted


def _read(path: Path) -> Any:
    """The MIL program of a file, with its weights."""
    spec = package('coremltools').models.utils.load_spec(str(path))
    loader = package('coremltools.converters.mil.frontend.milproto.load')
    return loader.load(spec, specification_version=spec.specificationVersion, file_weights_dir=str(path / WEIGHTS))
