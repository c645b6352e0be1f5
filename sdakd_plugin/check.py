"""Checks a whole run before anything is written: options, data, weights, and one forward pass of every network."""
from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from functools import wraps
from typing import Any

import yaml
from basicsr.utils.logger import initialized_logger
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY

from sdakd_plugin.check_data import check_datasets
from sdakd_plugin.distillation.build import check_call, registered, undisturbed_rng
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.models.repaired_model import check_device
from sdakd_plugin.options import parse

ParseOptions = Callable[..., tuple[dict[str, Any], Any]]

# what BasicSR's parse_options puts under path, and the keys that its make_exp_dirs does not turn into folders
PATH_KEYS = ('experiments_root', 'models', 'training_states', 'log', 'visualization', 'results_root')
PATH_PARTS = ('strict_load', 'pretrain_network', 'resume', 'param_key')
NEEDED = {
    'logger': ('print_freq', 'save_checkpoint_freq', 'use_tb_logger'),
    'val': ('val_freq', 'save_img'),
    'datasets.train': ('name', 'type', 'batch_size_per_gpu', 'num_worker_per_gpu'),
}


def is_ours(opt: Any) -> bool:
    """Whether an option file asks for one of this plugin's models."""
    name = opt.get('model_type') if isinstance(opt, Mapping) else None
    model = MODEL_REGISTRY.get(name) if name in MODEL_REGISTRY else None
    return model is not None and model.__module__.startswith('sdakd_plugin.')


def read_yaml(path: str) -> dict[str, Any]:
    """Read an option file.

    Raises:
        UserError: it cannot be read, is no YAML, or asks for a model that does not exist.
    """
    try:
        with open(path, encoding='utf-8') as file:
            opt = yaml.load(file, Loader=ordered_yaml()[0])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"-opt: cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UserError(f'-opt: {path} is no valid YAML: {error}') from error
    if not isinstance(opt, dict):
        raise UserError(f'-opt: {path} holds no options')
    if 'model_type' not in opt:
        raise UserError(f'model_type: this key is missing in {path}' + nearest('model_type', opt))
    models = registered(MODEL_REGISTRY)
    if opt['model_type'] not in models:
        raise UserError(f"model_type: there is no '{opt['model_type']}'" + nearest(opt['model_type'], models))
    return opt


def check(opt: Mapping[str, Any]) -> None:
    """Check everything that can be known before the first iteration.

    Args:
        opt: the options of a model of this plugin, as BasicSR's ``parse_options`` returns them or as the YAML has them;
            not changed.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    options = parse(opt)
    check_device(options.num_gpu, options.dist)
    check_keys(opt, options.is_train)
    trial = deepcopy(dict(opt))
    trial.update(num_gpu=0, dist=False, rank=0, world_size=1, is_train=options.is_train, val=None)
    if opt['path'].get('resume_state') or opt.get('auto_resume'):  # the weights come from the run's own checkpoints
        trial['path'] = {key: value for key, value in opt['path'].items() if not key.startswith('pretrain_network')}
    with quiet(), undisturbed_rng():
        check_datasets(opt)
        MODEL_REGISTRY.get(opt['model_type'])(trial)


def check_keys(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check the keys that stock BasicSR reads late, or without a word of its own."""
    for key in opt['path']:
        if key not in PATH_KEYS and not any(part in key for part in PATH_PARTS):
            valid = ['pretrain_network_g', 'pretrain_network_d', 'param_key_g', 'param_key_d', 'strict_load_g',
                     'strict_load_d', 'resume_state', 'ignore_resume_networks']
            raise UserError(f"path: unknown key '{key}', of which BasicSR would make a folder" + nearest(key, valid))
    if is_train and 'train' not in opt['datasets']:
        raise UserError('datasets.train: this block is missing' + nearest('train', opt['datasets']))
    for block, keys in NEEDED.items() if is_train else ():
        holder: Any = opt
        for part in block.split('.'):
            holder = holder.get(part)
        if holder is None and block != 'logger':
            continue
        for key in keys:
            if key not in (holder or {}):
                raise UserError(f'{block}.{key}: this key is missing' + _close(key, holder or {}))
    for name, block in ((opt.get('val') or {}).get('metrics') or {}).items():
        check_call(METRIC_REGISTRY, block, f'val.metrics.{name}', given=('img', 'img2'))


def _close(key: str, holder: Iterable[str]) -> str:
    hint = nearest(key, holder)
    return hint if 'did you mean' in hint else ''


@contextmanager
def quiet() -> Iterator[None]:
    """Keep BasicSR silent, and its logger unconfigured: the first real use decides where the log file goes."""
    logger = logging.getLogger('basicsr')
    before, initialized_logger['basicsr'] = dict(initialized_logger), True
    logger.disabled = True
    try:
        with redirect_stdout(None):  # its registry prints a line for every name that it completes
            yield
    finally:
        logger.disabled = False
        initialized_logger.clear()
        initialized_logger.update(before)


def checked(parse_options: ParseOptions) -> ParseOptions:
    """BasicSR's ``parse_options``, which checks the options if they ask for one of this plugin's models.

    A user's mistake ends the program there with one line, before a folder is made; other models notice nothing.
    """
    @wraps(parse_options)
    def parse_and_check(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        try:
            _check_file(is_train)
            opt, arguments = parse_options(root_path, is_train)
            if is_ours(opt):
                check({**opt, 'root_path': root_path})
        except UserError as error:
            raise SystemExit(f'error: {error}') from None
        return opt, arguments

    return parse_and_check


def _check_file(is_train: bool) -> None:
    """Check the option file by itself, as BasicSR's parser stumbles over missing keys."""
    given = sys.argv[1:]
    path = given[given.index('-opt') + 1] if '-opt' in given[:-1] else None
    try:
        opt = read_yaml(path) if path else None
    except UserError:
        return  # not known to be ours: BasicSR says what it says
    if is_ours(opt):
        assert opt is not None
        parse({**opt, 'is_train': is_train})
