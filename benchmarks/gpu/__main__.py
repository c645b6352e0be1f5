"""Try the plugin out on this machine's GPU, offline, within minutes: does it compute what it should, and how fast?

    python -m benchmarks.gpu --photos FOLDER            # writes docs/gpu/CARD.md and CARD.json
    python -m benchmarks.gpu --only parity,resume       # these parts of the page anew
    python -m benchmarks.gpu --device cpu --out FOLDER  # the same at small sizes

docs/gpu/README.md says what each part answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole

from benchmarks.command import command
from benchmarks.gpu import page, part
from benchmarks.gpu.recipes import photographs
from benchmarks.gpu.trial import Trial
from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.errors import UserError, nearest

PARTS = {  # in their order: what is quick and matters most first
    'parity': 'Without a teacher, does the plugin train as stock BasicSR does, in float32?',
    'sync': 'Does an iteration that prints nothing wait for the GPU?',
    'steps': 'How long does a step take, and how much memory, in each precision?',
    'resume': 'Does a run that was stopped and resumed equal an uninterrupted one?',
    'launches': 'How many kernels does a step of the nano student launch?',
    'files': 'Does every option file train?',
    'compiled': 'Would `torch.compile` pay?',
    'processes': 'Do two processes train over NCCL?',
    'training': 'What does the small compact student learn in the time that is left?',
}
MINUTES = {'cuda': 10.0, 'cpu': 2.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trial."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu', description=__doc__, formatter_class=raw)
    embedded = 'photographs; subfolders too (those that scikit-image includes)'
    parser.add_argument('--photos', type=Path, metavar='FOLDER', help=embedded)
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(%(default)s)')
    parser.add_argument('--minutes', type=float, metavar='N', help='of the whole trial (10; on a CPU 2)')
    parser.add_argument('--quick', action='store_true', help='small sizes, as on a CPU')
    parser.add_argument('--only', metavar='PART,PART', help=', '.join(PARTS))
    parser.add_argument('--out', type=Path, default=Path('docs/gpu'), metavar='FOLDER', help='(%(default)s)')
    work = Path('experiments/gpu_trial')
    parser.add_argument('--work', type=Path, default=work, metavar='FOLDER', help='for runs and logs (%(default)s)')
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> None:
    """What the command line asks for."""
    begun, names = time.time(), chosen(parsed.only)
    device = pick_device(parsed.device)
    seconds = 60 * (MINUTES[device.type] if parsed.minutes is None else parsed.minutes)
    if seconds <= 0:
        raise UserError(f'--minutes: {parsed.minutes:g} is not above 0')
    work = parsed.work.absolute()
    for folder in (work, parsed.out):
        folder.mkdir(parents=True, exist_ok=True)
    photos, small = photographs(parsed.photos, work).absolute(), parsed.quick or device.type == 'cpu'
    trial = Trial(device.type, str(photos), str(work), small, seconds, begun + seconds)
    (work / 'trial.json').write_text(json.dumps(asdict(trial)))
    card = page.card_of(device)
    print(f'{card}: {", ".join(names)}; up to {seconds / 60:g} minutes')
    results = {}
    for name in names:
        results[name] = part.result(name, trial)
        print(f'{name}: {results[name]["failed"] or "finished"} ({results[name]["seconds"]} s)', flush=True)
        written = page.write(parsed.out, card, device, {name: results[name]}, PARTS)
    lines = page.surprises({'parts': results})
    print('\n'.join(['What is surprising:', *lines] if lines else ['Nothing is surprising.']))
    print(f'Page: {written}')


def chosen(only: str | None) -> list[str]:
    """The parts of ``--only`` in their order; all without it."""
    asked = [name.strip() for name in only.split(',')] if only is not None else list(PARTS)
    for name in asked:
        if name not in PARTS:
            raise UserError(f"--only: there is no part '{name}'{nearest(name, PARTS)}")
    return [name for name in PARTS if name in asked]


if __name__ == '__main__':
    sys.exit(main())
