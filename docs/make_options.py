"""Prints ``docs/options_reference.md`` from the declarations in ``sdakd_plugin/options/``:

python docs/make_options.py > docs/options_reference.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from sdakd_plugin.options import Options, TermOptions, TrainOptions

INTRODUCTION = """# Option reference

Every key that the plugin checks, with type and default. [options.md](options.md) explains how to use them. This
page is written by `docs/make_options.py` from `sdakd_plugin/options/`.

- A key without a default and without "required" may be left out.
- A key without a meaning is BasicSR's and means what it means there. `is_train`, `dist`, `rank`, `world_size`,
  `auto_resume` and `root_path` are set by BasicSR itself.
- A block that names a class (`type`) also takes the arguments of that class: networks, losses (`*_opt`), data sets,
  metrics, optimizers and schedulers.
- `cohort[]` is one entry of the list `cohort`; `datasets.NAME` is one block under `datasets`."""
NAMES = {int: 'integer', float: 'number', str: 'text', bool: 'true or false', type(None): 'null', Any: 'any'}
BOUNDS = {'gt': '>', 'ge': '>=', 'lt': '<', 'le': '<='}


class Option(NamedTuple):
    """One key of a block."""

    name: str
    annotation: Any
    limits: tuple[Any, ...]
    required: bool
    default: Any
    meaning: str


def options_of(block: type) -> list[Option]:
    """The keys of a block: a model of pydantic, or a ``TypedDict``, in which every key may be left out."""
    if is_typeddict(block):
        hints = get_type_hints(block, include_extras=True)
        return [Option(name, hint, (), False, None, '') for name, hint in hints.items()]
    return [
        Option(
            field.alias or name,
            field.annotation,
            tuple(field.metadata),
            field.is_required(),
            field.default,
            field.description or '',
        )
        for name, field in block.model_fields.items()  # type: ignore[attr-defined]
    ]


def is_block(annotation: Any) -> bool:
    """Whether an annotation is a class of options."""
    return is_typeddict(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


def blocks(block: type, path: str = '') -> Iterator[tuple[str, type]]:
    """A block and all blocks below it, each with its place in the file."""
    yield path, block
    if block is TrainOptions:  # its losses have names of the user's
        yield from blocks(TermOptions, f'{path}.*_opt')
    for option in options_of(block):
        for suffix, inner in inner_blocks(option.annotation):
            yield from blocks(inner, f'{path}.{option.name}{suffix}'.lstrip('.'))


def inner_blocks(annotation: Any) -> Iterator[tuple[str, type]]:
    """The classes of options in an annotation: ``('[]', StageOptions)`` for ``list[StageOptions] | None``."""
    if is_block(annotation):
        yield '', annotation
    suffix = {list: '[]', dict: '.NAME'}.get(get_origin(annotation), '')
    for part in get_args(annotation):
        for rest, inner in inner_blocks(part):
            yield suffix + rest, inner


def kind(annotation: Any) -> str:
    """A type in the words of an option file, such as ``integer > 0``, ``list[block]`` or ``keep or reset``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ' '.join([kind(parts[0]), *bounds(parts[1:])])
    if origin in (Union, UnionType):
        return ' or '.join(kind(part) for part in parts if part is not type(None))
    if origin is Literal:
        return ' or '.join(f'`{value}`' for value in parts)
    if origin is list:
        return f'list[{kind(parts[0])}]'
    if origin is dict:
        return 'block' if parts[1] is Any else 'blocks by name'
    return 'block' if is_block(annotation) else NAMES[annotation]


def bounds(metadata: tuple[Any, ...]) -> Iterator[str]:
    """The limits of a value, such as ``> 0``."""
    for limit in metadata:
        if isinstance(limit, FieldInfo):
            yield from bounds(tuple(limit.metadata))
        for name, sign in BOUNDS.items():
            if getattr(limit, name, None) is not None:
                yield f'{sign} {getattr(limit, name)}'
        if getattr(limit, 'max_length', None) is not None:
            yield f'of {limit.max_length}'


def table(block: type) -> str:
    """The options of a block as a Markdown table."""
    lines = ['| option | type | default | meaning |', '|---|---|---|---|']
    for option in options_of(block):
        empty = option.default is None or isinstance(option.default, BaseModel)
        value = ' '.join([kind(option.annotation), *bounds(option.limits)])
        default = 'required' if option.required else '' if empty else f'`{as_yaml(option.default)}`'
        lines.append(f'| `{option.name}` | {value} | {default} | {option.meaning} |')
    return '\n'.join(lines)


def as_yaml(value: Any) -> str:
    """A default as an option file writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    seen: dict[type, str] = {}
    for path, block in blocks(Options):
        summary = (block.__doc__ or '').replace('``', '`')
        same = seen.setdefault(block, path)
        content = [summary, '', table(block)] if same == path else [f'The keys of [{same}](#{same}).']
        parts += ['', f'## {path or "Top level"}', '', *content]
    return '\n'.join(parts) + '\n'


if __name__ == '__main__':
    print(reference(), end='')
