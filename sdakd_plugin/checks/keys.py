"""Checks the keys that stock BasicSR reads late or without an error message, and the folders of a run."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, Registry

from sdakd_plugin.errors import UserError, all_of, missing_key, nearest
from sdakd_plugin.networks.build import check_call
from sdakd_plugin.options import DatasetOptions, LoggerOptions, Options, TermOptions, ValOptions, shown
from sdakd_plugin.utils.registries import look_up

# the keys that BasicSR's parse_options adds under path, and parts of the keys that its make_exp_dirs ignores
PATH_KEYS = ('experiments_root', 'models', 'training_states', 'log', 'visualization', 'results_root')
PATH_PARTS = ('strict_load', 'pretrain_network', 'resume', 'param_key')
NEEDED: dict[bool, dict[str, tuple[str, ...]]] = {
    True: {
        'logger': ('print_freq', 'save_checkpoint_freq', 'use_tb_logger'),
        'val': ('val_freq', 'save_img'),
        'datasets.train': ('name', 'type', 'batch_size_per_gpu', 'num_worker_per_gpu'),
    },
    False: {'val': ('save_img',)},
}
DECLARED = {*LoggerOptions.model_fields, *ValOptions.__annotations__, *DatasetOptions.__annotations__}
LOWER_IS_BETTER = ('calculate_lpips', 'calculate_dists', 'calculate_niqe', 'calculate_robust_niqe')
MUST_BE_THERE = {True: ('logger',), False: ('val',)}
PHASES = {True: ('train', 'val'), False: ('test', 'val')}


def check_keys(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check which keys are present, and the names and arguments of what they ask for.

    Raises:
        UserError: one line for each thing that is wrong.
    """
    all_of(
        partial(_check_paths, opt),
        partial(_check_phases, opt, is_train),
        partial(_check_needed, opt, is_train),
        *(partial(_check_arguments, *block) for block in _blocks(opt)),
    )


def check_metrics(opt: Mapping[str, Any]) -> None:
    """Calculate each validation metric once.

    Raises:
        UserError: one line for each metric that fails, for example because its weights are missing.
    """
    all_of(*(partial(_try_metric, *metric) for metric in ((opt.get('val') or {}).get('metrics') or {}).items()))


def _check_paths(opt: Mapping[str, Any]) -> None:
    for key in opt['path']:
        if key not in PATH_KEYS and not any(part in key for part in PATH_PARTS):
            valid = [
                'pretrain_network_g',
                'pretrain_network_d',
                'param_key_g',
                'param_key_d',
                'strict_load_g',
                'strict_load_d',
                'resume_state',
                'ignore_resume_networks',
            ]
            raise UserError(f"path: unknown key '{key}', for which BasicSR would make a folder" + nearest(key, valid))


def _check_phases(opt: Mapping[str, Any], is_train: bool) -> None:
    if is_train and 'train' not in opt['datasets']:
        raise UserError(missing_key('datasets.train', opt['datasets'], what='block'))
    for phase in opt['datasets']:
        kind, _, number = phase.partition('_')
        if kind not in PHASES[is_train] or (kind == 'train' and number):
            first, second = PHASES[is_train]
            raise UserError(
                f'datasets.{phase}: BasicSR knows no such phase here; valid: {first}, {second}, {second}_1, ...'
            )
    phases: dict[Any, str] = {}
    for phase, block in opt['datasets'].items():
        other = phases.setdefault(block.get('name', phase), phase)
        if phase != other and 'train' not in (phase, other):
            raise UserError(
                f"datasets.{phase}.name: '{block['name']}' is that of datasets.{other}, so that its results would "
                'replace those; choose another one'
            )


def _check_needed(opt: Mapping[str, Any], is_train: bool) -> None:
    for block, keys in NEEDED[is_train].items():
        holder: Any = opt
        for part in block.split('.'):
            holder = holder.get(part)
        if holder is None and block not in MUST_BE_THERE[is_train]:
            continue
        for key in keys:
            if key not in (holder or {}):
                raise UserError(missing_key(f'{block}.{key}', holder or (), DECLARED))
    metrics = (opt.get('val') or {}).get('metrics') or {}
    for name, metric in metrics.items() if is_train else ():
        if metric.get('type') in LOWER_IS_BETTER and metric.get('better') != 'lower':
            raise UserError(
                f'val.metrics.{name}.better: write lower; BasicSR would take the highest value for the best'
            )
    if is_train and (stop := opt['train'].get('stop_when')):
        _check_stop(stop['metric'], opt)
    if not is_train and opt['val']['save_img'] and 'suffix' not in opt['val']:
        raise UserError('val.suffix: this key is missing; save_img needs it, ~ for none')
    wandb = (opt.get('logger') or {}).get('wandb') or {}
    if wandb.get('project') is not None and (find_spec('wandb') is None or not opt['logger'].get('use_tb_logger')):
        raise UserError('logger.wandb: needs the package wandb, and use_tb_logger: true')


def _check_stop(metric: str, opt: Mapping[str, Any]) -> None:
    """Check that what ``train.stop_when`` waits for is measured."""
    metrics = (opt.get('val') or {}).get('metrics') or {}
    if metric not in metrics:
        raise UserError(
            f"train.stop_when.metric: '{metric}' is not in val.metrics" + (nearest(metric, metrics) or '; add it there')
        )
    if not any(phase.startswith('val') for phase in opt['datasets']):
        raise UserError('train.stop_when: needs a validation set, the block datasets.val')


def _check_arguments(key: str, block: Mapping[str, Any], registry: Registry | None) -> None:
    """Check a block against the signature of the class or function that it is passed to."""
    if not isinstance(block, Mapping) or not isinstance(block.get('type'), str):
        raise UserError(f'{key}: expected a block with the key type, whose value is a name')
    weight = block.get('loss_weight')
    if registry is LOSS_REGISTRY and isinstance(weight, Real) and weight < 0:
        raise UserError(f'{key}.loss_weight: {weight} would make the student worse; use a weight of at least 0')
    if registry is not None:
        check_call(
            registry,
            block,
            key,
            given=('img', 'img2') if registry is METRIC_REGISTRY else (),
            besides=TermOptions.model_fields if registry is LOSS_REGISTRY else (),
        )
    called = look_up(registry, block['type']) if registry else _of_training(block['type'])
    if called is not None:
        check_types(called, block, key)


def _try_metric(name: str, block: Mapping[str, Any]) -> None:
    """Calculate a metric once: some load a network, whose weights may be missing."""
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    try:
        calculate_metric({'img': image, 'img2': image}, dict(block))
    except (OSError, TypeError, UserError) as error:
        raise UserError(f'val.metrics.{name}: {error}') from error
    except Exception:  # such as NIQE, which may fail on this image of noise only
        return


def _blocks(opt: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Registry | None]]:
    """The blocks of the option file that are arguments of a class or function: key, block, and registry of its type."""
    train, teacher = opt.get('train') or {}, opt.get('teacher') or {}
    members = [(f'cohort.{number}.', member) for number, member in enumerate(opt.get('cohort') or ())]
    teachers = [(f'teachers.{name}.', block) for name, block in (opt.get('teachers') or {}).items()]
    for inside, holder in (('', opt), ('teacher.', teacher), *teachers, *members):
        for key in ('network_g', 'network_d', 'network_d_peer'):
            if holder.get(key) is not None:
                yield inside + key, holder[key], ARCH_REGISTRY
    for key, block in train.items():
        if key.endswith('_opt') and block is not None:
            yield f'train.{key}', block, LOSS_REGISTRY
        elif key in ('optim_g', 'optim_d', 'scheduler') and block is not None:
            yield f'train.{key}', block, None
    for name, block in ((opt.get('val') or {}).get('metrics') or {}).items():
        yield f'val.metrics.{name}', block, METRIC_REGISTRY


def _of_training(kind: str) -> Callable[..., Any] | None:
    """The optimizer or scheduler of a name; ``None`` if there is none, which the model reports."""
    names = {'MultiStepLR': 'MultiStepRestartLR', 'CosineAnnealingRestartLR': 'CosineAnnealingRestartLR'}
    found = getattr(lr_scheduler, names[kind]) if kind in names else getattr(torch.optim, kind, None)
    return found if isinstance(found, type) else None


def check_types(called: Callable[..., Any], block: Mapping[str, Any], key: str) -> None:
    """Check the types of a block's values against the defaults of the callable that gets them. BasicSR declares no
    types, and a wrong one would fail in the first iteration.

    Raises:
        UserError: text for a number, a number for text, or a list for an optimizer whose length is not the default's.
    """
    # some networks accept a list for a number, such as SwinIR's img_size
    wrong_for_numbers = (str, Mapping) if key.rpartition('.')[2].startswith('network_') else (str, Mapping, list)
    for name, parameter in inspect.signature(called).parameters.items():
        default, value = parameter.default, block.get(name)
        if value is None or default is parameter.empty:
            continue
        number = isinstance(default, Real) and isinstance(value, wrong_for_numbers)
        text = isinstance(default, str) and isinstance(value, (Real, Mapping))
        several = (
            isinstance(default, tuple)
            and called.__module__.startswith('torch.optim')
            and (
                not isinstance(value, list) or len(value) != len(default) or any(isinstance(one, str) for one in value)
            )
        )
        if number or text or several:
            like = list(default) if isinstance(default, tuple) else default
            raise UserError(f'{key}.{name}: expected a value like {like!r}, not {shown(value)}')


def check_kept(options: Options) -> None:
    """Check that with ``on_collapse: rollback`` a checkpoint from before a collapse is still there when it is seen.

    Raises:
        UserError: ``logger.keep_last`` may have deleted it.
    """
    train, logger = options.train, options.logger
    if train is None or train.on_collapse != 'rollback' or logger.keep_last is None:
        return
    before_seen = train.collapse_after + logger.print_freq - 2  # iterations of a collapse, at most
    needed = math.ceil(before_seen / logger.save_checkpoint_freq) + 1
    if logger.keep_last < needed:
        raise UserError(
            f'logger.keep_last: is {logger.keep_last}, but train.on_collapse: rollback needs {needed}; a collapse is '
            'seen late (train.collapse_after, logger.print_freq), and the others may be of it'
        )


def check_targets(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check that the folders of the run can be made. Nothing is written.

    Raises:
        UserError: a file has the folder's name, or the folder is not writable.
    """
    root = Path(opt.get('root_path') or '.')
    folders = [root / ('experiments' if is_train else 'results') / opt['name']]
    if is_train and (opt.get('logger') or {}).get('use_tb_logger'):
        folders.append(root / 'tb_logger' / opt['name'])
    for folder in folders:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not os.path.isdir(there):
            raise UserError(f'name: {folder} cannot be made: {there} exists and is not a folder')
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f'name: {folder} cannot be made: {there} is not writable')
