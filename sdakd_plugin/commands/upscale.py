"""``sdakd upscale``: upscales image files with a model."""

from __future__ import annotations

import argparse
import sys

import torch
from tqdm import tqdm

from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.inference.upscale_files import plan, upscale_file
from sdakd_plugin.inference.upscaler import Upscaler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('input', metavar='IN', help='an image, or a folder of images')
    parser.add_argument('output', metavar='OUT', help='the enlarged image, or a folder for them')
    parser.add_argument(
        '--model',
        default='sdakd_small_x4_real',
        metavar='FILE_OR_NAME',
        help='a checkpoint, or a name of `sdakd weights list` (%(default)s)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        default=0,
        metavar='N',
        help='side of the tiles in pixels of the input, which limit the memory (0: no tiles)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace images that exist')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda'), help='(%(default)s)')


def run(arguments: argparse.Namespace) -> int:
    """Upscale all images. An image that fails is reported in one line; the exit code is then 1."""
    if arguments.tile < 0:
        raise UserError(f'--tile: expected a number of pixels, or 0 for no tiles, not {arguments.tile}')
    device = pick_device(arguments.device)
    jobs = plan(arguments.input, arguments.output)
    upscaler = Upscaler(load_model(arguments.model, '--model'), device, arguments.tile)
    failed = 0
    with tqdm(jobs, unit='image', disable=None) as bar:
        for source, target in bar:
            try:
                upscale_file(upscaler, source, target, arguments.overwrite)
            except UserError as error:
                failed += 1
                bar.write(f'error: {error}', file=sys.stderr)
    print(f'{len(jobs) - failed} of {len(jobs)} images enlarged into {arguments.output}')
    return int(failed > 0)


def pick_device(name: str) -> torch.device:
    """``'auto'`` is the GPU if there is one.

    Raises:
        UserError: there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == 'cuda' and not has_gpu:
        raise UserError('--device: torch finds no GPU; use cpu or auto')
    return torch.device('cuda' if has_gpu and name != 'cpu' else 'cpu')
