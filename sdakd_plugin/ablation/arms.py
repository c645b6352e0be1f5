"""The arms of an ablation: the user's option file, and what it is without some of its parts.

Nothing here reads a file or changes the options that it is given.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from copy import deepcopy
from inspect import signature
from typing import Any

import yaml
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import LOSS_REGISTRY

from sdakd_plugin.data.lq_photo_dataset import without_gt
from sdakd_plugin.distillation.stages import DISCRIMINATOR_LOSSES
from sdakd_plugin.errors import UserError, nearest

Opt = dict[str, Any]

FEATURES = ('feature', 'feature_d')  # the terms that compare with the teacher's features
OF_D = ('gan', *DISCRIMINATOR_LOSSES)  # the terms that need a discriminator
OWN_KEYS = ('from', 'without')


def built_in(opt: Opt) -> dict[str, Opt]:
    """The arms that an option file has by itself, the control first.

    - ``stock``: no teacher, and the full-size discriminator; like the next one, only where a loss compares with the
      ground truth.
    - ``student_d``: no teacher, the file's own discriminator; where that is a ``StudentDiscriminator``.
    - ``teacher_images``: of the teacher its images only, and no discriminator.
    - ``sdakd``: the file as it is.

    Of a cohort they are ``independent``, where nothing is exchanged, and ``cohort``. Arms that come out alike, such as
    ``student_d`` and ``stock`` of a file with a full-size discriminator, are one.
    """
    distinct: dict[str, Opt] = {}
    *others, itself = _all_built_in(opt).items()
    for name, arm in others:
        if arm not in (itself[1], *distinct.values()):
            distinct[name] = arm
    return {**distinct, itself[0]: itself[1]}


def _all_built_in(opt: Opt) -> dict[str, Opt]:
    if opt.get('cohort'):
        return {'independent': remove(opt, ['mutual']), 'cohort': deepcopy(opt)}
    arms = {}
    if not without_gt(opt['datasets']['train']):
        with suppress(UserError):  # where every loss compares with the teacher, nothing can be trained without it
            arms = {'stock': full_size(without_teacher(opt)), 'student_d': without_teacher(opt)}
    if (images := teacher_images(opt)) is not None:
        arms['teacher_images'] = images
    return {**arms, 'sdakd': deepcopy(opt)}


def user_arm(opt: Opt, name: str, changes: Mapping[str, Any]) -> Opt:
    """Build an arm that the user has defined.

    Args:
        opt: the option file.
        name: the arm's, for messages.
        changes: new values by their key, whose parts are separated by ``:`` or ``.``; ``from``: the built-in arm that
            the changed file is turned into; ``without``: losses to leave out.

    Raises:
        UserError: there is no such key, arm or loss.
    """
    where = f'ablate.arms.{name}'
    own = deepcopy(opt)
    for key, value in changes.items():
        if key not in OWN_KEYS:
            change(own, key, deepcopy(value), where)
    absent = changes.get('without') or []
    absent = absent if isinstance(absent, list) else [absent]
    for loss in absent:
        if loss not in losses(own):
            raise UserError(f"{where}.without: there is no loss '{loss}'" + nearest(loss, losses(own)))
    start = changes.get('from')
    if start is not None:
        arms = _all_built_in(own)
        if start not in arms:
            raise UserError(f"{where}.from: there is no built-in arm '{start}'" + nearest(start, arms))
        own = arms[start]
    return remove(own, absent) if absent else own


def change(opt: Opt, key: str, value: Any, where: str) -> None:
    """Set an option in place; the last part of its key may be new.

    Raises:
        UserError: another part of the key does not exist.
    """
    *parents, last = re.split('[:.]', key)
    holder: Any = opt
    for part in parents:
        inner = _at(holder, part)
        if not isinstance(inner, (Mapping, list)):
            valid = [name for name in holder if _at(holder, name) is not None] if isinstance(holder, Mapping) else []
            raise UserError(f"{where}: '{key}': there is no block '{part}' in the option file" + nearest(part, valid))
        holder = inner
    if isinstance(holder, list):
        if _at(holder, last) is None:
            raise UserError(f"{where}: '{key}': the list has {len(holder)} entries, numbered from 0")
        holder[int(last)] = value
    else:
        holder[last] = value


def _at(holder: Any, part: str) -> Any:
    if isinstance(holder, list):
        return holder[int(part)] if part.isdigit() and int(part) < len(holder) else None
    return holder.get(part)


def read_arm(name: str, *changes: str) -> tuple[str, Opt]:
    """An arm of the command line: its name, and ``KEY:KEY=VALUE`` with values in YAML.

    Raises:
        UserError: it cannot be read.
    """
    found: Opt = {}
    for change in changes:
        key, equals, value = change.partition('=')
        try:
            found[key.strip()] = yaml.load(value, ordered_yaml()[0])
        except (ValueError, yaml.YAMLError):
            equals = ''
        if not (key and equals):
            raise UserError(f"--arm {name}: expected KEY:KEY=VALUE, not '{change}'")
    if not found:
        raise UserError(f'--arm {name}: expected NAME KEY:KEY=VALUE ..., what the arm changes')
    return name, found


# --------------------------------------------------------------------------------------------- parts that are left out


def losses(opt: Mapping[str, Any]) -> dict[str, Opt]:
    """The blocks of the losses by the name that stages use."""
    return {
        key.removesuffix('_opt'): block
        for key, block in opt['train'].items()
        if key.endswith('_opt') and block is not None
    }


def target(name: str, block: Mapping[str, Any]) -> str:
    """What a loss compares with: ``teacher``, ``gt``, ``both`` or ``mix``; what the discriminators do is ``gt``."""
    if name in FEATURES:
        return 'teacher'
    parameter = signature(LOSS_REGISTRY.get(block['type'])).parameters.get('target')
    default = 'teacher' if name == 'teacher_pixel' else 'gt'
    value: str = block.get('target', parameter.default if parameter else default)
    return value


def without_teacher(opt: Opt) -> Opt:
    """No term compares with the teacher, and no discriminator with another one; what compared with both compares with
    the ground truth."""
    own = deepcopy(opt)
    targets = {name: target(name, block) for name, block in losses(own).items()}
    for name, value in targets.items():
        if value in ('both', 'mix'):
            block = own['train'][f'{name}_opt']
            block['target'] = 'gt'
            block.pop('teacher', None)
            if value == 'mix':
                del block['ramp']  # the teacher's share
    return remove(own, [name for name, value in targets.items() if value == 'teacher' or name == 'mutual'])


def full_size(opt: Opt) -> Opt:
    """The discriminator that a ``StudentDiscriminator`` is a narrow copy of, from random weights."""
    own = deepcopy(opt)
    network = own.get('network_d') or {}
    if network.get('type') == 'StudentDiscriminator':
        own['network_d'] = network['teacher']
        _forget_weights(own, 'd')  # which are as narrow
    return own


def teacher_images(opt: Opt) -> Opt | None:
    """Images are compared, with the ground truth and with the teacher's image; neither features nor scores are. Where
    the file has no such term, the teacher's image gets the pixel loss too.

    Returns:
        ``None`` where there is no teacher, or nothing that compares images.
    """
    own = remove(opt, [*FEATURES, *OF_D], tidy=False)
    if (own.get('teacher') or own.get('teachers')) is None or not losses(own):
        return None
    if all(target(name, block) == 'gt' for name, block in losses(own).items()):
        if 'pixel' not in losses(own):
            return None
        own['train']['teacher_pixel_opt'] = deepcopy(own['train']['pixel_opt'])
        for stage in own['train'].get('stages') or []:
            stage['losses'] += ['teacher_pixel'] * ('pixel' in stage['losses'])
    return remove(own, [])


def remove(opt: Opt, names: Collection[str], tidy: bool = True) -> Opt:
    """The options without some losses, in the same number of iterations: a stage without a loss for the generator gives
    its iterations to the next one, the last stage to the one before it.

    Args:
        opt: not changed.
        names: of the losses; unknown names are ignored. Without ``gan``, none that trains a discriminator
            is left.
        tidy: whether blocks that no loss uses any more are removed too.

    Raises:
        UserError: the generator would have no loss at all.
    """
    own = deepcopy(opt)
    names = {*names, *(OF_D if 'gan' in names else ())}
    train = own['train']
    for name in names:
        train.pop(f'{name}_opt', None)
    if train.get('stages'):
        for stage in train['stages']:
            stage['losses'] = [loss for loss in stage['losses'] if loss not in names]
        train['stages'] = merged(train['stages'])
    if not set(losses(own)) - set(DISCRIMINATOR_LOSSES) or train.get('stages') == []:
        raise UserError(f'ablate: without {", ".join(sorted(names & set(losses(opt))))} no loss is left')
    if tidy:
        _remove_unused(own)
    return own


def merged(stages: list[Opt]) -> list[Opt]:
    """The stages that have a loss for the generator, with the iterations of the others."""
    kept: list[Opt] = []
    waiting = 0
    for stage in stages:
        if set(stage['losses']) <= set(DISCRIMINATOR_LOSSES):
            waiting += stage['iters']
        else:
            kept.append({**stage, 'iters': stage['iters'] + waiting})
            waiting = 0
    if kept:
        kept[-1]['iters'] += waiting
    return kept


def _remove_unused(opt: Opt) -> None:
    """Remove, in place, the networks that no loss uses, with their options."""
    left, train = losses(opt), opt['train']
    if 'gan' not in left:
        opt.pop('network_d', None)
        _forget_weights(opt, 'd')
        for stage in train.get('stages') or []:
            for key in ('train_d', 'lr_d'):
                stage.pop(key, None)
    if 'mutual' not in left:
        opt.pop('network_d_peer', None)
        train.pop('mutual_images', None)
        _forget_weights(opt, 'd_peer')
    unused = all(target(name, block) == 'gt' for name, block in left.items())
    for teacher in [opt.get('teacher') or {}, *(opt.get('teachers') or {}).values()]:
        if 'feature_d' not in left:
            for key in ('network_d', 'pretrain_network_d', 'param_key_d'):
                teacher.pop(key, None)
        if unused:
            teacher.pop('cache', None)  # else its images would be read
    if unused and opt['path'].get('pretrain_network_g') != 'teacher':  # the start is the same in all arms
        opt.pop('teacher', None)
        opt.pop('teachers', None)


def _forget_weights(opt: Opt, label: str) -> None:
    for key in ('pretrain_network', 'param_key', 'strict_load'):
        opt['path'].pop(f'{key}_{label}', None)
