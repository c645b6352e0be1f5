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
from benchmarks.step import options, timed
from benchmarks.step.measure import Numbers, interleaved, peak
from benchmarks.step.options import DEFAULTS, Options, Setting
from benchmarks.step.plan import PLANS
from benchmarks.step.tables import megabytes, two_digits
from benchmarks.step.timed import Images, Step, Training
from sdakd_plugin.ablation.arms import full_size
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import paired_ratio, shown

STOCK, USUAL, SMALL, OURS = 'stock, float32', 'stock as it is', 'stock, small D', 'stage 3'
AIMS = {STOCK: 0.30, SMALL: 0.75}  # of stage 3 in mixed precision
SHARE = 0.45  # of the trial's time, which is left to what follows
ABOUT = (
    'On {}: {}. Median of {} rounds in which all took turns. stage 3: SDAKDModel with its teacher. {}: SRGANModel with '
    'the full-size discriminator in float32; {}: the same with TF32 where torch uses it by default; {}: with the small '
    'discriminator and in the precision of the line. floor: the parts of stage 3, each timed by itself. '
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
ON_CPU = (Mode('float32'), Mode('bfloat16, channels last', 'bfloat16', True))


def run(trial: Trial) -> Found:
    """Measure as many precisions as there is time for, with as large a batch as fits up to the default."""
    device = trial.torch_device
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    batch, gt_size = SMALL if trial.small else DEFAULTS['sdakd'][trial.device]
    setting = Setting('sdakd', device, batch, gt_size, blocks=1 if trial.small else None)
    rounds, found, points = 2 if trial.small else 3, Found(), {}
    for mode in MODES if device.type == 'cuda' else ON_CPU:
        if not trial.has(SHARE):
            found.notes.append(f'{mode.name} was left out: no time.')
            continue
        setting, points[mode.name] = largest(setting, partial(measured, mode=mode, rounds=rounds))
    found.tables = [[row(name, one) for name, one in points.items()]]
    where = (setting.where, replace(setting, amp=None, channels_last=False).words, rounds, STOCK, USUAL, SMALL)
    found.notes.insert(0, ABOUT.format(*where))
    found.numbers = points
    missed = [f'steps: {line}' for line in aims(points)]
    found.notes += ['Aims: ' + '; '.join(f'{aim} of {name}' for name, aim in AIMS.items()) + ', in mixed precision.']
    if trial.small:
        found.notes.append('The aims are for a card and full sizes.')
    else:
        found.surprises += missed
    return found


def largest(setting: Setting, measure: Callable[[Setting], Numbers]) -> tuple[Setting, Numbers]:
    """The numbers at the setting or, where the card's memory is too small, at half of its batch, and so on."""
    while True:
        try:
            return setting, {**measure(setting), 'batch': setting.batch}
        except torch.OutOfMemoryError:
            if setting.batch == 1:
                raise
        gc.collect()  # outside of the except block, whose traceback holds the networks
        torch.cuda.empty_cache()
        setting = replace(setting, batch=setting.batch // 2)


def measured(base: Setting, mode: Mode, rounds: int) -> Numbers:
    """Seconds of each round and bytes held at most, of stage 3, of stock and, as seconds, of stage 3's floor."""
    setting = replace(base, amp=mode.amp, channels_last=mode.channels_last)
    opt, images = options.sdakd(setting), setting.images()
    full = partial(Training, options.stock(full_size(opt)), images)
    builds: dict[str, Callable[[], Step]] = {
        STOCK: full,
        USUAL: full,
        SMALL: partial(stock_in, mode, opt, images),
        OURS: partial(Training, opt, images, stage=2),
    }
    tf32(mode.tf32)
    peaks = {name: peak(build, setting.device) for name, build in builds.items()}
    steps = {name: partial(in_tf32, build(), name != STOCK and mode.tf32) for name, build in builds.items()}
    steps[USUAL] = partial(in_tf32, steps[USUAL].args[0], True)
    counts = PLANS['sdakd'](setting).runs['adversarial'].floor
    parts = {part: step for part, step in timed.parts(opt, images).items() if part in counts}
    timed_parts = {part: partial(in_tf32, step, mode.tf32) for part, step in parts.items()}
    seconds = interleaved({**steps, **timed_parts}, rounds, setting.device)
    floor = [sum(counts[part] * seconds[part][turn] for part in parts) for turn in range(rounds)]
    return {'seconds': {name: seconds[name] for name in steps}, 'floor': floor, 'bytes': peaks, 'amp': mode.amp}


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


def in_tf32(step: Step, on: bool) -> None:
    tf32(on)
    step()


def row(name: str, one: Numbers) -> Row:
    """A line of the table."""
    times, memory = one['seconds'], one['bytes']
    ratios = {f'/ {other}': two_digits(paired_ratio(times[OURS], times[other])) for other in (STOCK, USUAL, SMALL)}
    line = {'': name, OURS: shown(times[OURS]), **ratios, '/ floor': two_digits(paired_ratio(times[OURS], one['floor']))}
    line['GB of stage 3'], line[f'of {STOCK}'] = (megabytes(memory[who]) for who in (OURS, STOCK))
    return {**line, 'batch': one['batch'], 'images/s': f'{one["batch"] / median(times[OURS]):.1f}'}


def aims(points: dict[str, Numbers]) -> list[str]:
    """The aims that the fastest mixed precision misses, in words."""
    mixed = {name: one['seconds'] for name, one in points.items() if one['amp']}
    if not mixed:
        return ['no mixed precision was measured']
    best = min(mixed, key=lambda name: median(mixed[name][OURS]))
    ratios = {other: paired_ratio(mixed[best][OURS], mixed[best][other]) for other in AIMS}
    return [
        f'in {best}, stage 3 takes {ratio:.2f} of {other}; the aim is {AIMS[other]:.2f}'
        for other, ratio in ratios.items()
        if ratio > AIMS[other]
    ]
