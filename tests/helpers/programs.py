"""Runs BasicSR and ``sdakd`` as a user does, in a temporary folder."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import yaml

from tests.helpers.paths import ROOT


class Warm:
    """The process of ``tests/helpers/warm.py``."""

    def __init__(self):
        command = [sys.executable, '-W', 'ignore', '-m', 'tests.helpers.warm']
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )

    def start(self, folder, arguments, **more):
        """Start a command; the process number of its session. What it prints goes to two files beside the folder.

        ``more`` goes into the order: ``processes`` for several that train together, whose numbers are ``children``.
        """
        order = {
            'folder': str(folder),
            'arguments': arguments,
            'stdout': f'{folder}.out',
            'stderr': f'{folder}.err',
            'store': f'{folder}.{uuid4().hex}',
            **more,
        }
        self.process.stdin.write(json.dumps(order) + '\n')
        self.process.stdin.flush()
        self.children = [int(number) for number in self.process.stdout.readline().split()]
        return self.children[0]

    def wait(self, folder, arguments):
        """The end of the command that was started, of the first of its processes; ``codes`` has all exit codes."""
        self.codes = [int(code) for code in self.process.stdout.readline().split()]
        return subprocess.CompletedProcess(
            arguments, self.codes[0], *(Path(f'{folder}.{kind}').read_text() for kind in ('out', 'err'))
        )


class Stock:
    """Stock BasicSR in a folder of its own: ``basicsr/train.py`` there is the installed one, unedited."""

    def __init__(self, folder, warm=None):
        self.folder, self.python, self.warm = folder, sys.executable, warm
        (folder / 'basicsr').symlink_to(Path(find_spec('basicsr').origin).parent)

    def run(self, command, opt, *arguments, env=None, **more):
        """Run ``basicsr/train.py``, ``basicsr/test.py`` or ``sdakd ...`` with an option dictionary or file.

        ``more`` goes to the warm process: how many ``processes`` train together, and a ``function`` instead of sdakd.
        """
        path = opt
        if isinstance(opt, dict):
            path = self.folder / 'opt.yml'
            path.write_text(yaml.safe_dump(opt, sort_keys=False))
        if self.warm and not command.endswith('.py') and not env and self.python == sys.executable:
            arguments = [*command.split()[1:], '-opt', str(path), *arguments]
            if more.get('processes', 1) > 1:
                arguments += ['--launcher', 'pytorch']
            self.warm.start(self.folder, arguments, **more)
            return self.warm.wait(self.folder, arguments)
        program = command.split() if command.endswith('.py') else ['-m', 'sdakd_plugin.cli', *command.split()[1:]]
        return subprocess.run(
            [str(self.python), *program, '-opt', str(path), *arguments],
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=300,
            env={**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})},
        )

    def ok(self, command, opt, *arguments, env=None, **more):
        done = self.run(command, opt, *arguments, env=env, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not more or set(self.warm.codes) == {0}, self.warm.codes
        return done.stdout + done.stderr
