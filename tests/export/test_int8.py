"""An int8 file is near the float network, or is not written; which layers stay in float is measured."""

import sys
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration, float_layers, processor
from sdakd_plugin.inference.model import load_model
from tests.export.test_export import FAMILIES, GCFSR, expected, export, here, in_onnx_runtime, refused, save  # noqa: F401  # here is a fixture

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
NANO = 'sdakd_nano_x4'
ANY = ('--max-loss', '100', '--min-fidelity', '0')  # for random networks, which have no picture to spoil


def int8(file, form, *arguments):
    return export(file, '--format', form, '--int8', *arguments)


def psnr(image, reference):
    return 10 * np.log10(1 / np.mean((image - reference) ** 2))


def in_8_bits(path):
    """The convolutions whose weights are 8-bit numbers."""
    graph = onnx.load(path).graph
    weights = {node.output[0] for node in graph.node if node.op_type == 'DequantizeLinear'}
    return [node.name for node in graph.node if node.op_type == 'Conv' and node.input[1] in weights]


def test_a_shipped_student_in_onnx(tmp_path, capsys):
    assert int8(NANO, 'onnx') == 0
    report = capsys.readouterr().out
    assert 'int8: 10 of 10 convolutions' in report and 'none has to stay in float' in report
    assert 'to the ground truth (chelsea, rocket): PSNR on luma' in report
    path = tmp_path / f'{NANO}.onnx'
    assert len(in_8_bits(path)) == 10 and path.stat().st_size < 140_000
    program = onnx.load(path)
    onnx.checker.check_model(program, full_check=True)
    assert {entry.key: entry.value for entry in program.metadata_props}['scale'] == '4'
    lq = torch.from_numpy(cv2.GaussianBlur(np.random.default_rng(0).random((40, 36, 3)), (9, 9), 3)).float()
    lq = lq.permute(2, 0, 1)[None].repeat(2, 1, 1, 1).contiguous()
    found = in_onnx_runtime(str(path), lq)
    assert found.shape == (2, 3, 160, 144)
    assert psnr(found, expected(NANO, lq)) > 45


def test_a_shipped_student_in_openvino(tmp_path, capsys):
    openvino = pytest.importorskip('openvino')
    assert int8(NANO, 'openvino') == export(NANO, '--format', 'openvino', '--out', 'float') == 0
    assert 'int8: 10 of 10 convolutions' in capsys.readouterr().out
    assert (tmp_path / f'{NANO}.bin').stat().st_size < 0.3 * (tmp_path / 'float.bin').stat().st_size
    lq = calibration.images(load_model(NANO, 'test'), None).checking[0].lq
    found = openvino.Core().compile_model(f'{NANO}.xml', 'CPU', {'INFERENCE_NUM_THREADS': 1})([lq.numpy()])[0]
    assert psnr(found.clip(0, 1), expected(NANO, lq).clip(0, 1)) > 50


@pytest.mark.parametrize('name', ['rrdb_x2', 'leftthomas', 'msrresnet_x3'])
def test_other_families(name, capsys):
    file = save(FAMILIES[name])
    assert int8(file, 'onnx', *ANY) == 0
    convs = sum(isinstance(module, torch.nn.Conv2d) for module in load_model(file, 'test').net.modules())
    assert len(in_8_bits('net.onnx')) == convs
    printed = capsys.readouterr()
    assert f'int8: {convs} of {convs} convolutions' in printed.out and not printed.err
    lq = torch.rand(1, 3, 16, 20)
    assert psnr(in_onnx_runtime('net.onnx', lq), expected(file, lq)) > 25


def test_a_fixed_size(tmp_path):
    assert int8(save(FAMILIES['compact']), 'onnx', '--size', '40', *ANY) == 0
    graph = onnx.load('net.onnx').graph
    shapes = [
        [one.dim_value for one in value.type.tensor_type.shape.dim] for value in (graph.input[0], graph.output[0])
    ]
    assert shapes == [[1, 3, 40, 40], [1, 3, 160, 160]]
    pytest.importorskip('openvino')
    assert int8('net.pth', 'openvino', '--size', '40', *ANY) == 0
    assert '1,3,40,40' in (tmp_path / 'net.xml').read_text()


def test_a_layer_that_spoils_the_image_stays_in_float(capsys):
    """Two output channels of one layer are 1,000 times as large, and their readers so much smaller: 8 bits for the
    whole tensor are then too few for the others."""
    net = load_model(NANO, 'test').net
    net.body[6].weight.data[:2] *= 1000
    net.body[6].bias.data[:2] *= 1000
    net.body[8].weight.data[:, :2] /= 1000
    torch.save({'params': net.state_dict()}, 'net.pth')
    assert int8('net.pth', 'onnx', '--max-loss', '1') == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('int8:'))
    names = [entry.split()[0] for entry in line.rpartition(': ')[2].split(', ')]
    assert 1 <= len(names) <= 3 and {'body.6', 'body.8'} & set(names)
    assert len(in_8_bits('net.onnx')) == 10 - len(names)
    assert not any(name in node for name in (f'{name}/Conv' for name in names) for node in in_8_bits('net.onnx'))


def test_beyond_the_limits_nothing_is_written(tmp_path, capsys):
    message = refused(capsys, NANO, '--format', 'onnx', '--int8', '--min-fidelity', '79')
    assert 'nothing is written: in int8, with 5 of 10 layers in float, it is ' in message
    assert '(--min-fidelity 79); the layers that cost most, each quantised alone: body.' in message
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Fake:
    in_float: tuple
    good: bool


@pytest.mark.parametrize('needed, expected_names', [([], ()), (['c'], ('c',)), (['c', 'f', 'a'], ('c', 'f', 'a'))])
def test_as_few_layers_as_suffice_stay_in_float(needed, expected_names):
    order = ['c', 'f', 'a', 'b', 'd', 'e', 'g', 'h']  # the most sensitive first

    def quantize(in_float):
        return Fake(tuple(in_float), set(needed) <= set(in_float))

    def cost(in_float):
        (alone,) = set('abcdefgh') - set(in_float)
        return float(order.index(alone))

    choice = float_layers.choose(tuple('abcdefgh'), quantize, cost)
    assert choice.attempt.good and choice.in_float == choice.attempt.in_float == expected_names
    assert list(choice.costs) == (order if needed else [])


def test_many_layers_are_measured_in_groups():
    calls = []
    layers = tuple(map(str, range(351)))

    def cost(in_float):
        calls.append(in_float)
        return 0.0

    choice = float_layers.choose(layers, lambda in_float: Fake((), False), cost)
    assert not choice.attempt.good and len(calls) == 39 and len(choice.in_float) == 19 * 9


def write(folder, count, size=40):
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f'{index}.png'), np.full((size, size + 1, 3), index, np.uint8))
    return folder


def test_images_for_checking_are_not_those_for_calibrating(tmp_path):
    model = load_model(save(FAMILIES['rrdb_x2']), 'test')
    images = calibration.images(model, str(write(tmp_path / 'lq', 9)))
    assert [sample.name for sample in images.calibrating] == [f'{index}.png' for index in (0, 2, 3, 4, 6, 7, 8)]
    assert [sample.name for sample in images.checking] == ['chelsea', 'rocket', '1.png', '5.png']
    assert images.calibrating[0].lq.shape == (1, 3, 40, 40)  # a multiple of 2
    assert [sample.gt is None for sample in images.checking] == [False, False, True, True]
    own = calibration.images(model, None)
    assert not {sample.name for sample in own.calibrating} & {sample.name for sample in own.checking}


def test_grey_and_16_bits_and_alpha_are_read(tmp_path):
    folder = write(tmp_path / 'lq', 1)
    cv2.imwrite(str(folder / 'a.png'), np.full((50, 50), 51, np.uint8))
    cv2.imwrite(str(folder / 'b.png'), np.full((200, 50, 4), 13107, np.uint16))
    images = calibration.images(load_model(NANO, 'test'), str(folder))
    shapes = {sample.name: (tuple(sample.lq.shape), sample.lq.mean().item()) for sample in images.calibrating}
    assert shapes['b.png'] == ((1, 3, 128, 50), pytest.approx(0.2))
    checked = images.checking[-1]
    assert (checked.name, tuple(checked.lq.shape)) == ('a.png', (1, 3, 50, 50))
    assert checked.lq.mean().item() == pytest.approx(0.2)


def test_a_folder_calibrates(tmp_path, capsys):
    folder = tmp_path / 'lq'
    folder.mkdir()
    for sample in calibration.images(load_model(NANO, 'test'), None).calibrating:
        image = sample.lq[0].permute(1, 2, 0).numpy()[..., ::-1] * 255
        cv2.imwrite(str(folder / f'{sample.name}.png'), image.round())
    assert int8(NANO, 'onnx', '--calibrate', str(folder)) == 0
    assert "to the float network's images (chelsea, rocket, coffee.png)" in capsys.readouterr().out


def test_the_image_itself_is_not_cut_to_the_range_of_those_that_calibrate(tmp_path):
    """The network adds it to its result: after dark images, bright parts would come out grey."""
    folder = tmp_path / 'dark'
    folder.mkdir()
    for index in range(2):
        cv2.imwrite(str(folder / f'{index}.png'), np.full((32, 32, 3), 40 + index, np.uint8))
    file = save(FAMILIES['compact'])
    assert int8(file, 'onnx', '--calibrate', 'dark', *ANY) == 0
    scales = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load('net.onnx').graph.initializer}
    assert scales['lq_scale'] == np.float32(1 / 255) and scales['lq_zero_point'] == 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['--format', 'ncnn', '--int8'],
            '--int8: is for --format onnx, openvino and litert, not ncnn; ncnn2table and ncnn2int8',
        ),
        (['--format', 'onnx', '--int8', '--fp16'], '--int8: a file is in int8 or in half precision; leave out --fp16'),
        (['--format', 'onnx', '--calibrate', '.'], '--calibrate: is for --int8; add it'),
        (['--format', 'onnx', '--max-loss', '1'], '--max-loss: is for --int8; add it'),
        (['--format', 'onnx', '--int8', '--max-loss', '-1'], '--max-loss: expected a number of dB, 0 or more, not -1'),
        (['--format', 'onnx', '--int8', '--min-fidelity', 'nan'], '--min-fidelity: expected a number of dB'),
        (['--format', 'onnx', '--int8', '--lpips', 'no.pth'], '--lpips: '),
        (['--format', 'onnx', '--int8', '--calibrate', 'no'], '--calibrate: no: no such file or folder'),
        (['--format', 'onnx', '--int8', '--calibrate', 'empty'], '--calibrate: empty: no image in this folder'),
        (
            ['--format', 'onnx', '--int8', '--calibrate', 'one'],
            '--calibrate: one has one image; two or more are needed',
        ),
        (['--format', 'onnx', '--int8', '--calibrate', 'small'], 'has 21x20 pixels; 32x32 are needed at least'),
    ],
)
def test_mistakes_cost_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    write(tmp_path / 'one', 1)
    write(tmp_path / 'small', 2, size=20)
    assert message in refused(capsys, NANO, *arguments)


def test_what_is_not_quantised_costs_one_line(capsys):
    assert '--int8: GCFSR is not quantised' in refused(capsys, save(GCFSR), '--format', 'onnx', '--int8', '--size', '8')
    discriminator = save({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}, 'net_d')
    assert 'a discriminator' in refused(capsys, discriminator, '--format', 'onnx', '--int8')


@pytest.mark.parametrize('form, missing', [('onnx', 'onnxruntime'), ('openvino', 'openvino')])
def test_a_missing_package_names_the_extra(form, missing, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused(capsys, NANO, '--format', form, '--int8')
    assert missing in message and 'pip install "sdakd-plugin[export]"' in message


@pytest.mark.parametrize(
    'text, found',
    [('flags : fpu avx2 avx512_vnni', True), ('Features : fp asimddp', True), ('flags : fpu avx2', False), ('', None)],
)
def test_instructions_for_int8(text, found, tmp_path, monkeypatch):
    (tmp_path / 'cpuinfo').write_text(f'processor : 0\n{text}\n')
    monkeypatch.setattr(processor, 'CPUINFO', tmp_path / 'cpuinfo')
    assert processor.has_int8() is found
    monkeypatch.setattr(processor, 'CPUINFO', tmp_path / 'none')
    assert processor.has_int8() is None


def test_a_processor_without_int8_instructions_is_told(capsys, monkeypatch):
    monkeypatch.setattr(processor, 'has_int8', lambda: False)
    assert int8(save(FAMILIES['compact']), 'onnx', *ANY) == 0
    assert 'this processor has no instructions for int8, so that it is not faster here' in capsys.readouterr().out


def test_layers_have_the_names_of_pytorch():
    from sdakd_plugin.export import onnx as exporter
    from sdakd_plugin.export.quantizer import Quantizer

    model = load_model(save(FAMILIES['rrdb_x4']), 'test')
    image = calibration.images(model, None).calibrating[0].lq
    layers = Quantizer(exporter.program(model), [image], True).layers
    assert set(layers) == {name for name, module in model.net.named_modules() if isinstance(module, torch.nn.Conv2d)}


def test_a_network_without_convolutions():
    from sdakd_plugin.export.quantizer import Quantizer

    empty = onnx.helper.make_graph([], 'empty', [], [])
    with pytest.raises(UserError, match='--int8: this network has no convolutions'):
        Quantizer(onnx.helper.make_model(empty), [], True)
