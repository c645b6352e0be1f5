"""How long a run trains, and whether the teacher's images are stored before or made on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sdakd_plugin.checks.forecast import duration
from sdakd_plugin.checks.timing import with_loading
from sdakd_plugin.errors import UserError
from sdakd_plugin.recipe.choices import Choices
from sdakd_plugin.recipe.measurement import Measurement
from sdakd_plugin.weights.known import KNOWN

ITERATIONS, FROM_TRAINED = 10_000, 5_000  # without --hours; as many as trained the students of the package, and half
START = 20.0  # seconds for imports and checks
KEPT = 0.9  # of the time is planned; validation and checkpoints take the rest
COMPARISONS = 5  # the summary runs the teacher about so often on the validation set
STORED = 6  # bytes of a pixel of a stored image: three channels in float16
GB = 1e9


@dataclass(frozen=True)
class Work:
    """What a run has to do besides its iterations.

    Attributes:
        photographs: for training.
        train_pixels, val_pixels: LQ pixels of all photographs together.
        teacher: the teacher's seconds for one LQ pixel.
    """

    photographs: int
    train_pixels: int
    val_pixels: int
    teacher: float


@dataclass(frozen=True)
class Plan:
    """Choices with their number of iterations; seconds before training, of an average iteration, and after it; the
    measurement they follow from; why the teacher's images are not stored, if they are not."""

    choices: Choices
    before: float
    iteration: float
    after: float
    measured: Measurement
    reason: str = ''

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.before + self.choices.iterations * self.iteration + self.after

    def __str__(self) -> str:
        stages = ', '.join(f'{name} {seconds:.2g} s' for name, seconds in self.measured.stages.items())
        images = f" {duration(self.before)} of it for the teacher's images;" if self.choices.cached else ''
        memory = f' {self.measured.memory / GB:.1f} GB of memory' if self.measured.memory else ''
        return (
            f'About {duration(self.seconds)} on this machine ({self.choices.machine}) for '
            f'{self.choices.iterations:,} iterations;{images} an iteration takes: {stages};{memory}'
        ).rstrip(';')


def make_plan(
    choices: Choices, work: Work, hours: float | None, folder: Path, measure: Callable[[Choices], Measurement]
) -> Plan:
    """Choose whether to store the teacher's images, and the number of iterations.

    Args:
        choices: all but these two.
        work: what else there is to do.
        hours: the time to fill; ``None`` for the usual number of iterations.
        folder: where the images would be stored.
        measure: tries choices.

    Raises:
        UserError: the time is too short for any training.
    """
    stored = _timed(replace(choices, cached=True), work, hours, measure)
    needed, free = work.train_pixels * choices.scale**2 * STORED, shutil.disk_usage(folder).free
    crop = choices.batch * (choices.crop // choices.scale) ** 2 * work.teacher  # seconds of the teacher in an iteration
    reason = ''
    if needed > free * KEPT:
        reason = f'would take {needed / GB:,.0f} GB, and {free / GB:,.0f} GB are free'
    elif stored is None or stored.before > stored.choices.iterations * crop:
        reason = 'would take longer than it saves'
    if not reason and stored is not None:
        return stored
    live = _timed(replace(choices, cached=False), work, hours, measure)
    if live is None:
        shortest = min(_before(replace(choices, cached=cached), work, 0) for cached in (True, False))
        raise UserError(
            f'--hours: {hours:g} is too short; start, teacher and comparison alone take about '
            f'{duration(START + shortest + _after(work))} here'
        )
    return replace(live, reason=reason)


def _timed(choices: Choices, work: Work, hours: float | None, measure: Callable[[Choices], Measurement]) -> Plan | None:
    """The plan for choices; ``None`` if the time does not suffice for an iteration of each stage."""
    usual = FROM_TRAINED if choices.start in KNOWN else ITERATIONS
    measured = measure(replace(choices, iterations=usual))
    seconds = _iteration(choices, measured)
    before, after = START + _before(choices, work, measured.degrading), _after(work)
    iterations = usual if hours is None else rounded((hours * 3600 * KEPT - before - after) / seconds)
    if iterations < len(measured.stages):
        return None
    return Plan(replace(choices, iterations=iterations), before, seconds / KEPT, after, measured)


def _iteration(choices: Choices, measured: Measurement) -> float:
    """Seconds of an average iteration."""
    computing = sum(measured.stages.values()) / len(measured.stages)
    cores = choices.machine.cores if choices.machine.gpu is None else None
    return with_loading(computing, measured.reading, choices.batch, choices.workers, cores)


def _before(choices: Choices, work: Work, degrading: float) -> float:
    return work.train_pixels * work.teacher + work.photographs * degrading if choices.cached else 0.0


def _after(work: Work) -> float:
    return COMPARISONS * work.val_pixels * work.teacher


def rounded(iterations: float) -> int:
    """The number rounded down to two digits."""
    whole = max(0, int(iterations))
    step = 10 ** max(0, len(str(whole)) - 2)
    return whole // step * step
