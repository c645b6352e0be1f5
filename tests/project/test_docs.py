"""The documentation and the option files match the code."""

import re
import runpy
from collections import Counter

import pytest
import yaml
from basicsr.utils.options import ordered_yaml

from sdakd_plugin import options
from sdakd_plugin.options import parse
from tests.helpers.paths import ROOT

FILES = sorted(ROOT.glob('options/**/*.yml'))


def test_the_reference_is_what_the_declarations_say():
    made = runpy.run_path(str(ROOT / 'docs/make_options.py'))['reference']()
    assert made == (ROOT / 'docs/options_reference.md').read_text(), 'run docs/make_options.py'


def test_the_reference_has_every_field_of_every_class_of_options():
    """Each field once for every class that declares it; ``__annotations__`` also knows what has no description."""
    classes = [
        value
        for value in vars(options).values()
        if isinstance(value, type) and value.__module__.startswith(options.__name__)
    ]
    fields = Counter(
        'from' if (block.__name__, name) == ('RampOptions', 'start') else name  # which is a keyword of Python
        for block in classes
        for name in ('from' if name == 'from_stage' else name for name in block.__annotations__)
        if name not in ('__pydantic_config__', 'model_config')
    )
    assert len(classes) > 10 and fields['pretrain_network_g'] == 2
    rows = re.findall(r'^\| `(\w+)` \|', (ROOT / 'docs/options_reference.md').read_text(), re.MULTILINE)
    assert Counter(rows) == fields


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT / 'options')))
def test_option_files_hold_no_unknown_key_and_their_stages_add_up(path):
    from sdakd_plugin.distillation.stages import Schedule

    opt = yaml.load(path.read_text(), Loader=ordered_yaml()[0])
    parsed = parse({**opt, 'is_train': path.parent.name != 'test'})
    if parsed.train is not None:
        Schedule.from_train(parsed.train)
    assert parsed.name == f'{"test_" if path.parent.name == "test" else ""}{path.stem}'


def test_every_training_file_has_its_test_file():
    names = {path.name for path in FILES if path.parent.name == 'options'}
    assert names <= {path.name for path in FILES if path.parent.name == 'test'}


def test_the_site_has_every_page():
    def pages(entry):
        return [entry] if isinstance(entry, str) else [page for value in as_list(entry) for page in pages(value)]

    def as_list(entry):
        return list(entry.values()) if isinstance(entry, dict) else entry

    listed = pages(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    assert sorted(listed) == sorted(str(path.relative_to(ROOT / 'docs')) for path in ROOT.glob('docs/**/*.md'))


def test_readme_names_files_that_exist():
    text = (ROOT / 'README.md').read_text()
    for target in re.findall(r'\]\(([^)#:]+)\)', text):
        assert (ROOT / target).exists(), target
    for path in re.findall(r'options/[\w/]+\.yml', text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT / 'options')))
def test_what_departs_from_srgans_text_is_marked(path):
    opt = yaml.load(path.read_text(), Loader=ordered_yaml()[0])
    block = (opt.get('train') or {}).get('vgg_opt') or {}
    if block.get('layer') != 'conv5_4':  # its text takes the features after the activation
        return
    assert re.search(r'^ +layer: conv5_4 +# \[R\] ', path.read_text(), re.MULTILINE)
