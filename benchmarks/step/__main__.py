"""Measure a training step: distillation against stock BasicSR, a plain loop, and the floor of its parts.

    python -m benchmarks.step                                    # SDAKD for Real-ESRGAN x4plus, at what fits
    python -m benchmarks.step --model mutual --cohort 3
    python -m benchmarks.step --channels-last --markdown docs/speed.md --section channels_last --json FILE
    python -m benchmarks.step --sweep docs/speed.svg             # cost against batch, crop, width and cohort
    python -m benchmarks.step --profile FILE                     # where the time of the last stage goes

The timed trainings share one process and take turns. Everything but the options under test is as in ``options/``,
without perceptual losses and R1.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole

from benchmarks.step import page, profiling, result, setting, sweep
from benchmarks.step.command import add_outputs, command
from benchmarks.step.plan import PLANS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    found = argparse.ArgumentParser(prog='python -m benchmarks.step', description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    setting.add_arguments(found)
    add_outputs(found, rounds=10)
    found.add_argument('--section', metavar='NAME', help="the page's section that they replace (the model's name)")
    found.add_argument('--profile', type=Path, metavar='FILE', help="instead: torch's profile of the last stage")
    found.add_argument('--sweep', type=Path, metavar='FILE.svg', help='instead: last stage and stock over the sizes')
    return command(found, run, arguments)


def run(arguments: argparse.Namespace) -> int:
    """What the command line asks for."""
    measured = setting.from_arguments(arguments)
    if arguments.profile:
        arguments.profile.write_text(profiling.profile_last_stage(PLANS[measured.model](measured), measured))
        return 0
    if arguments.sweep:
        points = sweep.measure(measured, arguments.rounds)
        arguments.sweep.write_text(sweep.plot(points), encoding='utf-8')
        shown, page_text, numbers = sweep.as_text(points), sweep.as_markdown(points, measured), sweep.as_json(points)
    else:
        found = result.measure(PLANS[measured.model](measured), measured, arguments.rounds)
        shown, page_text, numbers = result.as_text(found), result.as_markdown(found), result.as_json(found)
    print(shown)
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + '\n', encoding='utf-8')
    if arguments.markdown:
        page.put(arguments.markdown, arguments.section or ('sweep' if arguments.sweep else measured.model), page_text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
