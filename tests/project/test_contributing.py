"""CONTRIBUTING.md and CITATION.cff match the repository."""

import re
from pathlib import Path

import pytest
import yaml

import sdakd_plugin

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
PLAIN = re.sub(r'```.*?```', '', TEXT, flags=re.DOTALL)
PATHS = sorted(
    {
        word
        for code in re.findall(r'`([^`]+)`', PLAIN) + re.findall(r'# (\S+\.py)\n', TEXT)
        for word in code.split()
        if re.fullmatch(r'[\w.]+(/[\w.]+)*(/|\.(py|md|yml|toml))|\.ci/run', word)
    }
)
EXCERPTS = re.findall(r'```python\n *# (\S+)\n(.+?)```', TEXT, re.DOTALL)


@pytest.mark.parametrize('path', PATHS)
def test_every_path_exists(path):
    """A bare file name may be in any folder."""
    assert (ROOT / path).exists() or ('/' not in path and any(ROOT.rglob(path)))


def test_the_paths_are_found():
    assert {
        'pyproject.toml',
        '.ci/run',
        'docs/make_options.py',
        'sdakd_plugin/losses/vgg_mse_loss.py',
        'test_vgg_mse_loss.py',
        'options/quickstart_x4.yml',
        'sdakd_plugin/teacher_cache/',
    } <= set(PATHS)
    assert len(EXCERPTS) == TEXT.count('```python') == 6


@pytest.mark.parametrize(('path', 'code'), EXCERPTS)
def test_examples_are_the_code(path, code):
    """Whatever the line breaks; ``...`` stands for what is left out."""
    source = squeezed((ROOT / path).read_text())
    position = 0
    for part in code.split('...'):
        position = source.index(squeezed(part), position)


def squeezed(code):
    return re.sub(r'\s|,(?=\s*[)\]}])', '', code)


def test_the_citation_names_this_version_and_three_papers():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert str(citation['version']) == sdakd_plugin.__version__
    assert len(citation['references']) == 3
