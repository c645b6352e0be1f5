"""Writes the LQ images that ``docs/students.md`` calls degraded, and their ground truth:

    python -m benchmarks.degraded IMAGES OUT
"""
from __future__ import annotations

import sys
from pathlib import Path

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import cv2
from basicsr.utils import tensor2img

from sdakd_plugin.data.photo_dataset import PhotoDataset


def main(images: str, out: str) -> None:
    """Write ``OUT/LQ`` and ``OUT/GT``, as PNG files of the same names."""
    dataset = PhotoDataset({'phase': 'val', 'scale': 4, 'name': 'degraded', 'type': 'PhotoDataset',
                            'dataroot_gt': images, 'degradation': 'real'})
    for index in range(len(dataset)):
        item = dataset[index]
        for kind in ('lq', 'gt'):
            folder = Path(out, kind.upper())
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{Path(item['gt_path']).stem}.png"), tensor2img([item[kind]]))


if __name__ == '__main__':
    main(*sys.argv[1:])
