"""Turns an option dictionary into objects, and pydantic's errors into one line each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sdakd_plugin.errors import UserError, missing_key, nearest
from sdakd_plugin.options.fields import keys_of, shown
from sdakd_plugin.options.file import AblateOptions, Options
from sdakd_plugin.options.losses import RampOptions, TermOptions
from sdakd_plugin.options.networks import MemberOptions, TeacherOptions
from sdakd_plugin.options.train import AmpOptions, QuantizeOptions, StageOptions, StopOptions, TrainOptions

LARGEST = 2.0**128  # float32 represents larger numbers as infinity
ELSEWHERE = {  # keys of other BasicSR models, and what replaces them here
    'gt_usm': ", which is RealESRNetModel's; here l1_gt_usm sharpens the ground truth of pixel_opt"
}


def parse(opt: Mapping[str, Any]) -> Options:
    """Check an option dictionary.

    Args:
        opt: the result of BasicSR's ``parse_options``, or the bare YAML; not changed.

    Returns:
        The options as objects.

    Raises:
        UserError: one line for each mistake in the options.
    """
    try:
        _check_values(opt, '')
        options = Options.model_validate(dict(opt))
    except ValidationError as error:
        # of a value that is none of several types, pydantic has an error for each type
        mistakes = {tuple(_written(list(one['loc']), opt, True)): one for one in reversed(error.errors())}
        first, *others = dict.fromkeys(_explain(mistake, opt) for mistake in reversed(mistakes.values()))
        raise UserError(first, others) from None
    except RecursionError:
        raise UserError('the options are nested too deeply, or contain themselves') from None
    if options.is_train and options.train is None:
        testing = any(phase.startswith('test') for phase in options.datasets)
        raise UserError('train: this block is missing' + '; the file is for testing: sdakd test' * testing)
    if (options.cohort is not None) != (options.model_type == 'MutualSRGANModel'):
        raise UserError('cohort: MutualSRGANModel requires this key, and no other model supports it')
    if options.cohort is not None:
        names = [member.name for member in options.cohort]
        if len(set(names)) < len(names):
            raise UserError(f"cohort: two members are named '{max(names, key=names.count)}'")
        if options.network_d_peer is not None:
            raise UserError('network_d_peer: is for SDAKDModel; in a cohort the members are peers')
    _check_teachers(options, opt)
    return options


def _check_teachers(options: Options, opt: Mapping[str, Any]) -> None:
    """Check what the losses say of their teachers."""
    teachers = options.teachers or {}
    if options.teacher is not None and teachers:
        raise UserError('teacher, teachers: give one of them; teachers has any number of such blocks, by name')
    for name, teacher in teachers.items():
        if teacher.cache is not None:
            raise UserError(
                f'teachers.{name}.cache: images are stored for one teacher only; use the block teacher, or leave it out'
            )
    for name, block in options.train.losses.items() if options.train else ():
        if not isinstance(block, Mapping):
            continue  # checks/keys.py reports it
        try:
            term = TermOptions.of(block)
        except ValidationError as error:
            mistakes = error.errors()
            for mistake in mistakes:
                mistake['loc'] = ('train', f'{name}_opt', *mistake['loc'])
            first, *others = dict.fromkeys(_explain(mistake, opt) for mistake in mistakes)
            raise UserError(first, others) from None
        if term.teacher is not None and options.teachers is None:
            raise UserError(f'train.{name}_opt.teacher: chooses one of teachers, a block that is missing; leave it out')
        if term.teacher is not None and term.teacher not in teachers:
            raise UserError(
                f"train.{name}_opt.teacher: there is no '{term.teacher}' in teachers" + nearest(term.teacher, teachers)
            )


def _explain(mistake: ErrorDetails, opt: Mapping[str, Any]) -> str:
    """Turn an error of pydantic into a one-line message with the key of the option file."""
    where = list(mistake['loc'])
    if mistake['type'] == 'extra_forbidden':
        *parents, unknown = where
        valid = keys_of(_block_at(parents))
        inside = f'{".".join(str(part) for part in parents)}: ' if parents else ''
        return f"{inside}unknown key '{unknown}'" + (ELSEWHERE.get(str(unknown)) or nearest(unknown, valid))
    key = '.'.join(str(part) for part in _written(where, opt, mistake['type'] == 'missing'))
    if mistake['type'] == 'missing':
        parents = where[:-1]
        holder: Any = opt
        for part in parents:
            holder = holder[part]
        return missing_key(key, holder if isinstance(holder, Mapping) else (), keys_of(_block_at(parents)))
    if mistake['type'] == 'value_error':
        return f'{key}: {mistake["msg"].removeprefix("Value error, ")}'
    return f'{key}: {mistake["msg"][0].lower()}{mistake["msg"][1:]}, not {shown(mistake["input"])}'


def _written(where: list[Any], opt: Any, missing: bool) -> list[Any]:
    """The part of pydantic's location that exists in the option file, without pydantic's own names after it."""
    found: list[Any] = []
    for part in where:
        try:
            opt = opt[part]
        except (IndexError, KeyError, TypeError):
            return [*found, part] if missing else found
        found.append(part)
    return found


def _block_at(loc: list[Any]) -> type[BaseModel]:
    """The declaration of the block at a location such as ``('train', 'stages', 1)``."""
    names = ['*_opt' if part.endswith('_opt') else part for part in loc if isinstance(part, str)]
    if names[:1] == ['teachers']:
        names[:2] = ['teacher']
    blocks: dict[tuple[str, ...], type[BaseModel]] = {
        (): Options,
        ('train',): TrainOptions,
        ('train', 'stages'): StageOptions,
        ('teacher',): TeacherOptions,
        ('cohort',): MemberOptions,
        ('train', 'amp'): AmpOptions,
        ('train', 'stop_when'): StopOptions,
        ('train', '*_opt'): TermOptions,
        ('train', '*_opt', 'ramp'): RampOptions,
        ('train', 'quantize'): QuantizeOptions,
        ('ablate',): AblateOptions,
    }
    return blocks[tuple(names)]


def _check_values(value: Any, key: str) -> None:
    """Reject common mistakes in YAML values.

    These are keys that are not text, which BasicSR cannot print; numbers that are not finite; and ``2e-4`` (without a
    point), which YAML 1.1 reads as text and which would fail deep inside an optimizer or a loss.
    """
    inside = f'{key}.' if key else ''
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise UserError(f'{inside}{shown(name)}: a key must be text; quote it if it is intended')
            _check_values(inner, inside + name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_values(inner, f'{inside}{index}')
    elif isinstance(value, (int, float)) and not abs(value) < LARGEST:  # False for NaN too
        raise UserError(f'{key}: {shown(value)} is not a finite float32 number')
    elif isinstance(value, str) and re.fullmatch(r'[+-]?\d+[eE][+-]?\d+', value):
        raise UserError(
            f"{key}: '{value:.60}' is text for YAML; write {float(value):.1e} with a point, or !!float {value:.60}"
        )
