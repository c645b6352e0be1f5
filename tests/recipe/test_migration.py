"""``sdakd init --from`` moves option files of BasicSR and Real-ESRGAN over."""

import copy

import pytest
import yaml

from sdakd_plugin import cli
from sdakd_plugin.options import parse


@pytest.fixture
def old(options):
    """An option file of ``SRGANModel`` for the data of the tests."""
    old = {key: value for key, value in copy.deepcopy(options).items() if key not in ('teacher',)}
    old['network_d'] = old['network_d']['teacher']
    old['model_type'], old['path']['pretrain_network_g'] = 'SRGANModel', 'experiments/old/net_g_5000.pth'
    del old['train']['stages'], old['train']['feature_opt']
    return old


@pytest.fixture
def move(tmp_path, monkeypatch, small_teacher):
    """Write an old file and move it over; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(old, *arguments):
        (tmp_path / 'old.yml').write_text(old if isinstance(old, str) else yaml.safe_dump(old))
        return cli.main(['init', '--from', 'old.yml', '--teacher', str(small_teacher / 'net_g.pth'), *arguments])

    return run


@pytest.mark.parametrize('kind', ['SRModel', 'SRGANModel', 'ESRGANModel', 'RealESRNetModel', 'RealESRGANModel'])
def test_files_of_every_model_pass_the_check(move, old, tmp_path, capsys, kind):
    old['model_type'] = kind
    if kind in ('SRModel', 'RealESRNetModel'):
        del old['network_d'], old['train']['gan_opt'], old['train']['optim_d']
    if kind == 'RealESRNetModel':
        old |= {'gt_usm': True}
    if kind.startswith('Real'):
        old |= {'high_order_degradation': False}
    assert move(old, '--student', 'nano') == 0
    said = capsys.readouterr().out
    assert 'network_g: the RRDBNet is replaced by the student' in said
    assert 'path.pretrain_network_g: experiments/old/net_g_5000.pth is of the old network' in said
    assert ('relativistic' in said) == (kind == 'ESRGANModel')
    new = yaml.safe_load((tmp_path / 'my.yml').read_text())
    options = parse(new)
    assert options.l1_gt_usm == options.percep_gt_usm == (kind == 'RealESRNetModel')
    assert new['datasets'] == old['datasets'] and new['val'] == old['val']
    assert cli.main(['check', '-opt', 'my.yml']) == 0


def test_what_has_no_counterpart_is_named(move, old, tmp_path, capsys):
    old |= {'my_key': 1}
    old['train']['net_g_warmup'] = 5
    assert move(old) == 0
    said = capsys.readouterr().out
    assert 'my_key: SDAKDModel has no such key; left out' in said
    assert 'train.net_g_warmup: SDAKDModel has no such key; left out' in said
    text = (tmp_path / 'my.yml').read_text()
    assert '# my_key: ' in text and '\nmy_key' not in text


def test_false_sharpening_is_named(move, old, capsys):
    old |= {'model_type': 'RealESRNetModel', 'gt_usm': False}
    assert move(old) == 0
    assert 'gt_usm: was false' in capsys.readouterr().out


@pytest.mark.parametrize(
    'text, message',
    [
        ('a: [', '--from: old.yml is not valid YAML'),
        ('- a', '--from: old.yml holds no options'),
        ('model_type: SwinIRModel', 'only SRModel, SRGANModel'),
        ('model_type: SDAKDModel', 'a model of this plugin'),
        ('model_type: SRModel\nscale: 4', 'has no block train; it is for testing'),
    ],
)
def test_unreadable_files_cost_one_line(move, tmp_path, capsys, text, message):
    assert move(text) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('error: ') and message in line
    assert [path.name for path in tmp_path.iterdir()] == ['old.yml']
