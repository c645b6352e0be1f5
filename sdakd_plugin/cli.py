"""The command ``sdakd``: stock BasicSR with its folders under the current one, and a summary at the end."""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from sdakd_plugin.errors import UserError

USAGE = """usage: sdakd train -opt FILE [BasicSR's options: --auto_resume, --launcher, --force_yml, ...]
       sdakd test -opt FILE [BasicSR's options]

Runs stock BasicSR's train.py or test.py with experiments/ and results/ under the current folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake costs one line and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # On a CPU that others use too, OpenMP's threads spin against one another: an iteration of the quickstart took 6 s
    # instead of 0.1. This many turns cost a quiet machine nothing, a busy one 0.7 s. Read when torch is loaded.
    os.environ.setdefault('GOMP_SPINCOUNT', '10000')
    if not given or given[0] not in ('train', 'test'):
        print(USAGE, file=sys.stderr)
        return 0 if given and given[0] in ('-h', '--help') else 2
    try:
        (train if given[0] == 'train' else test)(given[1:])
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


def train(arguments: Sequence[str]) -> None:
    """Stock training, which resumes without CUDA too, then the summary."""
    stock = _stock('train', arguments)
    from sdakd_plugin.resume import load_resume_state
    seen: list[dict[str, Any]] = []
    parse_options, stock_resume = stock.parse_options, stock.load_resume_state

    def remember(*args: Any, **kwargs: Any) -> Any:
        opt, rest = parse_options(*args, **kwargs)
        seen.append(deepcopy(opt))
        return opt, rest

    stock.parse_options, stock.load_resume_state = remember, load_resume_state
    try:
        stock.train_pipeline(os.getcwd())
    finally:
        stock.parse_options, stock.load_resume_state = parse_options, stock_resume
    opt = seen[0]
    if opt['rank'] == 0 and opt.get('val'):
        from sdakd_plugin.check import quiet
        from sdakd_plugin.deploy.summary import summarise
        print('Comparing bicubic, teacher and student ...', flush=True)
        try:
            with quiet():
                text = summarise(opt)
        except (OSError, RuntimeError) as error:  # a full disk, or images too large for the teacher's memory
            text = f'The training is complete, but the comparison could not be made: {error}'
        print(text)


def test(arguments: Sequence[str]) -> None:
    """Stock testing."""
    _stock('test', arguments).test_pipeline(os.getcwd())


def _stock(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's ``train`` or ``test`` module, with the arguments where it looks for them."""
    import basicsr  # noqa: F401

    from sdakd_plugin.check import read_yaml
    sys.argv = [f'sdakd {name}', *arguments]
    if '-opt' in arguments[:-1]:
        read_yaml(arguments[list(arguments).index('-opt') + 1])
    return sys.modules[f'basicsr.{name}']


if __name__ == '__main__':
    sys.exit(main())
