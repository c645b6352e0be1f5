"""Reads an option file, and says in one line what is wrong with the file itself."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import MODEL_REGISTRY

from sdakd_plugin.distillation.build import registered
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.options import shown


def is_ours(opt: Any) -> bool:
    """Whether an option file asks for one of this plugin's models."""
    name = opt.get('model_type') if isinstance(opt, Mapping) else None
    model = MODEL_REGISTRY.get(name) if isinstance(name, str) and name in MODEL_REGISTRY else None
    return model is not None and model.__module__.startswith('sdakd_plugin.')


def read_yaml(path: str) -> dict[str, Any]:
    """Read an option file.

    Raises:
        UserError: it cannot be read, is no YAML, or asks for a model that does not exist.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # BasicSR reads it again, which a pipe does not allow
        raise UserError(f"-opt: cannot read '{path}': it is a folder, or not a regular file")
    try:
        with open(path, encoding='utf-8') as file:
            opt = yaml.load(file, ordered_yaml()[0])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"-opt: cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error
    except RecursionError:
        raise UserError(f'-opt: {path} is nested too deeply, or holds itself') from None
    except (TypeError, ValueError, yaml.YAMLError) as error:  # a block as a key, a date without a day
        raise UserError(f'-opt: {path} is no valid YAML: {error}') from error
    if not isinstance(opt, dict):
        raise UserError(f'-opt: {path} holds no options')
    if 'model_type' not in opt:
        raise UserError(f'model_type: this key is missing in {path}' + nearest('model_type', opt))
    models = registered(MODEL_REGISTRY)
    if opt['model_type'] not in models:
        raise UserError(f"model_type: there is no {shown(opt['model_type'])}" + nearest(opt['model_type'], models))
    return opt


def check_keys_are_unique(path: str) -> None:
    """Raise a UserError where a key stands twice in a file that ``read_yaml`` has read: YAML takes the last of them
    without a word."""
    try:
        with open(path, encoding='utf-8') as file:
            _look_at_keys(yaml.compose(file, ordered_yaml()[0]), '')
    except RecursionError:
        raise UserError(f'-opt: {path} is nested too deeply, or holds itself') from None


def _look_at_keys(node: Any, inside: str) -> None:
    lines: dict[str, int] = {}
    for index, value in enumerate(node.value if isinstance(node, yaml.CollectionNode) else ()):
        name = f'{inside}{index}'
        if isinstance(node, yaml.MappingNode):
            key, value = value
            name, line = f'{inside}{key.value}', key.start_mark.line + 1
            if name in lines:
                raise UserError(f'{name}: this key stands twice, in lines {lines[name]} and {line}')
            lines[name] = line
        _look_at_keys(value, f'{name}.')
