"""Pairs of bars as an SVG picture."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

PANEL, HEIGHT, TOP, GAP = 220, 160, 60, 24  # pixels
BAR = 22
COLOURS = ('#9aa5b1', '#2f6fab')


class Pair(NamedTuple):
    """Two values side by side, what is below them, and what is written above them."""

    label: str
    left: float
    right: float
    above: str


def bars(title: str, names: tuple[str, str], panels: Mapping[str, Sequence[Pair]]) -> str:
    """The picture.

    Args:
        title: above everything.
        names: what the left and the right bar of each pair are.
        panels: pairs by the panel's name; each panel has a scale of its own, which begins at 0.
    """
    width, height = GAP + len(panels) * (PANEL + GAP), TOP + HEIGHT + 3 * GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             'font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>',
             _text(GAP, 20, title, 'start', 'font-weight="bold"')]
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        x = GAP + 110 * number
        parts += [_rect(x, 30, 12, 12, colour), _text(x + 18, 40, name, 'start')]
    for number, (axis, pairs) in enumerate(panels.items()):
        parts += _panel(GAP + number * (PANEL + GAP), axis, pairs)
    return '\n'.join([*parts, '</svg>']) + '\n'


def _panel(left: float, axis: str, pairs: Sequence[Pair]) -> Iterator[str]:
    most = max(max(pair.left, pair.right) for pair in pairs) or 1.0
    foot = TOP + GAP + HEIGHT
    yield f'<line x1="{left}" y1="{foot}" x2="{left + PANEL}" y2="{foot}" stroke="black"/>'
    yield _text(left + PANEL / 2, foot + 36, axis, 'middle', 'font-weight="bold"')
    for number, pair in enumerate(pairs):
        middle = left + PANEL * (number + 0.5) / len(pairs)
        for side, value in enumerate((pair.left, pair.right)):
            tall = HEIGHT * value / most
            x = middle + (side - 1) * BAR
            yield _rect(x, foot - tall, BAR - 2, tall, COLOURS[side])
            yield _text(x + BAR / 2 - 1, foot - tall - 3, f'{value:.2g}', 'middle', 'font-size="9"')
        yield _text(middle, foot + 16, f'{pair.label} ({pair.above})', 'middle')


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str, more: str = '') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'
