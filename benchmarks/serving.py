"""How fast the networks run in every backend and precision, next to PyTorch, to x4plus and to the processor's peak.

    python -m benchmarks.serving --markdown docs/speed.md --json FILE
    python -m benchmarks.serving --threads 1 2 --size 160 106 --all

All runs of a number of threads share one process and take turns. Backends that are not installed are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import torch
from basicsr.utils import imwrite, tensor2img
from torch import nn

from benchmarks.command import command, new_parser, write
from sdakd_plugin.backends.variants import build_named, fidelities
from sdakd_plugin.evaluation import cost
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.export.exportable import photograph
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.inference.upscale_files import plan, upscale_files
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.utils.timing import in_turns, paired_ratio, shown

CPU, TEACHER, PLAIN = torch.device('cpu'), 'RealESRGAN_x4plus', 'torch'
NETWORKS = (TEACHER, 'realesr-general-x4v3', 'sdakd_small_x4', 'sdakd_nano_x4')
SIDE = 1024  # of the matrices whose product is the processor's peak
IMAGES, HEIGHT, WIDTH = 24, 192, 256  # of the folder
ABOUT = (
    'An LQ image of {}x{} pixels. time: median of {} rounds in which all took turns (in brackets the middle half). / '
    'torch and / {}: how many times faster than that network in PyTorch and float32. of peak: multiply-adds per '
    "second, as part of a matrix product's of the same precision. PSNR to float: to PyTorch's image; lost: to the "
    'ground truth.'
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = new_parser('benchmarks.serving', __doc__, rounds=10)
    parser.add_argument('--networks', nargs='+', default=NETWORKS, metavar='FILE_OR_NAME', help=' '.join(NETWORKS))
    parser.add_argument('--size', type=int, nargs=2, default=(96, 64), metavar=('W', 'H'), help='LQ image (96 64)')
    parser.add_argument('--threads', type=int, nargs='+', default=[1], metavar='N', help='(1)')
    parser.add_argument('--all', action='store_true', help='x4plus in int8, too: minutes, and 6 GB of memory')
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> None:
    """What the command line asks for."""
    networks = [load_model(name, '--networks') for name in parsed.networks]
    found = [measure(networks, threads, parsed) for threads in parsed.threads]
    notes = [ABOUT.format(*parsed.size, parsed.rounds, TEACHER), *(line for one in found for line in one['notes'])]
    write(parsed, 'serving', [rows(one) for one in found], notes, found)


def measure(networks: Sequence[Model], threads: int, parsed: argparse.Namespace) -> dict[str, Any]:
    """Seconds by network and backend, what int8 costs, peaks and networks in multiply-adds, and lines to print."""
    torch.set_num_threads(threads)
    runs: dict[tuple[str, str], nn.Module] = {}
    quality: dict[str, tuple[float, float]] = {}
    notes: list[str] = []
    for model in networks:
        found, left_out = build_named(model, 'auto', CPU, in_int8=parsed.all or model.name != TEACHER)
        runs |= {(model.name, label): one for label, one in {PLAIN: ImageToImage(model.net), **found}.items()}
        near = fidelities(model, {label: one for label, one in found.items() if 'int8' in label})
        quality |= {f'{model.name} {label}': (one.psnr, one.loss) for label, one in near.items()}
        notes += left_out
    image = photograph(networks[0], *reversed(parsed.size))
    times, peaks = cost.interleaved(runs, image, parsed.rounds), peak()
    seconds = {model.name: {key[1]: times[key] for key in times if key[0] == model.name} for model in networks}
    for model in networks[-2:]:  # the students
        label = min(seconds[model.name], key=lambda label: min(seconds[model.name][label]))
        notes.append(folder(model, label, runs[model.name, label]))
    reached = ', '.join(f'{value / 1e9:.0f} G multiply-adds/s in {name}' for name, value in peaks.items())
    notes.insert(0, f'On {cost.machine(CPU)}, torch {torch.__version__}. A matrix product reaches {reached}.')
    counts = {model.name: cost.count(model.net, image.shape[1:]).multiply_adds for model in networks}
    return {'seconds': seconds, 'quality': quality, 'multiply_adds': counts, 'peaks': peaks, 'notes': notes}


def peak() -> dict[str, float]:
    """Multiply-adds per second of a matrix product, by precision."""
    a, b = torch.rand(2, SIDE, SIDE)
    c, d = torch.randint(-100, 100, (2, SIDE, SIDE), dtype=torch.int8)
    times = in_turns({'float32': lambda: a @ b, 'int8': lambda: torch._int_mm(c, d)}, 10, CPU)
    return {name: SIDE**3 / median(found) for name, found in times.items()}


@torch.no_grad()
def folder(model: Model, label: str, runner: nn.Module) -> str:
    """What ``sdakd upscale`` takes for the images of a folder, next to the bare network, as a line."""
    image, upscaler = photograph(model, HEIGHT, WIDTH), Upscaler(replace(model, run=runner), CPU)
    with TemporaryDirectory() as source, TemporaryDirectory() as target:
        for number in range(IMAGES):
            imwrite(tensor2img(image), f'{source}/{number}.png')
        steps = {
            'alone': lambda: [runner(image) for _ in range(IMAGES)],
            'files': lambda: list(upscale_files(upscaler, plan([source], target), overwrite=True)),
        }
        alone, files = map(median, in_turns(steps, 3, CPU).values())
    return (
        f'{IMAGES} images of {WIDTH}x{HEIGHT} pixels by {model.name} in {label}: {alone:.2f} s in the network alone, '
        f'{files:.2f} s from files to files, {alone / files:.0%} of its speed.'
    )


def rows(found: dict[str, Any]) -> list[Row]:
    """A line for each network in each backend."""
    lines: list[Row] = []
    for name, by_label in found['seconds'].items():
        for label, times in by_label.items():
            row = {'network': name, 'runs in': label, 'time': shown(times, 2)}
            row['/ torch'] = f'{paired_ratio(by_label[PLAIN], times):.2f}'
            if TEACHER in found['seconds']:
                row[f'/ {TEACHER}'] = f'{paired_ratio(found["seconds"][TEACHER][PLAIN], times):,.1f}'
            full = found['peaks']['int8' if 'int8' in label else 'float32']
            row['of peak'] = f'{found["multiply_adds"][name] / median(times) / full:.0%}'
            if quality := found['quality'].get(f'{name} {label}'):
                row |= {'PSNR to float': f'{quality[0]:.1f} dB', 'lost': f'{quality[1]:.3f} dB'}
            lines.append(row)
    return lines


if __name__ == '__main__':
    sys.exit(main())
