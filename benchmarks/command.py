"""What the benchmarks' command lines share, and the sections of a page that they write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdakd_plugin.errors import UserError, reported
from sdakd_plugin.evaluation.table import Row, markdown, text

LEAST = {'rounds': 1, 'processes': 1, 'batch': 1, 'gt_size': 32, 'blocks': 1, 'cohort': 2}  # of options


def new_parser(module: str, description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A command line with the options that say how often is measured, and where the numbers go."""
    parser = argparse.ArgumentParser(
        prog=f'python -m {module}', description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=rounds, metavar='N', help='how often each is timed (%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers here, too')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='put the tables into this page, too')
    return parser


def command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None
) -> int:
    """Run a command; a user's mistake prints a one-line error and gives exit code 1."""
    parsed = parser.parse_args(arguments)

    def checked() -> int:
        for option, value in vars(parsed).items():  # before minutes of measuring
            if value is not None and value < LEAST.get(option, value):
                raise UserError(f'--{option.replace("_", "-")}: {value} is less than {LEAST[option]}')
            if isinstance(value, Path) and not value.parent.is_dir():
                raise UserError(f'--{option}: there is no folder {value.parent}')
        run(parsed)
        return 0

    return reported(checked)


def write(
    parsed: argparse.Namespace, section: str, tables: Sequence[Sequence[Row]], notes: Sequence[str], numbers: Any
) -> None:
    """Print tables and notes, and write them and the numbers into the files that the command line names."""
    print('\n\n'.join([*map(text, tables), *notes]))
    if parsed.json:
        parsed.json.write_text(json.dumps(numbers, indent=2) + '\n', encoding='utf-8')
    if parsed.markdown:
        put(parsed.markdown, section, '\n\n'.join([*map(markdown, tables), *notes]))


def put(path: Path, section: str, content: str) -> None:
    """Replace a section of a page, or append it where there is none of that name; a UserError if its end is missing."""
    begin, end = (f'<!-- {edge}: {section}, by python -m benchmarks -->' for edge in ('begin', 'end'))
    page = path.read_text(encoding='utf-8') if path.exists() else ''
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if rest and not found:
        raise UserError(f"--markdown: {path} has no line '{end}'")
    gap = '' if rest or not head else '\n'
    path.write_text(f'{head}{gap}{begin}\n\n{content}\n\n{end}{tail or chr(10)}', encoding='utf-8')
