"""Exported networks compute the same as in PyTorch; a failed export prints a one-line error."""

import json
import sys

import numpy as np
import pytest
import safetensors
import torch
from basicsr.archs import build_network

from sdakd_plugin import cli, weights
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.inference.model import load_model

RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
FAMILIES = {
    'rrdb_x4': {**RRDB, 'scale': 4},
    'rrdb_x2': {**RRDB, 'scale': 2},
    'rrdb_x1': {**RRDB, 'scale': 1},
    'compact': {
        'type': 'SRVGGNetCompact',
        'num_in_ch': 3,
        'num_out_ch': 3,
        'num_feat': 8,
        'num_conv': 2,
        'upscale': 4,
        'act_type': 'prelu',
    },
    'srgan_x2': {'type': 'SRGANGenerator', 'num_feat': 8, 'num_block': 1, 'upscale': 2},
    'leftthomas': {
        'type': 'SRGANGenerator',
        'num_feat': 8,
        'num_block': 1,
        'upscale': 4,
        'fusion': 'prelu',
        'output': 'tanh',
    },
    'msrresnet_x3': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 3},
}
GCFSR = {'type': 'GCFSR', 'out_size': 32, 'narrow': 0.0625, 'num_style_feat': 16}
every_family = pytest.mark.parametrize('name', FAMILIES)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(network, name='net'):
    """Random weights of a network, BatchNorm's statistics included, as BasicSR saves them."""
    torch.manual_seed(0)
    net = build_network(dict(network))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    torch.save({'params_ema': net.state_dict()}, f'{name}.pth')
    return f'{name}.pth'


def export(*arguments):
    return cli.main(['export', *arguments])


def expected(file, lq):
    with torch.no_grad():
        return super_resolve(load_model(file, 'test').net, lq).numpy()


def in_onnx_runtime(path, lq):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(['sr'], {'lq': lq.numpy()})[0]


def in_ncnn(name, lq):
    ncnn = pytest.importorskip('ncnn')
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(f'{name}.ncnn.param') == net.load_model(f'{name}.ncnn.bin') == 0
    extractor = net.create_extractor()
    image = np.ascontiguousarray(lq[0].numpy())  # ncnn reads the memory as it lies, and while it runs
    extractor.input('in0', ncnn.Mat(image))
    return np.array(extractor.extract('out0')[1])[None]


@every_family
def test_onnx_takes_any_batch_and_size(name):
    pytest.importorskip('onnx')
    file = save(FAMILIES[name])
    assert export(file, '--format', 'onnx') == 0
    for shape in ((1, 3, 16, 20), (2, 3, 36, 8)):  # neither traced nor among those of the export's own check
        lq = torch.rand(shape)
        np.testing.assert_allclose(in_onnx_runtime('net.onnx', lq), expected(file, lq), atol=1e-5)


@pytest.mark.parametrize('name', ['rrdb_x2', 'compact', 'leftthomas'])
def test_onnx_in_half_precision_is_half_as_large(name, tmp_path):
    pytest.importorskip('onnx')
    file = save({**FAMILIES[name], 'num_feat': 32})
    assert export(file, '--format', 'onnx') == export(file, '--format', 'onnx', '--fp16', '--out', 'half') == 0
    lq = torch.rand(1, 3, 16, 20)
    found = in_onnx_runtime('half.onnx', lq.half())
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), expected(file, lq), atol=1e-2)
    assert (tmp_path / 'half.onnx').stat().st_size < 0.6 * (tmp_path / 'net.onnx').stat().st_size


def test_onnx_says_what_it_is_and_nothing_about_this_machine(tmp_path):
    onnx = pytest.importorskip('onnx')
    assert export(save(FAMILIES['compact']), '--format', 'onnx') == 0
    program = onnx.load('net.onnx')
    onnx.checker.check_model(program, full_check=True)
    assert {entry.key: entry.value for entry in program.metadata_props}['scale'] == '4'
    assert b'.py' not in (tmp_path / 'net.onnx').read_bytes()


@pytest.mark.parametrize('kind', ['GCFSR', 'GCFSRBlind'])
def test_onnx_of_gcfsr_has_one_size(kind, capsys):
    pytest.importorskip('onnx')
    file = save({**GCFSR, 'type': kind})
    assert export(file, '--format', 'onnx') == 1
    advice = {'GCFSR': '--size 4 for x8', 'GCFSRBlind': '--size 32 for images that already have that size'}
    assert advice[kind] in capsys.readouterr().err
    for size in (8, 32):
        assert export(file, '--format', 'onnx', '--size', str(size), '--out', f'net{size}') == 0
        lq = torch.rand(1, 3, size, size)
        np.testing.assert_allclose(in_onnx_runtime(f'net{size}.onnx', lq), expected(file, lq), atol=1e-4)


@pytest.mark.parametrize('name', ['rrdb_x4', 'rrdb_x2', 'compact', 'leftthomas'])
def test_ncnn_takes_any_size_and_leaves_two_files(name, tmp_path):
    pytest.importorskip('pnnx')
    file = save(FAMILIES[name])
    assert export(file, '--format', 'ncnn') == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.ncnn.bin', 'net.ncnn.param', 'net.pth']
    lq = torch.rand(1, 3, 16, 20)
    np.testing.assert_allclose(in_ncnn('net', lq), expected(file, lq), atol=1e-4)


def test_ncnn_of_as_many_blocks_as_x4plus_has():
    pytest.importorskip('pnnx')
    file = save({**FAMILIES['rrdb_x4'], 'num_feat': 4, 'num_grow_ch': 2, 'num_block': 23})
    assert export(file, '--format', 'ncnn') == 0
    lq = torch.rand(1, 3, 16, 20)
    np.testing.assert_allclose(in_ncnn('net', lq), expected(file, lq), atol=1e-4)


def test_ncnn_of_gcfsr_in_half_precision(tmp_path):
    pytest.importorskip('pnnx')
    file = save(GCFSR)
    assert export(file, '--format', 'ncnn', '--size', '8', '--fp16') == 0
    lq = torch.rand(1, 3, 8, 8)
    np.testing.assert_allclose(in_ncnn('net', lq), expected(file, lq), atol=1e-2)


def test_ncnn_agrees_on_a_real_image_with_real_weights(shared):
    pytest.importorskip('pnnx')
    cv2 = pytest.importorskip('cv2')
    file = str(shared / 'weights/realesr-general-x4v3.pth')
    assert export(file, '--format', 'ncnn', '--fp16') == 0
    image = cv2.imread(str(shared / 'data/Set5/LR_bicubic_x4/img_003.png'))[:, :, ::-1]
    lq = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    np.testing.assert_allclose(in_ncnn('realesr-general-x4v3', lq), expected(file, lq), atol=1e-2)


def test_safetensors_is_read_by_spandrel_and_here():
    spandrel = pytest.importorskip('spandrel')
    file = save(FAMILIES['compact'])
    assert export(file, '--format', 'safetensors') == 0
    lq = torch.rand(1, 3, 16, 20)
    np.testing.assert_array_equal(expected('net.safetensors', lq), expected(file, lq))
    with torch.no_grad():
        found = spandrel.ModelLoader().load_from_file('net.safetensors').model(lq)
    np.testing.assert_allclose(found.numpy(), expected(file, lq), atol=1e-6)
    with safetensors.safe_open('net.safetensors', 'pt') as opened:
        metadata = opened.metadata()
    assert (metadata['architecture'], metadata['scale']) == ('SRVGGNetCompact', '4')
    assert json.loads(metadata['network']) == FAMILIES['compact']


@pytest.mark.parametrize('name, grow', [('rrdb_x4', 4), ('rrdb_x4', 31), ('rrdb_x2', 16), ('rrdb_x1', 32)])
def test_an_rrdbnet_of_little_growth_reaches_spandrel(name, grow):
    spandrel = pytest.importorskip('spandrel')
    network = {**FAMILIES[name], 'num_grow_ch': grow}
    file = save(network)
    assert export(file, '--format', 'safetensors', '--spandrel') == 0
    found = spandrel.ModelLoader().load_from_file('net.safetensors')
    assert (found.architecture.name, found.scale) == ('ESRGAN', network['scale'])
    lq = torch.rand(1, 3, 16, 20)
    with torch.no_grad():
        np.testing.assert_allclose(found.model(lq).numpy(), expected(file, lq), atol=1e-6)
    np.testing.assert_allclose(expected('net.safetensors', lq), expected(file, lq), atol=1e-6)
    with safetensors.safe_open('net.safetensors', 'pt') as opened:
        assert json.loads(opened.metadata()['network']) == {**network, 'num_grow_ch': 32}


@pytest.mark.parametrize(
    'family, arguments, message',
    [
        ('compact', ['--format', 'safetensors'], '--spandrel: is for RRDBNet, not SRVGGNetCompact'),
        ('rrdb_x4', ['--format', 'onnx'], '--spandrel: is for --format safetensors, not onnx'),
    ],
)
def test_filling_up_is_for_rrdbnet_as_safetensors(family, arguments, message, capsys):
    assert export(save(FAMILIES[family]), *arguments, '--spandrel') == 1
    assert message in capsys.readouterr().err


def test_safetensors_in_half_precision_holds_the_moving_average():
    net = build_network(dict(FAMILIES['srgan_x2']))
    torch.save(
        {'params': {key: value * 0 for key, value in net.state_dict().items()}, 'params_ema': net.state_dict()},
        'net.pth',
    )
    assert export('net.pth', '--format', 'safetensors', '--fp16') == 0
    state = weights.load_state_dict('net.safetensors')
    assert state.keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.equal(state[key], value.half() if value.is_floating_point() else value)


def test_a_file_that_does_not_agree_is_not_kept(tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnx')
    file = save(FAMILIES['compact'])
    model = load_model(file, 'test')
    model.net.body[0].bias.data += 0.1  # the program is traced from a network that is not the one it is checked with
    from sdakd_plugin.export import onnx

    monkeypatch.setattr(onnx, 'exportable', lambda net: model.net)
    assert export(file, '--format', 'onnx') == 1
    assert 'nothing is written: the exported network differs' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['net.pth']


def test_numbers_beyond_half_precision_are_refused(capsys):
    net = build_network(dict(FAMILIES['compact']))
    net.body[0].weight.data *= 1e7
    net.body[2].weight.data *= 1e-7
    torch.save({'params': net.state_dict()}, 'net.pth')
    assert export('net.pth', '--format', 'safetensors', '--fp16') == 1
    assert 'NaN or infinite' in capsys.readouterr().err


def refused(capsys, *arguments):
    assert export(*arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith('error: ') and message.count('\n') == 1
    return message


def test_an_existing_file_is_kept_without_overwrite(tmp_path, capsys):
    file = save(FAMILIES['compact'])
    target = tmp_path / 'net.safetensors'
    target.write_text('mine')
    assert 'exists; name another, or add --overwrite' in refused(capsys, file, '--format', 'safetensors')
    assert target.read_text() == 'mine'
    assert export(file, '--format', 'safetensors', '--overwrite') == 0
    before = target.read_bytes()
    assert len(before) > 4
    assert 'is the file that is exported' in refused(
        capsys, 'net.safetensors', '--format', 'safetensors', '--fp16', '--overwrite'
    )
    assert target.read_bytes() == before


def test_mistakes_cost_one_line(tmp_path, capsys):
    file = save(FAMILIES['rrdb_x2'])
    assert 'no folder' in refused(capsys, file, '--format', 'onnx', '--out', 'no/such/net.onnx')
    assert 'no multiple of 2' in refused(capsys, file, '--format', 'onnx', '--size', '9')
    assert 'no input size' in refused(capsys, file, '--format', 'safetensors', '--size', '8')
    assert "'net.pth'" in refused(capsys, 'ner.pth', '--format', 'onnx')
    (tmp_path / 'damaged.pth').write_bytes(b'PK\3\4 damaged')
    assert 'damaged.pth' in refused(capsys, 'damaged.pth', '--format', 'onnx')
    discriminator = save({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}, 'net_d')
    assert 'a discriminator' in refused(capsys, discriminator, '--format', 'onnx')


@pytest.mark.parametrize(('name', 'missing'), [('onnx', 'onnxruntime'), ('ncnn', 'pnnx')])
def test_a_missing_package_names_the_extra(name, missing, capsys, monkeypatch):
    if name == 'onnx':
        pytest.importorskip('onnx')
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused(capsys, save(FAMILIES['compact']), '--format', name)
    assert missing in message and 'pip install "sdakd-plugin[export]"' in message
