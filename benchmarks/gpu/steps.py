"""Time and memory of a training step by precision, against stock BasicSR and the floor of its parts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.gpu.trial import SMALL, Found, Trial, tf32
from benchmarks.step import options
from benchmarks.step.measure import Numbers, numbers
from benchmarks.step.options import DEFAULTS, Options, Setting
from benchmarks.step.plan import PLANS, Plan, Run
from benchmarks.step.tables import megabytes, two_digits
from benchmarks.step.timed import Images, Step, Training
from sdakd_plugin.ablation.arms import full_size
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import shown

STOCK, USUAL, ALIKE, OURS = 'stock, float32', 'stock, TF32', 'stock, small D', 'adversarial'
AIMS = {STOCK: 0.30, ALIKE: 0.75}  # of stage 3 in mixed precision
SHARE = 0.45  # of the time, which is left to what follows
ABOUT = (
    'Stage 3 of SDAKD with its teacher, at {}; medians of {} rounds in which all took turns, and ratios to: SRGANModel '
    "with the full-size discriminator in float32; the same with TF32, torch's default for convolutions; SRGANModel "
    'with the small discriminator in the precision of the line; the floor, the parts of the step timed alone. Aims in '
    'mixed precision: 0.30 of the first, 0.75 of the third.'
)


class Mode(NamedTuple):
    """A precision. Attributes: name, amp (of ``train.amp``), channels_last, tf32 (whether float32 may use it)."""

    name: str
    amp: str | None = None
    channels_last: bool = False
    tf32: bool = True


MODES = (  # what matters most first
    Mode('float32', tf32=False),
    Mode('bfloat16, channels last', 'bfloat16', True),
    Mode('TF32'),
    Mode('float16, channels last', 'float16', True),
    Mode('bfloat16', 'bfloat16'),
    Mode('TF32, channels last', None, True),
    Mode('float16', 'float16'),
)


def steps(trial: Trial) -> Found:
    """Measure as many precisions as there is time for, with as large a batch as fits up to the default."""
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    batch, gt_size = SMALL if trial.small else DEFAULTS['sdakd'][trial.device]
    setting = Setting('sdakd', torch.device(trial.device), batch, gt_size, blocks=1 if trial.small else None)
    points: dict[str, Numbers] = {}
    rounds, modes = (1, MODES[:2]) if trial.small else (3, MODES)
    for mode in modes:
        if trial.left > SHARE * trial.seconds:
            setting, points[mode.name] = largest(setting, partial(measured, mode=mode, rounds=rounds))
    found = Found([[row(*point) for point in points.items()]], [ABOUT.format(setting.words, rounds)], numbers=points)
    missing = [mode.name for mode in modes if mode.name not in points]
    found.notes += [f'Left out, as there was no time: {"; ".join(missing)}.'] if missing else []
    found.surprises += [] if trial.small else missed(points)
    return found


def largest(setting: Setting, measure: Callable[[Setting], Numbers]) -> tuple[Setting, Numbers]:
    """The numbers at the setting or, where the card's memory is too small, at half of its batch, and so on."""
    while True:
        try:
            return setting, measure(setting)
        except torch.cuda.OutOfMemoryError:
            if setting.batch == 1:
                raise
        gc.collect()  # outside of the except block, whose traceback holds the networks
        torch.cuda.empty_cache()
        setting = replace(setting, batch=setting.batch // 2)


def measured(base: Setting, mode: Mode, rounds: int) -> Numbers:
    """``benchmarks.step``'s numbers of stage 3 and of stock. Each run sets TF32, and the floor's follow the last."""
    setting = replace(base, amp=mode.amp, channels_last=mode.channels_last)
    planned = PLANS['sdakd'](setting)
    opt, images, stage = planned.opt, planned.images, planned.runs[OURS]
    full = partial(Training, options.stock(full_size(opt)), images)
    runs = {
        STOCK: Run('', partial(in_tf32, full, False)),
        USUAL: Run('', partial(in_tf32, full, True)),
        ALIKE: Run('', partial(in_tf32, partial(stock_in, mode, opt, images), mode.tf32)),
        OURS: Run('', partial(in_tf32, stage.build, mode.tf32), stage.floor),
    }
    return {**numbers(Plan(opt, images, runs), setting, rounds), 'mixed': bool(mode.amp)}


def stock_in(mode: Mode, opt: Options, images: Images) -> Step:
    """Stock's step with the small discriminator under autocast: BasicSR has no mixed precision of its own."""
    layout = torch.channels_last if mode.channels_last else torch.contiguous_format
    batch = {key: image.contiguous(memory_format=layout) for key, image in images.items()}
    training, device = Training(options.stock(opt), batch), images['lq'].device.type
    for net in (training.model.net_g, training.model.net_d):
        net.to(memory_format=layout)

    def step() -> None:
        with torch.autocast(device, getattr(torch, mode.amp or 'bfloat16'), enabled=mode.amp is not None):
            training()

    return step


def in_tf32(build: Callable[[], Step], on: bool) -> Step:
    """A step that is built and called with or without TF32."""
    tf32(on)
    built = build()

    def step() -> None:
        tf32(on)
        built()

    return step


def row(name: str, one: Numbers) -> Row:
    """A line of the table."""
    ours, stock = one['runs'][OURS], one['runs'][STOCK]
    ratios = {f'/ {other}': two_digits(ratio) for other, ratio in ours['ratios'].items()}
    memory = {'memory': megabytes(ours['peak_memory_bytes']), 'memory of stock': megabytes(stock['peak_memory_bytes'])}
    return {'': name, 'time': shown(ours['seconds']), **ratios, **memory}


def missed(points: dict[str, Numbers]) -> list[str]:
    """The aims that the fastest mixed precision misses, in words."""
    mixed = {name: one['runs'][OURS] for name, one in points.items() if one['mixed']}
    if not mixed:
        return ['no mixed precision was measured']
    best = min(mixed, key=lambda name: median(mixed[name]['seconds']))
    ratios = {other: mixed[best]['ratios'][other] for other in AIMS}
    return [
        f'{best}: {ratios[who]:.2f} of {who}, not the {aim:.2f} aimed at'
        for who, aim in AIMS.items()
        if ratios[who] > aim
    ]
