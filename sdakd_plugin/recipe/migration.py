"""Moves an option file of BasicSR or Real-ESRGAN over to ``SDAKDModel``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from sdakd_plugin.checks.option_file import is_ours, read_yaml
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import Options, TrainOptions, parse
from sdakd_plugin.recipe.choices import student_network
from sdakd_plugin.recipe.names import TEACHER

MODELS = ('SRModel', 'SRGANModel', 'ESRGANModel', 'RealESRNetModel', 'RealESRGANModel')
TEACHERS = {2: 'RealESRGAN_x2plus', 4: TEACHER}  # by scale
PIXEL = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}


def moved(path: str, name: str, student: str | None, teacher: str | None) -> tuple[str, list[str]]:
    """Translate an option file for training.

    Data, losses, optimizers, schedule and validation stay. The network becomes a student, and the teacher's images
    become a second target.

    Args:
        path: a file of one of ``MODELS``.
        name: the new run's name.
        student: a name of ``STUDENTS``; ``small`` by default.
        teacher: a known name or a file; by default Real-ESRGAN's for the scale.

    Returns:
        The new file, and what has no counterpart in it or means something else, a line each.

    Raises:
        UserError: the file cannot be read, is not for training, or is of another model.
    """
    old = _read(path)
    kind, scale = old['model_type'], old.get('scale', 1)
    if teacher is None and scale not in TEACHERS:
        raise UserError(f'--from: {path} has scale {scale}; name a teacher of that scale with --teacher')
    changes = list(_without_counterpart(old, kind))
    new = _known(old, Options.model_fields)
    new['train'] = _known(old['train'], TrainOptions.model_fields)
    new |= {'name': name, 'model_type': 'SDAKDModel', 'network_g': student_network(student or 'small', scale)}
    if old.get('gt_usm'):
        new |= {'l1_gt_usm': True, 'percep_gt_usm': True}
    new['teacher'] = {'pretrain_network_g': teacher or TEACHERS[scale]}
    new['train']['teacher_pixel_opt'] = dict(PIXEL)
    weights = {'pretrain_network_d': new['path'].get('pretrain_network_d')} if new.get('network_d') else {}
    new['path'] = {'pretrain_network_g': None, **weights, 'resume_state': None}
    try:
        parse(new)
    except UserError as error:
        raise UserError(f'--from: {path}: {error}', error.others) from None
    head = [f'Moved over from {path} ({kind}) by sdakd init.', *changes]
    body = yaml.safe_dump(new, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    return ''.join(f'# {line}\n' for line in head) + body, changes


def _read(path: str) -> dict[str, Any]:
    """The old options, as plain dictionaries."""
    try:
        old = read_yaml(path)
    except UserError as error:
        raise UserError(str(error).replace('-opt:', '--from:')) from None
    if is_ours(old):
        raise UserError(f'--from: {path} is of {old["model_type"]}, a model of this plugin, and needs no translation')
    if old['model_type'] not in MODELS:
        raise UserError(f'--from: {path} is of {old["model_type"]}; only {", ".join(MODELS)} can be moved over')
    for key in ('train', 'datasets', 'path', 'network_g'):
        if not isinstance(old.get(key), Mapping):
            remedy = 'it is for testing' if key == 'train' else 'it is not complete'
            raise UserError(f'--from: {path} has no block {key}; {remedy}')
    plain: dict[str, Any] = json.loads(json.dumps(old))
    return plain


def _known(block: Mapping[str, Any], keys: Any) -> dict[str, Any]:
    """The part of a block that ``SDAKDModel`` knows."""
    return {key: value for key, value in block.items() if key in keys or key.endswith('_opt')}


def _without_counterpart(old: Mapping[str, Any], kind: str) -> list[str]:
    """What is left out or means something else, in words."""
    found = [f'{key}: SDAKDModel has no such key; left out' for key in old if key not in Options.model_fields]
    found = [line for line in found if not line.startswith('gt_usm:')]
    found += [
        f'train.{key}: SDAKDModel has no such key; left out'
        for key in old['train']
        if not _known({key: 0}, TrainOptions.model_fields)
    ]
    found.append(f'network_g: the {old["network_g"].get("type")} is replaced by the student')
    for key in ('pretrain_network_g', 'resume_state'):
        if old['path'].get(key):
            found.append(
                f'path.{key}: {old["path"][key]} is of the old network; left out, --teacher can name such a file'
            )
    if kind == 'ESRGANModel' and 'gan_opt' in old['train']:
        found.append(
            'train.gan_opt: ESRGANModel compares real and fake (relativistic average); here each is judged alone'
        )
    if kind == 'RealESRNetModel' and old.get('gt_usm'):
        found.append('gt_usm: is now l1_gt_usm and percep_gt_usm')
    elif kind == 'RealESRNetModel':
        found.append('gt_usm: was false; the LQ images are now made from sharpened photographs, as in RealESRGANModel')
    return found
