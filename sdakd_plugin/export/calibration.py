"""Images for an int8 export: some that ranges are measured on, and others that the result is checked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdakd_plugin.data.sample_image_dataset import SampleImageDataset
from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import multiple_of
from sdakd_plugin.inference.images import image_files, read_image
from sdakd_plugin.inference.model import Model

CALIBRATING, CHECKING = ['astronaut', 'coffee'], ['chelsea', 'rocket']  # scikit-image's photographs
SMALLEST, LARGEST = 32, 128  # pixels of an LQ image from a folder; larger ones are cut
MOST_CALIBRATING, MOST_CHECKING = 32, 8
EVERY = 4  # one image of so many in a folder is for checking


@dataclass(frozen=True)
class Sample:
    """Attributes: name, lq (1, c, h, w) and gt (1, c, h * scale, w * scale) or ``None``; range 0..1."""

    name: str
    lq: Tensor
    gt: Tensor | None = None


@dataclass(frozen=True)
class Images:
    """Attributes: calibrating and checking, which share no image."""

    calibrating: list[Sample]
    checking: list[Sample]


def images(model: Model, folder: str | None) -> Images:
    """Images for calibrating, and for checking.

    Args:
        model: the generator.
        folder: images as the network will get them (LQ); every fourth is for checking, beside two of scikit-image's
            photographs, which have a ground truth. ``None``: its two other photographs calibrate.

    Raises:
        UserError: the folder has fewer than two images, or one cannot be read or is too small.
    """
    checking = _photographs(model, CHECKING)
    if folder is None:
        return Images(_photographs(model, CALIBRATING), checking)
    try:
        files = image_files(folder)
        if len(files) < 2:
            raise UserError(f'{folder} has one image; two or more are needed, as some are kept for checking')
        held_out = files[1::EVERY]
        chosen = [file for file in files if file not in held_out]
        return Images(
            [_from_file(model, file) for file in _spread(chosen, MOST_CALIBRATING)],
            checking + [_from_file(model, file) for file in _spread(held_out, MOST_CHECKING)],
        )
    except UserError as error:
        raise UserError(f'--calibrate: {error}') from error


def _photographs(model: Model, names: list[str]) -> list[Sample]:
    """scikit-image's photographs as GT, and their bicubic reduction as LQ."""
    scale = model.identity.scale or 1
    data = SampleImageDataset({'phase': 'val', 'scale': scale, 'images': names})
    samples = []
    for item in (data[index] for index in range(len(data))):
        lq, gt = (_for_network(model, item[key][None]) for key in ('lq', 'gt'))
        height, width = (side // multiple_of(model.net) * multiple_of(model.net) for side in lq.shape[2:])
        samples.append(
            Sample(
                Path(item['gt_path']).stem,
                lq[:, :, :height, :width].contiguous(),
                gt[:, :, : height * scale, : width * scale],
            )
        )
    return samples


def _from_file(model: Model, path: Path) -> Sample:
    """The middle of an image, without its alpha channel."""
    image = read_image(path)
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(f'{path} has {width}x{height} pixels; {SMALLEST}x{SMALLEST} are needed at least')
    rgb = np.atleast_3d(image)[..., :3][..., ::-1].astype(np.float32) / np.iinfo(image.dtype).max
    sides = [min(side, LARGEST) // multiple_of(model.net) * multiple_of(model.net) for side in (height, width)]
    top, left = ((side - kept) // 2 for side, kept in zip((height, width), sides, strict=True))
    crop = rgb[top : top + sides[0], left : left + sides[1]].transpose(2, 0, 1)
    return Sample(path.name, _for_network(model, torch.from_numpy(np.ascontiguousarray(crop))[None]))


def _for_network(model: Model, image: Tensor) -> Tensor:
    """Colour or grey as the network takes it."""
    channels = model.identity.network.get('num_in_ch', 3)
    if channels != 3 or image.shape[1] != 3:
        image = image.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return image.contiguous()


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many of the files, evenly over the folder."""
    return list(files) if len(files) <= most else [files[index * len(files) // most] for index in range(most)]
