"""How many kernels a step of the nano student launches: of a small network, they may cost most."""

from __future__ import annotations

from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.recipes import X4PLUS
from benchmarks.gpu.trial import SMALL, Found, Trial
from benchmarks.step import options
from benchmarks.step.measure import interleaved
from benchmarks.step.options import Options, Setting
from benchmarks.step.timed import Step, Training
from sdakd_plugin.utils.timing import shown

LAUNCHES = ('cudaLaunch', 'cuLaunch', 'cudaGraphLaunch')  # begins of the names of the runtime's calls
ABOUT = (
    'The nano student of options/compact_x4.yml, {}; stock: SRGANModel with the same networks and no teacher. '
    'launches: calls of the CUDA runtime that launch a kernel; operators: of torch, without those that others call.'
)


def launches(trial: Trial) -> Found:
    """Count in one step of each training, after others; times are without the profiler's cost."""
    setting = Setting('sdakd', torch.device(trial.device), *(SMALL if trial.small else (8, 128)))
    opt, images = nano(setting), setting.images()
    steps: dict[str, Step] = {'stock': Training(options.stock(opt), images)}
    steps |= {each['name']: Training(opt, images, number) for number, each in enumerate(opt['train']['stages'])}
    seconds = interleaved(steps, 1 if trial.small else 3, setting.device)
    counts = {name: counted(step) for name, step in steps.items()}
    rows = [{'': name, **counts[name], 'time': shown(seconds[name])} for name in steps]
    found = {name: {**counts[name], 'seconds': median(seconds[name])} for name in steps}
    return Found([rows], [ABOUT.format(setting.size)], numbers=found)


def nano(setting: Setting) -> Options:
    """The three stages of ``options/compact_x4.yml`` for the nano student, with an untrained x4plus."""
    opt = options.read('compact_x4', setting)
    opt['network_g'].update(num_feat=32, num_conv=8)
    opt['network_d']['width'] = 0.25
    opt['teacher']['network_g'] = X4PLUS
    return opt


def counted(step: Step) -> dict[str, int]:
    """Operators and, where there is a GPU, kernel launches of a step."""
    gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiler:
        step()
        if gpu:
            torch.cuda.synchronize()
    events = profiler.events()
    operators = [event for event in events if event.name.startswith('aten::')]
    outermost = [each for each in operators if not (each.cpu_parent and each.cpu_parent.name.startswith('aten::'))]
    found = {'launches': sum(event.name.startswith(LAUNCHES) for event in events)} if gpu else {}
    return {**found, 'operators': len(outermost)}
