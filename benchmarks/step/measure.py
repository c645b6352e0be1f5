"""Measurements of training steps: time, memory, operators, and where one waits for the GPU.

The package's own measurements (``evaluation/cost.py``, ``peak_memory.py``) are of a generator's pass without gradients.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.step.loops import Step, Training
from sdakd_plugin.utils.timing import in_turns

WARM_UP = 2  # rounds
IN_A_ROW = 5  # on a GPU, where a step's commands are given while the one before is still computed
PROFILED = 3  # steps
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # else the profiler prints when it begins and ends


def interleaved(steps: Mapping[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """The seconds of one step in each round, by name; on a GPU a turn is several steps."""
    return in_turns(steps, rounds, device, WARM_UP, IN_A_ROW if device.type == 'cuda' else 1)


def ratio(times: list[float], reference: list[float]) -> float:
    """How many times longer: the median over the rounds, in each of which both were timed shortly after one another."""
    return median(mine / theirs for mine, theirs in zip(times, reference, strict=True))


def shown(times: list[float]) -> str:
    """The median, and in brackets the middle half, in milliseconds."""
    low, _, high = quantiles(times, n=4, method='inclusive') if len(times) > 1 else [*times] * 3
    return f'{median(times) * 1e3:,.1f} ms ({low * 1e3:,.1f} to {high * 1e3:,.1f})'


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


def operators(step: Step, device: torch.device) -> str:
    """The operators of a few steps, those first that take most time by themselves."""
    interleaved({'': step}, 1, device)  # to warm up
    with profile(record_shapes=True) as profiler:  # every kind of activity that there is
        for _ in range(PROFILED):
            step()
    return (
        '\n\n'.join(
            profiler.key_averages(group_by_input_shape=shapes).table(
                sort_by=f'self_{device.type}_time_total', row_limit=40
            )
            for shapes in (False, True)
        )
        + '\n'
    )


def first_wait(step: Step) -> str | None:
    """The place, ``FILE:LINE (CODE)``, where an iteration first waits for the GPU, which ends it; None if none does. A
    model in BasicSR's loop gets its images from pinned memory, so that ``feed_data`` transfers them. Torch's own check
    knows the operations that wait, not other libraries' calls."""
    if isinstance(step, Training):
        step.images = {key: image.cpu().pin_memory() for key, image in step.images.items()}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    except RuntimeError as error:
        if 'synchroniz' not in str(error):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f'{Path(frame.filename).name}:{frame.lineno} ({frame.line})'
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return None
