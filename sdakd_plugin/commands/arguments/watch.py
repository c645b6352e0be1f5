"""The arguments of ``sdakd watch``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('run', metavar='RUN', help='the name of a run, its folder, or its option file')
    parser.add_argument('--port', type=int, default=8765, metavar='N', help='0: any that is free (%(default)s)')
