"""The arguments of ``sdakd check``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    file = parser.add_mutually_exclusive_group(required=True)
    file.add_argument(
        'opt', nargs='?', default=argparse.SUPPRESS, metavar='FILE', help='an option file for training or testing'
    )
    file.add_argument('-opt', dest='opt', metavar='FILE', help='the same, as BasicSR has it')
    parser.add_argument(
        '--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE', help="change options, as BasicSR's train.py does"
    )
