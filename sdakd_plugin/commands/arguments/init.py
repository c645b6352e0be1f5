"""The arguments of ``sdakd init``."""

from __future__ import annotations

import argparse
from pathlib import Path

from sdakd_plugin.recipe.names import PHOTOS, STUDENTS, TEACHER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('photos', nargs='?', metavar='PHOTOS', help='a folder, searched recursively; nothing is moved')
    parser.add_argument('--out', type=Path, default=Path('my.yml'), metavar='FILE', help='(%(default)s)')
    parser.add_argument('--student', choices=STUDENTS, help='default: small')
    parser.add_argument(
        '--photos', dest='kind', choices=PHOTOS, help='what it will enlarge: damaged (default) or clean images'
    )
    parser.add_argument('--teacher', metavar='NAME|FILE', help=f'default: {TEACHER}')
    parser.add_argument('--hours', type=float, metavar='N', help='train as long as that on this machine')
    parser.add_argument('--lpips', metavar='FILE', help="torchvision's AlexNet; by default it is downloaded")
    parser.add_argument(
        '--from',
        dest='old',
        metavar='FILE',
        help='move an option file of BasicSR or Real-ESRGAN over; PHOTOS is not needed',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
