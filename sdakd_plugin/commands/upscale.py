"""``sdakd upscale``: upscales image files with a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import torch
from tqdm import tqdm

from sdakd_plugin.backends.choose import with_backend
from sdakd_plugin.backends.model_file import is_model_file, load_model_file
from sdakd_plugin.commands.arguments.shared import GPUS
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import expanded, others
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.inference.upscale_files import AlreadyThere, plan, upscale_files
from sdakd_plugin.inference.upscaler import Upscaler


def run(arguments: argparse.Namespace) -> int:
    """Upscale all images. An image that fails is reported in one line; the exit code is then 1. What exists is kept,
    so that a batch that was interrupted can be repeated."""
    if arguments.tile < 0:
        raise UserError(f'--tile: expected a number of pixels, or 0 for no tiles, not {arguments.tile}')
    device = pick_device(arguments.device, arguments.backend)
    sources = expanded(arguments.input)
    jobs = plan(sources, arguments.output)
    model, taken = load_to_run(arguments.model, arguments.backend, device)
    upscaler = Upscaler(model, device, arguments.tile)
    print_taken([taken])
    for line in filter(None, map(others, sources)):
        print(line, file=sys.stderr)
    failed = kept = 0
    with tqdm(upscale_files(upscaler, jobs, arguments.overwrite), total=len(jobs), unit='image', disable=None) as bar:
        upscaler.on_tile = lambda done, total: bar.set_postfix_str(f'tile {done} of {total}')
        for error in bar:
            if isinstance(error, AlreadyThere) and len(jobs) > 1:
                kept += 1
            elif error is not None:
                failed += 1
                bar.write(f'error: {error}', file=sys.stderr)
    existed = f'; {kept} existed and {"are" if kept > 1 else "is"} kept (--overwrite replaces)' if kept else ''
    print(f'{len(jobs) - failed - kept} of {len(jobs)} images enlarged into {arguments.output}{existed}')
    return int(failed > 0)


def load_to_run(source: str, backend: str, device: torch.device) -> tuple[Model, str]:
    """Load a model for a backend.

    Returns:
        The model, and a line that says what ``'auto'`` took; it is empty for a backend that was named.

    Raises:
        UserError: it cannot be loaded, or the backend cannot run it.
    """
    if is_model_file(source):
        model, reason = load_model_file(source, '--model', backend)
    else:
        model, reason = with_backend(load_model(source, '--model'), backend, device)
    return model, f'backend of {model.name}: {reason}' if backend == 'auto' else ''


def print_taken(lines: Iterable[str]) -> None:
    """Say on standard error what ``'auto'`` took, once the rest of the command line is known to be good."""
    for line in filter(None, lines):
        print(line, file=sys.stderr)


def pick_device(name: str, backend: str = 'auto') -> torch.device:
    """``'auto'`` is the CUDA GPU if there is one, and the backend runs on it.

    Raises:
        UserError: the GPU that is named does not exist, or the backend does not run on it.
    """
    has_cuda, on_cpu = torch.cuda.is_available(), backend in ('openvino', 'onnx')
    if name in GPUS:
        if not (has_cuda if name == 'cuda' else torch.backends.mps.is_available()):
            raise UserError(f'--device: torch finds no GPU {GPUS[name]}; use cpu or auto')
        if on_cpu:
            raise UserError(f'--backend: {backend} runs on the CPU; use --device cpu, or --backend torch')
        return torch.device(name)
    return torch.device('cuda' if has_cuda and name == 'auto' and not on_cpu else 'cpu')
