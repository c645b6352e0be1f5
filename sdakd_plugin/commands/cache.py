"""``sdakd cache``: computes the teacher's image of every LQ image of a training set once."""

from __future__ import annotations

import argparse

from sdakd_plugin.checks.custom_imports import import_custom
from sdakd_plugin.checks.data import check_datasets
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.data.cached_teacher_dataset import image_file
from sdakd_plugin.data.published import completed
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.teacher_cache.cache import TeacherCache
from sdakd_plugin.teacher_cache.fill import fill


def run(arguments: argparse.Namespace) -> int:
    """Make the missing images."""
    if arguments.tile < 0:
        raise UserError(f'--tile: expected a number of pixels, or 0 for no tiles, not {arguments.tile}')
    device = pick_device(arguments.device)
    opt = completed(read_yaml(arguments.opt))
    options = parse(opt)
    import_custom(opt)
    with quiet():
        check_datasets({**opt, 'datasets': {'train': TeacherCache(options).block}})
        cache, new = fill(options, device, arguments.tile, arguments.overwrite)
    size = sum(image_file(cache.folder, name).stat().st_size for name in cache.indices)
    print(f'{cache.folder}: {len(cache.indices)} images, {size / 1e9:.2f} GB; {new} of them are new')
    return 0
