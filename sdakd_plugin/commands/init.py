"""``sdakd init``: writes an option file for a folder of photographs, or from an option file of BasicSR."""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
import yaml

from sdakd_plugin.checks.timing import time_teacher
from sdakd_plugin.errors import UserError
from sdakd_plugin.option_schema import schema_line, schema_text
from sdakd_plugin.recipe import choices, migration, option_file, plan, survey
from sdakd_plugin.recipe.measurement import Measurement, measure
from sdakd_plugin.recipe.names import TEACHER
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.utils.machine import crowded, this_machine
from sdakd_plugin.weights.files import check_writable, new_file

SIDES = {True: 256, False: 128}  # the largest crop with a GPU and without
SCHEMA = 'sdakd_schema.json'  # beside the option file, for editors
SHOWN = 3  # names of photographs that are left out


def run(arguments: argparse.Namespace) -> int:
    """Write the file and the lists of photographs, and say what comes next."""
    if arguments.hours is not None and not 0 < arguments.hours < math.inf:
        raise UserError(f'--hours: expected a number above 0, not {arguments.hours:g}')
    if arguments.old is None and arguments.photos is None:
        raise UserError('PHOTOS: name a folder of photographs, or an option file with --from')
    if arguments.old is not None and (arguments.photos or arguments.kind or arguments.hours):
        raise UserError('--from: keeps the data and the length of the old run; leave out PHOTOS, --photos and --hours')
    out = arguments.out
    if out.suffix not in ('.yml', '.yaml'):
        raise UserError(f'--out: {out} must end with .yml')
    written = [out] if arguments.old else [out, *option_file.lists(out)]
    check_targets(written, arguments.overwrite)
    if arguments.old:
        text, lacking = migration.moved(arguments.old, out.stem, arguments.student, arguments.teacher)
        for line in lacking:
            print(line)
        contents = [text]
    else:
        contents = list(from_photographs(arguments))
    contents[0] = schema_line(SCHEMA) + contents[0]
    schema = out.with_name(SCHEMA)
    if arguments.overwrite or not os.path.lexists(schema):
        written, contents = [*written, schema], [*contents, schema_text()]
    write(written, contents)
    named = f'"{out}"' if ' ' in str(out) else out
    print(f'\n{out} is written. Next:\n\n    sdakd check -opt {named}\n    sdakd train -opt {named}')
    return 0


def check_targets(paths: Iterable[Path], overwrite: bool) -> None:
    """Raise a UserError if a file exists or cannot be written."""
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise UserError(f'--out: {path} exists and is kept; --overwrite replaces it')
        if path.is_dir():
            raise UserError(f'--out: {path} is a folder')
        try:
            check_writable(path)
        except OSError as error:
            raise UserError(f'--out: {path} cannot be written: {error.strerror}') from error


def write(paths: list[Path], contents: list[str]) -> None:
    """Write the option file last, when all that it names is there.

    Raises:
        UserError: a file cannot be written, for example because the disk is full.
    """
    for path, text in reversed(list(zip(paths, contents, strict=True))):
        try:
            with new_file(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise UserError(f'--out: {path} cannot be written: {error.strerror}') from error


def from_photographs(arguments: argparse.Namespace) -> tuple[str, str, str]:
    """The contents of the option file and of the two lists."""
    machine = this_machine()
    gpu = machine.gpu is not None
    crowd = None if gpu else crowded()
    found = survey.look_at(arguments.photos)
    with quiet():
        teacher = choices.load_teacher(arguments.teacher or TEACHER)
        lpips = choices.find_lpips(arguments.lpips)
    crop = found.crop(SIDES[gpu])
    crop -= crop % teacher.scale
    train, val = found.split(crop)
    print(found)
    for line in left_out(found, crop):
        print(line)
    print(f'{len(train):,} photographs train, {len(val)} are kept for validation', flush=True)
    chosen = choices.choose(arguments.student, arguments.kind, teacher, crop, machine, lpips)
    if lpips is None:
        print('without LPIPS, since AlexNet cannot be downloaded here; with --lpips FILE the images get sharper')
    area = teacher.scale**2
    work = plan.Work(len(train), found.pixels(train) // area, found.pixels(val) // area, time_teacher(teacher.net, gpu))
    made = plan.make_plan(
        chosen, work, arguments.hours, arguments.out.absolute().parent, partial(tried, arguments.photos, train, val)
    )
    if made.reason:
        print(f'the teacher runs in every iteration: storing its images {made.reason}')
    print(made)
    if crowd is not None:
        print(crowd)
    remarks = [f'Written by sdakd init. {made}.', *left_out(found, crop)]
    counts = len(train), len(val)
    text = option_file.option_file(made.choices, arguments.photos, arguments.out, counts, remarks)
    return text, listed(train), listed(val)


def tried(root: str, train: list[str], val: list[str], chosen: choices.Choices) -> Measurement:
    """Measure choices with the option file that they would give.

    Raises:
        UserError: a batch does not fit into the GPU's memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'trial.yml')
        write(list(option_file.lists(out)), [listed(train), listed(val)])
        text = option_file.option_file(chosen, root, out, (len(train), len(val)), [])
        try:
            return measure(yaml.safe_load(text), chosen.machine.gpu is not None)
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f'{chosen.student}: a batch of {chosen.batch} crops of {chosen.crop} pixels does not fit into the '
                'memory that is free on the GPU; close other programs, or choose a smaller --student'
            ) from None


def listed(names: list[str]) -> str:
    """A list of photographs, one in each line."""
    return ''.join(f'{name}\n' for name in names)


def left_out(found: survey.Survey, crop: int) -> list[str]:
    """A line each for the photographs that are too small, that cannot be read, and of formats that are not read."""
    fitting = set(found.fitting(crop))
    small = [f'{name} ({width}x{height})' for name, (width, height) in found.sizes.items() if name not in fitting]
    broken = [f'{name} {reason}' for name, reason in found.broken.items()]
    return [
        f'left out, {reason}: {len(names)}, such as {"; ".join(names[:SHOWN])}'
        for reason, names in (
            (f'smaller than the crop of {crop} pixels', small),
            ('damaged', broken),
            ('of other formats (convert them to JPEG or PNG)', found.others),
        )
        if names
    ]
