"""``sdakd export``: a generator for other programs, as ONNX, safetensors or ncnn."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import TOLERANCE
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.weights import KNOWN
from sdakd_plugin.weights.files import new_file

SUFFIXES = {'onnx': ('.onnx',), 'safetensors': ('.safetensors',), 'ncnn': ('.ncnn.param', '.ncnn.bin')}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('file', metavar='FILE', help='a checkpoint, or a name of `sdakd weights list`')
    parser.add_argument('--format', required=True, choices=SUFFIXES)
    parser.add_argument('--out', metavar='FILE', help='a file or a folder; default: the name of FILE, in this folder')
    parser.add_argument('--fp16', action='store_true', help='half precision: half the size')
    parser.add_argument('--size', type=int, metavar='N', help='fix the input to NxN pixels; GCFSR needs it')
    parser.add_argument(
        '--spandrel',
        action='store_true',
        help='safetensors of an RRDBNet with fewer than 32 channels '
        'of growth, filled up with zeros: spandrel loads no other',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a file that exists')


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the files that were written and their difference from PyTorch."""
    if arguments.spandrel and arguments.format != 'safetensors':
        raise UserError(f'--spandrel: is for --format safetensors, not {arguments.format}')
    paths = _paths(arguments)
    with quiet():
        model = load_model(arguments.file, 'FILE')
        if any(path.exists() and path.samefile(model.path) for path in paths):
            raise UserError(f'--out: {model.path} is the file that is exported; name another')
        exporter = import_module(f'sdakd_plugin.export.{arguments.format}')
        options = {'spandrel': True} if arguments.spandrel else {}
        exported = exporter.export(model, arguments.fp16, arguments.size, **options)
    for path, content in zip(paths, exported.files.values(), strict=True):
        _write(path, content)
        print(f'{path}: {len(content) / 1e6:.2f} MB')
    scale = f', x{model.identity.scale}' if model.identity.scale else ''
    print(f'{model.identity}{scale}; {exported.about}')
    print(f'largest difference from PyTorch: {exported.error:.1e} (allowed: {TOLERANCE[arguments.fp16]:g})')
    return 0


def _paths(arguments: argparse.Namespace) -> list[Path]:
    """The files to write.

    Raises:
        UserError: one of them exists, or their folder does not.
    """
    suffixes = SUFFIXES[arguments.format]
    out = Path(arguments.out or '.').expanduser()
    name = arguments.file if arguments.file in KNOWN else Path(arguments.file).stem
    base = out / name if out.is_dir() else out.with_name(out.name.removesuffix(suffixes[0]))
    if not base.parent.is_dir():
        raise UserError(f'--out: there is no folder {base.parent}')
    paths = [base.with_name(base.name + suffix) for suffix in suffixes]
    for path in paths:
        if path.exists() and not (arguments.overwrite and path.is_file()):
            raise UserError(f'--out: {path} exists; name another, or add --overwrite')
    return paths


def _write(path: Path, content: bytes) -> None:
    try:
        with new_file(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f'--out: {path} cannot be written: {error.strerror}') from error
