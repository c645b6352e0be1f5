"""The trial of a GPU: its pieces and, at small sizes, all of it on a CPU. What only a card does is not tested."""

import json
import platform
import shutil
import time
from importlib.metadata import version

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu import compiled, files, page, parity, recipes, runs, steps
from benchmarks.gpu.__main__ import ASKS, PARTS, chosen, main
from benchmarks.gpu.launches import counted
from benchmarks.gpu.parity import NETWORKS, difference
from benchmarks.gpu.trial import Trial, result
from benchmarks.step import options
from benchmarks.step.options import Setting
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.errors import UserError
from tests.helpers.fake_runs import rehearsal
from tests.helpers.paths import ROOT

CPU = torch.device('cpu')


@pytest.fixture
def trial(tmp_path, photos):
    return Trial('cpu', str(photos / 'HR'), str(tmp_path), True, 600.0, time.time() + 600)


def part(**more):
    return {'seconds': 1, 'failed': None, 'versions': 'torch 2', 'tables': [], 'notes': [], 'surprises': [], **more}


@pytest.mark.parametrize(
    ('block', 'expected'),
    [
        ({'type': 'PairedImageDataset', 'dataroot_gt': 'a', 'dataroot_lq': 'b'}, ('PhotoDataset', {'dataroot_gt'})),
        ({'type': 'RealESRGANDataset', 'dataroot_gt': 'a', 'meta_info': 'b'}, ('RealESRGANDataset', {'dataroot_gt'})),
        ({'type': 'LQPhotoDataset', 'dataroot_lq': 'b'}, ('LQPhotoDataset', {'dataroot_lq'})),
    ],
)
def test_data_sets_read_the_photographs(block, expected):
    found = recipes.on_photos({**block, 'num_worker_per_gpu': 1000}, 'photos')
    assert (found['type'], {key for key, value in found.items() if value == 'photos'}) == expected
    assert 'meta_info' not in found and found['num_worker_per_gpu'] < 1000


def test_weights_and_backbones_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    opt = read_yaml(str(ROOT / 'options/compact_x2.yml'))
    assert recipes.absent_weights(opt) == 'RealESRGAN_x2plus is not on this machine'
    assert recipes.absent_losses(opt) == {'perceptual': 'vgg19'}
    (tmp_path / 'RealESRGAN_x2plus.pth').touch()
    recipes.cached_file('vgg19').parent.mkdir(parents=True)
    recipes.cached_file('vgg19').touch()
    assert recipes.absent_weights(opt) is None and recipes.absent_losses(opt) == {}
    assert recipes.absent_losses(read_yaml(str(ROOT / 'options/students/sdakd_nano_x4.yml'))) == {'lpips': 'alexnet'}


def test_the_embedded_photographs_are_files_and_other_folders_are_checked(tmp_path):
    folder = recipes.photographs(None, tmp_path)
    assert sorted(path.stem for path in folder.iterdir()) == ['chelsea', 'coffee', 'rocket']
    assert recipes.photographs(folder, tmp_path) == folder
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='--photos: no photograph in'):
        recipes.photographs(tmp_path / 'empty', tmp_path)


def test_a_page_keeps_the_parts_that_are_not_asked_for_again(tmp_path):
    tables = [[{'': 'bfloat16', 'time': '1 ms'}]]
    page.write(tmp_path, 'NVIDIA H100 80GB', {'steps': part(tables=tables, surprises=['slow'])}, ASKS)
    broken = {'parity': {'seconds': 2, 'failed': 'exit code 1', 'versions': 'torch 2'}}
    written = page.write(tmp_path, 'NVIDIA H100 80GB', broken, ASKS)
    assert written == tmp_path / 'nvidia-h100-80gb.md'
    lines = written.read_text().splitlines()
    assert '- steps: slow' in lines and '- parity: not finished: exit code 1' in lines
    assert lines.index('## parity') < lines.index('## steps') < lines.index('| bfloat16 | 1 ms |')
    numbers = json.loads((tmp_path / 'nvidia-h100-80gb.json').read_text())
    assert numbers['card'] == 'NVIDIA H100 80GB' and list(numbers['parts']) == ['parity', 'steps']


def test_a_package_that_is_installed_under_another_name_is_left_out(monkeypatch):
    monkeypatch.setattr(page, 'PACKAGES', ('torch', 'no_such_distribution'))
    assert page.versions(CPU) == f'Python {platform.python_version()}, torch {version("torch")}'


@pytest.mark.long
def test_a_part_that_fails_is_named_with_its_reason(trial):
    failed = result('runs', 'no_such_part', trial)
    assert (
        failed['failed'] == "exit code 1: AttributeError: module 'benchmarks.gpu.runs' has no attribute 'no_such_part'"
    )


def test_a_part_that_would_be_late_does_not_begin(trial):
    late = Trial(**{**vars(trial), 'until': time.time() - 1})
    assert result('runs', 'processes', late)['failed'] == 'the time was over'


@pytest.fixture
def modes(monkeypatch):
    """What torch's debug mode for waiting was set to."""
    found = []
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', found.append)
    return found


def test_where_a_step_waits(modes):
    def step():
        raise RuntimeError('called a synchronizing CUDA operation')

    assert files.wait(step).startswith('test_benchmark_gpu.py:') and modes == ['error', 'default']
    assert files.wait(lambda: None) == files.NOWHERE and modes[-1] == 'default'

    def broken():
        raise RuntimeError('out of order')

    with pytest.raises(RuntimeError, match='out of order'):
        files.wait(broken)
    assert modes[-1] == 'default'


def test_an_option_file_that_fails_is_a_line(trial, monkeypatch):
    monkeypatch.setattr(files, 'check', lambda opt, gpus: 1 / 0)
    assert files.one_file(ROOT / 'options/quantize_nano_x4.yml', trial)['result'] == (
        'failed: ZeroDivisionError: division by zero'
    )
    late = Trial(**{**vars(trial), 'until': time.time()})
    found = files.files(late)
    assert len(found.tables[0]) > 20 and {row['result'] for row in found.tables[0]} == {files.NO_TIME}
    assert found.surprises == [f'{len(found.tables[0])} files were left out, as there was no time']


def test_an_option_file_trains(trial):
    found = files.one_file(ROOT / 'options/quantize_nano_x4.yml', trial)
    assert found['result'] == 'trains' and float(found['ms']) > 0


def test_an_option_file_that_waits_on_a_card(trial, monkeypatch, modes):
    card = Trial(**{**vars(trial), 'device': 'cuda'})
    monkeypatch.setattr(files, 'check', lambda opt, gpus: check({**opt, 'num_gpu': 0}, 0))
    path = ROOT / 'options/quantize_nano_x4.yml'
    assert files.one_file(path, card)['waits'] == files.NOWHERE
    assert modes == ['error', 'default'] * 2 * files.ROUNDS  # each is repeated, to time it
    monkeypatch.setattr(files, 'wait', lambda step: step() or 'iteration.py:1')
    assert files.one_file(path, card)['waits'] == 'iteration.py:1'


def test_differences_of_runs():
    losses, weights = [{'l_d': 2.0}], {f'{name}.w': torch.ones(2) for name in NETWORKS}
    other = {**weights, 'net_d.w': torch.tensor([1.0, 1.5])}
    assert difference((losses, weights), (losses, weights)) == dict.fromkeys(('losses', *NETWORKS), 0.0)
    found = difference(([{'l_d': 2.5}], other), (losses, weights))
    assert found == {'losses': 0.25, 'net_g': 0.0, 'net_d': 0.5, 'net_g_ema': 0.0}


@pytest.mark.parametrize(
    ('again', 'plugin', 'expected'),
    [(0.0, 0.0, []), (0.1, 0.3, []), (0.0, 1e-6, ['broken: differs from SRGANModel in losses by 1.0e-06'])],
)
def test_parity_is_broken_where_the_plugin_differs_more_than_stock_from_itself(
    trial, monkeypatch, again, plugin, expected
):
    weights = {f'{name}.w': torch.ones(2) for name in NETWORKS}
    losses = iter([1.0, 1.0 + again, 1.0 + plugin, 5.0])  # stock twice, the plugin with its Adam, and as it is
    opt = {'train': {'optim_g': {}, 'optim_d': {}}}
    monkeypatch.setattr(parity, 'deterministic', lambda: None)
    monkeypatch.setattr(parity, 'without_teacher', lambda *_: (opt, []))
    monkeypatch.setattr(parity, 'train', lambda own, data: ([{'l_g_pix': next(losses)}], weights))
    found = parity.parity(trial)
    assert found.surprises == expected and found.numbers[2]['losses'] == 4


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([1.0, 1.0], []),
        ([1.0, 1.25, 1.125], []),
        ([1.0, 1.25, 1.0], ['a resumed run differs by 2.5e-01, a repeated one by 0.0e+00']),
    ],
)
def test_a_resumed_run_may_differ_as_a_repeated_one_does(trial, monkeypatch, values, expected):
    left = iter(values)  # trained at once, resumed, and at once again
    monkeypatch.setattr(runs, 'trained', lambda *_: {'w': torch.tensor(next(left))})
    assert runs.resume(trial).surprises == expected and next(left, None) is None


def test_differences_of_checkpoints():
    tree = {'a': [{'b': torch.ones(2)}, 3], 'empty': torch.ones(0)}
    found = dict(runs.tensors(tree))
    assert list(found) == ['/a/0/b'] and runs.difference(found, found) == 0
    assert runs.difference({'/a/0/b': torch.zeros(2)}, found) == 1
    assert runs.difference({}, {}) == runs.difference({}, found) == np.inf  # a run that saved nothing is not exact


def test_the_batch_is_halved_until_it_fits(monkeypatch):
    monkeypatch.delattr(torch, 'OutOfMemoryError')  # torch 2.4 has it only in torch.cuda
    tried = []

    def measure(setting):
        tried.append(setting.batch)
        if setting.batch > 3:
            raise torch.cuda.OutOfMemoryError
        return {}

    assert steps.largest(Setting('sdakd', CPU, 12, 64), measure)[0].batch == 3 and tried == [12, 6, 3]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        steps.largest(Setting('sdakd', CPU, 1, 64), lambda setting: measure(Setting('sdakd', CPU, 4, 64)))


def test_the_aims_are_those_of_the_fastest_mixed_precision():
    def point(mixed, seconds, full, small):
        run = {'seconds': [seconds], 'ratios': {steps.STOCK: full, steps.ALIKE: small}}
        return {'mixed': mixed, 'runs': {steps.OURS: run}}

    points = {'float32': point(False, 1.0, 0.9, 1.5), 'slow': point(True, 4.0, 0.9, 0.9)}
    assert steps.missed({**points, 'fast': point(True, 2.0, 0.30, 0.75)}) == []
    assert steps.missed({**points, 'fast': point(True, 2.0, 0.31, 0.75)}) == [
        'fast: 0.31 of stock, float32, not the 0.30 aimed at'
    ]
    assert steps.missed({'float32': points['float32']}) == ['no mixed precision was measured']


def test_stock_trains_in_mixed_precision():
    setting = Setting('sdakd', CPU, 1, 32, blocks=1, amp='bfloat16', width=0.125)
    opt = options.sdakd(setting)
    assert opt['train']['amp'] == {'teacher': 'bfloat16', 'student': 'bfloat16'} and 'bfloat16' in setting.words
    assert 'amp' not in options.stock(opt)['train']
    seen = set()
    step = steps.stock_in(steps.Mode('bfloat16', 'bfloat16', True), opt, setting.images())
    with Watched(seen):
        step()
    assert seen == {torch.bfloat16}


class Watched(TorchDispatchMode):
    """Remembers the types of the outputs of convolutions."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.convolution.default:
            self.seen.add(out.dtype)
        return out


@pytest.mark.long
def test_what_needs_a_card_runs_on_one_in_pretence(trial, monkeypatch, modes):
    """Stock's RealESRGANModel trains nowhere else: the plugin calls its convolutions, forward and backward."""
    monkeypatch.setattr(files, 'SIGN', '_local_scalar_dense')  # what the pretence says of a value that is read
    card = Trial(**{**vars(trial), 'device': 'cuda'})
    seen = {}
    with rehearsal() as waits:
        found = files.sync(card)
        assert not found.surprises and [row['waits'] for row in found.tables[0]] == [files.NOWHERE] * 3
        waits.allowed = True  # stock waits for each loss
        opt, data = parity.without_teacher(card, 'real', 3)
        for kind in ('RealESRGANModel_basicsr', 'SDAKDModel'):
            with Convolutions() as found:
                losses, _ = parity.train({**opt, 'model_type': kind}, data)
            seen[kind] = [list(each) for each in losses], found.calls
    (keys, stock), (own_keys, ours) = seen.values()
    assert own_keys == keys and len(stock) > 100
    assert ours[-len(stock) :] == stock  # the plugin also tries its networks at the start


class Convolutions(TorchDispatchMode):
    """Remembers the convolutions: the operator, and size and memory format of what they return."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if 'convolution' in str(function):
            results = result if isinstance(result, tuple) else (result,)
            self.calls.append((str(function), [(one.shape, one.stride()) for one in results if one is not None]))
        return result


@pytest.mark.parametrize(
    ('printed', 'expected'),
    [("print('a'); raise SystemExit('b')", '^b$'), ('raise SystemExit(3)', '^exit code 3, and')],
)
def test_a_run_that_fails_is_named_with_its_last_line(trial, printed, expected):
    with pytest.raises(RuntimeError, match=expected):
        runs.sdakd(trial, '-c', printed)


def test_operators_are_counted_without_those_that_they_call():
    image, weight = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 3, 3)
    assert counted(lambda: torch.nn.functional.conv2d(image, weight)) == {'operators': 1}


def test_what_a_machine_lacks_is_said(trial, monkeypatch):
    assert 'needs two cards, and there are none' in runs.processes(trial).notes[0]
    assert 'only CUDA' in files.sync(trial).notes[0]
    late = Trial(**{**vars(trial), 'until': time.time() + 20})
    assert 'not begun' in runs.training(late).surprises[0]
    assert 'compiling may take 150' in compiled.compiled(late).notes[0]
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    assert 'needs a C++ compiler' in compiled.compiled(trial).notes[0]


def test_parts_are_chosen_in_their_order(capsys):
    assert chosen('training, parity') == ['parity', 'training']
    with pytest.raises(SystemExit):
        main(['--only', 'paritty'])
    assert "there is no part 'paritty'" in capsys.readouterr().err
    assert main(['--photos', '/no/such', '--device', 'cpu', '--work', '.', '--out', '.']) == 1
    assert capsys.readouterr().err.startswith('error: --photos: ')


@pytest.mark.long
def test_all_of_it_on_a_cpu(tmp_path, capsys):
    """Without the compiled step, which takes minutes on a CPU."""
    asked = [name for name in PARTS if name != 'compiled']
    given = ['--device', 'cpu', '--minutes', '7', '--work', str(tmp_path / 'work'), '--out', str(tmp_path / 'out')]
    assert main([*given, '--only', ','.join(asked)]) == 0
    numbers = json.loads(next((tmp_path / 'out').glob('*.json')).read_text())
    assert {name: part['failed'] for name, part in numbers['parts'].items()} == dict.fromkeys(asked)
    found = {name: part['numbers'] for name, part in numbers['parts'].items()}
    assert all(value == 0 for row in found['parity'] for value in row.values() if not isinstance(value, str))
    assert found['resume'] == {'resumed': 0, 'repeated': 0}
    assert min(each['operators'] for each in found['launches'].values()) > 100
    assert found['training']['saved'] > 0 and len(found['training']['validations']) > 0
    printed = capsys.readouterr().out
    assert 'Surprising:\nnothing\n' in printed
    words = next((tmp_path / 'out').glob('*.md')).read_text()
    assert all(f'## {name}\n\n{ASKS[name]}' in words for name in asked) and '| quickstart_x4 ' in words
