"""Finds out why a data set cannot be built: a missing folder or list of images, an LQ or GT image without the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from basicsr.utils import scandir

from sdakd_plugin.data.photographs import listed
from sdakd_plugin.errors import UserError

OF_PHOTOGRAPHS = ('PhotoDataset', 'LQPhotoDataset')  # read names with spaces


def check_places(block: Mapping[str, Any], key: str) -> None:
    """Check the folders and lists in a data set's block. Only for a block that has failed, since not every
    data set reads every key.

    Args:
        block: the block under ``datasets``.
        key: its key in the option file.

    Raises:
        UserError: a folder or a list of images is missing, or a list is empty or has names that BasicSR cannot read.
    """
    backend = (block.get('io_backend') or {}).get('type', 'disk')
    if backend not in ('disk', 'lmdb'):
        return  # not files
    for name in ('dataroot_gt', 'dataroot_lq'):
        folder = block.get(name)
        if folder is None:
            continue
        path = os.path.expanduser(folder)
        if not os.path.isdir(path):
            reason = 'is not a folder' if os.path.exists(path) else 'does not exist'
            raise UserError(f'{key}.{name}: {folder} {reason}')
        if backend == 'lmdb' and not os.path.isfile(os.path.join(path, 'meta_info.txt')):
            raise UserError(
                f'{key}.{name}: {folder} is not an LMDB of BasicSR: it has no '
                'meta_info.txt; for a folder of images use io_backend: {type: disk}'
            )
    for name in ('meta_info', 'meta_info_file'):
        path = block.get(name)
        if path is not None and backend == 'disk':
            if not os.path.isfile(path):
                raise UserError(f'{key}.{name}: {path} does not exist')
            try:
                _check_spaces(listed(path), block)
            except UserError as error:
                raise UserError(f'{key}.{name}: {str(error).removeprefix("meta_info: ")}') from None


def _check_spaces(names: list[str], block: Mapping[str, Any]) -> None:
    """Raise a UserError if a data set of BasicSR reads only a part of a listed name."""
    folders = [os.path.expanduser(block[name]) for name in ('dataroot_gt', 'dataroot_lq') if block.get(name)]
    for name in names if block['type'] not in OF_PHOTOGRAPHS else ():
        read = name.split(' ')[0]
        if any(os.path.isfile(os.path.join(folder, name)) for folder in folders) and not any(
            os.path.exists(os.path.join(folder, read)) for folder in folders
        ):
            raise UserError(
                f"{block['type']} reads '{name}' up to the space only; rename the image, or use type: PhotoDataset"
            )


def unpaired(block: Mapping[str, Any], key: str) -> str | None:
    """Why the images of two folders cannot be paired, in one line; ``None`` if they can, or there are not two folders.

    Args:
        block: a block under ``datasets`` for which BasicSR failed to pair the images.
        key: its key in the option file.
    """
    folders = [os.path.expanduser(block.get(name) or '') for name in ('dataroot_gt', 'dataroot_lq')]
    if not all(map(os.path.isdir, folders)):
        return None
    template = block.get('filename_tmpl', '{}')
    gt, lq = (set(scandir(folder)) for folder in folders)
    expected = {name: _lq_name(name, template) for name in gt}
    alone = sorted(name for name in gt if expected[name] not in lq)
    strays = sorted(lq - set(expected.values()))
    if not alone and not strays:
        return None
    fitting = _template(gt, lq) if alone else None
    if fitting is not None:
        return (
            f'{key}.filename_tmpl: {template!r} makes {expected[alone[0]]} the LQ image of {alone[0]}, and '
            f'{folders[1]} has no such file; {fitting!r} fits all'
        )
    lacks = [
        f'{os.path.join(folders[0], name)} has no LQ image {os.path.join(folders[1], expected[name])}'
        for name in alone[:1]
    ] + [f'{os.path.join(folders[1], name)} has no GT image' for name in strays[:1]]
    more = len(alone) + len(strays) - len(lacks)
    remedy = (
        'every image needs its partner'
        if not alone
        else (
            f'every image needs its partner; filename_tmpl ({template!r} here) makes the name of an LQ image from '
            'that of the GT image, whose suffix it keeps'
        )
    )
    return f'{key}: {", and ".join(lacks)}{f" ({more} more are unpaired)" if more else ""}; {remedy}'


def _lq_name(gt_name: str, template: str) -> str:
    stem, ending = os.path.splitext(gt_name)
    return template.format(stem) + ending


def _template(gt: set[str], lq: set[str]) -> str | None:
    """A ``filename_tmpl`` with which every GT image has its LQ image; ``None`` if there is none."""
    stem, ending = os.path.splitext(min(gt))
    candidates = (
        name.removesuffix(ending).replace(stem, '{}', 1)
        for name in sorted(lq)
        if stem in name and name.endswith(ending) and not set('{}') & set(name)
    )
    return next((template for template in candidates if all(_lq_name(name, template) in lq for name in gt)), None)
