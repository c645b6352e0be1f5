"""Measurements of training steps: time and memory, in seconds and bytes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.step import timed
from benchmarks.step.options import Setting
from benchmarks.step.plan import PLANS, Plan
from benchmarks.step.timed import Step
from sdakd_plugin.utils.timing import in_turns, paired_ratio

Numbers = dict[str, Any]

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


def numbers(plan: Plan, setting: Setting, rounds: int) -> Numbers:
    """Measure the peaks, each with nothing else there, and then the times, in turns: seconds and bytes, for JSON."""
    references = [name for name, run in plan.runs.items() if not run.floor]
    peaks = {name: peak(run.build, setting.device) for name, run in plan.runs.items()}
    teacher = peak(partial(timed.teacher, plan.opt, plan.images), setting.device) if 'teacher' in plan.opt else None
    steps = {name: run.build() for name, run in plan.runs.items()}
    used = {part for run in plan.runs.values() for part in run.floor}
    parts = {name: part for name, part in timed.parts(plan.opt, plan.images).items() if name in used}
    seconds = interleaved({**steps, **parts}, rounds, setting.device)
    runs = {}
    for name, run in plan.runs.items():
        counts = {part: count for part, count in run.floor.items() if part in parts}
        floor = [sum(count * seconds[part][turn] for part, count in counts.items()) for turn in range(rounds)]
        against = {other: seconds[other] for other in references} | ({'floor': floor} if counts else {})
        runs[name] = {
            'about': run.about,
            'median': median(seconds[name]),
            'seconds': seconds[name],
            'parts': counts,
            'floor': floor if counts else None,
            'peak_memory_bytes': peaks[name],
            'ratios': {other: paired_ratio(seconds[name], times) for other, times in against.items()},
        }
    return {
        'machine': setting.where,
        'setting': setting.words,
        'references': references,
        'runs': runs,
        'parts': {name: {'median': median(seconds[name]), 'seconds': seconds[name]} for name in parts},
        'teacher_alone_bytes': teacher,
    }


def point(setting: Setting, rounds: int) -> Numbers:
    """Seconds of each round and bytes held at most, of stock and of the plugin, which take turns."""
    stock, *_, ours = PLANS[setting.model](setting).runs.values()
    runs = {'stock': stock, 'ours': ours}
    peaks = {f'{who} bytes': peak(run.build, setting.device) for who, run in runs.items()}
    return {**interleaved({who: run.build() for who, run in runs.items()}, rounds, setting.device), **peaks}
