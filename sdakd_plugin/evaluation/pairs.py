"""Pairs of LQ and GT image files; LQ images without a file are made from GT."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from basicsr.data.transforms import mod_crop

from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.inference.images import image_files, read_image


@dataclass(frozen=True)
class Pair:
    """Attributes: name (GT's file name), gt (its file), lq (its file; ``None``: it is made from GT)."""

    name: str
    gt: Path
    lq: Path | None


def find_pairs(
    gt: str | os.PathLike[str], lq: str | os.PathLike[str] | None, scale: int | None
) -> tuple[list[Pair], dict[str, str]]:
    """Pair the images of two folders by their names.

    Args:
        gt: the folder of GT images, or one image.
        lq: the folder of LQ images with the names of GT, whatever the suffix, or with ``x4`` appended as in DIV2K.
        scale: the number in ``x4``.

    Returns:
        The pairs, sorted by name; and an error message for each GT image without an LQ image, by its name.

    Raises:
        UserError: a folder is missing or holds no image.
    """
    files = image_files(gt)
    if lq is None:
        return [Pair(path.name, path, None) for path in files], {}
    by_stem = {path.stem: path for path in image_files(lq)}
    pairs, failed = [], {}
    for path in files:
        found = by_stem.get(path.stem) or by_stem.get(f'{path.stem}x{scale}')
        if found is None:
            failed[path.name] = f'{path} has no LQ image in {lq}{nearest(path.stem, by_stem)}'
        else:
            pairs.append(Pair(path.name, path, found))
    return pairs, failed


def read_pair(pair: Pair, scale: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Read LQ and GT as (h, w, 3) and (H, W, 3), uint8 BGR; transparency is dropped, 16 bits are rounded to 8.

    Args:
        pair: the files.
        scale: GT's size divided by LQ's; ``None``: any. Without an LQ file GT is cropped to a multiple of it.

    Raises:
        UserError: an image cannot be read, or the sizes do not match the scale.
    """
    gt = as_bgr(read_image(pair.gt))
    if pair.lq is None:
        assert scale is not None
        if min(gt.shape[:2]) < scale:
            raise UserError(f'{pair.gt} is {_size(gt.shape)}, too small to be reduced {scale} times')
        gt = mod_crop(gt, scale)
        return bicubic_reduction(gt, scale), gt
    lq = as_bgr(read_image(pair.lq))
    factor = gt.shape[0] / lq.shape[0] if scale is None else scale
    if tuple(side * factor for side in lq.shape[:2]) != gt.shape[:2]:
        wanted = 'of the same proportions' if scale is None else f'{_size([side * scale for side in lq.shape[:2]])}'
        raise UserError(
            f'{pair.gt} is {_size(gt.shape)}, but {wanted} is expected for {pair.lq}, which is {_size(lq.shape)}'
        )
    return lq, gt


def as_bgr(image: np.ndarray) -> np.ndarray:
    """An image as ``read_image`` gives it, as (h, w, 3) uint8 BGR, which is how BasicSR's data sets read every file."""
    if image.dtype == np.uint16:
        image = (image / 257).round().astype(np.uint8)
    return image[..., None].repeat(3, 2) if image.ndim == 2 else np.ascontiguousarray(image[..., :3])


def _size(shape: Sequence[int]) -> str:
    return f'{shape[1]}x{shape[0]}'
