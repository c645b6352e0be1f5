"""A process that has imported everything and runs commands in forked children, in a second instead of ten.

Reads JSON lines ``{folder, arguments, stdout, stderr}``, with ``processes`` and ``store`` for distributed training
(gloo, on the CPU), and with ``function``, ``module:name``, to run something other than ``sdakd``. Answers with the
process ids of the children, then with their exit codes. Stock ``basicsr/train.py`` and tests of the start of a process
do not use it.
"""

import faulthandler
import json
import os
import posix  # it and _signal have their names with --like-windows too
import sys
from _signal import SIGALRM, alarm
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch

torch.set_num_threads(1)  # and no operation: a process that has started threads does not fork well
import basicsr  # noqa: E402, F401

import sdakd_plugin.commands.basicsr  # noqa: E402
import sdakd_plugin.evaluation.run_summary  # noqa: E402, F401
from sdakd_plugin.cli import main  # noqa: E402

LONGEST = 300  # seconds for a command


def begin(order, rank):
    """Make this child a session of its own, as torchrun does, with its folder, its output and its place among the
    processes."""
    posix.setsid()
    os.chdir(order['folder'])
    for name, number in (('stdout', 1), ('stderr', 2)):
        os.dup2(os.open(order[name] + (f'.{rank}' if rank else ''), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    faulthandler.register(SIGALRM, chain=True)  # the stacks to stderr, then the end
    alarm(LONGEST)
    if order.get('processes', 1) > 1:  # stock's own launcher insists on NCCL
        from basicsr.utils import options

        options.init_dist = partial(join, rank, order)


def join(rank, order, launcher='pytorch'):
    torch.distributed.init_process_group(
        'gloo', rank=rank, world_size=order['processes'], init_method=f'file://{order["store"]}'
    )


def run(order, rank):
    code = 1
    try:
        begin(order, rank)
        sys.modules['__main__'].__spec__ = find_spec('sdakd_plugin.cli')  # what a spawned worker imports
        command = main
        if 'function' in order:
            module, _, name = order['function'].partition(':')
            command = getattr(import_module(module), name)
        code = command(order['arguments'])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else bool(error.code)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def fork(order, rank):
    child = posix.fork()
    if not child:
        run(order, rank)
    return child


if __name__ == '__main__':
    for line in sys.stdin:
        order = json.loads(line)
        children = [fork(order, rank) for rank in range(order.get('processes', 1))]
        print(*children, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
