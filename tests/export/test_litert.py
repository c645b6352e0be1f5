"""What is exported to LiteRT gives there what PyTorch gives; in int8 it is near it, or is not written."""

import sys

import cv2
import numpy as np
import pytest
import torch

from tests.export.test_export import FAMILIES, GCFSR, expected, export, here, refused, save  # noqa: F401  # here is a fixture

NANO = 'sdakd_nano_x4'


def in_litert(path, lq):
    litert = pytest.importorskip('ai_edge_litert.interpreter')
    return litert.Interpreter(str(path), num_threads=1).get_signature_runner()(lq=lq.numpy())['sr']


@pytest.mark.parametrize('name', FAMILIES)
def test_it_takes_images_of_one_size(name, tmp_path, capfd):
    pytest.importorskip('litert_torch')
    file = save(FAMILIES[name])
    capfd.readouterr()
    assert export(file, '--format', 'litert', '--size', '16') == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.pth', 'net.tflite']
    printed = capfd.readouterr()
    assert printed.out.count('\n') == 3 and not printed.err
    assert b'.py' not in (tmp_path / 'net.tflite').read_bytes()
    lq = torch.rand(1, 3, 16, 16)
    np.testing.assert_allclose(in_litert('net.tflite', lq), expected(file, lq), atol=1e-5)


def test_half_precision_is_half_as_large(tmp_path):
    pytest.importorskip('litert_torch')
    file = save({**FAMILIES['compact'], 'num_feat': 32})
    arguments = ('--format', 'litert', '--size', '16')
    assert export(file, *arguments) == export(file, *arguments, '--fp16', '--out', 'half') == 0
    lq = torch.rand(1, 3, 16, 16)
    found = in_litert('half.tflite', lq)
    assert 0 < np.abs(found - expected(file, lq)).max() < 1e-2
    assert (tmp_path / 'half.tflite').stat().st_size < 0.65 * (tmp_path / 'net.tflite').stat().st_size


def test_a_shipped_student_in_int8(tmp_path, capsys):
    pytest.importorskip('litert_torch')
    arguments = ('--format', 'litert', '--size', '64')
    assert export(NANO, *arguments, '--int8') == 0
    report = capsys.readouterr().out
    assert 'int8: weights by channel' in report and 'to the ground truth (chelsea, rocket): PSNR on luma' in report
    assert (tmp_path / f'{NANO}.tflite').stat().st_size < 140_000
    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64, 3)), (9, 9), 3).astype(np.float32)
    lq = torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()
    error = in_litert(f'{NANO}.tflite', lq) - expected(NANO, lq)
    assert 45 < 10 * np.log10(1 / np.mean(error**2)) < 100
    assert 'nothing is written: in int8, it is ' in refused(
        capsys, NANO, *arguments, '--int8', '--min-fidelity', '79', '--out', 'net'
    )
    assert [path.name for path in tmp_path.iterdir()] == [f'{NANO}.tflite']


def test_gcfsr(capsys):
    pytest.importorskip('litert_torch')
    file = save(GCFSR)
    assert '--size 4 for x8' in refused(capsys, file, '--format', 'litert')
    assert 'GCFSR does not export to LiteRT: ' in refused(capsys, file, '--format', 'litert', '--size', '8')
    assert '--int8: GCFSR is not quantised' in refused(capsys, file, '--format', 'litert', '--size', '8', '--int8')


def test_mistakes_cost_one_line(capsys):
    file = save(FAMILIES['rrdb_x2'])
    assert '--size: a LiteRT file takes images of one size' in refused(capsys, file, '--format', 'litert')
    assert 'no multiple of 2' in refused(capsys, file, '--format', 'litert', '--size', '9')
    discriminator = save({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}, 'net_d')
    assert 'a discriminator' in refused(capsys, discriminator, '--format', 'litert', '--size', '16')


@pytest.mark.parametrize('more', [(), ('--int8',)])
def test_a_missing_package_names_the_extra(more, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'litert_torch', None)
    message = refused(capsys, NANO, '--format', 'litert', '--size', '16', *more)
    assert 'litert_torch' in message and 'pip install "sdakd-plugin[litert]"' in message
    assert not list(tmp_path.iterdir())
