"""How much of a regular grid a generator draws into flat areas, in grey levels of 255:

    python -m benchmarks.grid IMAGES FILE_OR_NAME ...

A pixel shuffle makes each square of ``scale`` x ``scale`` pixels from one LQ pixel, and what it adds to all squares
alike is a grid. PSNR hardly notices it, and LPIPS even likes it. Measured is, in the flatter half of all blocks of
8 x 8 squares, what the pixels of the squares differ by on average, place by place: grain averages out, a grid does not.
"""
from __future__ import annotations

import sys

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import cv2
import numpy as np
import torch

from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.inference.images import image_files, read_image
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.inference.upscaler import Upscaler

SQUARES = 8


def grid(images: list[np.ndarray], scale: int) -> float:
    """The standard deviation over the places of a square, of the mean over the flatter half of the blocks.

    Args:
        images: (H, W, 3), uint8.
        scale: the side of a square.
    """
    blocks = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        rest = grey - cv2.blur(grey, (2 * scale, 2 * scale))
        side = SQUARES * scale
        for top in range(2 * scale, rest.shape[0] - side - scale, side):
            for left in range(2 * scale, rest.shape[1] - side - scale, side):
                block = rest[top:top + side, left:left + side]
                blocks.append(block.reshape(SQUARES, scale, SQUARES, scale).mean((0, 2)))
    flatter = sorted(blocks, key=lambda block: float(block.std()))[:len(blocks) // 2]
    return float(np.mean(flatter, 0).std())


def main(folder: str, sources: list[str]) -> None:
    """Print the grid of the images themselves, and of what each model makes of them."""
    images = [image for image in map(read_image, image_files(folder)) if image.ndim == 3]
    print(f'{"GT":32} {grid(images, 4):.3f}')
    for source in sources:
        model = load_model(source, 'FILE_OR_NAME')
        scale = model.identity.scale or 1
        upscaler = Upscaler(model, torch.device('cpu'))
        reduced = [bicubic_reduction(np.ascontiguousarray(image[:image.shape[0] // scale * scale,
                                                                :image.shape[1] // scale * scale]), scale)
                   for image in images]
        print(f'{model.name:32} {grid([upscaler.enlarge(image) for image in reduced], scale):.3f}', flush=True)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
