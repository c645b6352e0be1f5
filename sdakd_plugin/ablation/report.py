"""An ablation as a page: tables, verdicts in words, and curves of quality against time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

from sdakd_plugin.ablation.paired_difference import SAME, Difference, difference, time_to
from sdakd_plugin.ablation.results import Outcome, Results
from sdakd_plugin.evaluation.table import Row, cell, markdown
from sdakd_plugin.weights.files import new_file

PAGE, PICTURE = 'ablation.md', 'ablation.svg'


def write(results: Results, folder: Path) -> str:
    """Write ``ablation.md`` and ``ablation.svg``; return the page."""
    text = page(results)
    with new_file(folder / PAGE) as file:
        file.write(text.encode())
    if results.outcomes:
        draw(results, folder / PICTURE)
    return text


def page(results: Results) -> str:
    """The report in Markdown."""
    if not results.outcomes:
        return f'# Ablation {results.name}\n\nNo run is finished yet.\n'
    seeds = ', '.join(f'{arm} {len(results.of(arm))}' for arm in results.arms)
    sentences = '\n'.join(f'- {sentence}' for sentence in verdicts(results))
    parts = [
        f'# Ablation {results.name}',
        f'{results.total_iter:,} iterations. Seeds: {seeds}. Metrics are those of the last validation, mean ± '
        f'standard deviation over the seeds; differences are to {results.control}, seed by seed, in brackets with '
        "the 95 % interval of their mean (Student's t).",
        '## Verdict',
        sentences or 'There is nothing to compare.',
    ]
    for dataset in results.datasets:
        parts += [f'## {dataset}', markdown(list(quality_rows(results, dataset)))]
    machines = ', '.join(dict.fromkeys(outcome.machine for outcome in results.outcomes))
    parts += [
        '## Time',
        f'Seconds of training, validations left out, on {machines}. Time to quality: the first '
        f'validation at which an arm is as good as {results.control} of the same seed is at its end, as a part '
        f'of the time of {results.control}.',
        markdown(list(time_rows(results))),
        f'![Curves]({PICTURE})',
    ]
    return '\n\n'.join(parts) + '\n'


def verdicts(results: Results) -> Iterator[str]:
    """One sentence for each arm, data set and metric."""
    for arm in results.arms:
        for dataset in results.datasets:
            for metric, better in results.better.items():
                found = None if arm == results.control else compared(results, arm, dataset, metric)
                if found is not None:
                    yield sentence(arm, results.control, f'{metric} on {dataset}', found, better)


def sentence(arm: str, control: str, what: str, found: Difference, better: str) -> str:
    """A difference in words."""
    verdict = found.verdict(better)
    if not math.isfinite(found.low):
        return f'{arm}, {what}: {SAME} from {control} by a single seed ({found}).'
    if verdict == SAME:
        return f'{arm}, {what}: {SAME} from {control} ({found}, {found.count} seeds).'
    low, high = sorted((abs(found.low), abs(found.high)))
    size = f'{abs(found.mean):.4f} [{low:.4f}, {high:.4f}]'
    return f'{arm}, {what}: {verdict} than {control} by {size} ({found.count} seeds).'


def compared(results: Results, arm: str, dataset: str, metric: str) -> Difference | None:
    """An arm's final metric against the control's over the seeds that both have, ``None`` where there are none."""
    pairs = []
    for outcome in results.of(arm):
        control = results.find(results.control, outcome.seed)
        value = outcome.final(dataset, metric)
        reference = None if control is None else control.final(dataset, metric)
        if value is not None and reference is not None:
            pairs.append((value, reference))
    return difference(pairs) if pairs else None


def quality_rows(results: Results, dataset: str) -> Iterator[Row]:
    """For each arm the metrics and their differences to the control."""
    for arm in results.arms:
        row = {'arm': arm}
        for metric, better in results.better.items():
            finals = [outcome.final(dataset, metric) for outcome in results.of(arm)]
            row[f'{metric} ({"↑" if better == "higher" else "↓"})'] = spread([one for one in finals if one is not None])
            found = None if arm == results.control else compared(results, arm, dataset, metric)
            row[f'{metric} - {results.control}'] = '' if found is None else str(found)
        yield row


def time_rows(results: Results) -> Iterator[Row]:
    """For each arm its seconds, and after which part of the control's it was as good as the control at its end."""
    for arm in results.arms:
        runs = results.of(arm)
        row = {'arm': arm, 'seconds': spread([run.seconds for run in runs if run.seconds is not None])}
        row[f'of {results.control}'] = middle([part for run in runs if (part := share(results, run, run.seconds))])
        for dataset in results.datasets:
            for metric in results.better:
                row[f'to its {metric}, {dataset}'] = reached(results, runs, dataset, metric)
        yield row


def reached(results: Results, runs: Sequence[Outcome], dataset: str, metric: str) -> str:
    """The time to quality of an arm: the mean and the extremes over the seeds."""
    parts: list[float | None] = []
    for run in runs:
        control = results.find(results.control, run.seed)
        quality = None if control is None else control.final(dataset, metric)
        if control is None or quality is None or not control.seconds:
            continue
        curve = [
            (point['elapsed'], point['value']) for point in run.points(dataset, metric) if point['elapsed'] is not None
        ]
        seconds = time_to(curve, quality, results.better[metric])
        parts.append(None if seconds is None else seconds / control.seconds)
    known = [part for part in parts if part is not None]
    missed = len(parts) - len(known)
    return '; '.join([*[middle(known)] * bool(known), *[f'not by {missed} of {len(parts)}'] * bool(missed)])


def share(results: Results, run: Outcome, seconds: float | None) -> float | None:
    """Seconds as a part of those of the control of the same seed."""
    control = results.find(results.control, run.seed)
    return seconds / control.seconds if seconds is not None and control is not None and control.seconds else None


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    if not values:
        return ''
    deviation = f' ± {cell("", stdev(values))}' if len(values) > 1 else ''
    return cell('', mean(values)) + deviation


def middle(values: Sequence[float]) -> str:
    """The mean, and the extremes where there are several values."""
    if not values:
        return ''
    return f'{mean(values):.2f}' + (f' ({min(values):.2f} to {max(values):.2f})' if len(values) > 1 else '')


def draw(results: Results, path: Path) -> None:
    """The curves: a row for each metric, a column for each data set, a colour for each arm, a line for each seed."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows, columns = len(results.better), len(results.datasets)
    figure = Figure(figsize=(5.5 * columns, 3.2 * rows), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False)
    for line, metric in zip(panels, results.better, strict=True):
        for axes, dataset in zip(line, results.datasets, strict=True):
            for number, arm in enumerate(results.arms):
                for index, run in enumerate(results.of(arm)):
                    points = [point for point in run.points(dataset, metric) if point['elapsed'] is not None]
                    axes.plot(
                        [point['elapsed'] for point in points],
                        [point['value'] for point in points],
                        color=f'C{number}',
                        linewidth=1,
                        marker='.',
                        label=arm if index == 0 else None,
                    )
            axes.set(title=dataset, xlabel='seconds of training', ylabel=metric)
            axes.grid(alpha=0.3)
    panels[0][0].legend()
    with rc_context({'svg.hashsalt': results.name}), new_file(path) as file:  # the same runs, the same file
        figure.savefig(file, format='svg', metadata={'Date': None})
