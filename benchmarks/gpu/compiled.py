"""Whether compiling the blocks of teacher and student with ``torch.compile`` would pay."""

from __future__ import annotations

import os
import time

import torch
from torch import nn
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._triton import has_triton

from benchmarks.gpu.trial import SMALL, Found, Trial
from benchmarks.step import options
from benchmarks.step.measure import interleaved
from benchmarks.step.options import DEFAULTS, Setting
from benchmarks.step.timed import Training
from sdakd_plugin.utils.timing import paired_ratio, shown

SECONDS = 150  # that compiling may take
BLOCK = 'ResidualDenseBlock'  # of RRDBNet; taps are hooks of the blocks around it, which stay as they are


def run(trial: Trial) -> Found:
    """Stage 3 of SDAKD as it is and compiled, in turns; the first compiled step is timed by itself."""
    device = trial.torch_device
    if reason := lacking(device):
        return Found(notes=[f'Not measured: {reason}.'])
    if trial.left < SECONDS:
        return Found(notes=[f'Not measured: {trial.left:.0f} s are left, and compiling may take {SECONDS}.'])
    batch, size = SMALL if trial.small else DEFAULTS['sdakd'][trial.device]
    amp = None if trial.small else 'bfloat16'
    setting = Setting('sdakd', device, batch, size, blocks=1 if trial.small else None, amp=amp, channels_last=True)
    opt, images = options.sdakd(setting), setting.images()
    plain, compiled = Training(opt, images, stage=2), Training(opt, images, stage=2)
    for net in (compiled.model.teacher.net_g, compiled.model.net_g):
        compile_blocks(net)
    begun = time.perf_counter()
    compiled()
    first = time.perf_counter() - begun
    times = interleaved({'as it is': plain, 'compiled': compiled}, 3, device)
    ratio = paired_ratio(times['compiled'], times['as it is'])
    rows = [{'stage 3': name, 'time': shown(seconds)} for name, seconds in times.items()]
    note = f'{setting.words}. Compiled, it takes {ratio:.2f} of the time; the first step took {first:.0f} s.'
    return Found(tables=[rows], notes=[note], numbers={'seconds': times, 'first': first, 'ratio': ratio})


def compile_blocks(net: nn.Module) -> None:
    """Compile the residual dense blocks, in place; they share their code, so that few are compiled anew."""
    for module in net.modules():
        if type(module).__name__ == BLOCK:
            module.compile(dynamic=False)


def lacking(device: torch.device) -> str | None:
    """What ``torch.compile`` would need here, in words."""
    if device.type == 'cuda':
        return None if has_triton() else 'torch.compile needs Triton and a card that it supports'
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return f'torch.compile needs a C++ compiler on a CPU, and there is none in {os.environ.get("PATH")}'
    return None
