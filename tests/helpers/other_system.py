"""Runs ``sdakd`` without what Linux has and Windows or macOS have not: signals, forks, locks, ``/proc``; workers are
spawned."""

import builtins
import multiprocessing
import os
import signal
import sys
from pathlib import Path

MODULES = ('fcntl', 'resource', 'pwd', 'grp', 'termios')


def forget():
    """Take the names away from this process."""
    import torch.utils.data._utils.signal_handling as handling

    handling._set_SIGCHLD_handler = lambda: None  # torch looks at sys.platform, where there is no such signal
    for name in ('SIGCHLD', 'SIGHUP', 'SIGKILL', 'SIGUSR1'):
        delattr(signal, name)
    for name in ('fork', 'sched_getaffinity', 'killpg', 'setsid'):
        delattr(os, name)
    multiprocessing.set_start_method('spawn', force=True)
    import_module, read_text, exists = builtins.__import__, Path.read_text, Path.exists

    def absent(name, *args, **kwargs):
        if name in MODULES and 'sdakd_plugin' in (args[0] or {}).get('__name__', ''):
            raise ImportError(name)
        return import_module(name, *args, **kwargs)

    def read(path, *args, **kwargs):
        if str(path).startswith('/proc'):
            raise FileNotFoundError(path)
        return read_text(path, *args, **kwargs)

    builtins.__import__, Path.read_text = absent, read
    Path.exists = lambda path, **kwargs: not str(path).startswith('/proc') and exists(path, **kwargs)


if __name__ == '__main__':
    forget()
    from sdakd_plugin.cli import main

    sys.exit(main())
