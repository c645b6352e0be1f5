"""The cost of the last stage, and of a cohort, next to stock BasicSR's, over batch, crop, width and members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.step.measure import interleaved, peak
from benchmarks.step.plan import PLANS
from benchmarks.step.result import megabytes, two_digits
from benchmarks.step.setting import DEFAULTS, SCALE, Setting
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import paired_ratio, shown

ABOUT = (
    'On {}. Where nothing else is said: {}. ours: the last stage of SDAKDModel; stock: SRGANModel with the same '
    'student and the full-size discriminator. cohort: MutualSRGANModel against as many SRGANModels, {}. Medians of {} '
    'rounds.'
)


def settings(base: Setting) -> dict[str, Setting]:
    """The setting of every point by its name: half of the base, itself and more."""
    if base.model != 'sdakd':
        raise UserError('--sweep: covers sdakd and mutual in one; leave --model out')
    if base.gt_size % (16 * SCALE):
        raise UserError(f'--gt-size: for --sweep a multiple of {16 * SCALE}, as it is halved; not {base.gt_size}')
    batches = sorted({max(1, base.batch // 2), base.batch, 2 * base.batch})
    crops = (base.gt_size // 2, base.gt_size, base.gt_size * 3 // 2)
    batch, gt_size = DEFAULTS['mutual'][base.device.type]
    cohort = replace(base, model='mutual', batch=min(batch, base.batch), gt_size=min(gt_size, base.gt_size))
    return {
        **{f'batch {value}': replace(base, batch=value) for value in batches},
        **{f'crop {value}': replace(base, gt_size=value) for value in crops},
        **{f'width {value:g}': replace(base, width=value) for value in (0.5, 0.25, 0.125)},
        **{f'cohort {value}': replace(cohort, cohort=value) for value in (2, 3, 4)},
    }


def point(setting: Setting, rounds: int) -> dict[str, Any]:
    """Seconds of each round and bytes held at most, of stock and of the plugin, which take turns."""
    stock, *_, ours = PLANS[setting.model](setting).runs.values()
    runs = {'stock': stock, 'ours': ours}
    peaks = {f'{who} bytes': peak(run.build, setting.device) for who, run in runs.items()}
    steps = {who: run.build() for who, run in runs.items()}
    return {**interleaved(steps, rounds, setting.device), **peaks}


def rows(points: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A line for each point."""
    return [
        {
            '': name,
            'stock': shown(one['stock']),
            'ours': shown(one['ours']),
            'ours / stock': two_digits(paired_ratio(one['ours'], one['stock'])),
            'stock memory': megabytes(one['stock bytes']),
            'our memory': megabytes(one['ours bytes']),
        }
        for name, one in points.items()
    ]


def note(base: Setting, rounds: int) -> str:
    """What the numbers are."""
    return ABOUT.format(base.where, base.words, settings(base)['cohort 2'].size, rounds)
