"""The JSON Schema of option files, with which editors complete and check keys."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from sdakd_plugin.options import Options, TermOptions, known_losses

DIALECT = 'http://json-schema.org/draft-07/schema#'  # which editors know best
NAMED = ('network_g', 'network_d', 'network_d_peer')  # blocks that name a class
OPTIMISING = ('optim_g', 'optim_d', 'scheduler')  # and those of train


class WithoutTitles(GenerateJsonSchema):
    """Pydantic's schema without its titles, which only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def option_schema() -> dict[str, Any]:
    """The schema, made from the declarations in ``sdakd_plugin/options/``.

    Blocks with arguments of a class (``network_*``, ``*_opt``, data sets, metrics, optimizers, schedulers) may have
    further keys. What a schema cannot say, such as the sum of the stages, is left to ``sdakd check``.
    """
    schema = Options.model_json_schema(schema_generator=WithoutTitles)
    blocks = schema['$defs']
    term = TermOptions.model_json_schema(schema_generator=WithoutTitles)
    blocks |= term.pop('$defs')
    term['properties']['type'] = {'type': 'string', 'description': 'The class of the loss.'}
    blocks['TermOptions'] = {**term, 'required': ['type'], 'additionalProperties': True}  # the arguments of the loss
    loss = {'anyOf': [{'$ref': '#/$defs/TermOptions'}, {'type': 'null'}]}
    train = blocks['TrainOptions']
    train['properties'] |= dict.fromkeys(known_losses(), loss)
    train |= {'additionalProperties': False, 'patternProperties': {'_opt$': loss}}
    for block in (*(schema['properties'][key] for key in NAMED), *(train['properties'][key] for key in OPTIMISING)):
        for kind in (block, *block.get('anyOf', ())):
            if kind.get('type') == 'object':
                kind['required'] = ['type']
    for block in (schema, *blocks.values()):
        block.pop('title', None)
        if 'description' in block:
            block['description'] = block['description'].replace('``', '`')
    return {'$schema': DIALECT, **schema}


def schema_text() -> str:
    """The schema as the content of a file."""
    return json.dumps(option_schema(), indent=1, ensure_ascii=False) + '\n'


def schema_line(path: str) -> str:
    """The first line of an option file, by which editors find its schema: a path relative to the option file."""
    return f'# yaml-language-server: $schema={path}\n'
