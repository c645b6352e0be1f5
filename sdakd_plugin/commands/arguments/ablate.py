"""The arguments of ``sdakd ablate``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('-opt', metavar='FILE', help='the option file of the recipe')
    parser.add_argument('--arms', metavar='A,B,...', help='train only these; left out: all')
    parser.add_argument(
        '--arm',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'KEY:KEY=VALUE'),
        help='an additional arm: the file with other values; from=ARM begins as a built-in arm, '
        'without=[LOSS, ...] leaves losses out',
    )
    parser.add_argument('--seeds', type=int, metavar='N', help='runs of each arm (3, or what the file says)')
    parser.add_argument('--control', metavar='ARM', help='what the others are compared with (the first arm)')
    parser.add_argument('--jobs', type=int, default=1, metavar='K', help='runs at a time; they share the cores (1)')
    parser.add_argument('--out', metavar='DIR', help='output folder (experiments/NAME_ablation)')
    parser.add_argument('--report', metavar='DIR', help='only write the report of an ablation again')
