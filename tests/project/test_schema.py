"""The JSON Schema of option files accepts every file in options/ and refuses what ``sdakd check`` refuses."""

import json
import runpy

import jsonschema
import pytest
import yaml
from basicsr.utils.options import ordered_yaml

from sdakd_plugin import cli
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import Options, TrainOptions, parse
from tests.helpers.mistakes import change
from tests.helpers.paths import ROOT

FILES = sorted(ROOT.glob('options/**/*.yml'))
SCHEMA = json.loads((ROOT / 'options/schema.json').read_text(encoding='utf-8'))
MAKE = runpy.run_path(str(ROOT / 'docs/make_schema.py'))


def test_the_committed_schema_is_what_the_command_prints(capsys):
    assert cli.main(['schema']) == 0
    committed = (ROOT / 'options/schema.json').read_text(encoding='utf-8')
    assert capsys.readouterr().out == committed, 'run docs/make_schema.py'
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT / 'options')))
def test_every_option_file_is_valid_and_names_the_schema(path):
    text = path.read_text(encoding='utf-8')
    line = text.splitlines()[0]
    assert line + '\n' == MAKE['first_line'](path), 'run docs/make_schema.py'
    assert (path.parent / line.partition('$schema=')[2]).samefile(ROOT / 'options/schema.json')
    jsonschema.validate(yaml.load(text, ordered_yaml()[0]), SCHEMA)


@pytest.mark.parametrize(
    'path, value',
    [
        ('scal', 4),
        ('model_type', ...),
        ('num_gpu', 'all'),
        ('scale', '4'),
        ('train/total_iter', 0),
        ('train/pixel_op', {'type': 'L1Loss'}),
        ('train/stages/0/iter', 2),
        ('train/stages/0/losses', []),
        ('train/mutual_images', 'all'),
        ('teacher/pretrain', 'RealESRGAN_x4plus'),
        ('datasets/train/batch_size_per_gpu', 0),
        ('logger/keep_last', 0),
    ],
)
def test_broken_files_are_refused_as_check_refuses_them(options, path, value):
    jsonschema.validate(options, SCHEMA)
    broken = change(options, path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)
    with pytest.raises(UserError):
        parse(broken)


def test_blocks_of_a_class_need_its_name(options):
    for path in ('network_g/type', 'train/optim_g/type', 'train/pixel_opt/type'):
        with pytest.raises(jsonschema.ValidationError, match='type'):
            jsonschema.validate(change(options, path, ...), SCHEMA)


def test_keys_have_their_descriptions():
    for block, holder in ((Options, SCHEMA), (TrainOptions, SCHEMA['$defs']['TrainOptions'])):
        for name, field in block.model_fields.items():
            assert holder['properties'][name].get('description') == field.description
