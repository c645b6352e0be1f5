"""Try the plugin out on this machine's GPU, offline, within minutes: does it compute what it should, and how fast?

    python -m benchmarks.gpu --photos FOLDER            # writes docs/gpu/CARD.md and CARD.json
    python -m benchmarks.gpu --only parity,resume       # these parts of the page anew
    python -m benchmarks.gpu --device cpu --out FOLDER  # the same at small sizes

docs/gpu/README.md says what each part answers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole

from benchmarks.command import command
from benchmarks.gpu import page
from benchmarks.gpu.recipes import photographs
from benchmarks.gpu.trial import Trial, result
from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.errors import nearest

PARTS = {  # function: module and question, in their order; the last takes the time that is left
    'parity': ('parity', 'Without a teacher, does the plugin train as stock BasicSR does, in float32?'),
    'steps': ('steps', 'How long does a step take, and how much memory, in each precision?'),
    'resume': ('runs', 'Does a run that was stopped and resumed equal an uninterrupted one?'),
    'launches': ('launches', 'How many kernels does a step of the nano student launch?'),
    'sync': ('files', 'Does an iteration that prints nothing wait for the GPU, in any precision?'),
    'files': ('files', 'Does every option file train, and without waiting for the GPU?'),
    'compiled': ('compiled', 'Would `torch.compile` pay?'),
    'processes': ('runs', 'Do two processes train over NCCL?'),
    'training': ('runs', 'What does the small compact student learn in the time that is left?'),
}
ASKS = {name: asks for name, (_, asks) in PARTS.items()}
MINUTES = {'cuda': 10.0, 'cpu': 4.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trial."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu', description=__doc__, formatter_class=raw)
    parser.add_argument('--photos', type=Path, metavar='FOLDER', help="photographs (those of scikit-image's wheel)")
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(%(default)s)')
    parser.add_argument('--minutes', type=float, metavar='N', help='of the whole trial (10; on a CPU 4)')
    parser.add_argument('--quick', action='store_true', help='small sizes, as on a CPU')
    parser.add_argument('--only', type=chosen, default=list(PARTS), metavar='PART,PART', help=', '.join(PARTS))
    parser.add_argument('--out', type=Path, default=Path('docs/gpu'), metavar='FOLDER', help='(%(default)s)')
    work = Path('experiments/gpu_trial')
    parser.add_argument('--work', type=Path, default=work, metavar='FOLDER', help='for runs and logs (%(default)s)')
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> None:
    """What the command line asks for."""
    begun, device, work = time.time(), pick_device(parsed.device), parsed.work.absolute()
    seconds = 60 * (MINUTES[device.type] if parsed.minutes is None else parsed.minutes)
    for folder in (work, parsed.out):
        folder.mkdir(parents=True, exist_ok=True)
    photos, small = str(photographs(parsed.photos, work).absolute()), parsed.quick or device.type == 'cpu'
    trial = Trial(device.type, photos, str(work), small, seconds, begun + seconds)
    card, versions, results = page.name_of(device), page.versions(device), {}
    print(f'{card}: up to {seconds / 60:g} minutes for {", ".join(parsed.only)}')
    for name in parsed.only:
        results[name] = {**result(PARTS[name][0], name, trial), 'versions': versions}
        print(f'{name}: {results[name]["failed"] or "finished"} ({results[name]["seconds"]} s)', flush=True)
        written = page.write(parsed.out, card, results, ASKS)
    print('\n'.join(['Surprising:', *(page.surprises(results) or ['nothing']), f'Page: {written}']))


def chosen(only: str) -> list[str]:
    """The parts of ``--only``, in their order."""
    asked = [name.strip() for name in only.split(',')]
    for name in asked:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part '{name}'{nearest(name, PARTS)}")
    return [name for name in PARTS if name in asked]


if __name__ == '__main__':
    sys.exit(main())
