"""The plugin as a library: the example of ``docs/library.md`` runs as printed, and the names of its table exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from sdakd_plugin.weights import identify, load_state_dict

TEXT = (Path(__file__).resolve().parents[2] / 'docs/library.md').read_text()
PACKAGES = dict(re.findall(r'^\| `(sdakd_plugin\.\w+)` \| (.+) \|$', TEXT, re.MULTILINE))


def test_the_example_takes_one_training_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r'```python\n(.+?)```', TEXT, re.DOTALL)
    names = {}
    exec(compile(example, 'docs/library.md', 'exec'), names)
    assert torch.isfinite(names['loss']) and names['sr'].shape == names['target'].sr.shape == names['gt'].shape
    assert all(weight.grad is not None for weight in names['student'].parameters())
    assert all(weight.grad is not None for weight in names['feature_loss'].parameters())
    assert not any(weight.requires_grad for weight in names['teacher'].net_g.parameters())
    state = load_state_dict('student.pth')
    assert identify(state).network['num_feat'] == 8
    torch.manual_seed(0)  # the student of the example before its step, in which Adam moves a weight by lr at most
    start = type(names['student'])(3, 3, num_feat=8, num_block=2, num_grow_ch=4).state_dict()
    assert start.keys() == state.keys()
    assert 0.5e-4 < max((state[key] - start[key]).abs().max() for key in start) < 1.01e-4


@pytest.mark.parametrize('package', PACKAGES)
def test_the_packages_export_what_the_table_says(package):
    module = import_module(package)
    listed = set(re.findall(r'`(\w+)`', PACKAGES[package]))
    assert listed <= set(module.__all__) and all(hasattr(module, name) for name in module.__all__)
    assert listed == set(module.__all__) or PACKAGES[package].endswith('and others')
