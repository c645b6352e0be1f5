"""What the benchmarks' commands share."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sdakd_plugin.errors import UserError

Run = Callable[[argparse.Namespace], int]


def add_outputs(parser: argparse.ArgumentParser, rounds: int) -> None:
    """The part of the command line that says how often is measured, and where the numbers go."""
    parser.add_argument('--rounds', type=int, default=rounds, metavar='N',
                        help='how often each is timed (%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers here, too')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='put the tables into this page, too')


def command(parser: argparse.ArgumentParser, run: Run, arguments: Sequence[str] | None) -> int:
    """Run a command; a user's mistake costs one line and exit code 1."""
    parsed = parser.parse_args(arguments)
    try:
        check(parsed)
        return run(parsed)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def check(parsed: argparse.Namespace) -> None:
    """Raise a UserError where nothing would be measured, or the numbers could not be written after minutes of it."""
    if parsed.rounds < 1:
        raise UserError(f'--rounds: {parsed.rounds} is less than 1')
    for option, value in vars(parsed).items():
        if isinstance(value, Path) and not value.parent.is_dir():
            raise UserError(f'--{option}: there is no folder {value.parent}')
