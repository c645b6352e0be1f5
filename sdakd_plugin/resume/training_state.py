"""Finding and reading a training state, as BasicSR does, but on machines without CUDA too, and none that is damaged."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import check_resume

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.utils import processes
from sdakd_plugin.weights.files import remove_temporary


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, or ``None`` for a new run; takes the place of ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` it is the newest of the run's folder that can be read, with its networks; a damaged one is
    named and left out. Otherwise it is ``path.resume_state``. As in BasicSR, ``opt`` is told where the networks of
    that iteration are.

    Raises:
        UserError: the file cannot be read, or holds no training state; or the folder holds nothing else.
    """
    if opt['auto_resume']:
        found = newest_of_all(opt['path']['training_states'], opt['path']['models'])
    else:
        path = opt['path'].get('resume_state')
        found = (path, read_state(path)) if path else None
    if found is None:
        return None
    opt['path']['resume_state'], state = found
    check_resume(opt, state['iter'])
    return state


def newest_of_all(states: str, models: str) -> tuple[str, dict[str, Any]] | None:
    """What ``newest`` finds in the first process, for all that train together; what was half-written is removed.

    Raises:
        UserError: as ``newest``; or another process does not see the file.
    """
    found = None
    first = processes.is_first()
    if first:
        for folder in (states, models):
            remove_temporary(folder)
        found = newest(states, models)
    path = processes.from_first(found and found[0])
    if path is None or first:
        return found
    if not os.path.exists(path):
        raise UserError(
            f'{path}: the first process goes on from this training state, but another one does not see it; '
            'experiments/ must be in a file system that all nodes share'
        )
    return path, read_state(path)


def newest(states: str, models: str, warn: bool = True) -> tuple[str, dict[str, Any]] | None:
    """The newest training state whose file and networks are whole, or ``None`` where there is no state at all.

    Args:
        states: the folder of the ``ITERATION.state``.
        models: the folder of the ``net_*_ITERATION.pth``.
        warn: whether those that are damaged are named.

    Raises:
        UserError: there are states, but none that can be used.
    """
    paths = [path for path in Path(states).glob('*.state') if path.stem.isdigit()]
    problem = None
    for path in sorted(paths, key=lambda path: int(path.stem), reverse=True):
        try:
            state = read_state(str(path))
            for network in Path(models).glob(f'net_*_{path.stem}.pth'):
                weights.load_state_dict(network, None, 'path.models')
        except UserError as error:
            problem = error
            if warn:
                print(f'warning: {error}; trying the training state before it', file=sys.stderr)
        else:
            return str(path), state
    if problem is not None:
        raise problem
    return None


def read_state(path: str) -> dict[str, Any]:
    """A training state, on the CPU; the optimizers move their part to their parameters.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        state['iter'], state['epoch'], state['optimizers']
    except Exception as error:  # a damaged file can provoke any exception in the parsers
        raise UserError(
            f'path.resume_state: {os.fspath(path)} is missing, damaged or no training state: {type(error).__name__}'
        ) from error
    return state
