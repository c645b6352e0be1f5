"""Finds and reads training states as BasicSR does, but also without CUDA, and skips damaged ones."""

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
    """The training state to resume from, or ``None`` for a new run; replaces ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` it is the newest one in the folder of the run that can be read together with its networks;
    damaged ones are reported and skipped. Otherwise it is ``path.resume_state``. As in BasicSR, the paths of the
    networks are written to ``opt``.

    Raises:
        UserError: the file cannot be read or is not a training state, or all files in the folder are damaged.
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
    """The result of ``newest`` in the first process, for all processes; temporary files are removed first.

    Raises:
        UserError: see ``newest``; or another process does not see the file.
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
            f'{path}: the first process resumes from this training state, but another one does not see it; '
            'experiments/ must be in a file system that all nodes share'
        )
    return path, read_state(path)


def newest(states: str, models: str, warn: bool = True) -> tuple[str, dict[str, Any]] | None:
    """The newest training state that can be read together with its networks, or ``None`` if there is no state.

    Args:
        states: the folder with the files ``ITERATION.state``.
        models: the folder with the files ``net_*_ITERATION.pth``.
        warn: whether to print a warning about each damaged state.

    Raises:
        UserError: there are states, but all of them are damaged.
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
                print(f'warning: {error}; trying the previous training state', file=sys.stderr)
        else:
            return str(path), state
    if problem is not None:
        raise problem
    return None


def read_state(path: str) -> dict[str, Any]:
    """Read a training state to the CPU; optimizers move their state to the device of their parameters.

    Raises:
        UserError: the file cannot be read or is not a training state.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        state['iter'], state['epoch'], state['optimizers']
    except Exception as error:  # a damaged file can cause any exception
        raise UserError(
            f'path.resume_state: {os.fspath(path)} is missing, damaged or not a training state: {type(error).__name__}'
        ) from error
    return state
