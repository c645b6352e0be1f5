"""``sdakd check``: tries an option file out in seconds, without writing anything."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import torch
from basicsr.utils.options import parse_options

from sdakd_plugin.checks.dry_run import dry_run, first_batch
from sdakd_plugin.checks.forecast import forecast, warning
from sdakd_plugin.checks.option_file import is_ours, read_yaml
from sdakd_plugin.checks.run import check, read_options
from sdakd_plugin.checks.teacher_images import TeacherImages
from sdakd_plugin.checks.timing import repeated
from sdakd_plugin.models.sdakd_model import gan_remark
from sdakd_plugin.options import parse
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.teacher_cache.cache import TeacherCache, asks_for_cache, lacking, with_cache
from sdakd_plugin.utils.machine import crowded, this_machine


def run(arguments: argparse.Namespace) -> int:
    """Check the file, its data and weights, and train each stage for one iteration."""
    begun = time.perf_counter()
    bare = read_yaml(arguments.opt)
    if not is_ours(bare):
        print(
            f'{arguments.opt}: model_type {bare["model_type"]} is not one of sdakd-plugin; there is nothing that '
            'this command could check'
        )
        return 0
    is_train = 'train' in bare or 'train' in (bare.get('datasets') or {})
    crowd = crowded()
    opt = _options(arguments, is_train)
    cache = _unfilled(opt)
    gpus = _pick_device(opt['num_gpu'])
    model = check(opt, gpus)
    print(f'{"Training" if is_train else "Testing"} {opt["name"]}: options, files, weights and shapes fit together')
    if is_train:
        if remark := gan_remark(model.options):
            print(remark)
        with quiet():
            batch, images = _first_batch(opt, cache, model.device)
        tried = []
        for iteration in dry_run(model, batch):
            print(iteration, flush=True)
            tried.append(iteration)
        if gpus or opt['num_gpu'] == 0:  # on this machine the run would start
            with quiet():
                found = forecast(opt, tried, images, bool(gpus), this_machine())
            for line in filter(None, (str(found), warning(found), None if gpus else crowd)):
                print(line)
    print(f'{arguments.opt} is fine ({time.perf_counter() - begun:.1f} s)')
    return 0


def _options(arguments: argparse.Namespace, is_train: bool) -> dict[str, Any]:
    """The options as a run would see them."""
    sys.argv = ['sdakd check', '-opt', arguments.opt]
    sys.argv += ['--force_yml', *arguments.force_yml] if arguments.force_yml else []
    root = os.getcwd()
    with quiet():
        opt, _ = read_options(parse_options.__wrapped__, root, is_train)  # without the check that ends the program
    return {**opt, 'root_path': root}


def _unfilled(opt: dict[str, Any]) -> TeacherCache | None:
    """The folder ``teacher.cache`` if images are missing there. Training makes them at its start; a check writes
    nothing, so that the teacher runs instead."""
    options = parse(opt)
    if not asks_for_cache(options):
        return None
    with quiet():
        cache = TeacherCache(options)
        lack = lacking(cache)
    if lack is None:
        return None
    print(f'{lack}; training makes them first')
    return cache


def _first_batch(opt: dict[str, Any], cache: TeacherCache | None, device: torch.device) -> tuple[dict[str, Any], float]:
    """The images to try, and the seconds for the teacher's images that are missing in ``cache``. On a GPU they are a
    whole batch, since its time does not follow from that of a few images."""
    batch = first_batch(opt if cache else with_cache(opt))
    seconds = 0.0
    if cache is not None:
        teacher = TeacherImages(cache, device)
        batch, seconds = teacher.beside(batch), teacher.seconds()
    if device.type == 'cuda':
        batch = repeated(batch, opt['datasets']['train']['batch_size_per_gpu'])
    return batch, seconds


def _pick_device(wanted: int) -> int:
    """How many GPUs the check uses, 0 or 1; the user is told if the file asks for others."""
    found = int(wanted != 0 and torch.cuda.is_available())
    if wanted != found:
        where = 'one GPU' if found else 'the CPU, as there is no GPU here'
        print(f'num_gpu: the file asks for {wanted}; checked on {where}')
    return found
