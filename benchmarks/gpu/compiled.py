"""Whether compiling the blocks of teacher and student with ``torch.compile`` would pay."""

from __future__ import annotations

import shutil
import time

import torch
from torch import nn
from torch.utils._triton import has_triton

from benchmarks.gpu.trial import SMALL, Found, Trial
from benchmarks.step import options
from benchmarks.step.measure import interleaved
from benchmarks.step.options import DEFAULTS, Setting
from benchmarks.step.timed import Training
from sdakd_plugin.utils.timing import paired_ratio, shown

BLOCK = 'ResidualDenseBlock'  # of RRDBNet; taps are hooks of the blocks around it, which stay as they are
SECONDS = 150  # that compiling may take


def compiled(trial: Trial) -> Found:
    """Stage 3 of SDAKD as it is and compiled, in turns; the first compiled step is timed by itself."""
    if reason := lacking(trial):
        return Found(notes=[f'Not measured: {reason}.'])
    batch, size = SMALL if trial.small else DEFAULTS['sdakd'][trial.device]
    blocks, amp = (1, None) if trial.small else (None, 'bfloat16')
    setting = Setting('sdakd', torch.device(trial.device), batch, size, blocks=blocks, amp=amp, channels_last=True)
    opt, images = options.sdakd(setting), setting.images()
    steps = {name: Training(opt, images, stage=2) for name in ('as it is', 'compiled')}
    for net in (steps['compiled'].model.teacher.net_g, steps['compiled'].model.net_g):
        compile_blocks(net)
    begun = time.perf_counter()
    steps['compiled']()
    first, times = time.perf_counter() - begun, interleaved(steps, 3, setting.device)
    ratio = paired_ratio(times['compiled'], times['as it is'])
    rows = [{'stage 3': name, 'time': shown(seconds)} for name, seconds in times.items()]
    note = f'{setting.words}. Compiled, it takes {ratio:.2f} of the time; the first step took {first:.0f} s.'
    return Found([rows], [note], numbers={'seconds': times, 'first': first, 'ratio': ratio})


def compile_blocks(net: nn.Module) -> None:
    """Compile the residual dense blocks, in place; they share their code, so that few are compiled anew."""
    for module in net.modules():
        if type(module).__name__ == BLOCK:
            module.compile(dynamic=False)


def lacking(trial: Trial) -> str | None:
    """What the measurement would need here, in words."""
    if trial.device == 'cuda' and not has_triton():
        return 'torch.compile needs Triton and a card that it supports'
    if trial.device == 'cpu' and not any(map(shutil.which, ('c++', 'g++', 'clang++'))):
        return 'torch.compile needs a C++ compiler on a CPU'
    return f'{trial.left:.0f} s are left, and compiling may take {SECONDS}' if trial.left < SECONDS else None
