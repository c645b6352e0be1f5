"""The states of a process's random-number generators, as plain values that load without running code."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, those of CUDA's devices where it is in use."""
    numpy: Any = np.random.get_state()
    kind, words, *rest = numpy
    return {
        'python': random.getstate(),
        'numpy': [kind, words.tolist(), *rest],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore(states: dict[str, Any]) -> None:
    """Put the generators back to what ``capture`` found. States of CUDA devices that are not here are left out, and all
    where CUDA is not in use: torch would keep them for its start."""
    random.setstate(states['python'])
    kind, words, *rest = states['numpy']
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if torch.cuda.is_initialized():
        for device, state in enumerate(states['cuda'][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state.cpu(), device)


@contextmanager
def undisturbed_rng() -> Iterator[None]:
    """What is built inside draws no random number from those of the training run, nor seeds it.

    Before CUDA starts, ``torch.manual_seed`` leaves a seed for it to start with: behind the block that is the run's
    again, also where CUDA started inside.
    """
    started = torch.cuda.is_initialized()
    waiting = torch.cuda._lazy_seed_tracker
    before = dict(vars(waiting))
    try:
        with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if started else []):
            yield
    finally:
        if not started:
            vars(waiting).update(before)
            if torch.cuda.is_initialized():
                for seed, _ in filter(None, waiting.get_calls()):
                    seed()
