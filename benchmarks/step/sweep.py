"""The cost of the last stage, and of a cohort, next to stock BasicSR's, over batch, crop, width and members."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from benchmarks.step.bars import Pair, bars
from benchmarks.step.memory import peak
from benchmarks.step.plan import PLANS
from benchmarks.step.result import megabytes, shown, two_digits, where
from benchmarks.step.setting import DEFAULTS, SCALE, Setting
from benchmarks.step.timing import interleaved, ratio
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.table import Row, markdown, text

WIDTHS, COHORTS = (0.5, 0.25, 0.125), (2, 3, 4)


@dataclass(frozen=True)
class Point:
    """One comparison. Attributes: axis and value (what is varied), stock and ours (seconds of each round), and the
    bytes that each holds at most."""

    axis: str
    value: float
    stock: list[float]
    ours: list[float]
    stock_bytes: int
    our_bytes: int

    @property
    def ratio(self) -> float:
        return ratio(self.ours, self.stock)


def settings(base: Setting) -> list[tuple[str, float, Setting]]:
    """Axis, value and setting of every point: half of the base, itself and more."""
    if base.model != 'sdakd':
        raise UserError('--sweep: covers sdakd and mutual in one; leave --model out')
    if base.gt_size % (16 * SCALE):
        raise UserError(f'--gt-size: for --sweep a multiple of {16 * SCALE}, as it is halved; not {base.gt_size}')
    batches = sorted({max(1, base.batch // 2), base.batch, 2 * base.batch})
    crops = (base.gt_size // 2, base.gt_size, base.gt_size * 3 // 2)
    batch, gt_size = DEFAULTS['mutual'][base.device.type]
    cohort = replace(base, model='mutual', batch=min(batch, base.batch), gt_size=min(gt_size, base.gt_size))
    return [*(('batch', value, replace(base, batch=value)) for value in batches),
            *(('crop', value, replace(base, gt_size=value)) for value in crops),
            *(('width', value, replace(base, width=value)) for value in WIDTHS),
            *(('cohort', value, replace(cohort, cohort=value)) for value in COHORTS)]


def measure(base: Setting, rounds: int) -> list[Point]:
    """All points, one after the other; at each, stock and the plugin take turns."""
    return [point(axis, value, setting, rounds) for axis, value, setting in settings(base)]


def point(axis: str, value: float, setting: Setting, rounds: int) -> Point:
    plan = PLANS[setting.model](setting)
    names = (plan.references[0], plan.subject)
    peaks = [peak(plan.runs[name].build, setting.device) for name in names]
    times = interleaved({name: plan.runs[name].build() for name in names}, rounds, setting.device)
    found = Point(axis, value, times[names[0]], times[names[1]], *peaks)
    print(f'{axis} {value:g}: {shown(found.ours)}, {found.ratio:.2f} of stock', flush=True)
    return found


def rows(points: Sequence[Point]) -> list[Row]:
    """A line for each point."""
    return [{'': f'{each.axis} {each.value:g}', 'stock': shown(each.stock), 'ours': shown(each.ours),
             'ours / stock': two_digits(each.ratio), 'stock memory': megabytes(each.stock_bytes),
             'our memory': megabytes(each.our_bytes)} for each in points]


def as_text(points: Sequence[Point]) -> str:
    """For a terminal."""
    return text(rows(points))


def as_markdown(points: Sequence[Point], base: Setting) -> str:
    """For a page."""
    cohort = settings(base)[-1][2]
    return (f'{markdown(rows(points))}\n\nOn {where(base)}. Where nothing else is said: {base.words}. ours: the last '
            'stage of SDAKDModel; stock: SRGANModel with the same student and the full-size discriminator. cohort: '
            f'MutualSRGANModel against as many SRGANModels, {cohort.size}. Medians of {len(points[0].ours)} rounds.')


def as_json(points: Sequence[Point]) -> dict[str, Any]:
    """For programs: seconds and bytes."""
    return {'points': [{**asdict(each), 'ratio': each.ratio} for each in points]}


def plot(points: Sequence[Point]) -> str:
    """A picture in SVG, a panel for each axis."""
    panels: dict[str, list[Pair]] = {}
    for each in points:
        pair = Pair(f'{each.value:g}', median(each.stock), median(each.ours), f'{each.ratio:.2f}')
        panels.setdefault(each.axis, []).append(pair)
    return bars('Seconds of a step, and ours over stock', ('stock', 'ours'), panels)
