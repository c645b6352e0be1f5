"""Prints ``docs/options_reference.md`` from the declarations in ``sdakd_plugin/options.py``:

    python docs/make_options.py > docs/options_reference.md
"""
from __future__ import annotations

import re

from pydantic import BaseModel

from sdakd_plugin.options import (
    AblateOptions,
    AmpOptions,
    LoggerOptions,
    Options,
    StageOptions,
    TeacherOptions,
    TrainOptions,
)

BLOCKS: list[tuple[str, type[BaseModel]]] = [
    ('Top level', Options), ('teacher', TeacherOptions), ('train', TrainOptions), ('train.stages[]', StageOptions),
    ('train.amp', AmpOptions), ('logger', LoggerOptions), ('ablate', AblateOptions)]


def table(block: type[BaseModel]) -> str:
    """The described options of a block as a Markdown table; those without a description are BasicSR's own."""
    lines = ['| option | type | default | meaning |', '|---|---|---|---|']
    for name, field in block.model_fields.items():
        if field.description:
            annotation = field.annotation
            kind = annotation.__name__ if isinstance(annotation, type) else str(annotation)
            kind = kind.replace('typing.', '').replace('sdakd_plugin.options.', '').replace(' | None', '')
            kind = re.sub(r'Optional\[Annotated\[(\w+), (.*)\]\]', r'\1 \2', kind).replace('|', 'or')
            kind = re.sub(r'^Optional\[(.*)\]$', r'\1', kind)
            kind = ' '.join([kind.replace('dict[str, Any]', 'block'), *map(str, field.metadata)])
            for pattern, sign in ((r'Gt\(gt=(.+?)\)', '> '), (r'Ge\(ge=(.+?)\)', '>= '), (r'Lt\(lt=(.+?)\)', '< '),
                                  (r'Le\(le=(.+?)\)', '<= '),
                                  (r'MinLen\(min_length=.+?\)', '')):
                kind = re.sub(pattern, sign + (r'\1' if sign else ''), kind)
            default = 'required' if field.is_required() else '' if field.default is None else f'`{field.default}`'
            lines.append(f'| `{name}` | {kind.strip()} | {default} | {field.description} |')
    return '\n'.join(lines)


def reference() -> str:
    """The whole page."""
    parts = ['# Options, as declared', '', 'Made by `docs/make_options.py`; the prose is in [options.md](options.md).']
    for title, block in BLOCKS:
        parts += ['', f'## {title}', '', table(block)]
    return '\n'.join(parts) + '\n'


if __name__ == '__main__':
    print(reference(), end='')
