"""What is compared with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from benchmarks.step import options, timed
from benchmarks.step.options import DEFAULTS, SCALE, Options, Setting
from benchmarks.step.timed import Images, Step, Training, plain_loop
from sdakd_plugin.ablation.arms import full_size
from sdakd_plugin.errors import UserError

STOCK = 'SRGANModel of stock BasicSR trains the same student with the full-size discriminator; no teacher'
PLAIN = 'hooks, whole float32 teacher, full-size discriminator, a read-back for each loss'
NO_GCFSR = 'as stock BasicSR has no GCFSR: the same student with the full-size discriminator in float32; no teacher'
SMALL = 'the same with the discriminator that the student has below'
COHORT = "every discriminator scores and learns from every member's images"


class Run(NamedTuple):
    """A training that is measured. Attributes: about (what it is), build (makes it and returns one iteration), floor
    (how often each part occurs in an iteration; empty for what the others are compared with)."""

    about: str
    build: Callable[[], Step]
    floor: Mapping[str, int] = {}


class Plan(NamedTuple):
    """A comparison. Attributes: opt (of the model that the targets are about), images (a batch), runs (by name; the
    first is the one to beat, the last is that model's)."""

    opt: Options
    images: Images
    runs: dict[str, Run]


def sdakd(setting: Setting) -> Plan:
    """SDAKD of Real-ESRGAN x4plus against stock SRGANModel and a plain loop."""
    opt, images = options.sdakd(setting), setting.images()
    full = full_size(opt)
    references = {
        'stock': Run(f'(a) {STOCK}', partial(Training, options.stock(full), images)),
        'stock, small D': Run(SMALL, partial(Training, options.stock(opt), images)),
        'plain loop': Run(f'(b) distillation as public code has it: {PLAIN}', partial(plain_loop, full, images)),
        'plain, small D': Run(SMALL, partial(plain_loop, opt, images)),
    }
    return Plan(opt, images, references | stages(opt, images))


def gcfsr(setting: Setting) -> Plan:
    """SDAKD of GCFSR. Stock BasicSR cannot train it, so the plugin does so without a teacher for comparison."""
    opt, images = options.gcfsr(setting), setting.images()
    full, small = options.without_teacher(full_size(opt)), options.without_teacher(opt)
    references = {
        'no teacher': Run(f'(a) SDAKDModel, {NO_GCFSR}', partial(Training, full, images, stage=2)),
        'no teacher, small D': Run(SMALL, partial(Training, small, images, stage=2)),
    }
    return Plan(opt, images, references | stages(opt, images, timed.SAMPLE))  # for the discriminator, which comes first


def stages(opt: Options, images: Images, *also: str) -> dict[str, Run]:
    """The three stages of SDAKD; ``also``: further parts of the last one's floor."""
    taught = {timed.TEACHER: 1, **timed.ONE_STAGE}
    floors = (timed.ONE_STAGE, taught, {**taught, **timed.ADVERSARIAL, **dict.fromkeys(also, 1)})
    runs = {}
    for number, (stage, counts) in enumerate(zip(opt['train']['stages'], floors, strict=True)):
        about = f'(c) SDAKDModel in its stage {number + 1}, losses {", ".join(stage["losses"])}'
        runs[stage['name']] = Run(about, partial(Training, opt, images, number), counts)
    return runs


def mutual(setting: Setting) -> Plan:
    """A cohort whose discriminators teach each other, against as many stock SRGANs."""
    opt, images, members = options.mutual(setting), setting.images(), setting.cohort

    def several() -> Step:
        trainings: list[Step] = [Training(options.stock(opt), images) for _ in range(members)]
        return lambda: [training() for training in trainings]

    counts = {part: count * members for part, count in timed.ADVERSARIAL.items()}
    counts[timed.LEARN] = members * (members + 1)  # each learns from the real images and from every member's
    independent = f'(a) {members} independent SRGANModels of stock BasicSR, one after the other'
    cohort = Run(f'(c) MutualSRGANModel, {members} members; {COHORT}', partial(Training, opt, images), counts)
    return Plan(opt, images, {f'{members} x stock': Run(independent, several), 'cohort': cohort})


PLANS = {'sdakd': sdakd, 'gcfsr': gcfsr, 'mutual': mutual}


def sweep(base: Setting) -> dict[str, Setting]:
    """The settings in which the last run is compared with the first, by name: half of the base, itself and more."""
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
