"""Iterations that print nothing do not wait for the GPU, in any precision."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.gpu.trial import Found, Trial
from benchmarks.step import options
from benchmarks.step.options import Setting
from benchmarks.step.timed import Training

NONE, UNCHECKED = 'none', 'needs a card'
SIGN = 'synchronizing CUDA operation'  # in torch's message


def run(trial: Trial) -> Found:
    """Stage 3 of SDAKD; a value that is read on purpose shows that the check sees it."""
    device = trial.torch_device
    if device.type != 'cuda':
        return Found(notes=['Nothing was checked: only CUDA has a host that can wait.'])
    found = Found(tables=[[]])
    planted = wait_in(torch.ones(1, device=device).item, device)
    if planted == NONE:
        found.surprises.append('sync: a value that was read on purpose was not noticed')
    for amp in (None, 'bfloat16', 'float16'):
        setting = Setting('sdakd', device, 2, 64, blocks=4, amp=amp, channels_last=True)
        training = Training(options.sdakd(setting), setting.images(), stage=2)
        training()
        waits = wait_in(training, device)
        found.tables[0].append({'precision': amp or 'float32', 'waits': waits})  # type: ignore[attr-defined]
        if waits != NONE:
            found.surprises.append(f'sync: stage 3 in {amp or "float32"} waits for the GPU in {waits}')
    return found


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside the block, what makes the host wait for the GPU raises a RuntimeError."""
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def wait_in(step: Callable[[], object], device: torch.device) -> str:
    """Call a step, and return where it waits for the GPU: the innermost line of this project, ``none`` or ``needs a
    card``. A step that waits is not finished."""
    if device.type != 'cuda':
        step()
        return UNCHECKED
    try:
        with no_waiting():
            step()
    except RuntimeError as error:
        if SIGN not in str(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if 'sdakd_plugin' in frame.filename] or frames
        return f'{Path(own[-1].filename).name}:{own[-1].lineno}'
    return NONE
