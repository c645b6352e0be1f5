"""Trains runs in separate processes, one after another or several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sdakd_plugin.ablation.plan import Run
from sdakd_plugin.errors import Interrupted, UserError
from sdakd_plugin.resume.interruption import Interruption

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

PAUSE = 0.2  # seconds between two looks at the processes


def train(runs: Sequence[Run], jobs: int, lock: int) -> Iterator[tuple[Run, int]]:
    """Train runs; each goes on where it was stopped before.

    Args:
        runs: in the order in which they begin.
        jobs: how many train at a time; they share the processor's cores.
        lock: the file descriptor of ``locked``, which the processes keep open.

    Yields:
        A run and its exit code, as soon as it has ended.

    Raises:
        Interrupted: by SIGINT or SIGTERM, when the runs that were training are saved.
    """
    waiting, active = list(runs), dict[Run, subprocess.Popen[bytes]]()
    interruption = Interruption(lambda: 'the runs that are training save themselves')
    with interruption.watch():
        try:
            while waiting or active:
                if interruption.signal is not None:
                    raise Interrupted(interruption.signal)
                while waiting and len(active) < jobs:
                    run = waiting.pop(0)
                    active[run] = start(run, jobs, lock)
                for run in [run for run, process in active.items() if process.poll() is not None]:
                    yield run, active.pop(run).returncode
                time.sleep(PAUSE)
        finally:
            for process in active.values():
                process.send_signal(signal.SIGTERM)  # it saves itself
            for process in active.values():
                process.wait()


def start(run: Run, jobs: int, lock: int) -> subprocess.Popen[bytes]:
    """Start the process of a run. What it prints goes to the end of its log."""
    run.log.parent.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    command = [
        sys.executable,
        '-m',
        'sdakd_plugin.ablation.child',
        str(run.folder.absolute()),
        '-opt',
        str(run.option_file),
        '--auto_resume',
    ]
    with run.log.open('ab') as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock] if fcntl else [],
            start_new_session=True,  # else Ctrl-C reaches it twice, and the second ends it
            env={'OMP_NUM_THREADS': str(max(1, cores // jobs)), **os.environ},
        )


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep a second ablation out of the folder, as long as this process lives or one that it has started: runs go on
    when their parent is killed. On Windows nothing keeps it out.

    Raises:
        UserError: there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f'{folder}: another `sdakd ablate`, or a run that it has started, still works here; wait '
                'for it, or end it'
            ) from None
        yield file.fileno()


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text(encoding='utf-8', errors='replace').splitlines()[-50:]]
    return next((line for line in reversed(lines) if line), 'it is empty')
