"""Finding and reading a training state, as BasicSR does, but on machines without CUDA too."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import check_resume

from sdakd_plugin.errors import UserError


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, or ``None`` for a new run; takes the place of ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` it is the newest of the run's folder, else ``path.resume_state``. As in BasicSR, ``opt`` is
    told where the networks of that iteration are.

    Raises:
        UserError: the file cannot be read, or holds no training state.
    """
    path = newest_state(opt['path']['training_states']) if opt['auto_resume'] else opt['path'].get('resume_state')
    if path is None:
        return None
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)  # optimizers move it to their parameters
        iteration = state['iter']
    except Exception as error:  # a damaged file can provoke any exception in the parsers
        raise UserError(f'path.resume_state: {path} is missing, damaged or no training state: '
                        f'{type(error).__name__}') from error
    opt['path']['resume_state'] = path
    check_resume(opt, iteration)
    return state


def newest_state(folder: str) -> str | None:
    """The ``ITERATION.state`` with the highest number in a folder."""
    if not os.path.isdir(folder):
        return None
    states = [path for path in Path(folder).glob('*.state') if path.stem.isdigit()]
    return str(max(states, key=lambda path: int(path.stem))) if states else None
