"""The command ``sdakd``: stock BasicSR's training and testing, and the plugin's own subcommands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sdakd_plugin import __version__
from sdakd_plugin.errors import nearest, reported

BASICSR = {  # name: description. Their arguments are BasicSR's.
    'train': 'train a student, and compare it with its teacher at the end',
    'test': "test networks as BasicSR does; with a training's option file, repeat its comparison",
}
COMMANDS = {  # name: description. Only the module of the command that runs is imported.
    'init': 'write an option file for a folder of photographs',
    'check': 'try an option file out in seconds, without writing anything',
    'cache': "store the teacher's images, so that training does not run the teacher",
    'weights': 'list, fetch and inspect weights',
    'upscale': 'enlarge images with a model',
    'export': 'write a model as ONNX, OpenVINO, LiteRT, Core ML, ncnn or safetensors',
    'report': 'measure what students cost, and their teacher',
    'compare': 'compare the image quality of models',
    'watch': 'show a run that is going on in a browser',
    'schema': 'print the JSON Schema of option files, for editors',
    'ablate': 'measure what each part of a recipe gains, against runs without it',
}
USAGE = (
    """usage: sdakd train -opt FILE [BasicSR's options: --auto_resume, --launcher, --force_yml, ...]
       sdakd test -opt FILE [BasicSR's options]
"""
    + ''.join(f'       sdakd {name:<8} {text}; sdakd {name} --help\n' for name, text in COMMANDS.items())
    + """
train and test run stock BasicSR with experiments/ and results/ under the current folder."""
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, which is 1 for an error of the user."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # On a CPU that other programs use, too, spinning OpenMP threads slow each other down: an iteration of the
    # quickstart took 6 s instead of 0.1. With this spin count it takes 0.7 s, on an idle CPU still 0.1. Read by torch.
    os.environ.setdefault('GOMP_SPINCOUNT', '10000')
    if given == ['--version']:
        print(__version__)
        return 0
    if not given or given[0] not in (*BASICSR, *COMMANDS):
        print(USAGE, file=sys.stderr)
        if given and given[0] in ('-h', '--help'):
            return 0
        if given:
            print(
                f"\nerror: there is no command '{given[0]}'{nearest(given[0], (*BASICSR, *COMMANDS))}", file=sys.stderr
            )
        return 2
    return reported(run, *given)


def run(name: str, *arguments: str) -> int:
    """Run one command with its arguments."""
    module = 'basicsr' if name in BASICSR else name
    parser = argparse.ArgumentParser(prog=f'sdakd {name}', description={**BASICSR, **COMMANDS}[name])
    import_module(f'sdakd_plugin.commands.arguments.{module}').add_arguments(parser)
    given = parser.parse_args(arguments)  # --help and mistakes end here, without the seconds that torch takes
    if name in BASICSR:
        getattr(import_module('sdakd_plugin.commands.basicsr'), name)(arguments)
        return 0
    return import_module(f'sdakd_plugin.commands.{name}').run(given)


if __name__ == '__main__':
    sys.exit(main())
