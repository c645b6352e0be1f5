"""Fills the folder ``teacher.cache`` image by image. Images that are there are kept: a run that was stopped goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdakd_plugin import weights
from sdakd_plugin.data.cached_teacher_dataset import image_file, lq_file
from sdakd_plugin.data.published import completed
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import largest_scale, super_resolve
from sdakd_plugin.inference.model import Model
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import Options, parse
from sdakd_plugin.teacher_cache.cache import Manifest, TeacherCache, asks_for_cache, changed_images, difference, lacking
from sdakd_plugin.teacher_cache.progress_lines import progress
from sdakd_plugin.utils import random_state
from sdakd_plugin.weights.files import new_file, remove_temporary

PROBE = 16  # pixels: the side of the image that shows the teacher's scale


def fill_before_training(opt: Mapping[str, Any]) -> None:
    """Make the images that are missing in the folder ``teacher.cache``, if the options name one. In distributed
    training each process would make all of them, so there ``sdakd cache`` must have made them before.

    Args:
        opt: as BasicSR's ``parse_options`` returns them, or as in the option file, with ``dist`` and ``is_train``.

    Raises:
        UserError: as ``fill``, or the folder holds images of other weights or data.
    """
    options = parse(completed(opt))  # an ablation passes options as in the file
    if opt['dist'] or not asks_for_cache(options):
        return
    before = random_state.capture()
    if lack := lacking(TeacherCache(options)):
        print(f'{lack}; the teacher makes them now', file=sys.stderr, flush=True)
        fill(options, torch.device('cuda' if options.num_gpu != 0 and torch.cuda.is_available() else 'cpu'))
    random_state.restore(before)


def fill(options: Options, device: torch.device, tile: int = 0, overwrite: bool = False) -> tuple[TeacherCache, int]:
    """Make the images that are missing, and show the progress.

    Args:
        options: those of the run.
        device: where the teacher runs.
        tile: as in ``Upscaler``.
        overwrite: as in ``prepare``.

    Returns:
        The folder, and the number of new images.

    Raises:
        UserError: as ``load_teacher``, ``prepare`` and ``make``.
    """
    cache = TeacherCache(options)
    teacher = load_teacher(cache, device, tile)
    missing = prepare(cache, overwrite)
    for name in progress(missing):
        make(cache, teacher, name)
    return cache, len(missing)


def load_teacher(cache: TeacherCache, device: torch.device, tile: int) -> Upscaler:
    """Load the teacher, in float32, with ``tile`` as in ``Upscaler``.

    Raises:
        UserError: as ``load_frozen``; or it makes images of another scale, of no fixed scale, or not of 3 channels.
    """
    teacher, scale = cache.teacher, cache.options.scale
    net, network = load_frozen(teacher.network_g, teacher.pretrain_network_g, teacher.param_key_g, 'g')
    net.to(device)
    if largest_scale(net) or (network.get('num_in_ch', 3), network.get('num_out_ch', 3)) != (3, 3):
        raise UserError(
            'teacher.cache: needs a teacher that enlarges RGB images of any size, which this '
            f'{type(net).__name__} does not; leave it out'
        )
    with torch.no_grad():
        side = super_resolve(net, torch.zeros(1, 3, PROBE, PROBE, device=device)).shape[-1]
    if side != PROBE * scale:
        raise UserError(f'teacher.network_g: turns {PROBE} pixels into {side}, but scale is {scale}')
    identity = weights.Identity('generator', dict(network), scale)
    return Upscaler(Model('teacher', Path(teacher.pretrain_network_g), identity, {}, net), device, tile)


def prepare(cache: TeacherCache, overwrite: bool = False) -> list[str]:
    """Update the folder's manifest, and return the names of the images that must be made.

    Args:
        cache: the folder.
        overwrite: remove images of another teacher, and those whose LQ images have changed.

    Raises:
        UserError: the folder holds other files, or, without ``overwrite``, such images.
    """
    before = cache.read()
    if before is None and cache.folder.exists():
        _check_empty(cache.folder)
    now = cache.describe(before)
    stale = difference(before, now) if before else None
    if stale and not overwrite:
        raise UserError(
            f'teacher.cache: {cache.folder} {stale}; name another folder, or make the images again with --overwrite'
        )
    try:
        for folder in {cache.folder, *(image_file(cache.folder, name).parent for name in cache.indices)}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_temporary(folder)
        kept = _discard(cache.folder, before, now) if before else {}
        cache.write(Manifest(now.recipe, now.source, {**kept, **now.images}))
    except OSError as error:
        raise _unwritable(cache.folder, error) from error
    return cache.missing(now)


def make(cache: TeacherCache, teacher: Upscaler, name: str) -> None:
    """Make one image.

    Raises:
        UserError: the pair cannot be read, the teacher's image does not fit into memory or float16, or it cannot be
            written.
    """
    lq = cache.dataset[cache.indices[name]]['lq'].permute(1, 2, 0).numpy()
    with np.errstate(over='ignore'):
        image = teacher.enlarge_exactly(lq).astype(np.float16)
    if not np.isfinite(image).all():
        raise UserError(f'teacher.pretrain_network_g: the image that it makes of {name} is not finite in float16')
    try:
        if cache.keeps_lq:  # written first, so that an image never belongs to an older LQ image
            with new_file(lq_file(cache.folder, name)) as file:
                np.save(file, (lq * 255).round().astype(np.uint8))
        with new_file(image_file(cache.folder, name)) as file:
            np.save(file, image)
    except OSError as error:
        raise _unwritable(cache.folder, error) from error


def _discard(folder: Path, before: Manifest, now: Manifest) -> dict[str, list[object]]:
    """Remove the images that are out of date. They are removed before their entries: if the process is killed in
    between, there are no old images with new entries.

    Returns:
        The entries of images of other data sets.
    """
    same = before.recipe == now.recipe
    for name in changed_images(before, now) if same else before.images:
        image_file(folder, name).unlink(missing_ok=True)
    return {name: entry for name, entry in before.images.items() if same}


def _check_empty(folder: Path) -> None:
    if not folder.is_dir() or any(path.suffix != '.tmp' for path in folder.iterdir()):
        raise UserError(f'teacher.cache: {folder} holds other files; name a new or an empty folder')


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f'teacher.cache: {folder} cannot be written: {error.strerror}')
