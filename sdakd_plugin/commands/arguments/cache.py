"""The arguments of ``sdakd cache``."""

from __future__ import annotations

import argparse

from sdakd_plugin.commands.arguments.shared import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='an option file that names teacher.cache')
    parser.add_argument('--tile', type=int, default=0, metavar='N', help='as in `sdakd upscale` (0: no tiles)')
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='remove images of another teacher, or of LQ images that have changed, and make them again',
    )
    add_device(parser)
