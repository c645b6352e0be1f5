"""The browser example: its page in headless Chromium, and its tiles in Node."""

import json
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
from skimage.data import chelsea

from sdakd_plugin import cli
from tests.helpers.paths import ROOT

PAGE = ROOT / 'examples/browser'
NODE, CHROMIUM = shutil.which('node'), shutil.which('chromium') or shutil.which('google-chrome')
MISSING = [
    *(name for name, path in (('node', NODE), ('chromium', CHROMIUM)) if path is None),
    *(name for name in ('onnxruntime-web', 'playwright-core') if not (PAGE / 'node_modules' / name).is_dir()),
]
needs_node = pytest.mark.skipif(NODE is None, reason='needs node')
needs_browser = pytest.mark.skipif(
    bool(MISSING), reason=f'needs {", ".join(MISSING)}: apt-get install chromium nodejs npm; npm install in {PAGE.name}'
)


def node(*arguments: object) -> dict:
    done = subprocess.run([NODE, *map(str, arguments)], cwd=PAGE, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_tiles_make_the_image_that_the_whole_makes():
    found = node(Path(__file__).with_name('check_tiles.mjs'), PAGE / 'tiles.js')
    assert found == {'wrong': -1, 'calls': '1,6 2,6 3,6 4,6 5,6 6,6'}


@pytest.fixture
def site(tmp_path):
    """The page as a user has it, without networks, and its address."""
    for path in PAGE.iterdir():
        if path.suffix in ('.html', '.js'):
            shutil.copy(path, tmp_path)
    (tmp_path / 'node_modules').symlink_to(PAGE / 'node_modules')
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Print nothing."""


def drive(url: str, *jobs: dict) -> dict:
    script = Path(__file__).with_name('drive_page.mjs')
    return node(script, CHROMIUM, PAGE, url, json.dumps([{key: str(job[key]) for key in job} for job in jobs]))


def difference(one: Path, other: Path) -> int:
    first, second = (cv2.imread(str(path)).astype(int) for path in (one, other))
    return np.abs(first - second).max()


@pytest.mark.long
@needs_browser
def test_a_photo_is_enlarged_as_by_the_command_and_stays_in_the_page(site, monkeypatch):
    folder, url = site
    monkeypatch.chdir(folder)
    cv2.imwrite('photo.png', chelsea()[:200, :300, ::-1])
    jobs = []
    for model, options in (('nano.onnx', ()), ('nano_int8.onnx', ('--int8',))):
        assert cli.main(['export', 'sdakd_nano_x4', '--format', 'onnx', '--out', model, *options]) == 0
        command = ['upscale', 'photo.png', f'{model}.png', '--model', model, '--backend', 'onnx', '--device', 'cpu']
        assert cli.main(command) == 0
        jobs.append({'photo': folder / 'photo.png', 'model': model, 'save': folder / f'page_{model}.png'})
    found = drive(url, *jobs)
    assert all('photo.png: 300 x 200 became 1200 x 800 pixels' in result for result in found['results'])
    assert found['name'] == 'photo_x4.png' and found['errors'] == []
    for model in ('nano.onnx', 'nano_int8.onnx'):
        assert difference(folder / f'{model}.png', folder / f'page_{model}.png') <= 1
    assert difference(folder / 'nano.onnx.png', folder / 'page_nano_int8.onnx.png') > 1  # the other network did run
    requests = [(method, address.removeprefix('blob:')) for method, address in found['requests']]
    assert len(requests) > 5 and all(method == 'GET' and address.startswith(url[:-1]) for method, address in requests)


@needs_browser
def test_mistakes_are_said_in_the_page(site):
    folder, url = site
    (folder / 'nano_int8.onnx').write_bytes(b'no network')
    (folder / 'no_image.png').write_text('no image')
    cv2.imwrite(str(folder / 'photo.png'), np.zeros((8, 8, 3), np.uint8))
    photo = {'photo': folder / 'photo.png'}
    results = drive(
        url,
        {**photo, 'model': 'nano.onnx'},
        {**photo, 'model': 'nano_int8.onnx'},
        {'photo': folder / 'no_image.png', 'model': 'nano.onnx'},
    )['results']
    command = 'sdakd export sdakd_nano_x4 --format onnx --out nano.onnx'
    assert results[0] == f'There is no nano.onnx: run `{command}` in its folder.'
    assert results[1].startswith('nano_int8.onnx is damaged, or no network that onnxruntime-web can run: ')
    assert results[2] == 'no_image.png is not an image that this browser can read, or is damaged.'
    (folder / 'node_modules').unlink()
    assert drive(url, {**photo, 'model': 'nano.onnx'})['results'][0].startswith('onnxruntime-web is not installed: run')
