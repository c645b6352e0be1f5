"""Text tables with aligned columns, for a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
COUNTS = ('parameters', 'multiply-adds')


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; the columns are the keys in the order of their first use."""
    widths, (head, *body) = _cells(rows, escape='|')
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([_line(head), rule, *map(_line, body)])


def text(rows: Sequence[Row]) -> str:
    """Rows as a text table whose columns are two spaces apart."""
    widths, (head, *body) = _cells(rows)
    lines = [head, ['-' * width for width in widths], *body]
    return '\n'.join('  '.join(line).rstrip() for line in lines)


def cell(key: str, value: Any) -> str:
    """Format a value: counts in millions (M) or billions (G), other numbers with four digits; ``''`` for none, NaN."""
    if value is None or value != value:
        return ''
    if key in COUNTS:
        return f'{value / 1e6:,.3f} M' if value < 1e9 else f'{value / 1e9:,.1f} G'
    if isinstance(value, float):
        return f'{value:.4f}' if abs(value) < 10 else f'{value:.2f}'
    return str(value)


def _cells(rows: Sequence[Row], escape: str = '') -> tuple[list[int], list[list[str]]]:
    """The widths of the columns, and every line padded to them, the head first."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, *([cell(key, row.get(key)) for key in keys] for row in rows)]
    if escape:
        lines = [[value.replace(escape, '\\' + escape) for value in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(keys))]
    return widths, [[value.ljust(width) for value, width in zip(line, widths, strict=True)] for line in lines]


def _line(values: Sequence[str]) -> str:
    return '| ' + ' | '.join(values) + ' |'
