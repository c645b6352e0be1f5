"""How fast the networks run in every backend and precision, next to PyTorch, to x4plus and to the processor's peak.

    python -m benchmarks.serving --markdown docs/speed.md --json FILE
    python -m benchmarks.serving --threads 1 2 --size 160 106 --all

All runs share one process and take turns. Networks that cannot be had here, and backends that are not installed, are
left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import cv2
import torch

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
FOLDER, HEIGHT, WIDTH = 12, 192, 256  # images, and pixels of each


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = new_parser('benchmarks.serving', __doc__, rounds=10)
    parser.add_argument('--networks', nargs='+', default=NETWORKS, metavar='FILE_OR_NAME', help=' '.join(NETWORKS))
    parser.add_argument(
        '--size', type=int, nargs=2, default=(96, 64), metavar=('W', 'H'), help='of the LQ image (96 64)'
    )
    parser.add_argument('--threads', type=int, nargs='+', default=[1], metavar='N', help='(1)')
    parser.add_argument('--all', action='store_true', help='x4plus in int8, too: minutes, and 6 GB of memory')
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> None:
    """What the command line asks for."""
    networks = [load_model(name, '--networks') for name in parsed.networks]
    found = {threads: measure(networks, threads, parsed) for threads in parsed.threads}
    tables = [rows(networks, one) for one in found.values()]
    width, height = parsed.size
    notes = [
        f'One LQ image of {width}x{height} pixels, {" and ".join(map(str, found))} threads, torch {torch.__version__}. '
        f'time: median of {parsed.rounds} rounds in which all took turns (in brackets the middle half). / torch and / '
        f'{TEACHER}: times as fast as that network in PyTorch and float32, medians over the rounds. of peak: '
        'multiply-adds per second, as part of those of a matrix product of the same precision. PSNR to float and '
        'lost (to the ground truth, on luma): on two photographs that did not calibrate.',
        *(f'{threads} threads: {line}' for threads, one in found.items() for line in one['notes']),
    ]
    write(parsed, 'serving', tables, notes, found)


def measure(networks: Sequence[Model], threads: int, parsed: argparse.Namespace) -> dict[str, Any]:
    """Seconds by network and backend, what int8 costs, the peaks in multiply-adds per second, and lines to print."""
    torch.set_num_threads(threads)
    runs, quality, notes = {}, {}, []
    for model in networks:
        found, left_out = build_named(model, 'auto', CPU, in_int8=parsed.all or model.name != TEACHER)
        runs |= {(model.name, label): one for label, one in {PLAIN: ImageToImage(model.net), **found}.items()}
        exact = fidelities(model, {label: one for label, one in found.items() if 'int8' in label})
        quality |= {(model.name, label): (one.psnr, one.loss) for label, one in exact.items()}
        notes += left_out
    image = photograph(networks[0], parsed.size[1], parsed.size[0])
    with torch.no_grad():
        times = in_turns({key: lambda one=one: one(image) for key, one in runs.items()}, parsed.rounds, CPU)
        peaks = peak()
        last = networks[-1]
        fastest = min(
            (key for key in times if key[0] == last.name and 'int8' not in key[1]), key=lambda key: min(times[key])
        )
        alone, folder = folder_speed(last, runs[fastest])
    notes.append(
        f'a folder of {FOLDER} images of {WIDTH}x{HEIGHT} pixels takes {folder:.2f} s, {last.name} alone in '
        f'{fastest[1]} {alone:.2f} s: {alone / folder:.0%} of its speed. A matrix product reaches '
        + ', '.join(f'{value / 1e9:.0f} G multiply-adds/s in {name}' for name, value in peaks.items())
        + '.'
    )
    counts = {model.name: cost.count(model.net, image.shape[1:]).multiply_adds for model in networks}
    return {
        'seconds': {name: {label: times[name, label] for other, label in times if other == name} for name in counts},
        'psnr_to_float_and_loss': {' '.join(key): value for key, value in quality.items()},
        'multiply_adds': counts,
        'peaks': peaks,
        'folder_seconds': {'network': alone, 'all': folder},
        'notes': notes,
    }


def peak() -> dict[str, float]:
    """Multiply-adds per second of a matrix product, by precision."""
    a, b = torch.rand(2, SIDE, SIDE)
    c, d = torch.randint(-100, 100, (2, SIDE, SIDE), dtype=torch.int8)
    times = in_turns({'float32': lambda: a @ b, 'int8': lambda: torch._int_mm(c, d)}, 10, CPU)
    return {name: SIDE**3 / median(found) for name, found in times.items()}


def folder_speed(model: Model, runner: torch.nn.Module) -> tuple[float, float]:
    """Seconds of the bare network for the images of a folder, and of ``sdakd upscale`` from files to files."""
    image = photograph(model, HEIGHT, WIDTH)
    with TemporaryDirectory() as folder:
        source, target = Path(folder, 'in'), Path(folder, 'out')
        source.mkdir()
        pixels = (image[0].permute(1, 2, 0).numpy() * 255).astype('uint8')
        for number in range(FOLDER):
            cv2.imwrite(f'{source}/{number}.png', pixels)
        upscaler = Upscaler(Model(**{**vars(model), 'run': runner}), CPU)
        steps = {
            'alone': lambda: [runner(image) for _ in range(FOLDER)],
            'files': lambda: list(upscale_files(upscaler, plan([source], target), True)),
        }
        times = in_turns(steps, 3, CPU)
    return median(times['alone']), median(times['files'])


def rows(networks: Sequence[Model], found: dict[str, Any]) -> list[Row]:
    """A line for each network in each backend."""
    lines = []
    for model in networks:
        name = model.name
        for label, times in found['seconds'][name].items():
            psnr, loss = found['psnr_to_float_and_loss'].get(f'{name} {label}', ('', ''))
            speed = found['multiply_adds'][name] / median(times)
            row = {'network': name, 'runs in': label, 'time': shown(times, 2)}
            row['/ torch'] = f'{paired_ratio(found["seconds"][name][PLAIN], times):.2f}'
            if TEACHER in found['seconds']:
                row[f'/ {TEACHER}'] = f'{paired_ratio(found["seconds"][TEACHER][PLAIN], times):,.1f}'
            row['of peak'] = f'{speed / found["peaks"]["int8" if "int8" in label else "float32"]:.0%}'
            lines.append({**row, 'PSNR to float': psnr and f'{psnr:.1f} dB', 'lost': loss and f'{loss:.3f} dB'})
    return lines


if __name__ == '__main__':
    sys.exit(main())
