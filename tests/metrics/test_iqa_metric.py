"""pyiqa's metrics: called as documented, with one-line errors.

A stand-in module with its functions replaces pyiqa, which would download weights. If pyiqa is installed, a metric
without weights is also tested.
"""

import sys
from importlib.util import find_spec
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric

from sdakd_plugin.errors import UserError
from sdakd_plugin.metrics import iqa_metric
from sdakd_plugin.metrics.iqa_metric import calculate_iqa

pytestmark = pytest.mark.usefixtures('fresh_iqa_metrics')


@pytest.fixture
def image():
    """(24, 24, 3) BGR, whose red is 0.2, of 255."""
    found = np.full((24, 24, 3), 255, np.uint8)
    found[..., 2] = 51
    found[:4] = 0
    return found


def test_pyiqa_sees_rgb_without_the_border_and_is_loaded_once(pyiqa, image):
    block = {'type': 'calculate_iqa', 'metric': 'topiq', 'crop_border': 4, 'better': 'higher'}
    values = [calculate_metric({'img': image, 'img2': image}, dict(block)) for _ in range(2)]
    assert values == [pytest.approx(10), pytest.approx(10)] and isinstance(values[0], float)
    (metric,) = pyiqa.made
    assert metric.name == 'topiq_nr' and metric.seen[0].shape == (1, 3, 16, 16)


def test_no_random_number_of_training_is_drawn(pyiqa, image):
    before = torch.get_rng_state()
    calculate_iqa(image, 'musiq')
    assert torch.equal(before, torch.get_rng_state())


def test_without_the_package_the_extra_is_named(monkeypatch, image):
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    with pytest.raises(UserError, match=r'musiq needs the package pyiqa .*pip install "sdakd-plugin\[iqa\]"'):
        calculate_iqa(image, 'musiq')


def test_an_unknown_metric_is_named(pyiqa, image):
    with pytest.raises(UserError, match="no metric 'musik' without a reference; did you mean 'musiq'"):
        calculate_iqa(image, 'musik')


def test_weights_that_cannot_be_had_cost_one_line(pyiqa, image):
    pyiqa.fault = URLError('no route\nto host')
    with pytest.raises(UserError, match=r'musiq: pyiqa cannot load it .*no route.* or leave musiq out') as caught:
        calculate_iqa(image, 'musiq')
    assert '\n' not in str(caught.value)
    pyiqa.fault = None
    assert calculate_iqa(image, 'musiq') > 0  # a failure is not kept


def test_an_image_that_it_refuses_is_named(pyiqa, image):
    with pytest.raises(UserError, match=r'musiq: pyiqa rejects an image of 12x12 \(too small\)'):
        calculate_iqa(image, 'musiq', crop_border=6)


@pytest.mark.skipif(find_spec('pyiqa') is None, reason='pyiqa is not installed')
def test_the_real_package_is_called_as_it_wants():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 96, 3), np.uint8)
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    assert np.isfinite(calculate_iqa(image, 'piqe')) and calculate_iqa(image, 'piqe') != calculate_iqa(smooth, 'piqe')
    assert iqa_metric.load_metric('piqe', torch.device('cpu')).lower_better
    with pytest.raises(UserError, match='no metric'):
        calculate_iqa(image, 'psnr')
