"""What was measured, as tables and as numbers."""
from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from benchmarks.step.memory import peak
from benchmarks.step.plan import Plan
from benchmarks.step.setting import Setting
from benchmarks.step.timing import interleaved, middle_half, ratio
from benchmarks.step.waits import all_waits
from sdakd_plugin.evaluation.cost import machine
from sdakd_plugin.evaluation.table import Row, markdown, text


@dataclass(frozen=True)
class Result:
    """A plan's measurement.

    Attributes:
        seconds: of each run and each part, in each round.
        peaks: bytes that each run holds at most.
        teacher: bytes that the teacher alone holds at most in a pass, its weights included.
        waits: for each run where an iteration first waits for the GPU, None if it never does; empty on a CPU.
    """

    plan: Plan
    setting: Setting
    seconds: dict[str, list[float]]
    peaks: dict[str, int]
    teacher: int | None
    waits: dict[str, str | None] = field(default_factory=dict)

    def floor(self, run: str) -> list[float] | None:
        """The parts of a run added up, in each round; None for a run without a floor."""
        counts = {part: count for part, count in self.plan.runs[run].floor.items() if part in self.seconds}
        if not counts:
            return None
        rounds = zip(*(self.seconds[part] for part in counts), strict=True)
        return [sum(count * time for count, time in zip(counts.values(), times, strict=True)) for times in rounds]

    def ratios(self, run: str) -> dict[str, float]:
        """Of a run's time to those of the references and to its floor, by name."""
        found = {name: ratio(self.seconds[run], self.seconds[name]) for name in self.plan.references}
        floor = self.floor(run)
        return {**found, **({'floor': ratio(self.seconds[run], floor)} if floor else {})}

    @property
    def parts(self) -> list[str]:
        """The floor's."""
        return [name for name in self.seconds if name not in self.plan.runs]


def measure(plan: Plan, setting: Setting, rounds: int) -> Result:
    """The peaks, each with nothing else there, and then the times, in turns."""
    peaks = {name: peak(run.build, setting.device) for name, run in plan.runs.items()}
    teacher = peak(plan.teacher, setting.device) if plan.teacher else None
    steps = {name: run.build() for name, run in plan.runs.items()}
    used = {part for run in plan.runs.values() for part in run.floor}
    parts = {name: part for name, part in plan.parts().items() if name in used}
    seconds = interleaved({**steps, **parts}, rounds, setting.device)
    waits = all_waits(steps) if setting.device.type == 'cuda' else {}
    return Result(plan, setting, seconds, peaks, teacher, waits)


def tables(result: Result) -> tuple[list[Row], list[Row]]:
    """One of the runs, and one of the floor's parts."""
    plan, runs, parts = result.plan, list[Row](), list[Row]()
    for name in plan.runs:
        found = result.ratios(name)
        runs.append({'': name, 'time': shown(result.seconds[name]),
                     **{f'/ {other}': two_digits(found.get(other)) for other in (*plan.references, 'floor')},
                     'peak memory': megabytes(result.peaks[name])})
    floors = {name: result.floor(name) for name, run in plan.runs.items() if run.floor}
    for part in result.parts:
        parts.append({'part': part, 'time': shown(result.seconds[part]),
                      **{name: plan.runs[name].floor.get(part, '') for name in floors}})
    parts.append({'part': 'floor', **{name: shown(times) for name, times in floors.items() if times}})
    for other in plan.references:
        parts.append({'part': f'floor / {other}', **{name: two_digits(ratio(times, result.seconds[other]))
                                                     for name, times in floors.items() if times}})
    return runs, parts


def shown(times: list[float]) -> str:
    """The median, and in brackets the middle half, in milliseconds."""
    low, high = middle_half(times)
    return f'{median(times) * 1e3:,.1f} ms ({low * 1e3:,.1f} to {high * 1e3:,.1f})'


def two_digits(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'


def megabytes(count: int) -> str:
    return f'{count / 1e6:,.1f} MB'


def notes(result: Result) -> list[str]:
    """What the numbers are, a paragraph each."""
    rounds = len(next(iter(result.seconds.values())))
    lines = [f'On {where(result.setting)}: {result.setting.words}. time: median of {rounds} rounds in which all took '
             'turns (in brackets the middle half); ratios are medians over the rounds. floor: the parts below, each '
             'timed by itself and added up as often as it occurs. peak memory: tensors held at most at once, weights, '
             'gradients and moments included.']
    lines += [f'{name}: {run.about}.' for name, run in result.plan.runs.items()]
    if result.teacher is not None:
        first, subject = result.plan.references[0], result.plan.subject
        lines.append(f"{subject} holds {megabytes(result.peaks[subject])} at most; {first}'s peak and the teacher "
                     f'alone (its weights and a pass to the last tapped layer, {megabytes(result.teacher)}) make '
                     f'{megabytes(result.peaks[first] + result.teacher)}.')
    lines += [f"{name}: an iteration that prints nothing {f'waits for the GPU at {place}' if place else 'never waits'}."
              for name, place in result.waits.items()]
    return lines


def where(setting: Setting) -> str:
    """The machine and torch's version."""
    kind = f' ({torch.backends.cpu.get_cpu_capability()})' if setting.device.type == 'cpu' else ''
    return f'{machine(setting.device)}{kind}, torch {torch.__version__}'


def as_text(result: Result) -> str:
    """For a terminal."""
    runs, parts = tables(result)
    return '\n\n'.join([text(runs), text(parts), *notes(result)])


def as_markdown(result: Result) -> str:
    """For a page."""
    runs, parts = tables(result)
    return '\n\n'.join([markdown(runs), markdown(parts), *notes(result)])


def as_json(result: Result) -> dict[str, Any]:
    """For programs: seconds and bytes."""
    def times(values: list[float]) -> dict[str, Any]:
        return {'median': median(values), 'middle_half': list(middle_half(values)), 'seconds': values}
    runs = {name: {**times(result.seconds[name]), 'about': run.about, 'ratios': result.ratios(name),
                   'peak_memory_bytes': result.peaks[name], 'floor': result.floor(name),
                   'parts': dict(run.floor)} for name, run in result.plan.runs.items()}
    setting = {key: str(value) if isinstance(value, torch.device) else value
               for key, value in vars(result.setting).items()}
    return {'machine': where(result.setting), 'setting': setting, 'runs': runs,
            'parts': {name: times(result.seconds[name]) for name in result.parts},
            'teacher_alone_bytes': result.teacher, 'waits_for_gpu_at': result.waits}
