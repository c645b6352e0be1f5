"""``sdakd compare``: compares the image quality of models, in numbers and in pictures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

from sdakd_plugin.commands.arguments.compare import FILES
from sdakd_plugin.commands.upscale import load_to_run, pick_device, print_taken
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost, folder_comparison, page
from sdakd_plugin.evaluation.pairs import find_pairs
from sdakd_plugin.evaluation.table import markdown, text
from sdakd_plugin.losses.backbone import cached_file, load_features, source
from sdakd_plugin.metrics import dists_metric
from sdakd_plugin.metrics.images import current_device
from sdakd_plugin.metrics.iqa_metric import load_metric
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.weights.files import new_file

ALEXNET, VGG16 = 'alexnet', dists_metric.ARCH  # torchvision's names of the backbones of LPIPS and DISTS


def run(arguments: argparse.Namespace) -> int:
    """Compare the models, print the table, write the files. An image that fails is reported in one line; the exit code
    is then 1."""
    out, device = Path(arguments.out), pick_device(arguments.device, arguments.backend)
    _check_output(out, arguments.overwrite)
    backbone, vgg = _backbone(ALEXNET, arguments.lpips, '--lpips'), _vgg(arguments.dists)
    metrics = _iqa(arguments.iqa)
    named = [folder_comparison.split_name(argument) for argument in arguments.model]
    loaded = {source: load_to_run(source, arguments.backend, device) for source in dict.fromkeys(s for _, s in named)}
    models = folder_comparison.name_models(named, [loaded[source][0] for _, source in named])
    scale = _scale(folder_comparison.common_scale(models.values()), arguments.scale, arguments.lq)
    pairs, unpaired = find_pairs(arguments.gt, arguments.lq, scale)
    print_taken(taken for _, taken in loaded.values())
    methods = folder_comparison.methods_of(models, device, arguments.tile)
    found = folder_comparison.Comparison(
        scale,
        folder_comparison.metrics(scale or 0, backbone, vgg, metrics),
        folder_comparison.costs(models, device),
        {name: str(model.identity) for name, model in models.items()},
        cost.machine(device),
        failed=unpaired,
    )
    for line in unpaired.values():
        _print_error(line)
    gallery = page.Gallery(arguments.images)
    with quiet(), tqdm(pairs, unit='image', disable=None) as bar:
        folder_comparison.compare(bar, methods, found, gallery.add, _print_error)
    if not found.images:
        raise UserError(f'no image of {arguments.gt} could be compared')
    _write(out, found, gallery)
    print(f'{text(found.rows())}\n\n{found.notes()}')
    for name, arch, file in (('lpips', ALEXNET, backbone), ('dists', VGG16, vgg)):
        if file is None:
            print(_absent(name, arch))
    print(f'{len(found.images)} of {len(pairs) + len(unpaired)} images compared; {out / "compare.html"} shows them')
    return int(bool(found.failed))


def _check_output(out: Path, overwrite: bool) -> None:
    """Fail before an hour of work instead of after it."""
    there = next((out / name for name in FILES if (out / name).exists()), None)
    if there and not overwrite:
        raise UserError(f'--out: {there} exists and is kept; --overwrite replaces it, or name another folder')
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out: {out} cannot be made: {error.strerror}') from error
    if not os.access(out, os.W_OK):
        raise UserError(f'--out: {out} cannot be written')


def _backbone(arch: str, file: str | None, option: str) -> str | None:
    """The file of a backbone, after a check; ``None`` if there is none."""
    cached = cached_file(arch)
    path = file or (str(cached) if cached.is_file() else None)
    if path is not None:
        load_features(arch, path, option)
    return path


def _vgg(file: str | None) -> str | None:
    """The backbone of DISTS, if its package is installed."""
    try:
        dists_metric.package()
    except UserError as error:
        if file is None:
            return None
        raise UserError(f'--dists: {error}') from error
    return _backbone(VGG16, file, '--dists')


def _iqa(names: str | None) -> dict[str, str]:
    """For each of pyiqa's metrics which values are better, higher or lower; all are loaded before the first image."""
    wanted = [name.strip().lower() for name in names.split(',')] if names is not None else []
    for name in wanted:
        if not name or wanted.count(name) > 1:
            raise UserError(f'--iqa: {f"{name} is given twice" if name else "a name is empty"}: {names!r}')
    try:
        return {name: 'lower' if load_metric(name, current_device()).lower_better else 'higher' for name in wanted}
    except UserError as error:
        raise UserError(f'--iqa: {error}') from error


def _absent(name: str, arch: str) -> str:
    """A line that says what a missing metric needs."""
    package = f'dists-pytorch ({dists_metric.INSTALL}) and ' if name == 'dists' else ''
    return f'No {name.upper()}: it needs {package}{source(arch)}, given by --{name} or at {cached_file(arch)}.'


def _scale(of_models: int | None, given: int | None, lq: str | None) -> int | None:
    if of_models and given not in (None, of_models):
        raise UserError(f'--scale: the models have scale {of_models}; leave it out')
    if given is not None and given < 1:
        raise UserError(f'--scale: expected 1 or more, not {given}')
    if not (of_models or given or lq):
        raise UserError('--scale: GCFSR has no scale of its own; say how far GT is reduced, or name LQ images by --lq')
    return of_models or given


def _write(out: Path, found: folder_comparison.Comparison, gallery: page.Gallery) -> None:
    content = found.as_json()
    contents = (
        json.dumps(content, indent=2),
        f'{markdown(found.rows())}\n\n{found.notes()}\n',
        page.render(content, gallery),
    )
    try:
        for name, written in zip(FILES, contents, strict=True):
            with new_file(out / name) as file:
                file.write(written.encode())
    except OSError as error:
        raise UserError(f'--out: {out} cannot be written: {error.strerror}') from error


def _print_error(line: str) -> None:
    tqdm.write(f'error: {line}', file=sys.stderr)
