"""What was measured, as numbers and as tables."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from benchmarks.step import floor
from benchmarks.step.measure import interleaved, peak
from benchmarks.step.plan import Plan
from benchmarks.step.setting import Setting
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import paired_ratio, shown

Numbers = dict[str, Any]


def numbers(plan: Plan, setting: Setting, rounds: int) -> Numbers:
    """Measure the peaks, each with nothing else there, and then the times, in turns: seconds and bytes, for JSON."""
    taught, references = 'teacher' in plan.opt, [name for name, run in plan.runs.items() if not run.floor]
    peaks = {name: peak(run.build, setting.device) for name, run in plan.runs.items()}
    teacher = peak(partial(floor.teacher, plan.opt, plan.images), setting.device) if taught else None
    steps = {name: run.build() for name, run in plan.runs.items()}
    used = {part for run in plan.runs.values() for part in run.floor}
    parts = {name: part for name, part in floor.parts(plan.opt, plan.images).items() if name in used}
    seconds = interleaved({**steps, **parts}, rounds, setting.device)
    runs = {}
    for name, run in plan.runs.items():
        counts = {part: count for part, count in run.floor.items() if part in parts}
        least = [sum(count * seconds[part][turn] for part, count in counts.items()) for turn in range(rounds)]
        against = {other: seconds[other] for other in references} | ({'floor': least} if counts else {})
        runs[name] = {
            'about': run.about,
            'median': median(seconds[name]),
            'seconds': seconds[name],
            'parts': counts,
            'floor': least if counts else None,
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


def tables(found: Numbers) -> list[list[Row]]:
    """One of the runs, and one of the floor's parts."""
    runs, references = found['runs'], found['references']
    floors = {name: run['floor'] for name, run in runs.items() if run['floor']}
    compared: list[Row] = []
    for name, run in runs.items():
        ratios = {f'/ {other}': two_digits(run['ratios'].get(other)) for other in (*references, 'floor')}
        memory = megabytes(run['peak_memory_bytes'])
        compared.append({'': name, 'time': shown(run['seconds']), **ratios, 'peak memory': memory})
    parts: list[Row] = []
    for part, times in found['parts'].items():
        counts = {name: runs[name]['parts'].get(part) for name in floors}
        parts.append({'part': part, 'time': shown(times['seconds']), **counts})
    parts.append({'part': 'floor', **{name: shown(times) for name, times in floors.items()}})
    for other in references:
        ratios = {name: paired_ratio(times, runs[other]['seconds']) for name, times in floors.items()}
        parts.append({'part': f'floor / {other}', **{name: two_digits(ratio) for name, ratio in ratios.items()}})
    return [compared, parts]


def two_digits(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'


def megabytes(count: int) -> str:
    return f'{count / 1e6:,.1f} MB'


ABOUT = (
    'On {}: {}. time: median of {} rounds in which all took turns (in brackets the middle half); ratios are medians '
    'over the rounds. floor: the parts below, each timed by itself and added up as often as it occurs. peak memory: '
    'tensors held at most at once, weights, gradients and moments included.'
)


def notes(found: Numbers) -> list[str]:
    """What the numbers are, a paragraph each."""
    runs = found['runs']
    first, *_, subject = runs
    lines = [ABOUT.format(found['machine'], found['setting'], len(runs[first]['seconds']))]
    lines += [f'{name}: {run["about"]}.' for name, run in runs.items()]
    if teacher := found['teacher_alone_bytes']:
        most, others = (runs[name]['peak_memory_bytes'] for name in (subject, first))
        lines.append(
            f"{subject} holds {megabytes(most)} at most; {first}'s peak and the teacher alone (its weights and a pass "
            f'to the last tapped layer, {megabytes(teacher)}) make {megabytes(others + teacher)}.'
        )
    return lines
