"""The arguments of ``sdakd upscale``."""

from __future__ import annotations

import argparse

from sdakd_plugin.commands.arguments.shared import add_backend, add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('input', metavar='IN', nargs='+', help='images, or folders of images')
    parser.add_argument('output', metavar='OUT', help='the enlarged image, or a folder for them')
    parser.add_argument(
        '--model',
        default='sdakd_small_x4_real',
        metavar='FILE_OR_NAME',
        help='a checkpoint, a name of `sdakd weights list`, or an .onnx or .xml file (%(default)s)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        default=0,
        metavar='N',
        help='side of the tiles in pixels of the input, which limit the memory (0: no tiles)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace images that exist')
    add_backend(parser, 'what runs the model; auto: the fastest that is installed and as exact')
    add_device(parser)
