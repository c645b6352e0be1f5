"""Backends: the same images as PyTorch's through the same tiles, alpha and 16 bits, files of one's own, and a folder
whose files are read and written while the network runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier, Event

import cv2
import numpy as np
import pytest
import torch

from sdakd_plugin import cli
from sdakd_plugin.backends import choose, model_file
from sdakd_plugin.backends.channels_last import FASTER, ChannelsLast
from sdakd_plugin.backends.variants import build_named
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost_report
from sdakd_plugin.export import onnx as onnx_export
from sdakd_plugin.inference import upscale_files
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.utils import available_memory
from sdakd_plugin.utils.ahead import ahead
from tests.helpers.networks import lively
from tests.helpers.paths import ROOT, python_path
from tests.inference.test_upscale import GCFSR, SMALL, checkpoint, picture

CPU = torch.device('cpu')
CHANNELS = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8}
NETWORKS = {
    'RRDBNet': SMALL,
    'x2': {**SMALL, 'scale': 2},
    'SRVGGNetCompact': {'type': 'SRVGGNetCompact', **CHANNELS, 'num_conv': 2, 'upscale': 3, 'act_type': 'prelu'},
    'MSRResNet': {'type': 'MSRResNet', **CHANNELS, 'num_block': 1, 'upscale': 2},
    'SRGANGenerator': {'type': 'SRGANGenerator', **CHANNELS, 'num_block': 1, 'upscale': 4},
}
NEEDED = {'torch': [], 'openvino': ['openvino'], 'onnx': ['onnx', 'onnxruntime']}


def needs(*backends: str):
    absent = [package for backend in backends for package in NEEDED[backend] if find_spec(package) is None]
    return pytest.mark.skipif(bool(absent), reason=f'{", ".join(absent)} not installed')


BACKENDS = [pytest.param(backend, marks=needs(backend)) for backend in NEEDED]
RUNTIMES = [pytest.param(backend, marks=needs(backend, 'onnx')) for backend in ('openvino', 'onnx')]


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp('models')
    return {
        name: load_model(checkpoint(folder / f'{name}.pth', network), '--model') for name, network in NETWORKS.items()
    }


@pytest.fixture(scope='module')
def onnx_file(models, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('onnx') / 'mine.onnx'
    path.write_bytes(onnx_export.export(models['RRDBNet']).files['.onnx'])
    return path


def served(model: Model, backend: str) -> Model:
    return choose.with_backend(model, backend, CPU)[0]


# ---- the same images


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', NETWORKS)
def test_a_backend_gives_pytorchs_image(models, name, backend) -> None:
    image = picture(13, 22, 3).astype(np.float32) / 255
    found = Upscaler(served(models[name], backend), CPU).enlarge_exactly(image)
    expected = Upscaler(models[name], CPU).enlarge_exactly(image)
    assert np.abs(found - expected).max() <= choose.EXACT and expected.std() > 0.01


@pytest.mark.parametrize('backend', BACKENDS)
@torch.no_grad()
def test_an_image_stays_as_it_is_when_the_next_is_made(models, backend) -> None:
    run = served(models['RRDBNet'], backend).runner
    lq = torch.from_numpy(picture(13, 22, 3)).permute(2, 0, 1)[None] / 255
    first = run(lq)
    kept = first.clone()
    run(1 - lq)
    assert torch.equal(first, kept)


@pytest.mark.parametrize('backend', BACKENDS)
def test_tiles_bits_grey_and_transparency_are_those_of_pytorch(models, backend) -> None:
    other = served(models['RRDBNet'], backend)
    for tile in (0, 8):
        mine, theirs = (Upscaler(model, CPU, tile, tile_pad=8) for model in (other, models['RRDBNet']))
        for channels in ((), (3,), (4,)):
            for dtype in (np.uint8, np.uint16):
                image = picture(19, 13, *channels, dtype=dtype)
                found, expected = mine.enlarge(image), theirs.enlarge(image)
                assert (found.dtype, found.shape) == (dtype, (76, 52, *channels))
                assert np.abs(found.astype(int) - expected).max() <= (1 if dtype == np.uint8 else 7)  # 1e-4 of 65535


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_image_beyond_the_memory_is_refused_by_every_backend(models, backend, monkeypatch) -> None:
    upscaler = Upscaler(served(models['RRDBNet'], backend), CPU)
    monkeypatch.setattr(available_memory, 'available', lambda: 6 << 20)
    with pytest.raises(UserError, match=r'^240x240 pixels are too many for the memory; try --tile 256'):
        upscaler.enlarge(picture(240, 240, 3))


@needs('openvino')
def test_images_that_differ_from_pytorchs_are_refused(models, monkeypatch) -> None:
    wrong = replace(models['RRDBNet'], net=lively(SMALL))
    with torch.no_grad():
        wrong.net.conv_last.bias += 2e-4
    convert = choose.CONVERTERS['openvino']
    monkeypatch.setitem(choose.CONVERTERS, 'openvino', lambda model: convert(wrong))
    with pytest.raises(UserError, match=r'^--backend: openvino gives .* differ from PyTorch by 2.0e-04, more than 0.0'):
        served(models['RRDBNet'], 'openvino')
    model, reason = choose.with_backend(models['RRDBNet'], 'auto', CPU)
    assert reason.startswith('torch; openvino gives images') and isinstance(model.runner, ChannelsLast)


def test_channels_last_leaves_the_network_as_it_is(models) -> None:
    net = models['RRDBNet'].net
    run = ChannelsLast(net)
    mine, theirs = (one.state_dict()['conv_body.weight'] for one in (net, run.net))
    assert mine.is_contiguous() and not theirs.is_contiguous() and torch.equal(mine, theirs)
    assert {type(model.net).__name__ for model in models.values()} == set(FASTER)


def test_gcfsr_runs_in_torch_as_it_is(tmp_path) -> None:
    model = load_model(checkpoint(tmp_path / 'gcfsr.pth', GCFSR), '--model')
    found, reason = choose.with_backend(model, 'auto', CPU)
    assert found.runner is model.net and reason == 'torch; GCFSR runs in no other'
    assert build_named(model, 'auto', CPU)[0] == {}
    if find_spec('openvino'):
        with pytest.raises(UserError, match=r'^--backend: GCFSR runs in torch only'):
            served(model, 'openvino')


# ---- what is taken, and said


@pytest.fixture
def upscale(models, tmp_path, monkeypatch, capsys):
    """Run the command on an image in an empty folder; returns the exit code and the lines of standard error."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('in.png', picture(9, 8, 3))

    def run(*arguments: object, model: Path = models['RRDBNet'].path) -> tuple[int, list[str]]:
        command = ['upscale', 'in.png', 'out.png', '--model', model, '--device', 'cpu', '--overwrite', *arguments]
        code = cli.main([str(argument) for argument in command])
        return code, capsys.readouterr().err.splitlines()

    return run


@needs('openvino')
def test_auto_takes_the_faster_and_says_so_once(upscale, monkeypatch) -> None:
    assert upscale('--backend', 'openvino') == (0, [])
    monkeypatch.setattr(choose, 'times_faster', lambda plain, fast: 1.25)
    line = 'backend of RRDBNet: openvino, 1.25 times as fast as torch on a probe, and at most 0.0001 from it'
    assert upscale() == (0, [line])
    monkeypatch.setattr(choose, 'times_faster', lambda plain, fast: 1.04)
    line = 'backend of RRDBNet: torch; openvino is 1.04 times as fast on a probe, and taken from 1.1 on'
    assert upscale() == (0, [line])


@needs('openvino')
def test_the_probe_times_what_runs(models) -> None:
    plain, fast = (served(models['RRDBNet'], backend) for backend in ('torch', 'openvino'))
    calls = []
    for name, model in (('plain', plain), ('fast', fast)):
        model.runner.register_forward_hook(lambda *arguments, name=name: calls.append(name))
    assert choose.times_faster(plain, fast) > 0 and calls == ['plain', 'fast'] * (choose.TURNS + 1)


def test_auto_keeps_torch_on_a_gpu(models, monkeypatch) -> None:
    found, reason = choose.with_backend(models['RRDBNet'], 'auto', torch.device('cuda'))
    assert found.runner is models['RRDBNet'].net and reason == 'torch; the others run on the CPU'


def test_a_missing_package_is_named_with_its_extra(upscale, onnx_file, monkeypatch) -> None:
    monkeypatch.setattr(choose, 'find_spec', lambda name: None)
    install = 'pip install "sdakd-plugin[{}]"'
    assert upscale('--backend', 'openvino') == (
        1,
        [f'error: --backend: openvino needs the package openvino: {install.format("openvino")}'],
    )
    assert upscale('--backend', 'onnx') == (
        1,
        [f'error: --backend: onnx needs the package onnx, onnxruntime: {install.format("export")}'],
    )
    assert upscale() == (
        0,
        [f'backend of RRDBNet: torch; openvino may be faster, but is not installed: {install.format("openvino")}'],
    )
    code, lines = upscale(model=onnx_file)
    assert code == 1 and lines[0].endswith(f'onnx needs the package onnx, onnxruntime: {install.format("export")}')


def test_a_mistake_is_said_alone(upscale, models, tmp_path, capsys) -> None:
    """Without the line about the backend."""
    gray = checkpoint(tmp_path / 'gray.pth', {**SMALL, 'num_in_ch': 1, 'num_out_ch': 1})
    for lines in (upscale(model=gray)[1], upscale('--tile', -1)[1]):
        assert len(lines) == 1 and lines[0].startswith('error: ')
    (tmp_path / 'empty').mkdir()
    command = ['compare', '--gt', 'empty', '--model', str(models['RRDBNet'].path), '--out', 'out', '--device', 'cpu']
    assert cli.main(command) == 1 and capsys.readouterr().err.startswith('error: empty: no image in this folder')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there_is_said_for_every_backend(upscale) -> None:
    assert 'torch finds no GPU' in upscale('--device', 'cuda', '--backend', 'onnx')[1][0]


# ---- files of one's own


@pytest.mark.parametrize('backend', RUNTIMES)
def test_a_file_of_onnx_is_a_model(models, onnx_file, backend) -> None:
    model, _ = model_file.load_model_file(onnx_file, '--model', backend)
    needed = available_memory.bytes_per_pixel(models['RRDBNet'].net) * (1.5 if backend == 'openvino' else 1)
    assert model.identity.scale == 4 and model.bytes_per_pixel == needed
    image = picture(11, 7, 4, dtype=np.uint16)
    expected = Upscaler(models['RRDBNet'], CPU).enlarge(image).astype(int)
    assert np.abs(Upscaler(model, CPU, tile=4, tile_pad=24).enlarge(image) - expected).max() <= 7


@needs('openvino', 'onnx')
@pytest.mark.parametrize('backend', ['openvino', 'onnx'])
def test_nothing_is_reported_to_the_makers_of_a_runtime(tmp_path, backend) -> None:
    """Both keep the number under which they report in the home folder."""
    cv2.imwrite(str(tmp_path / 'lq.png'), picture(16, 16, 3))
    home = tmp_path / 'home'
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ('CI', 'ORT_DISABLE_TELEMETRY')}
    command = ['upscale', 'lq.png', 'sr.png', '--model', 'sdakd_nano_x4', '--backend']
    subprocess.run(
        [sys.executable, '-m', 'sdakd_plugin.cli', *command, backend],
        cwd=tmp_path,
        env={**environment, 'HOME': str(home), 'PYTHONPATH': python_path(ROOT)},
        check=True,
        timeout=120,
    )
    assert (tmp_path / 'sr.png').exists()
    assert not [path for path in home.rglob('*') if re.search('intel|openvino|microsoft|onnxruntime', str(path), re.I)]


@needs('openvino', 'onnx')
def test_a_file_in_half_precision_or_of_openvino_is_a_model(models, tmp_path) -> None:
    import openvino

    (tmp_path / 'half.onnx').write_bytes(onnx_export.export(models['RRDBNet'], half=True).files['.onnx'])
    openvino.save_model(openvino.Core().read_model(tmp_path / 'half.onnx'), tmp_path / 'half.xml')
    image = picture(8, 8, 3)
    expected = Upscaler(models['RRDBNet'], CPU).enlarge(image).astype(int)
    for name, backend in (('half.onnx', 'onnx'), ('half.onnx', 'openvino'), ('half.xml', 'auto')):
        model, _ = model_file.load_model_file(tmp_path / name, '--model', backend)
        assert np.abs(Upscaler(model, CPU).enlarge(image) - expected).max() <= 2


@pytest.mark.parametrize('backend', RUNTIMES)
def test_a_quantised_file_needs_memory_for_its_features_and_not_for_its_weights(models, tmp_path, backend) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    image = picture(9, 7, 3)

    class Reader(CalibrationDataReader):
        images = iter([{'lq': image.transpose(2, 0, 1)[None, ::-1].astype(np.float32) / 255}])

        def get_next(self):
            return next(self.images, None)

    plain, path = tmp_path / 'float.onnx', tmp_path / 'int8.onnx'
    plain.write_bytes(onnx_export.export(models['SRVGGNetCompact']).files['.onnx'])
    quantize_static(plain, path, Reader(), op_types_to_quantize=['Conv', 'PRelu'])
    found, expected = (model_file.load_model_file(file, '--model', backend)[0] for file in (path, plain))
    assert found.bytes_per_pixel == expected.bytes_per_pixel and found.identity.scale == 3
    images = [Upscaler(model, CPU).enlarge(image).astype(int) for model in (found, expected)]
    assert 0 < np.abs(images[0] - images[1]).max() < 20


@needs('openvino', 'onnx')
def test_auto_takes_openvino_for_a_file_only_where_it_gives_the_same_image(onnx_file, monkeypatch) -> None:
    model, reason = model_file.load_model_file(onnx_file, '--model', 'auto')
    assert reason == 'openvino, which is at most 0.0001 from onnx and mostly faster'
    monkeypatch.setattr(model_file, 'distance', lambda *arguments: 0.02)
    model, reason = model_file.load_model_file(onnx_file, '--model', 'auto')
    assert reason == 'onnx; openvino gives images that differ from it by 2.0e-02, and may be faster'
    assert model.identity.network['type'] == 'ONNXRuntime'


@needs('onnx')
def test_files_that_are_no_use_are_refused_in_a_line(upscale, models, onnx_file, tmp_path) -> None:
    fixed, broken = tmp_path / 'fixed.onnx', tmp_path / 'broken.onnx'
    fixed.write_bytes(onnx_export.export(models['RRDBNet'], size=16).files['.onnx'])
    broken.write_bytes(onnx_file.read_bytes()[:500])
    for model, arguments, phrase in (
        (fixed, ('--backend', 'onnx'), 'takes images of 16x16 only; export it without --size'),
        (broken, ('--backend', 'onnx'), 'broken.onnx is damaged, or nothing that onnx can run: '),
        (tmp_path / 'none.onnx', (), 'no such file'),
        (onnx_file, ('--backend', 'torch'), f'--backend: torch does not run {onnx_file}; use openvino or onnx'),
    ):
        code, lines = upscale(*arguments, model=model)
        assert code == 1 and len(lines) == 1 and lines[0].startswith('error: ') and phrase in lines[0], lines


@needs('onnx')
def test_compare_takes_a_checkpoint_and_its_file(models, onnx_file, tmp_path, capsys) -> None:
    (tmp_path / 'gt').mkdir()
    cv2.imwrite(str(tmp_path / 'gt/a.png'), picture(96, 96, 3))
    given = ['--model', models['RRDBNet'].path, '--model', onnx_file, '--backend', 'onnx', '--out', tmp_path / 'out']
    assert cli.main(['compare', '--gt', str(tmp_path / 'gt'), '--device', 'cpu', *map(str, given)]) == 0
    found = json.loads((tmp_path / 'out/compare.json').read_text())
    assert found['mean']['RRDBNet']['psnr'] == pytest.approx(found['mean']['mine']['psnr'], abs=0.01)
    assert found['methods']['RRDBNet']['parameters'] and 'parameters' not in found['methods']['mine']
    assert found['methods']['mine']['seconds'] > 0


def test_report_times_the_student_in_every_backend(models, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(cost_report, 'peak_memory', lambda networks, sizes, device: [[None] * len(sizes)] * 2)
    path, teacher = tmp_path / 'r.json', models['RRDBNet'].path
    given = ['--teacher', teacher, '--student', models['SRVGGNetCompact'].path, '--size', 16, '--repeat', 2]
    assert cli.main(['report', '--device', 'cpu', '--json', str(path), *map(str, given)]) == 0
    text, found = capsys.readouterr().out, json.loads(path.read_text())
    expected = ['torch channels last', *(name for name in choose.PACKAGES if choose.installed(name))]
    backends = found['networks']['student']['sizes']['16']['backends']
    assert list(backends) == expected and found['networks']['teacher']['sizes']['16']['backends'] == {}
    for name, one in backends.items():
        assert len(one['seconds']) == 2 and one['times_faster_than_pytorch'] > 0
        assert found['ratios']['student'][f'time, 16x16, {name}'] > 0
        line = next(line for line in text.splitlines() if line.startswith(f'time, 16x16, {name} '))
        assert line.count(' ms ') == 1 and line.count('x  ') + line.endswith('x') >= 1
    assert cli.main(['report', '--device', 'cpu', '--backend', 'torch', '--json', str(path), *map(str, given)]) == 0
    found = json.loads(path.read_text())
    assert list(found['networks']['student']['sizes']['16']['backends']) == ['torch channels last']


@needs('onnx', 'openvino')
def test_report_has_int8_on_request_and_says_what_is_missing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(cost_report, 'peak_memory', lambda networks, sizes, device: [[None] * len(sizes)] * 2)
    monkeypatch.setitem(choose.PACKAGES, 'openvino', ('openvino', ('openvino_that_is_not_there',)))
    path, given = tmp_path / 'r.json', ['--teacher', 'sdakd_nano_x4', '--student', 'sdakd_nano_x4', '--size', '16']
    assert cli.main(['report', '--device', 'cpu', '--int8', '--repeat', '1', '--json', str(path), *given]) == 0
    out, err = capsys.readouterr()
    student = json.loads(path.read_text())['networks']['student']
    assert list(student['sizes']['16']['backends']) == ['torch channels last', 'onnx', 'onnx int8']
    assert student['psnr_to_float']['onnx'] > 70 and 45 < student['psnr_to_float']['onnx int8'] < 60
    line = next(line for line in out.splitlines() if line.startswith('PSNR, onnx int8'))
    assert f'{student["psnr_to_float"]["onnx int8"]:.1f} dB' in line
    missing = 'openvino needs the package openvino_that_is_not_there: pip install "sdakd-plugin[openvino]"'
    assert [line for line in err.splitlines() if 'no row' in line] == [
        f'student has no row for {label}: {missing}' for label in ('openvino', 'openvino int8')
    ]


# ---- a folder


def test_reading_and_writing_overlap_with_the_network(models, tmp_path, monkeypatch) -> None:
    """Without threads, the network would wait for ever for the next image to be read, and for the last to be encoded
    while it runs."""
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'in/{name}.png'), picture(4, 4, 3))
    upscaler = Upscaler(models['RRDBNet'], CPU)
    order, read, encode = [], upscale_files.read_image, upscale_files.encode
    is_read, is_running = ({name: Event() for name in 'abc'} for _ in range(2))

    def noting_read(path: Path) -> np.ndarray:
        is_read[path.stem].set()
        return read(path)

    def noting_encode(image: np.ndarray, path: Path, profile: bytes | None) -> bytes:
        if path.stem != 'c':
            assert is_running[chr(ord(path.stem) + 1)].wait(20)
        order.append(path.stem)
        return encode(image, path, profile)

    names = iter('abc')

    def enlarge(image: np.ndarray) -> np.ndarray:
        name = next(names)
        is_running[name].set()
        if name != 'c':
            assert is_read[chr(ord(name) + 1)].wait(20)
        return image

    monkeypatch.setattr(upscale_files, 'read_image', noting_read)
    monkeypatch.setattr(upscale_files, 'encode', noting_encode)
    monkeypatch.setattr(upscaler, 'enlarge', enlarge)
    jobs = upscale_files.plan([tmp_path / 'in'], tmp_path / 'out')
    assert list(upscale_files.upscale_files(upscaler, jobs)) == [None] * 3 and sorted(order) == [*'abc']


@pytest.mark.parametrize('overwrite', [False, True])
def test_two_images_of_one_target_are_kept_apart(models, tmp_path, overwrite) -> None:
    """The transparent ``a.bmp`` becomes ``a.bmp.png``, which the next one would have become."""
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    cv2.imwrite(str(tmp_path / 'in/a.bmp'), picture(4, 4, 4))
    cv2.imwrite(str(tmp_path / 'in/a.bmp.png'), picture(5, 5, 3))
    jobs = upscale_files.plan([tmp_path / 'in'], tmp_path / 'out')
    first, second = upscale_files.upscale_files(Upscaler(models['RRDBNet'], CPU), jobs, overwrite)
    assert first is None and str(second).endswith('a.bmp.png is that of another image; rename one of them')
    assert cv2.imread(str(tmp_path / 'out/a.bmp.png'), cv2.IMREAD_UNCHANGED).shape == (16, 16, 4)


def test_images_are_written_by_several_threads(models, tmp_path, monkeypatch) -> None:
    """With one thread, the first would wait for ever for the second to be encoded at the same time."""
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'in/{name}.png'), picture(4, 4, 3))
    both, encode = Barrier(2), upscale_files.encode

    def meeting(image: np.ndarray, path: Path, profile: bytes | None) -> bytes:
        if path.stem != 'c':
            both.wait(20)
        return encode(image, path, profile)

    monkeypatch.setattr(upscale_files, 'encode', meeting)
    monkeypatch.setattr(upscale_files, 'WRITERS', 2)
    jobs = upscale_files.plan([tmp_path / 'in'], tmp_path / 'out')
    assert list(upscale_files.upscale_files(Upscaler(models['RRDBNet'], CPU), jobs)) == [None] * 3


def test_ahead_is_one_item_ahead_in_order_and_stops() -> None:
    done: list[int] = []

    def note(item: int) -> int:
        done.append(item)
        if item == 3:
            raise ValueError('three')
        return item

    results = ahead(note, iter(range(100)))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match='three'):
        next(results)
    assert len(done) <= 5
