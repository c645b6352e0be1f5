"""Imports the modules of an option file's ``custom_imports``, which register a user's own networks with BasicSR."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module, invalidate_caches
from pathlib import Path
from traceback import extract_tb
from typing import Any

from sdakd_plugin.errors import UserError


def import_custom(opt: Mapping[str, Any]) -> None:
    """Import the modules, from the working directory or from what is installed, before networks are built.

    Args:
        opt: the option file's content; a ``custom_imports`` that is no list is left to ``options.parse``.

    Raises:
        UserError: a module does not exist, or raises.
    """
    names = opt.get('custom_imports')
    if not isinstance(names, list) or not names:
        return
    here = os.getcwd()
    sys.path.insert(0, here)
    invalidate_caches()
    try:
        for name in names:
            _import(str(name))
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)  # for what the modules import later; what is installed comes first


def _import(name: str) -> None:
    key = f'custom_imports: {name}'
    try:
        import_module(name)
    except UserError as error:
        raise UserError(f'{key}: {error}') from error
    except Exception as error:  # the user's code can raise anything
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f'{name}.'.startswith(f'{error.name}.')
        ):
            raise UserError(f'{key}: there is no such module; {_remedy(name)}') from None
        frame = extract_tb(error.__traceback__)[-1]
        file = getattr(error, 'filename', None) or frame.filename  # of a syntax error
        line = getattr(error, 'lineno', None) or frame.lineno
        raise UserError(
            f'{key} cannot be imported: {type(error).__name__}: {getattr(error, "msg", None) or error} '
            f'(in {os.path.relpath(file)}:{line}); mend it, or leave it out'
        ) from error


def _remedy(name: str) -> str:
    """What to write instead: a module of the working directory, if one is meant."""
    here = Path.cwd()
    plain = name.removesuffix('.py').replace('/', '.').strip('.')
    if plain != name and here.joinpath(*plain.split('.')).with_suffix('.py').is_file():
        return f'write {plain}'
    close = get_close_matches(name, [path.stem for path in here.glob('*.py')], 1)
    if close:
        return f'did you mean {close[0]!r}?'
    return f'it is neither a file {name.replace(".", "/")}.py in {here} nor installed; start from its folder'
