"""``custom_imports``: a user's own networks, from the working directory."""

import re
import sys

import pytest

OWN = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class OwnNet(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, width, 3, 1, 1), torch.nn.Conv2d(width, 48, 3, 1, 1)

    def forward(self, x):
        return torch.nn.functional.pixel_shuffle(self.last(self.first(x).relu()), 4)


@ARCH_REGISTRY.register()
class FrozenNet(OwnNet):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)
"""


@pytest.fixture
def own(stock, options):
    """A run with a network of ``my_archs.py`` in the folder where it is started."""
    (stock.folder / 'my_archs.py').write_text(OWN)
    options['network_g'] = {'type': 'OwnNet', 'width': 4}
    options['train']['feature_opt']['layers'] = {'first': 'body.1'}
    return {'custom_imports': ['my_archs'], **options}


@pytest.mark.long
def test_it_trains_and_is_tested(stock, own):
    log = stock.ok('basicsr/train.py', own)
    assert re.search(r'iter: +6,.*l_g_gan', log)
    tested = {key: own[key] for key in ('custom_imports', 'name', 'model_type', 'scale', 'num_gpu', 'network_g')}
    tested['datasets'] = {'test_1': own['datasets']['val']}
    tested['path'] = {'pretrain_network_g': str(stock.folder / 'experiments/run/models/net_g_latest.pth')}
    tested['val'] = {**own['val'], 'suffix': None}
    assert '# psnr:' in stock.ok('basicsr/test.py', tested)


@pytest.mark.parametrize('command', ['check', 'train', 'report'])
def test_commands_that_read_the_option_file(stock, own, command):
    stock.ok(f'sdakd {command}', own, *(['--size', '16', '--repeat', '1'] if command == 'report' else []))


@pytest.mark.parametrize(
    'names, message',
    [
        (['my_arch'], "custom_imports: my_arch: there is no such module; did you mean 'my_archs'?"),
        (['my_archs.py'], 'custom_imports: my_archs.py: there is no such module; write my_archs'),
        (['elsewhere.nets'], 'it is neither a file elsewhere/nets.py in '),
        (['broken'], 'custom_imports: broken cannot be imported: ZeroDivisionError: division by zero (in broken.py:2)'),
        (['unfinished'], 'custom_imports: unfinished cannot be imported: SyntaxError: '),
        (['needy'], "custom_imports: needy cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ('my_archs', 'custom_imports: '),
        ([], "network_g.type: there is no 'OwnNet'"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(stock, own, names, message):
    (stock.folder / 'broken.py').write_text('\n1 / 0\n')
    (stock.folder / 'unfinished.py').write_text('def (:\n')
    (stock.folder / 'needy.py').write_text('import nowhere\n')
    done = stock.run('sdakd train', {**own, 'custom_imports': names})
    assert done.returncode == 1 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith('error: ')
    assert not (stock.folder / 'experiments').exists()


def test_a_network_without_trainable_parameters_is_refused(stock, own):
    done = stock.run('sdakd train', {**own, 'network_g': {'type': 'FrozenNet'}})
    assert 'error: network_g: no parameter of FrozenNet has requires_grad, so none trains' in done.stderr
    assert not (stock.folder / 'experiments').exists()


def test_what_is_installed_comes_before_the_working_directory(tmp_path, monkeypatch):
    """Afterwards, so that a folder ``datasets`` there does not replace a package."""
    from sdakd_plugin.checks.custom_imports import import_custom

    (tmp_path / 'some_archs.py').write_text('')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    import_custom({'custom_imports': ['some_archs']})
    assert sys.path[-1] == str(tmp_path) and str(tmp_path) not in sys.path[:-1]
