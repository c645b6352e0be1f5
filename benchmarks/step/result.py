"""What was measured, as numbers and as tables."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.step import measure
from benchmarks.step.plan import Plan
from benchmarks.step.setting import Setting
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import paired_ratio, shown

Numbers = dict[str, Any]


def numbers(plan: Plan, setting: Setting, rounds: int) -> Numbers:
    """Measure the peaks, each with nothing else there, and then the times, in turns: seconds and bytes, for JSON."""
    peaks = {name: measure.peak(run.build, setting.device) for name, run in plan.runs.items()}
    teacher = measure.peak(plan.teacher, setting.device) if plan.teacher else None
    steps = {name: run.build() for name, run in plan.runs.items()}
    used = {part for run in plan.runs.values() for part in run.floor}
    parts = {name: part for name, part in plan.parts().items() if name in used}
    seconds = measure.interleaved({**steps, **parts}, rounds, setting.device)
    runs = {}
    for name, run in plan.runs.items():
        counts = {part: count for part, count in run.floor.items() if part in parts}
        floor = [sum(count * seconds[part][turn] for part, count in counts.items()) for turn in range(rounds)]
        against = {**{other: seconds[other] for other in plan.references}, **({'floor': floor} if counts else {})}
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
        'references': plan.references,
        'runs': runs,
        'parts': {name: {'median': median(seconds[name]), 'seconds': seconds[name]} for name in parts},
        'subject': plan.subject,
        'teacher_alone_bytes': teacher,
    }


def tables(found: Numbers) -> list[list[Row]]:
    """One of the runs, and one of the floor's parts."""
    runs, references = found['runs'], found['references']
    floors = {name: run['floor'] for name, run in runs.items() if run['floor']}
    return [
        [
            {
                '': name,
                'time': shown(run['seconds']),
                **{f'/ {other}': two_digits(run['ratios'].get(other)) for other in (*references, 'floor')},
                'peak memory': megabytes(run['peak_memory_bytes']),
            }
            for name, run in runs.items()
        ],
        [
            *(
                {
                    'part': part,
                    'time': shown(times['seconds']),
                    **{name: runs[name]['parts'].get(part, '') for name in floors},
                }
                for part, times in found['parts'].items()
            ),
            {'part': 'floor', **{name: shown(times) for name, times in floors.items()}},
            *(
                {
                    'part': f'floor / {other}',
                    **{name: two_digits(paired_ratio(times, runs[other]['seconds'])) for name, times in floors.items()},
                }
                for other in references
            ),
        ],
    ]


def two_digits(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'


def megabytes(count: int) -> str:
    return f'{count / 1e6:,.1f} MB'


def notes(found: Numbers) -> list[str]:
    """What the numbers are, a paragraph each."""
    runs, subject, first = found['runs'], found['subject'], found['references'][0]
    rounds, teacher = len(runs[first]['seconds']), found['teacher_alone_bytes']
    lines = [
        f'On {found["machine"]}: {found["setting"]}. time: median of {rounds} rounds in which all took turns (in '
        'brackets the middle half); ratios are medians over the rounds. floor: the parts below, each timed by '
        'itself and added up as often as it occurs. peak memory: tensors held at most at once, weights, gradients '
        'and moments included.',
        *(f'{name}: {run["about"]}.' for name, run in runs.items()),
    ]
    if teacher is not None:
        peaks = {name: run['peak_memory_bytes'] for name, run in runs.items()}
        lines.append(
            f"{subject} holds {megabytes(peaks[subject])} at most; {first}'s peak and the teacher alone (its "
            f'weights and a pass to the last tapped layer, {megabytes(teacher)}) make '
            f'{megabytes(peaks[first] + teacher)}.'
        )
    return lines
