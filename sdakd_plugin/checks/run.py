"""Checks a whole run before anything is written: options, data, weights, one forward pass of every network."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, wraps
from traceback import extract_tb
from typing import Any

from basicsr.utils import check_resume
from basicsr.utils.registry import MODEL_REGISTRY

from sdakd_plugin.checks.batch_memory import tally
from sdakd_plugin.checks.custom_imports import import_custom
from sdakd_plugin.checks.data import check_datasets
from sdakd_plugin.checks.keys import check_kept, check_keys, check_metrics, check_targets
from sdakd_plugin.checks.option_file import check_forced, check_keys_are_unique, is_ours, read_yaml
from sdakd_plugin.data.published import completed
from sdakd_plugin.distillation.rehearsal import rehearse
from sdakd_plugin.errors import UserError, all_of, print_traceback
from sdakd_plugin.families.calling import unwrap
from sdakd_plugin.models.plugin_model import check_device
from sdakd_plugin.options import Options, parse
from sdakd_plugin.resume.run_position import RunPosition, begin
from sdakd_plugin.resume.training_state import newest, read_state
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.teacher_cache.cache import with_cache
from sdakd_plugin.teacher_cache.fill import fill_before_training
from sdakd_plugin.utils import random_state
from sdakd_plugin.utils.random_state import undisturbed_rng

ParseOptions = Callable[..., tuple[dict[str, Any], Any]]


def check(opt: Mapping[str, Any], num_gpu: int | None = None) -> Any:
    """Check everything that can be checked before the first iteration.

    Args:
        opt: the options of a model of this plugin, as BasicSR's ``parse_options`` returns them or as in the YAML; not
            changed.
        num_gpu: overrides the options: 0 builds the model on the CPU, 1 on the GPU. ``None``: the machine must have the
            GPUs that the options ask for, and the model is built on the CPU.

    Returns:
        The model, without validation.

    Raises:
        UserError: one line for each mistake that was found.
    """
    opt = completed(opt)
    options = parse(opt)
    if num_gpu is None:
        check_device(options.num_gpu, options.dist)
    with quiet(), undisturbed_rng():
        # in this order: each would report the mistakes of those before again, in other words
        check_keys(opt, options.is_train)
        all_of(
            partial(check_targets, opt, options.is_train),
            partial(check_datasets, opt),
            partial(check_metrics, opt),
            partial(check_kept, options),
        )
        return trial_model(opt, options, num_gpu or 0)


def trial_model(opt: Mapping[str, Any], options: Options, num_gpu: int) -> Any:
    """Build the model of a run, with its initial weights or those of the state that it resumes from."""
    trial = deepcopy(dict(opt))
    trial.update(num_gpu=num_gpu, dist=False, rank=0, world_size=1, is_train=options.is_train, val=None)
    state = resume_state(trial) if options.is_train else None
    with tally() as tallied, explained():
        model = MODEL_REGISTRY.get(opt['model_type'])(trial, RunPosition())
        if not options.is_train:  # in training, the model does it
            for student in model.students:
                rehearse(student.run.options, model.device, unwrap(student.net_g), None, {}, {}, {})
    if options.is_train and options.num_gpu == 0:
        tallied.check_batch(options)
    if state is not None:
        _try_to_resume(model, state, trial['path']['resume_state'])
    return model


@contextmanager
def explained() -> Iterator[None]:
    """Turn exceptions that no part of the model has turned into a UserError into one."""
    try:
        yield
    except UserError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        frame = extract_tb(error.__traceback__)[-1]
        raise UserError(
            f'the model cannot be built: {type(error).__name__}: {error} (in {frame.name}, '
            f'{os.path.basename(frame.filename)}:{frame.lineno})'
        ) from error


def resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state from which a run would resume, if any; the paths of its networks are set in ``opt``."""
    path = opt['path']
    found = None
    if opt.get('auto_resume'):
        found = newest(path['training_states'], path['models'], warn=False)
    elif path.get('resume_state'):
        found = path['resume_state'], read_state(path['resume_state'])
    if found is None:
        return None
    path['resume_state'], state = found
    if 'models' in path:  # not in a bare YAML
        check_resume(opt, state['iter'])
    return state


def _try_to_resume(model: Any, state: dict[str, Any], path: str) -> None:
    before = random_state.capture()
    try:
        model.resume_training(state)
    except UserError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f'path.resume_state: {path} is of another run: {error}') from error
    finally:
        random_state.restore(before)


def checked(parse_options: ParseOptions) -> ParseOptions:
    """BasicSR's ``parse_options``, which checks the options if they ask for one of this plugin's models.

    A user's mistake ends the program there with one line, before a folder is made; other models notice nothing.
    """

    @wraps(parse_options)
    def parse_and_check(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        try:
            opt, arguments = read_options(parse_options, root_path, is_train)
            if is_ours(opt):
                check({**opt, 'root_path': root_path})
                if is_train:
                    begin()
                with quiet():
                    if is_train:
                        fill_before_training(opt)
                    opt = with_cache(opt)
        except UserError as error:
            print_traceback()
            raise SystemExit(error.report()) from None
        return opt, arguments

    return parse_and_check


def read_options(parse_options: ParseOptions, root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """Call BasicSR's ``parse_options``, which stumbles over missing keys, after a look at the option file itself.

    Raises:
        UserError: the file is for a model of this plugin, and something in it or in ``--force_yml`` is wrong.
    """
    given = sys.argv[1:]
    path = given[given.index('-opt') + 1] if '-opt' in given[:-1] else None
    try:
        opt = read_yaml(path) if path else None
    except UserError:
        opt = None  # not known to be ours: BasicSR says what it says
    if opt is None or not is_ours(opt):
        return parse_options(root_path, is_train)
    assert path is not None
    check_keys_are_unique(path)
    parse({**opt, 'is_train': is_train})
    import_custom(opt)
    parser = ArgumentParser(add_help=False)
    parser.add_argument('--force_yml', nargs='*', default=[])
    forced = parser.parse_known_args(given)[0].force_yml
    check_forced(forced, opt, path)
    try:
        opt, arguments = parse_options(root_path, is_train)
    except (KeyError, IndexError, NameError, SyntaxError, TypeError, ValueError) as error:
        if not forced:
            raise
        raise UserError(
            f'--force_yml: expected KEY:KEY=VALUE with keys of {path}: {type(error).__name__}: {error}'
        ) from error
    return completed(opt), arguments
