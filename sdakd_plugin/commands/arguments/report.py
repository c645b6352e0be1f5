"""The arguments of ``sdakd report``."""

from __future__ import annotations

import argparse

from sdakd_plugin.commands.arguments.shared import add_backend, add_device
from sdakd_plugin.evaluation.budgets import BUDGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('-opt', metavar='FILE', help='an option file: its students as saved last, and its teacher')
    parser.add_argument(
        '--student',
        metavar='FILE_OR_NAME',
        action='append',
        help='or a checkpoint, or a name of `sdakd weights list`; may be repeated',
    )
    parser.add_argument('--teacher', metavar='FILE_OR_NAME', help='another, with which the students are compared')
    parser.add_argument(
        '--size', type=int, nargs='+', default=[64, 128], metavar='N', help='sides of the square LQ images (64 128)'
    )
    parser.add_argument('--repeat', type=int, default=5, metavar='N', help='passes that are timed (%(default)s)')
    add_backend(parser, 'in which the students are timed, too; auto: each that is installed')
    parser.add_argument(
        '--int8',
        action='store_true',
        help='time the students in int8, too, with the PSNR to their float images; takes about half a minute for each',
    )
    add_device(parser)
    parser.add_argument(
        '--budget',
        choices=tuple(BUDGETS),
        help="whether the students keep a challenge's "
        'limits: efficiency, 5 M parameters and 2,000 G multiply-adds at 960x540 (AIM 2025)',
    )
    parser.add_argument('--json', metavar='FILE', help='write the numbers here, too')
    parser.add_argument('--markdown', metavar='FILE', help='write the table here, too')
