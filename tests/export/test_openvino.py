"""What is exported to OpenVINO gives there what PyTorch gives, and is written whole or not at all."""

import sys

import numpy as np
import pytest
import torch

from tests.export.test_export import FAMILIES, GCFSR, expected, export, here, refused, save  # noqa: F401  # here is a fixture

openvino = pytest.importorskip('openvino')


def in_openvino(path, lq):
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    return openvino.Core().compile_model(path, 'CPU', settings)([lq.numpy()])[0]


@pytest.mark.parametrize('name', ['rrdb_x2', 'compact', 'leftthomas', 'msrresnet_x3'])
def test_it_takes_any_batch_and_size(name, tmp_path):
    file = save(FAMILIES[name])
    assert export(file, '--format', 'openvino') == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.bin', 'net.pth', 'net.xml']
    for shape in ((1, 3, 16, 20), (2, 3, 36, 8)):
        lq = torch.rand(shape)
        np.testing.assert_allclose(in_openvino('net.xml', lq), expected(file, lq), atol=1e-5)


def test_a_convolution_copies_what_the_compact_network_adds():
    """OpenVINO would put the 48 copies of three channels together, and then change their order."""
    assert export(save(FAMILIES['compact']), '--format', 'openvino') == 0
    kinds = [node.get_type_name() for node in openvino.Core().read_model('net.xml').get_ordered_ops()]
    assert not {'Split', 'VariadicSplit'} & {*kinds}
    convolutions = FAMILIES['compact']['num_conv'] + 2
    assert kinds.count('Convolution') == convolutions + 1


def test_half_precision_is_half_as_large(tmp_path):
    file = save({**FAMILIES['compact'], 'num_feat': 32})
    assert export(file, '--format', 'openvino') == export(file, '--format', 'openvino', '--fp16', '--out', 'half') == 0
    lq = torch.rand(1, 3, 16, 20)
    np.testing.assert_allclose(in_openvino('half.xml', lq), expected(file, lq), atol=1e-2)
    assert (tmp_path / 'half.bin').stat().st_size < 0.6 * (tmp_path / 'net.bin').stat().st_size


def test_gcfsr_has_one_size(capsys):
    file = save(GCFSR)
    assert '--size 4 for x8' in refused(capsys, file, '--format', 'openvino')
    assert export(file, '--format', 'openvino', '--size', '8') == 0
    lq = torch.rand(1, 3, 8, 8)
    np.testing.assert_allclose(in_openvino('net.xml', lq), expected(file, lq), atol=1e-4)


def test_it_says_what_it_is_and_nothing_about_this_machine(tmp_path):
    assert export(save(FAMILIES['compact']), '--format', 'openvino') == 0
    text = (tmp_path / 'net.xml').read_text()
    assert '<architecture value="SRVGGNetCompact"' in text and '<scale value="4"' in text
    assert '.py' not in text and str(tmp_path) not in text


def test_both_files_are_written_or_neither(tmp_path, capsys):
    file = save(FAMILIES['compact'])
    (tmp_path / 'net.bin').write_text('mine')
    assert 'net.bin exists; name another, or add --overwrite' in refused(capsys, file, '--format', 'openvino')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.bin', 'net.pth']
    assert (tmp_path / 'net.bin').read_text() == 'mine'


def test_no_half_of_a_pair_is_left(tmp_path, capsys, monkeypatch):
    from sdakd_plugin.commands import export as command

    def full(path):
        if path.suffix == '.bin':
            raise OSError(28, 'No space left on device', str(path))
        return new_file(path)

    new_file = command.new_file
    monkeypatch.setattr(command, 'new_file', full)
    assert 'net.bin cannot be written: No space left' in refused(
        capsys, save(FAMILIES['compact']), '--format', 'openvino'
    )
    assert [path.name for path in tmp_path.iterdir()] == ['net.pth']


def test_a_missing_package_names_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    message = refused(capsys, save(FAMILIES['compact']), '--format', 'openvino')
    assert 'openvino' in message and 'pip install "sdakd-plugin[export]"' in message
