"""``sdakd export``: a generator for other programs, as ONNX, OpenVINO, LiteRT, Core ML, ncnn or safetensors."""

from __future__ import annotations

import argparse
import math
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.coreml import FILES as MLPACKAGE
from sdakd_plugin.export.exportable import TOLERANCE, Exported
from sdakd_plugin.export.limits import Limits
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.weights import KNOWN
from sdakd_plugin.weights.files import new_file

SUFFIXES = {
    'onnx': ('.onnx',),
    'openvino': ('.xml', '.bin'),
    'safetensors': ('.safetensors',),
    'ncnn': ('.ncnn.param', '.ncnn.bin'),
    'litert': ('.tflite',),
    'coreml': tuple(f'.mlpackage/{name}' for name in MLPACKAGE),  # a folder
}
INT8 = ('onnx', 'openvino', 'litert')
FOR_INT8 = ('calibrate', 'max_loss', 'min_fidelity', 'lpips')


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the files that were written and their difference from PyTorch."""
    if arguments.spandrel and arguments.format != 'safetensors':
        raise UserError(f'--spandrel: is for --format safetensors, not {arguments.format}')
    _check_int8(arguments)
    paths = _paths(arguments)
    with quiet():
        model = load_model(arguments.file, 'FILE')
        if any(path.exists() and path.samefile(model.path) for path in paths):
            raise UserError(f'--out: {model.path} is the file that is exported; name another')
        exported = _export(model, arguments)
    _write(dict(zip(paths, exported.files.values(), strict=True)))
    for path, content in zip(paths, exported.files.values(), strict=True):
        print(f'{path}: {len(content) / 1e6:.2f} MB')
    scale = f', x{model.identity.scale}' if model.identity.scale else ''
    print(f'{model.identity}{scale}; {exported.about}')
    if exported.report:
        print(*exported.report, sep='\n')
    else:
        print(f'largest difference from PyTorch: {exported.error:.1e} (allowed: {TOLERANCE[arguments.fp16]:g})')
    return 0


def _check_int8(arguments: argparse.Namespace) -> None:
    """Refuse options that say nothing without ``--int8``, or contradict it."""
    if arguments.int8:
        if arguments.format not in INT8:
            by_ncnn = '; ncnn2table and ncnn2int8 of an ncnn release quantise the float files (docs/export.md)'
            raise UserError(
                f'--int8: is for --format onnx, openvino and litert, not {arguments.format}'
                + (by_ncnn if arguments.format == 'ncnn' else '')
            )
        if arguments.fp16:
            raise UserError('--int8: a file is in int8 or in half precision; leave out --fp16')
    for name in FOR_INT8:
        value = getattr(arguments, name)
        option = '--' + name.replace('_', '-')
        if value is not None and not arguments.int8:
            raise UserError(f'{option}: is for --int8; add it')
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise UserError(f'{option}: expected a number of dB, 0 or more, not {value:g}')


def _export(model: Model, arguments: argparse.Namespace) -> Exported:
    """The file's content, by the exporter of its format."""
    if arguments.int8:
        limits = Limits(
            **{
                name: getattr(arguments, name)
                for name in ('max_loss', 'min_fidelity')
                if getattr(arguments, name) is not None
            }
        )
        given = (limits, arguments.calibrate, arguments.lpips, arguments.size)
        if arguments.format == 'litert':
            return import_module('sdakd_plugin.export.litert_int8').export(model, *given)
        int8 = import_module('sdakd_plugin.export.int8')
        return int8.export(model, int8.RUNTIMES[arguments.format], *given)
    exporter = import_module(f'sdakd_plugin.export.{arguments.format}')
    options = {'spandrel': True} if arguments.spandrel else {}
    return exporter.export(model, arguments.fp16, arguments.size, **options)


def _paths(arguments: argparse.Namespace) -> list[Path]:
    """The files to write.

    Raises:
        UserError: one of them exists, or their folder does not.
    """
    suffixes = SUFFIXES[arguments.format]
    out = Path(arguments.out or '.').expanduser()
    name = arguments.file if arguments.file in KNOWN else Path(arguments.file).stem
    ending = suffixes[0].partition('/')[0]
    inside = out.is_dir() and out.suffix != '.mlpackage'
    base = out / name if inside else out.with_name(out.name.removesuffix(ending))
    if not base.parent.is_dir():
        raise UserError(f'--out: there is no folder {base.parent}')
    paths = [Path(f'{base}{suffix}') for suffix in suffixes]
    for path in paths:
        if path.exists() and not (arguments.overwrite and path.is_file()):
            raise UserError(f'--out: {path} exists; name another, or add --overwrite')
    return paths


def _write(contents: dict[Path, bytes]) -> None:
    """Write all files or none."""
    try:
        with ExitStack() as stack:
            for path, content in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)  # those of an .mlpackage
                stack.enter_context(new_file(path)).write(content)
    except OSError as error:
        raise UserError(
            f'--out: {error.filename or next(iter(contents))} cannot be written: {error.strerror}'
        ) from error
