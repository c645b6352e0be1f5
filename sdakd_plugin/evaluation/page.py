"""A comparison as one HTML page in which style, script, numbers and pictures are embedded."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sdakd_plugin.evaluation.picture import most_varied

TEMPLATE = Path(__file__).with_name('page.html')
SIDE = 400  # pixels: the maximum side of the crop that is shown of an image
LIMIT = 32 * 2**20  # bytes of pictures in a page, which a browser opens without delay


class Gallery:
    """The pictures of a page, up to a maximum number of images and a maximum size.

    Args:
        most: the maximum number of images.
        limit: the maximum size of all pictures in bytes.

    Attributes: shown (the data for the page's script), left_out (the number of images that were left out).
    """

    def __init__(self, most: int, limit: int = LIMIT) -> None:
        self.most, self.room = most, limit
        self.shown: list[dict[str, Any]] = []
        self.left_out = 0

    def add(self, name: str, pictures: Mapping[str, np.ndarray]) -> None:
        """Embed an image's pictures, (h, w, 3) uint8 BGR, by method, all cropped where ``'GT'`` varies most.

        ``'LQ'`` is enlarged to GT's size, pixel by pixel.
        """
        if len(self.shown) >= self.most:
            self.left_out += 1
            return
        gt = pictures['GT']
        height, width = (min(side, SIDE) for side in gt.shape[:2])
        top, left = most_varied(gt, SIDE) if (height, width) != gt.shape[:2] else (0, 0)
        top, left = min(top, gt.shape[0] - height), min(left, gt.shape[1] - width)
        sources = {}
        for method, picture in pictures.items():
            whole = cv2.resize(picture, gt.shape[1::-1], interpolation=cv2.INTER_NEAREST) if method == 'LQ' else picture
            sources[method] = data_uri(whole[top : top + height, left : left + width])
        size = sum(map(len, sources.values()))
        if size > self.room:
            self.left_out += 1
            return
        self.room -= size
        self.shown.append(
            {
                'name': name,
                'width': gt.shape[1],
                'height': gt.shape[0],
                'box': [left, top, width, height],
                'sources': sources,
            }
        )


def data_uri(image: np.ndarray) -> str:
    """An image (h, w, 3) uint8 BGR as a PNG in a ``data:`` address."""
    return 'data:image/png;base64,' + base64.b64encode(cv2.imencode('.png', image)[1].tobytes()).decode('ascii')


def render(content: Mapping[str, Any], gallery: Gallery) -> str:
    """The page.

    Args:
        content: ``Comparison.as_json()``.
        gallery: the pictures.
    """
    return embed(TEMPLATE, {**content, 'pictures': gallery.shown, 'left_out': gallery.left_out})


def embed(template: Path, data: Mapping[str, Any]) -> str:
    """A template with the style and the functions that pages share, and its data as JSON."""
    text = json.dumps(data, allow_nan=False)
    parts = {
        'STYLE': TEMPLATE.with_suffix('.css').read_text(encoding='utf-8'),
        'SCRIPT': TEMPLATE.with_suffix('.js').read_text(encoding='utf-8'),
        'DATA': text.replace('<', '\\u003c'),  # a file name may contain anything; now no tag can end the script element
    }
    page = template.read_text(encoding='utf-8')
    for name, part in parts.items():
        page = page.replace('{{' + name + '}}', part)
    return page
