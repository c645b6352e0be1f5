"""How much of a regular grid a generator draws into flat areas, in grey levels of 255:

    python -m benchmarks.grid SCALE FOLDER ...       # of GT images, and of what `sdakd upscale` made

A pixel shuffle makes each square of ``scale`` x ``scale`` pixels from one LQ pixel, and what it adds to all squares
alike is a grid. PSNR hardly notices it, and LPIPS even likes it. Measured is, in the flatter half of all blocks of
8 x 8 squares, what the pixels of the squares differ by on average, place by place: grain averages out, a grid does not.
"""

import sys

import cv2
import numpy as np

from sdakd_plugin.inference.images import image_files, read_image

SQUARES = 8


def grid(images: list[np.ndarray], scale: int) -> float:
    """The standard deviation over the places of a square, of the mean over the flatter half of the blocks; of images
    (H, W, 3), uint8."""
    blocks, side = [], SQUARES * scale
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        rest = grey - cv2.blur(grey, (2 * scale, 2 * scale))
        for top in range(2 * scale, rest.shape[0] - side - scale, side):
            for left in range(2 * scale, rest.shape[1] - side - scale, side):
                block = rest[top : top + side, left : left + side]
                blocks.append(block.reshape(SQUARES, scale, SQUARES, scale).mean((0, 2)))
    flatter = sorted(blocks, key=lambda block: float(block.std()))[: len(blocks) // 2]
    return float(np.mean(flatter, 0).std())


if __name__ == '__main__':
    for folder in sys.argv[2:]:
        found = [image for image in map(read_image, image_files(folder)) if image.ndim == 3]
        print(f'{folder:32} {grid(found, int(sys.argv[1])):.3f}')
