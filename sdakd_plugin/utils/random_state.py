"""The states of the random-number generators of a process, as plain values that can be loaded safely."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch, and of the current CUDA device if CUDA is in use."""
    numpy: Any = np.random.get_state()
    kind, words, *rest = numpy
    return {
        'python': random.getstate(),
        'numpy': [kind, words.tolist(), *rest],
        'torch': torch.get_rng_state(),
        'cuda': [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
    }


def restore(states: dict[str, Any]) -> None:
    """Restore what ``capture`` returned.

    A process uses one CUDA device, which may have another number than before: on fewer nodes, for example. Its state is
    ignored if CUDA is not in use: torch would otherwise apply it when CUDA starts.
    """
    random.setstate(states['python'])
    kind, words, *rest = states['numpy']
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] and torch.cuda.is_initialized():
        device = torch.cuda.current_device()  # earlier versions stored all devices
        torch.cuda.set_rng_state(states['cuda'][min(device, len(states['cuda']) - 1)].cpu(), device)


@contextmanager
def undisturbed_rng() -> Iterator[None]:
    """Protect the random numbers of the training run from the code inside the block.

    Before CUDA starts, ``torch.manual_seed`` stores a seed that is applied when it starts. After the block that seed is
    the run's again, even if CUDA started inside the block.
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
