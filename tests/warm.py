"""A process that has imported everything, and runs ``sdakd`` commands in children of its own: a second instead of ten.

Reads JSON lines ``{folder, arguments, stdout, stderr}``; answers with the child's process number, then with its exit
code. Stock ``basicsr/train.py`` is never run here, nor what tests the start of a process.
"""
import json
import os
import sys

import torch

torch.set_num_threads(1)  # and no operation: a process that has started threads does not fork well
import basicsr  # noqa: E402, F401

import sdakd_plugin.commands.basicsr  # noqa: E402
import sdakd_plugin.deploy.summary  # noqa: E402, F401
from sdakd_plugin.cli import main  # noqa: E402


def run(order):
    os.setsid()
    os.chdir(order['folder'])
    for name, number in (('stdout', 1), ('stderr', 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 1
    try:
        code = main(order['arguments'])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else bool(error.code)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == '__main__':
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
