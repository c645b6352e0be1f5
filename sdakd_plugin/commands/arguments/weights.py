"""The arguments of ``sdakd weights``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION')
    actions.add_parser('list', help='the known names, and where each can be had from (default)')
    get = actions.add_parser('get', help='fetch known weights, and print where they are')
    get.add_argument('name', metavar='NAME', help='a name of `sdakd weights list`')
    get.add_argument('--out', type=Path, metavar='FILE', help='copy them there')
    get.add_argument('--overwrite', action='store_true', help='replace FILE if it exists')
    look = actions.add_parser('inspect', help='the network, the scale and the size of what a file holds')
    look.add_argument('file', metavar='FILE', help='a weight file, or a known name')
