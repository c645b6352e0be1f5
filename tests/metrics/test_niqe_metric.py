"""NIQE returns nan instead of ending a run."""

import math

import numpy as np
import pytest
from basicsr.metrics.niqe import calculate_niqe
from skimage import data

from sdakd_plugin.metrics.niqe_metric import calculate_robust_niqe


def test_it_is_basicsrs_niqe():
    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    assert calculate_robust_niqe(image, 4, img2=None) == calculate_niqe(image, 4)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((256, 256, 3), np.uint8),
        np.full((256, 256, 3), 255, np.uint8),
        np.ascontiguousarray(data.astronaut()[:120, :120, ::-1]),
        np.ascontiguousarray(data.astronaut()[:50, :50, ::-1]),
        np.zeros((1, 1, 3), np.uint8),
    ],
)
def test_where_niqe_is_not_defined_it_is_nan(image):
    assert math.isnan(calculate_robust_niqe(image, 0))
