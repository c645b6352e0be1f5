"""A Core ML file is what coremltools reads, and its program, computed in PyTorch, gives what the network gives."""

import sys

import numpy as np
import pytest
import torch

from sdakd_plugin.errors import UserError
from sdakd_plugin.export import coreml, mil
from tests.export.test_export import FAMILIES, GCFSR, expected, export, here, refused, save  # noqa: F401  # here is a fixture

FILES = {f'net.mlpackage/{name}' for name in coreml.FILES}


@pytest.fixture
def tools():
    return pytest.importorskip('coremltools')


def written(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()} - {'net.pth'}


def spec_of(tools, path='net.mlpackage'):
    return tools.models.utils.load_spec(path)


@pytest.mark.parametrize('name', FAMILIES)
def test_its_program_computes_any_size(name, tools, tmp_path, capfd):
    file = save(FAMILIES[name])
    capfd.readouterr()
    assert export(file, '--format', 'coreml') == 0
    printed = capfd.readouterr()
    assert "converted, not run: Core ML runs on Apple's systems only" in printed.out and not printed.err
    assert 'verified' not in printed.out and 'difference from PyTorch' not in printed.out
    assert written(tmp_path) == FILES
    lq = torch.rand(1, 3, 36, 8)
    found = mil.runner(coreml._read(tmp_path / 'net.mlpackage'))(lq)
    np.testing.assert_allclose(found, expected(file, lq), atol=1e-5)


def test_its_description(tools, tmp_path):
    assert export(save(FAMILIES['rrdb_x2']), '--format', 'coreml') == 0
    spec = spec_of(tools)
    assert spec.WhichOneof('Type') == 'mlProgram' and spec.specificationVersion == 7  # iOS 16
    (lq,), (sr,) = spec.description.input, spec.description.output
    ranges = [(one.lowerBound, one.upperBound) for one in lq.type.multiArrayType.shapeRange.sizeRanges]
    assert (lq.name, ranges, sr.name) == ('lq', [(1, 1), (3, 3), (2, 1024), (2, 1024)], 'sr')
    assert spec.description.metadata.userDefined['architecture'] == 'RRDBNet'
    content = (tmp_path / 'net.mlpackage/Data/com.apple.CoreML/model.mlmodel').read_bytes()
    assert b'.py' not in content and str(tmp_path).encode() not in content


def test_the_weights_are_the_networks(tools, tmp_path):
    """In the blob that Core ML reads, not in what the converter held."""
    file = save(FAMILIES['compact'])
    assert export(file, '--format', 'coreml') == export(file, '--format', 'coreml', '--fp16', '--out', 'half') == 0
    state = torch.load(file)['params_ema']
    for package, dtype in (('net', torch.float32), ('half', torch.float16)):
        (function,) = coreml._read(tmp_path / f'{package}.mlpackage').functions.values()
        convs = [operation for operation in function.operations if operation.op_type == 'conv']
        found = [operation.inputs['weight'].val for operation in convs]
        wanted = [value.to(dtype).numpy() for value in state.values() if value.ndim == 4]
        assert len(found) == len(wanted) == 4
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_fixed_size(tools):
    assert export(save(FAMILIES['compact']), '--format', 'coreml', '--size', '40', '--fp16') == 0
    array = spec_of(tools).description.input[0].type.multiArrayType
    assert list(array.shape) == [1, 3, 40, 40] and array.WhichOneof('ShapeFlexibility') is None


def test_a_program_that_does_not_agree_is_not_kept(tools, tmp_path, monkeypatch, capsys):
    file = save(FAMILIES['compact'])
    monkeypatch.setitem(mil.OPERATORS, 'add', lambda given: given['x'])
    assert 'nothing is written: the exported network differs' in refused(capsys, file, '--format', 'coreml')
    assert not written(tmp_path)


def test_an_existing_package_is_kept_without_overwrite(tools, tmp_path, capsys):
    file = save(FAMILIES['compact'])
    (tmp_path / 'net.mlpackage').mkdir()
    manifest = tmp_path / 'net.mlpackage/Manifest.json'
    manifest.write_text('mine')
    for out in ([], ['--out', 'net.mlpackage'], ['--out', 'net']):
        message = refused(capsys, file, '--format', 'coreml', *out)
        assert 'Manifest.json exists; name another, or add --overwrite' in message
    assert written(tmp_path) == {'net.mlpackage/Manifest.json'} and manifest.read_text() == 'mine'
    assert export(file, '--format', 'coreml', '--overwrite') == 0
    assert written(tmp_path) == FILES


def test_what_does_not_export_costs_one_line(tools, tmp_path, capsys):
    file = save(GCFSR)
    assert '--size 4 for x8' in refused(capsys, file, '--format', 'coreml')
    assert 'GCFSR does not export to Core ML: ' in refused(capsys, file, '--format', 'coreml', '--size', '8')
    discriminator = save({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}, 'net_d')
    assert 'a discriminator' in refused(capsys, discriminator, '--format', 'coreml')
    assert '--int8: is for --format onnx, openvino and litert, not coreml' in refused(
        capsys, file, '--format', 'coreml', '--int8'
    )
    assert not list(tmp_path.glob('*.mlpackage'))


def test_an_operator_that_cannot_be_checked(tools):
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec((1, 3, 4, 4))])
    def program(lq):
        return Builder.erf(x=lq)

    with pytest.raises(UserError, match='operators that cannot be checked here: erf'):
        mil.runner(program)


def test_a_missing_package_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'coremltools', None)
    message = refused(capsys, save(FAMILIES['compact']), '--format', 'coreml')
    assert 'coremltools' in message and 'pip install "sdakd-plugin[coreml]"' in message
