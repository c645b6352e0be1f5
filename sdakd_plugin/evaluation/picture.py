"""A picture with the methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN, HEADER, FONT_SIZE = 6, 46, 17


def side_by_side(
    columns: Mapping[str, Mapping[str, np.ndarray]],
    captions: Mapping[str, str],
    side: int = 192,
    zoom: int = 2,
    rows: int = 3,
) -> Image.Image:
    """Lay out the same crop of each image, with one column for each method.

    Args:
        columns: method -> image name -> (h, w, 3) uint8 BGR. Images smaller than those of the last one (GT, or the
            teacher's) are enlarged by repeating their pixels.
        captions: a second line under a method's name.
        side: width and height of the crop, in pixels of the last one; the crop with the most variance is shown.
        zoom: how often each pixel is repeated.
        rows: the maximum number of images.
    """
    *_, reference = columns.values()
    names = list(reference)[:rows]
    side = min([side, *(min(reference[name].shape[:2]) for name in names)])
    cell = side * zoom
    sheet = Image.new('RGB', (len(columns) * (cell + MARGIN) + MARGIN, HEADER + len(names) * (cell + MARGIN)), 'white')
    draw = ImageDraw.Draw(sheet)
    for column, (method, images) in enumerate(columns.items()):
        left = MARGIN + column * (cell + MARGIN)
        _caption(draw, left, cell, (method, captions.get(method, '')))
        for row, name in enumerate(names):
            top, start = most_varied(reference[name], side)
            factor = reference[name].shape[0] // images[name].shape[0]
            whole = images[name].repeat(factor, 0).repeat(factor, 1)
            detail = whole[top : top + side, start : start + side, ::-1]  # BGR -> RGB
            picture = Image.fromarray(np.ascontiguousarray(detail)).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, HEADER + row * (cell + MARGIN)))
    return sheet


def most_varied(image: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left of the square with the largest variance, among squares half a side apart, aligned to 8 pixels."""
    step = max(side // 2 // 8 * 8, 8)
    tops, lefts = (range(0, max(size - side, 0) + 1, step) for size in image.shape[:2])
    corners = [(top, left) for top in tops for left in lefts]
    return max(corners, key=lambda at: image[at[0] : at[0] + side, at[1] : at[1] + side].std())


def _caption(draw: ImageDraw.ImageDraw, left: int, width: int, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        size = FONT_SIZE
        while size > 9 and draw.textlength(line, ImageFont.load_default(size)) > width:
            size -= 1
        draw.text((left, 3 + number * (FONT_SIZE + 4)), line, fill='black', font=ImageFont.load_default(size))
