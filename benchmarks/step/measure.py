"""Measurements of training steps: time and memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.step.loops import Step
from sdakd_plugin.utils.timing import in_turns

WARM_UP = 2  # rounds
IN_A_ROW = 5  # on a GPU, where a step's commands are given while the one before is still computed
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # else the profiler prints when it begins and ends


def interleaved(steps: Mapping[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """The seconds of one step in each round, by name; on a GPU a turn is several steps."""
    return in_turns(steps, rounds, device, WARM_UP, IN_A_ROW if device.type == 'cuda' else 1)


def peak(build: Callable[[], Step], device: torch.device) -> int:
    """The most bytes of tensors that a run's second step holds, those included that stay from step to step. The first
    step makes the optimizers' moments.

    On CUDA it is torch's own account. On a CPU it is added up from the profiler's record of every allocation since
    before the networks were built, without what the convolution library keeps for itself."""
    gc.collect()  # a released model can hang in a cycle
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        step = build()
        step()
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = build()
        step()
        with record_function('last step'):
            step()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    begin = next(event.start_ns() for event in events if event.name() == 'last step')
    held = most = 0
    for event in sorted((event for event in events if event.name() == '[memory]'), key=lambda event: event.start_ns()):
        most = max(most, held) if event.start_ns() >= begin else 0
        held += event.nbytes()
    return max(most, held)
