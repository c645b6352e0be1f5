"""Fake quantisation computes what the int8 file computes, and a quantised stage trains, saves and resumes."""

import copy
import re
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from sdakd_plugin.distillation import quantization
from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.networks import fake_quantization, learnt_ranges
from tests.helpers.exact_resume import check_exact
from tests.helpers.mistakes import change, complaint
from tests.helpers.networks import STUDENT
from tests.helpers.training import build, steps

NANO = 'sdakd_nano_x4'


def test_the_rounding_is_torchs_own():
    torch.manual_seed(0)
    values, low, high = torch.randn(1000) * 2, torch.tensor(-1.3), torch.tensor(2.9)
    integers, step = fake_quantization.quantize(values, low, high, 255)
    zero = int((-low / step).round())
    assert torch.equal(integers * step, torch.fake_quantize_per_tensor_affine(values, step.item(), zero, 0, 255))
    weight = torch.randn(6, 4, 3, 3)
    integers, step = fake_quantization.quantize_weight(weight, 8)
    expected = torch.fake_quantize_per_channel_affine(weight, step.flatten(), torch.zeros(6).int(), 0, -127, 127)
    assert torch.allclose(integers * step, expected, atol=1e-7)


def test_the_gradient_of_a_step_is_that_of_lsq():
    """Equation 3 of LSQ (Esser et al., 2020): q - v / s inside of the range, its integer ends outside."""
    torch.manual_seed(0)
    values, upstream = torch.randn(1000) * 2, torch.randn(1000)
    scale = torch.tensor(0.5, requires_grad=True)
    integers, unit = fake_quantization.quantize(values, -3 * scale, 4 * scale, 7)
    (integers * unit * upstream).sum().backward()
    inside = ((values / 0.5).round() >= -3) & ((values / 0.5).round() <= 4)
    expected = torch.where(inside, (values / 0.5).round() - values / 0.5, (values / 0.5).round().clamp(-3, 4))
    assert scale.grad.item() == pytest.approx((expected * upstream).sum().item(), rel=1e-4)


def quantized(net, bits, images):
    """A copy of a network with ranges fitted to images, and active."""
    net = copy.deepcopy(net)
    fake_quantization.insert(net, bits, 'test')
    fake_quantization.calibrate(net, lambda: net(images))
    fake_quantization.activate(net, fake_quantization.ends(net))
    return net


@torch.no_grad()
def test_the_state_dict_and_an_inactive_network_are_the_float_ones():
    net = load_model(NANO, 'test').net
    other = copy.deepcopy(net)
    fake_quantization.insert(other, 8, 'test')
    assert list(other.state_dict()) == list(net.state_dict())
    other.load_state_dict(net.state_dict())
    lq = torch.rand(1, 3, 20, 24)
    assert torch.equal(other(lq), net(lq))
    assert not torch.equal(quantized(net, 8, lq)(lq), net(lq))


def test_with_few_bits_the_ends_of_the_network_keep_eight():
    net = load_model(NANO, 'test').net
    fake_quantization.insert(net, 4, 'test')
    bits = [conv.quantization.bits for conv in fake_quantization.layers(net).values()]
    assert bits == [8, *[4] * 8, 8]


@pytest.mark.parametrize('bits', [8, 4])
@torch.no_grad()
def test_a_range_has_the_smallest_squared_error_of_all_batches(bits):
    torch.manual_seed(0)
    batches = [scale * torch.randn(2, 8, 30, 30) for scale in (0.1, 0.1, 1, 0.3)]
    fitted = fake_quantization.TensorRange(bits)
    for batch in batches:
        fitted.fit(batch)
    values = torch.cat(batches)

    def error(low, high):
        integers, step = fake_quantization.quantize(values, low, high, fitted.levels)
        return (integers * step - values).square().mean()

    low, high = fitted.low_high
    best = error(low, high)
    for factor in (0.7, 0.85, 1.2, 1.5):
        assert best < error(low * factor, high) and best < error(low, high * factor), factor
    whole = fake_quantization.TensorRange(bits)
    whole.fit(values)
    assert torch.equal(whole.ends, fitted.ends)  # in how many batches does not matter


@torch.no_grad()
def test_a_range_of_zeros_and_one_of_huge_values():
    fitted = fake_quantization.TensorRange(8)
    fitted.fit(torch.zeros(5))
    assert 0 < fitted.low_high[1] < 2 * fake_quantization.SMALLEST
    fitted.fit(torch.tensor([0.0, 1e-9, 1e6]))
    assert fitted.low_high[1] == pytest.approx(fake_quantization.magnitudes()[-1].item())


@torch.no_grad()
def test_values_that_are_not_finite_do_not_spoil_a_range():
    expected, fitted = fake_quantization.TensorRange(8), fake_quantization.TensorRange(8)
    for values in ([0.5, -0.25], [torch.nan, 1.0], [-torch.inf, torch.inf]):
        fitted.fit(torch.tensor(values))
    expected.fit(torch.tensor([0.5, -0.25, 1.0]))
    assert torch.equal(fitted.ends, expected.ends)


@torch.no_grad()
def test_calibrating_again_uses_the_float_values():
    net = load_model(NANO, 'test').net
    dark, bright = torch.rand(1, 3, 12, 12) / 2, torch.rand(1, 3, 24, 24)
    again = quantized(net, 8, dark)
    before = fake_quantization.ends(again)
    fake_quantization.calibrate(again, lambda: again(bright))
    twice = copy.deepcopy(net)
    fake_quantization.insert(twice, 8, 'test')
    fake_quantization.calibrate(twice, lambda: (twice(dark), twice(bright)))
    for name, now in fake_quantization.ends(again).items():
        assert torch.equal(now, fake_quantization.ends(twice)[name]), name
    assert not torch.equal(before['body.0'], now) and not torch.equal(again(bright), net(bright))


@torch.no_grad()
def test_the_exported_file_is_what_was_trained(tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnxruntime')
    from tests.export.test_export import export, in_onnx_runtime

    monkeypatch.chdir(tmp_path)
    model = load_model(NANO, 'test')
    samples = calibration.images(model, None)
    net = quantized(model.net, 8, samples.calibrating[0].lq)
    torch.save({'params': model.net.state_dict(), **learnt_ranges.entry({'params': net}, 8)}, 'net.pth')
    assert export('net.pth', '--format', 'onnx', '--int8') == 0
    printed = capsys.readouterr().out
    assert '10 of 10 convolutions, learnt ranges' in printed and 'of the quantised network in training: PSNR' in printed
    lq = samples.checking[0].lq
    found, trained = torch.from_numpy(in_onnx_runtime('net.onnx', lq)), net(lq)
    # only values that lie between two steps are rounded otherwise, by the order of float operations
    assert (found - trained).square().mean() < 0.2 * (model.net(lq) - trained).square().mean()
    stored = torch.load('net.pth', weights_only=True)
    stored['quantization']['bits'] = 4
    torch.save(stored, 'net4.pth')
    assert export('net4.pth', '--format', 'onnx', '--int8') == 1
    assert 'was trained for 4 bits, and files have 8' in capsys.readouterr().err
    stored['quantization']['params']['body.0'] = torch.zeros(2)
    torch.save(stored, 'net4.pth')
    assert export('net4.pth', '--format', 'onnx', '--int8') == 1
    assert 'the entry quantization is damaged' in capsys.readouterr().err


@pytest.mark.parametrize(
    'network, expected',
    [
        ({'type': 'SRGANGenerator', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}, 'has BatchNorm'),
        ({'type': 'GCFSR', 'out_size': 32, 'narrow': 0.125}, 'GCFSR is not quantised'),
    ],
)
def test_networks_that_are_refused(network, expected):
    with pytest.raises(UserError, match=expected):
        fake_quantization.insert(build_network(network), 8, 'train.quantize')


def test_layers_that_are_refused():
    with pytest.raises(UserError, match="layer '0' of Sequential is a ConvTranspose2d, and only Conv2d"):
        fake_quantization.insert(torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 3, 2)), 8, 'train.quantize')
    with pytest.raises(UserError, match='Sequential has no Conv2d'):
        fake_quantization.insert(torch.nn.Sequential(torch.nn.ReLU()), 8, 'train.quantize')


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('train/quantize', {'bits': 3}, 'train.quantize.bits: input should be greater than or equal to 4, not 3'),
        ('train/quantize', {'bits': 16}, 'train.quantize.bits: input should be less than or equal to 8, not 16'),
        ('train/quantize', {'from': 'aligment'}, "train.quantize.from: there is no stage 'aligment'; did you mean 'al"),
        ('train/quantize', {'form': 'alignment'}, "train.quantize: unknown key 'form'; did you mean 'from'?"),
    ],
)
def test_options_that_are_refused(options, path, value, expected):
    assert expected in complaint(change(options, path, value))


def test_lower_precision_is_refused(options):
    options['train'].update(quantize={'bits': 8}, amp={'student': 'bfloat16'})
    assert 'train: quantize rounds float32 as an int8 file does; remove amp.student' in complaint(options)


def test_the_stage_begins_where_it_is_named_and_changes_nothing_before(options):
    torch.manual_seed(0)
    plain = build(options)
    before = steps(plain, 1, 2)
    options['train']['quantize'] = {'bits': 4, 'from': options['train']['stages'][1]['name']}
    torch.manual_seed(0)
    model = build(options)
    after = steps(model, 1, 2)
    assert after == before and not model.trainee.quantization.active
    start = model.trainee.net_g.state_dict()['conv_first.weight'].clone()
    steps(model, 3, 3)
    assert model.trainee.quantization.active
    ranges = fake_quantization.ends(model.net_g)
    steps(model, 4, 4)
    assert all(not torch.equal(ranges[name], now) for name, now in fake_quantization.ends(model.net_g).items())
    assert not torch.equal(start, model.trainee.net_g.state_dict()['conv_first.weight'])
    student = model.students[0]
    lq = torch.rand(1, 3, 16, 16)
    floating = build_network(dict(STUDENT))
    floating.load_state_dict(model.trainee.net_g_ema.state_dict())
    with torch.no_grad():
        assert not torch.equal(student.super_resolve(lq, None), floating.eval()(lq))  # validation shows the quantised


def test_the_ranges_are_fitted_in_the_first_batches_of_the_stage(options, monkeypatch):
    monkeypatch.setattr(quantization, 'FITTED', 2)
    options['train']['quantize'] = {'bits': 8}
    model = build(options)
    fitted = []
    monkeypatch.setattr(fake_quantization, 'calibrate', lambda net, run: fitted.append(net))
    steps(model, 1, 4)
    assert fitted == [model.trainee.quantization.nets[0]] * 2


@pytest.mark.parametrize('form', ['onnx', 'openvino'])
def test_a_trained_stage_is_exported_in_its_ranges(stock, options, form, monkeypatch, capsys):
    pytest.importorskip('onnxruntime')
    pytest.importorskip(form)
    from tests.export.test_export import export

    del options['val']
    options['train']['quantize'] = {'bits': 8, 'from': options['train']['stages'][1]['name']}
    stock.ok('sdakd train', options)
    monkeypatch.chdir(stock.folder)
    latest = 'experiments/run/models/net_g_latest.pth'
    ranges = learnt_ranges.read(Path(latest))
    assert ranges.bits == 8
    limits = ('--max-loss', '100', '--min-fidelity', '0', '--out', 'net')
    assert export(latest, '--format', form, '--int8', *limits) == 0
    printed = capsys.readouterr().out
    count = len(ranges.by_layer)
    assert f'{count} of {count} convolutions, learnt ranges' in printed
    distance = re.search(r'of the quantised network in training: PSNR ([0-9.]+)', printed)
    assert float(distance[1]) > 35


def test_a_resumed_run_is_exact(stock, options):
    del options['val']
    options['train']['quantize'] = {'bits': 8, 'from': options['train']['stages'][1]['name']}
    check_exact(stock, options, stops=(1, 4))
    file = torch.load(stock.folder / 'experiments/run/models/net_g_latest.pth', weights_only=True)
    assert set(file) == {'params', 'params_ema', 'quantization'} and file['quantization']['bits'] == 8
    build_network(dict(STUDENT)).load_state_dict(file['params'])
    (stock.folder / 'experiments/run/training_states/6.state').unlink()
    options['train']['quantize']['bits'] = 6
    done = stock.run('sdakd train', options, '--auto_resume')
    assert done.returncode == 1 and 'another quantisation (train.quantize.bits was 8)' in done.stderr
