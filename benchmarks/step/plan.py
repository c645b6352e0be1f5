"""What is compared with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.step import floor, options
from benchmarks.step.loops import PlainLoop, Step, Training
from benchmarks.step.options import STAGES, Options
from benchmarks.step.setting import Setting
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.options import parse

SMALL = 'the same with the discriminator that the student has below'


@dataclass(frozen=True)
class Run:
    """A training that is measured. Attributes: about (what it is), build (makes it and returns one iteration), floor
    (how often each part occurs in an iteration; empty for trainings that are not the plugin's)."""

    about: str
    build: Callable[[], Step]
    floor: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A comparison. Attributes: runs (by name), references (the runs to which ratios are given), parts (builds those of
    the floors), teacher (builds a pass of the teacher alone, for its memory), subject (the run that the targets are
    about)."""

    runs: dict[str, Run]
    references: tuple[str, ...]
    parts: Callable[[], dict[str, Step]]
    teacher: Callable[[], Step] | None
    subject: str


def sdakd(setting: Setting) -> Plan:
    """SDAKD of Real-ESRGAN x4plus against stock SRGANModel and a plain loop."""
    opt, images = options.sdakd(setting), setting.images()
    return staged(
        opt,
        setting,
        {
            'stock': Run(
                '(a) SRGANModel of stock BasicSR trains the same student with the full-size discriminator; no teacher',
                lambda: Training(options.stock(opt, full_size=True), images),
            ),
            'stock, small D': Run(SMALL, lambda: Training(options.stock(opt, full_size=False), images)),
            'plain loop': Run(
                '(b) distillation as public code has it: hooks, whole float32 teacher, full-size '
                'discriminator, a read-back for each loss',
                lambda: PlainLoop(options.with_full_size(opt), images),
            ),
            'plain, small D': Run(SMALL, lambda: PlainLoop(opt, images)),
        },
    )


def gcfsr(setting: Setting) -> Plan:
    """SDAKD of GCFSR. Stock BasicSR cannot train it, so the plugin does so without a teacher for comparison."""
    opt, images = options.gcfsr(setting), setting.images()
    return staged(
        opt,
        setting,
        {
            'no teacher': Run(
                '(a) SDAKDModel, as stock BasicSR has no GCFSR: the same student with the full-size '
                'discriminator in float32; no teacher',
                lambda: Training(options.without_teacher(opt, full_size=True), images),
            ),
            'no teacher, small D': Run(SMALL, lambda: Training(options.without_teacher(opt, full_size=False), images)),
        },
        {floor.SAMPLE: 1},
    )  # the discriminator's turn comes first and takes a pass of its own


def staged(opt: Options, setting: Setting, references: dict[str, Run], also: Mapping[str, int] | None = None) -> Plan:
    """The three stages of SDAKD against others; ``also``: further parts of the last one's floor."""
    images, floors = (
        setting.images(),
        (
            floor.ONE_STAGE,
            {floor.TEACHER: 1, **floor.ONE_STAGE},
            {floor.TEACHER: 1, **floor.ADVERSARIAL, **(also or {})},
        ),
    )

    def run(number: int) -> Run:
        losses = ', '.join(opt['train']['stages'][number]['losses'])
        return Run(
            f'(c) SDAKDModel in its stage {number + 1}, losses {losses}',
            lambda: Training(opt, images, number),
            floors[number],
        )

    def teacher_alone() -> Step:
        block = parse(opt).teacher
        assert block is not None
        teacher = Teacher(block, ForwardPass(setting.device, channels_last=setting.channels_last))
        return lambda: floor.drop(teacher.generate(images['lq'], opt['train']['feature_opt']['layers'], image=False))

    runs = {**references, **{name: run(number) for number, name in enumerate(STAGES)}}
    return Plan(runs, tuple(references), lambda: floor.parts(Training(opt, images)), teacher_alone, STAGES[-1])


def mutual(setting: Setting) -> Plan:
    """A cohort whose discriminators teach each other, against as many stock SRGANs."""
    opt, images, members = options.mutual(setting), setting.images(), setting.cohort

    def several() -> Step:
        trainings = [Training(options.stock(opt, full_size=True), images) for _ in range(members)]
        return lambda: floor.drop(list(map(Training.__call__, trainings)))

    def parts() -> dict[str, Step]:
        training = Training(opt, images)
        training.model.feed_data(images)
        return floor.parts(training)

    counts = {part: count * members for part, count in floor.ADVERSARIAL.items() if part != floor.AVERAGE}
    counts[floor.LEARN] = members * (members + 1)  # each learns from the real images and from every member's
    stock = f'{members} x stock'
    runs = {
        stock: Run(f'(a) {members} independent SRGANModels of stock BasicSR, one after the other', several),
        'cohort': Run(
            f'(c) MutualSRGANModel, {members} members; every discriminator scores and learns from every '
            "member's images",
            lambda: Training(opt, images),
            counts,
        ),
    }
    return Plan(runs, (stock,), parts, None, 'cohort')


PLANS = {'sdakd': sdakd, 'gcfsr': gcfsr, 'mutual': mutual}
