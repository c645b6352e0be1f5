"""SPAN, RealPLKSR and MoSR as students of a run: trained, validated, resumed exactly, opened by other programs."""

import re

import numpy as np
import pytest
import spandrel
import torch

from sdakd_plugin.checks.run import check
from sdakd_plugin.export import onnx
from sdakd_plugin.inference.model import load_model
from tests.helpers.exact_resume import check_exact
from tests.helpers.mistakes import complaint

STUDENTS = {
    'span': {'type': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8, 'upscale': 4},
    'realplksr': {'type': 'RealPLKSR', 'dim': 8, 'n_blocks': 2, 'kernel_size': 5, 'dropout': 0.5},
    'mosr': {'type': 'MoSR', 'dim': 8, 'n_block': 2, 'drop_path': 0.5},
}


def of(options, student):
    """The run with that student, whose features are compared at two depths."""
    options['network_g'] = dict(STUDENTS[student])
    options['train']['feature_opt']['layers'] = 2
    return options


@pytest.mark.long
@pytest.mark.parametrize('student', STUDENTS)
def test_a_resumed_run_with_validation_is_exact(stock, options, student):
    check_exact(stock, of(options, student), stops=(3,))


def test_validation_of_the_student_itself_does_not_change_training(stock, options):
    """Without a moving average the student is evaluated, which sets SPAN's folded convolutions."""
    options = of(options, 'span')
    options['train']['ema_decay'] = 0
    logs = {}
    for name, freq in (('often', 1), ('never', 1000)):
        options['name'], options['val']['val_freq'] = name, freq
        logs[name] = re.findall(r'l_g_\w+: \S+', stock.ok('sdakd train', options))
    assert logs['often'] == logs['never'] != []
    states = [torch.load(stock.folder / f'experiments/{name}/models/net_g_6.pth')['params'] for name in logs]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.long
def test_span_through_stock_training_opens_elsewhere(stock, options):
    options = of(options, 'span')
    options['train'].update(
        total_iter=30,
        ema_decay=0.5,
        stages=[
            {'name': 'supervised', 'iters': 24, 'losses': ['pixel']},
            {'name': 'adversarial', 'iters': 6, 'losses': ['pixel', 'feature', 'gan']},
        ],
    )
    options['val']['val_freq'] = 15
    log = stock.ok('basicsr/train.py', options)
    losses = [float(value) for value in re.findall(r'l_g_pix: (\S+)', log)]
    assert len(losses) == 30 and np.mean(losses[20:24]) < np.mean(losses[:4]) and len(re.findall('# psnr:', log)) > 1
    file = stock.folder / 'experiments/run/models/net_g_latest.pth'
    model = load_model(file, 'test')
    assert type(model.net).__name__ == 'SPAN'
    lq = torch.rand(1, 3, 20, 28)
    with torch.no_grad():
        expected = spandrel.ModelLoader().load_from_file(file).eval().model(lq)
    torch.testing.assert_close(model.net(lq), expected, atol=1e-5, rtol=1e-5)
    image = onnx.runner(onnx.export(model).files['.onnx'])(lq)
    np.testing.assert_allclose(image, expected, atol=2e-5 * max(1, float(expected.abs().max())))


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_lower_precision(stock, options, precision):
    options = of(options, 'span')
    options['train']['amp'] = {'student': precision, 'teacher': precision}
    log = stock.ok('sdakd train', options)
    assert re.search(r'iter: +6,.*l_g_gan', log) and 'nan' not in log


def test_span_as_teacher_of_span(options, tmp_path):
    """A student starts from some of its teacher's channels; other widths are refused."""
    from basicsr.archs import build_network

    options = of(options, 'span')
    torch.save({'params': build_network({**STUDENTS['span'], 'feature_channels': 16}).state_dict()}, tmp_path / 't.pth')
    options['teacher'] = {'pretrain_network_g': str(tmp_path / 't.pth')}
    options['path']['pretrain_network_g'] = 'teacher'
    check(options)
    options['network_g']['feature_channels'] = 32
    assert 'feature_channels is 32, but the teacher has 16' in complaint(options)


def test_mistakes_are_one_line(options, tmp_path):
    options = of(options, 'span')
    options['network_g']['upscale'] = 2
    assert 'scale' in complaint(options)
    options['network_g'] |= {'upscale': 4, 'feature_channels': 'many'}
    assert complaint(options).startswith('network_g.feature_channels: expected a value like 48')
    options['network_g']['feature_channels'] = 8
    model = check({**options, 'path': {}})
    folded = {
        key.replace('.eval_conv', ''): tensor
        for key, tensor in model.students[0].net_g.state_dict().items()
        if not re.search(r'\.(sk|conv\.\d)\.', key)
    }
    torch.save({'params': folded}, tmp_path / 'folded.pth')
    options['path']['pretrain_network_g'] = str(tmp_path / 'folded.pth')
    assert 'folded.pth' in complaint(options) and 'conv_1.sk.weight is missing' in complaint(options)
    options['path']['pretrain_network_g'] = 'teacher'
    options['network_g'] = dict(STUDENTS['mosr'])
    assert 'a MoSR cannot start from its teacher' in complaint(options)
