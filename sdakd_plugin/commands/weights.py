"""``sdakd weights``: lists and fetches known weights, and shows the contents of a file."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.table import text
from sdakd_plugin.weights.catalogue import catalogue


def run(arguments: argparse.Namespace) -> int:
    """Run one action. The list needs no torch, which takes seconds to import."""
    if arguments.action == 'inspect':
        return inspect(arguments.file)
    if arguments.action == 'get':
        print(get(arguments.name, arguments.out, arguments.overwrite))
    else:
        print(text(catalogue()))
    return 0


def inspect(source: str) -> int:
    """Print the contents of a file. The exit code is 1 for an unknown architecture."""
    from sdakd_plugin.networks.contents import read_contents
    from sdakd_plugin.stock.silence import quiet

    with quiet():
        contents = read_contents(source, 'weights inspect')
    print(contents)
    return int(contents.identity is None)


def get(name: str, out: Path | None, overwrite: bool) -> Path:
    """Fetch weights, check that they can be read, and copy them to ``out`` if it is given. A safetensors file that is
    copied to another suffix becomes a BasicSR checkpoint in float32.

    Raises:
        UserError: they cannot be fetched or are damaged, or ``out`` exists or cannot be written.
    """
    from sdakd_plugin import weights
    from sdakd_plugin.stock.silence import quiet
    from sdakd_plugin.weights.files import new_file

    if out is not None and os.path.isdir(out):
        raise UserError(f'--out: {out} is a folder; name a file in it')
    if out is not None and os.path.lexists(out) and not overwrite:
        raise UserError(f'--out: {out} exists and is kept; --overwrite replaces it')
    with quiet():
        path, state = weights.load(name, 'weights get')
    if out is None:
        return path
    try:
        if path.suffix == '.safetensors' and out.suffix.lower() != '.safetensors':
            weights.atomic_save({'params': {key: value.float() for key, value in state.items()}}, out)
            return out
        with open(path, 'rb') as source, new_file(out) as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise UserError(f'--out: {out} cannot be written: {error.strerror}') from error
    return out
