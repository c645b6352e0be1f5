"""The most bytes of tensors that a training step holds at once, those that stay from step to step included.

On CUDA it is torch's own account. On a CPU it is the same, added up from the profiler's record of every allocation and
release that torch's allocator made since before the networks were built: weights, gradients, moments, activations and
the operators' own buffers, but not what the convolution library keeps for itself, nor Python.
"""
from __future__ import annotations

import gc
import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.step.timing import Step

LAST = 'the step that counts'
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # else the profiler speaks of its own beginnings and ends


def peak(build: Callable[[], Step], device: torch.device) -> int:
    """Bytes that a run's second step holds at most. The first makes the optimizers' moments.

    Args:
        build: makes the run and returns its step.
        device: where it runs; what others hold there already does not count.
    """
    gc.collect()  # a released model can hang in a cycle
    return _peak_cuda(build, device) if device.type == 'cuda' else _peak_cpu(build)


def _peak_cuda(build: Callable[[], Step], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    step = build()
    step()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before


def _peak_cpu(build: Callable[[], Step]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = build()
        step()
        with record_function(LAST):
            step()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    begin = next(event.start_ns() for event in events if event.name() == LAST)
    held = most = 0
    for event in sorted((event for event in events if event.name() == '[memory]'), key=lambda event: event.start_ns()):
        most = max(most, held) if event.start_ns() >= begin else 0
        held += event.nbytes()
    return max(most, held)
