"""Fills the folder of the teacher's images, image by image; what is there is kept, so that a stopped run goes on."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sdakd_plugin import weights
from sdakd_plugin.data.cached_teacher_dataset import image_file, lq_file
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import largest_scale, super_resolve
from sdakd_plugin.inference.model import Model
from sdakd_plugin.inference.upscale import Upscaler
from sdakd_plugin.options import Options
from sdakd_plugin.teacher_cache.cache import Manifest, TeacherCache, changed_images, difference
from sdakd_plugin.teacher_cache.progress_lines import progress
from sdakd_plugin.weights.files import new_file, remove_temporary
from sdakd_plugin.weights.frozen import load_frozen

PROBE = 16  # pixels


def fill(options: Options, device: torch.device, tile: int = 0, overwrite: bool = False) -> tuple[TeacherCache, int]:
    """Make the images that are not there yet, and show how far that is.

    Args:
        options: those of the run.
        device: where the teacher runs.
        tile: as ``Upscaler`` has it.
        overwrite: as in ``prepare``.

    Returns:
        The folder, and how many images are new.

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
    """The teacher, in float32, with ``tile`` as ``Upscaler`` has it.

    Raises:
        UserError: as ``load_frozen``; or it makes images of another scale, of no fixed scale, or not of 3 channels.
    """
    teacher, scale = cache.teacher, cache.options.scale
    net = load_frozen(teacher.network_g, teacher.pretrain_network_g, teacher.param_key_g, 'g').to(device)
    identity = weights.identify(net.state_dict())
    network = teacher.network_g or (identity.network if identity else {})
    if largest_scale(net) or (network.get('num_in_ch', 3), network.get('num_out_ch', 3)) != (3, 3):
        raise UserError('teacher.cache: needs a teacher that enlarges RGB images of any size, which this '
                        f'{type(net).__name__} does not; leave it out')
    with torch.no_grad():
        side = super_resolve(net, torch.zeros(1, 3, PROBE, PROBE, device=device)).shape[-1]
    if side != PROBE * scale:
        raise UserError(f'teacher.network_g: turns {PROBE} pixels into {side}, but scale is {scale}')
    model = Model('teacher', Path(teacher.pretrain_network_g), weights.Identity('generator', network, scale), {}, net)
    return Upscaler(model, device, tile)


def prepare(cache: TeacherCache, overwrite: bool = False) -> list[str]:
    """Bring the folder's manifest up to date, and tell which images are to be made.

    Args:
        cache: the folder.
        overwrite: remove images of another teacher, or of LQ images that have changed.

    Raises:
        UserError: the folder holds something else, or, without ``overwrite``, such images.
    """
    before = cache.read()
    if before is None and cache.folder.exists():
        _check_empty(cache.folder)
    now = cache.describe(before)
    stale = difference(before, now) if before else None
    if stale and not overwrite:
        raise UserError(f'teacher.cache: {cache.folder} {stale}; name another folder, or make it anew with --overwrite')
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
        if cache.keeps_lq:  # first: an image that is there is of the LQ image that is there
            with new_file(lq_file(cache.folder, name)) as file:
                np.save(file, (lq * 255).round().astype(np.uint8))
        with new_file(image_file(cache.folder, name)) as file:
            np.save(file, image)
    except OSError as error:
        raise _unwritable(cache.folder, error) from error


def _discard(folder: Path, before: Manifest, now: Manifest) -> dict[str, list[object]]:
    """Remove the images that are not true any more. They go before their entries: who is killed between the two must
    not find old images under new entries.

    Returns:
        The entries of images of other data sets.
    """
    same = before.recipe == now.recipe
    for name in changed_images(before, now) if same else before.images:
        image_file(folder, name).unlink(missing_ok=True)
    return {name: entry for name, entry in before.images.items() if same}


def _check_empty(folder: Path) -> None:
    if not folder.is_dir() or any(path.suffix != '.tmp' for path in folder.iterdir()):
        raise UserError(f'teacher.cache: {folder} holds other files; name a folder that is new or empty')


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f'teacher.cache: {folder} cannot be written: {error.strerror}')
