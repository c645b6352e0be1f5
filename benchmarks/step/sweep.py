"""The cost of the last stage, and of a cohort, next to stock BasicSR's, over batch, crop, width and members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.step.measure import interleaved, peak, ratio, shown
from benchmarks.step.plan import PLANS
from benchmarks.step.result import megabytes, two_digits
from benchmarks.step.setting import DEFAULTS, SCALE, Setting
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.table import Row


@dataclass(frozen=True)
class Point:
    """One comparison: what is varied, the seconds of each round, and the bytes that each holds at most."""

    axis: str
    value: float
    stock: list[float]
    ours: list[float]
    stock_bytes: int
    our_bytes: int


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
    return [
        *(('batch', value, replace(base, batch=value)) for value in batches),
        *(('crop', value, replace(base, gt_size=value)) for value in crops),
        *(('width', value, replace(base, width=value)) for value in (0.5, 0.25, 0.125)),
        *(('cohort', value, replace(cohort, cohort=value)) for value in (2, 3, 4)),
    ]


def point(axis: str, value: float, setting: Setting, rounds: int) -> Point:
    """Measure one point; stock and the plugin take turns."""
    plan = PLANS[setting.model](setting)
    names = (plan.references[0], plan.subject)
    peaks = [peak(plan.runs[name].build, setting.device) for name in names]
    times = interleaved({name: plan.runs[name].build() for name in names}, rounds, setting.device)
    print(f'{axis} {value:g}: {shown(times[names[1]])}', flush=True)
    return Point(axis, value, times[names[0]], times[names[1]], *peaks)


def rows(points: Sequence[Point]) -> list[Row]:
    """A line for each point."""
    return [
        {
            '': f'{each.axis} {each.value:g}',
            'stock': shown(each.stock),
            'ours': shown(each.ours),
            'ours / stock': two_digits(ratio(each.ours, each.stock)),
            'stock memory': megabytes(each.stock_bytes),
            'our memory': megabytes(each.our_bytes),
        }
        for each in points
    ]


def note(points: Sequence[Point], base: Setting) -> str:
    """What the numbers are."""
    return (
        f'On {base.where}. Where nothing else is said: {base.words}. ours: the last stage of SDAKDModel; stock: '
        'SRGANModel with the same student and the full-size discriminator. cohort: MutualSRGANModel against as '
        f'many SRGANModels, {settings(base)[-1][2].size}. Medians of {len(points[0].ours)} rounds.'
    )
