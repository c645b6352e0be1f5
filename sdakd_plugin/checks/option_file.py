"""Reads option files; errors in the file itself are reported in one line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import MODEL_REGISTRY

from sdakd_plugin.errors import UserError, missing_key, nearest
from sdakd_plugin.networks.build import registered
from sdakd_plugin.options import Options, shown


def is_ours(opt: Any) -> bool:
    """Whether ``model_type`` of an option file is one of this plugin's models."""
    name = opt.get('model_type') if isinstance(opt, Mapping) else None
    model = MODEL_REGISTRY.get(name) if isinstance(name, str) and name in MODEL_REGISTRY else None
    return model is not None and model.__module__.startswith('sdakd_plugin.')


def read_yaml(path: str) -> dict[str, Any]:
    """Read an option file.

    Raises:
        UserError: it cannot be read, is not YAML, or asks for a model that does not exist.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # BasicSR reads it again, which a pipe does not allow
        raise UserError(f"-opt: cannot read '{path}': it is a folder, or not a regular file")
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"-opt: cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error
    if text.lstrip().lower().startswith(('<!doctype', '<html')):
        raise UserError(f'-opt: {path} holds no options: it is a web page; download the file itself')
    try:
        opt = yaml.load(text, ordered_yaml()[0])
    except RecursionError:
        raise UserError(f'-opt: {path} is nested too deeply, or contains itself') from None
    except yaml.MarkedYAMLError as error:
        if 'nesting depth' in (error.problem or ''):  # the message of newer versions of libyaml
            raise UserError(f'-opt: {path} is nested too deeply, or contains itself') from None
        raise UserError(f'-opt: {path} is not valid YAML: {_in_plain_words(error, text)}') from error
    except (TypeError, ValueError, yaml.YAMLError) as error:  # a block as a key, a date without a day
        raise UserError(f'-opt: {path} is not valid YAML: {error}') from error
    if not isinstance(opt, dict):
        what = 'empty' if opt is None else 'a list' if isinstance(opt, list) else 'text'
        raise UserError(f'-opt: {path} holds no options: it is {what}; it needs keys, such as name: my_run')
    if 'model_type' not in opt:
        raise UserError(f'{missing_key("model_type", opt, Options.model_fields)} in {path}')
    models = registered(MODEL_REGISTRY)
    if opt['model_type'] not in models:
        raise UserError(f'model_type: there is no {shown(opt["model_type"])}' + nearest(opt['model_type'], models))
    return opt


def _in_plain_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """The line, the error, and the remedy for common mistakes."""
    if error.problem_mark is None:
        return str(error)
    number, column = error.problem_mark.line, error.problem_mark.column
    line = [*text.splitlines(), ''][min(number, text.count('\n'))]
    where = f'line {number + 1}'
    if '\t' in line[: len(line) - len(line.lstrip())] or line[column : column + 1] == '\t':
        return f'{where} holds a tab; write spaces instead'
    if any(word in (error.problem or '') for word in ('escape', 'hexdecimal')):  # spelt so by libyaml
        return (
            f'{where}: in double quotes a backslash starts an escape sequence; use single quotes, or / instead '
            'of the backslash'
        )
    if 'yaml.org,2002:merge' in (error.problem or ''):
        return f'{where}: BasicSR does not read merge keys (<<); write the keys of the block out'
    return f'{where}: {error.problem}'


def check_forced(entries: Iterable[str], opt: Mapping[str, Any], path: str) -> None:
    """Check the arguments of ``--force_yml``, on which BasicSR fails with a traceback.

    Args:
        entries: the arguments, each of the form ``KEY:KEY=VALUE``.
        opt: the options of the file.
        path: the file, for the message.

    Raises:
        UserError: an entry does not have exactly one ``=``, or names a block that does not exist.
    """
    for entry in entries:
        expected = f'--force_yml: expected KEY:KEY=VALUE with keys of {path}, not {shown(entry)}'
        if entry.count('=') != 1:
            raise UserError(f'{expected}, which has {entry.count("=") or "no"} =')
        holder: Any = opt
        for part in entry.partition('=')[0].strip().split(':')[:-1]:
            holder = holder.get(part) if isinstance(holder, Mapping) else None
            if not isinstance(holder, Mapping):
                raise UserError(f"{expected}: '{part}' is not a block of it")


def check_keys_are_unique(path: str) -> None:
    """Raise a UserError if a key occurs twice in a block of a file that ``read_yaml`` has read: YAML would silently
    take the last one."""
    try:
        with open(path, encoding='utf-8') as file:
            _look_at_keys(yaml.compose(file, ordered_yaml()[0]), '')
    except RecursionError:
        raise UserError(f'-opt: {path} is nested too deeply, or contains itself') from None


def _look_at_keys(node: Any, inside: str) -> None:
    lines: dict[str, int] = {}
    for index, value in enumerate(node.value if isinstance(node, yaml.CollectionNode) else ()):
        name = f'{inside}{index}'
        if isinstance(node, yaml.MappingNode):
            key, value = value
            name, line = f'{inside}{key.value}', key.start_mark.line + 1
            if name in lines:
                raise UserError(f'{name}: this key occurs twice, in lines {lines[name]} and {line}')
            lines[name] = line
        _look_at_keys(value, f'{name}.')
