"""Sections of a page that a benchmark writes, between text that people write."""
from __future__ import annotations

from pathlib import Path

from sdakd_plugin.errors import UserError


def put(path: Path, section: str, content: str) -> None:
    """Write a section in place of the one of that name, or behind everything else where there is none yet.

    Raises:
        UserError: the section's end is missing in the page.
    """
    begin, end = (f'<!-- {edge}: {section}, by python -m benchmarks -->' for edge in ('begin', 'end'))
    page = path.read_text(encoding='utf-8') if path.exists() else ''
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if rest and not found:
        raise UserError(f"--markdown: {path} has no line '{end}'")
    gap = '' if rest or not head else '\n'
    path.write_text(f'{head}{gap}{begin}\n\n{content}\n\n{end}{tail or chr(10)}', encoding='utf-8')
