"""Writes the LQ images that ``docs/students.md`` calls degraded, and their ground truth, as ``OUT/LQ`` and ``OUT/GT``:

python -m benchmarks.degraded IMAGES OUT
"""

import sys
from pathlib import Path

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
from basicsr.utils import imwrite, tensor2img

from sdakd_plugin.data.photo_dataset import PhotoDataset

if __name__ == '__main__':
    _, images, out = sys.argv
    opt = {'phase': 'val', 'scale': 4, 'name': 'degraded', 'type': 'PhotoDataset', 'degradation': 'real'}
    dataset = PhotoDataset({**opt, 'dataroot_gt': images})
    for item in map(dataset.__getitem__, range(len(dataset))):
        for kind in ('lq', 'gt'):
            imwrite(tensor2img([item[kind]]), f'{out}/{kind.upper()}/{Path(item["gt_path"]).stem}.png')
