"""How many kernels a step of the nano student launches: of so small a network, they cost more than the arithmetic."""

from __future__ import annotations

from functools import partial
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.trial import SMALL, Found, Trial
from benchmarks.step import options
from benchmarks.step.measure import interleaved
from benchmarks.step.options import Options, Setting
from benchmarks.step.timed import Step, Training
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import shown
from sdakd_plugin.weights.known import KNOWN

LAUNCHES = ('cudaLaunch', 'cuLaunch', 'cudaGraphLaunch')  # names of the runtime's calls begin so
ABOUT = (
    "The nano student of options/compact_x4.yml, in float32; {}: each stage of the plugin, and stock's SRGANModel with "
    'the same networks and no teacher. launches: calls of the CUDA runtime that launch a kernel; operators: of torch, '
    'those that another one calls not counted.'
)


def run(trial: Trial) -> Found:
    """Count in one step after two others, without the profiler's own cost in the times."""
    device = trial.torch_device
    setting = Setting('sdakd', device, *SMALL) if trial.small else Setting('sdakd', device, 8, 128)
    opt, images = nano(setting), setting.images()
    steps: dict[str, Step] = {'stock': Training(options.stock(opt), images)}
    for number, stage in enumerate(opt['train']['stages']):
        steps[stage['name']] = Training(opt, images, number)
    seconds = interleaved(steps, 3, device)
    rows: list[Row] = [{'': name, **counted(step, device), 'time': shown(seconds[name])} for name, step in steps.items()]
    numbers = [{**row, 'median': median(seconds[row['']])} for row in rows]
    return Found(tables=[rows], notes=[ABOUT.format(setting.size)], numbers=numbers)


def nano(setting: Setting) -> Options:
    """The three stages of ``options/compact_x4.yml`` for the nano student, with an untrained x4plus."""
    opt = options.read('compact_x4', setting)
    opt['network_g'].update(num_feat=32, num_conv=8)
    opt['network_d']['width'] = 0.25
    opt['teacher']['network_g'] = KNOWN['RealESRGAN_x4plus'].network
    return opt


def counted(step: Step, device: torch.device) -> dict[str, int]:
    """Operators and, on CUDA, kernel launches of a step."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == 'cuda' else [])]
    finish = torch.cuda.synchronize if device.type == 'cuda' else partial(int, 0)
    finish()
    with profile(activities=activities) as profiler:
        step()
        finish()
    events = profiler.events()
    operators = [event for event in events if event.name.startswith('aten::')]
    outermost = sum(not (event.cpu_parent and event.cpu_parent.name.startswith('aten::')) for event in operators)
    launches = {'launches': sum(event.name.startswith(LAUNCHES) for event in events)} if device.type == 'cuda' else {}
    return {**launches, 'operators': outermost}
