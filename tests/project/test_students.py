"""The students that are included in the package."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from skimage import data as photographs

from sdakd_plugin import weights
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction, center_crop
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.weights.known import KNOWN, STUDENTS

NAMES = [name for name, known in KNOWN.items() if known.packaged]
MOST = 2_000_000  # bytes of all of them


@pytest.fixture(scope='module')
def pair():
    """An LQ image and its GT, uint8 RGB, which none of the students has trained on."""
    gt = np.ascontiguousarray(center_crop(photographs.astronaut(), 256))
    return bicubic_reduction(gt, 4), gt


def enlarged(name, lq):
    with torch.no_grad():
        sr = load_model(name, 'test').net(img2tensor(lq.astype(np.float32) / 255, bgr2rgb=False)[None])
    return tensor2img([sr], rgb2bgr=False)


def bicubic(lq):
    from sdakd_plugin.evaluation.quality import bicubic as enlarge

    tensor = img2tensor(lq.astype(np.float32) / 255, bgr2rgb=False)[None]
    return tensor2img([enlarge(tensor, (lq.shape[0] * 4, lq.shape[1] * 4))], rgb2bgr=False)


def psnr(image, gt):
    return calculate_psnr(image[..., ::-1], gt[..., ::-1], crop_border=4, test_y_channel=True)


def test_they_are_small_and_have_their_cards():
    files = sorted(STUDENTS.iterdir())
    assert [file.name for file in files] == sorted(
        f'{name}{suffix}' for name in NAMES for suffix in ('.md', '.safetensors')
    )
    assert sum(KNOWN[name].file.stat().st_size for name in NAMES) < MOST
    for name in NAMES:
        card = (STUDENTS / f'{name}.md').read_text()
        for part in (f'# {name}', 'Teacher', 'Data', 'Options', 'Training', 'Good at', 'Bad at', 'Metrics', 'Licence'):
            assert part in card, f'{name}: {part}'


@pytest.mark.parametrize('name', NAMES)
def test_they_hold_what_the_list_says_in_half_precision(name):
    path, state = weights.load(name, 'test')
    assert path == KNOWN[name].file
    assert weights.identify(state).network == KNOWN[name].network
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}


@pytest.mark.parametrize('name', [name for name in NAMES if not name.endswith('_real')])
def test_those_for_clean_images_beat_bicubic(name, pair):
    lq, gt = pair
    assert psnr(enlarged(name, lq), gt) > psnr(bicubic(lq), gt) + 0.5


@pytest.mark.parametrize('name', NAMES)
def test_there_is_no_colour_cast(name, pair):
    lq, _ = pair
    means = enlarged(name, lq).reshape(-1, 3).mean(0) - lq.reshape(-1, 3).mean(0)
    assert np.abs(means).max() < 3  # of 255


@pytest.mark.parametrize('name', NAMES)
def test_spandrel_opens_them_as_they_are(name, pair):
    spandrel = pytest.importorskip('spandrel')
    model = spandrel.ModelLoader().load_from_file(str(KNOWN[name].file))
    lq = img2tensor(pair[0].astype(np.float32) / 255, bgr2rgb=False)[None]
    with torch.no_grad():
        assert torch.allclose(model.model.eval().float()(lq), load_model(name, 'test').net(lq), atol=1e-5)
    assert model.scale == 4


def test_a_student_of_another_scale_is_refused():
    net = build_network({**KNOWN[NAMES[0]].network, 'upscale': 2}, 'network_g')
    path, state = weights.load(NAMES[0], 'path.pretrain_network_g')
    with pytest.raises(UserError, match=r'path.pretrain_network_g: .* holds an x4 generator.*an x2 one is needed here'):
        weights.load_into(net, state, path, 'path.pretrain_network_g')


def test_upscale_works_without_a_connection_a_cache_or_a_model(tmp_path, pair):
    import cv2

    cv2.imwrite(str(tmp_path / 'photo.png'), pair[0][..., ::-1])
    environment = {
        **os.environ,
        'HOME': str(tmp_path / 'home'),
        'TORCH_HOME': str(tmp_path / 'torch'),
        'SDAKD_CACHE': str(tmp_path / 'cache'),
        'https_proxy': 'http://127.0.0.1:9',
        'http_proxy': 'http://127.0.0.1:9',
    }
    done = subprocess.run(
        [sys.executable, '-m', 'sdakd_plugin.cli', 'upscale', 'photo.png', 'out.png'],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, '1 of 1 images enlarged into out.png\n'), done.stderr
    assert cv2.imread(str(tmp_path / 'out.png')).shape == (256, 256, 3)
