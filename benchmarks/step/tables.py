"""What was measured, as tables and the notes below them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.step.measure import Numbers
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import paired_ratio, shown

ABOUT = (
    'On {}: {}. time: median of {} rounds in which all took turns (in brackets the middle half); ratios are medians '
    'over the rounds. floor: the parts below, each timed by itself and added up as often as it occurs. peak memory: '
    'tensors held at most at once, weights, gradients and moments included.'
)
SWEEP = (
    'On {}. Where nothing else is said: {}. ours: the last stage of SDAKDModel; stock: SRGANModel with the same '
    'student and the full-size discriminator. cohort: MutualSRGANModel against as many SRGANModels, {}. Medians of {} '
    'rounds.'
)


def of_runs(found: Numbers) -> list[list[Row]]:
    """The tables of a plan: one of the runs, and one of the floor's parts."""
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
        ratios = {name: two_digits(paired_ratio(times, runs[other]['seconds'])) for name, times in floors.items()}
        parts.append({'part': f'floor / {other}', **ratios})
    return [compared, parts]


def two_digits(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'


def megabytes(count: int) -> str:
    return f'{count / 1e6:,.1f} MB'


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


def of_sweep(points: Mapping[str, Numbers]) -> list[Row]:
    """The table of a sweep: a line for each point."""
    lines: list[Row] = []
    for name, one in points.items():
        ratio = two_digits(paired_ratio(one['ours'], one['stock']))
        memory = {'stock memory': megabytes(one['stock bytes']), 'our memory': megabytes(one['ours bytes'])}
        times = {who: shown(one[who]) for who in ('stock', 'ours')}
        lines.append({'': name, **times, 'ours / stock': ratio, **memory})
    return lines
