"""Calling networks that are not plain ``net(lq)``."""

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models.swinir_model import SwinIRModel

from sdakd_plugin.families.calling import super_resolve
from tests.helpers.training import build

SWINIR = {
    'type': 'SwinIR',
    'upscale': 4,
    'img_size': 16,
    'window_size': 8,
    'embed_dim': 8,
    'depths': [2],
    'num_heads': [2],
    'mlp_ratio': 2,
    'upsampler': 'pixelshuffledirect',
    'resi_connection': '1conv',
    'img_range': 1.0,
}


def stock(net, lq):
    """BasicSR's own way."""
    model = SwinIRModel.__new__(SwinIRModel)
    model.opt, model.net_g, model.lq = {'network_g': SWINIR, 'scale': 4}, net, lq
    model.test()
    return model.output


@pytest.mark.parametrize('size', [(16, 16), (17, 16), (13, 30)])
def test_a_network_of_windows_takes_images_of_any_size_as_in_stock(size):
    torch.manual_seed(0)
    net = build_network(dict(SWINIR)).eval()
    lq = torch.rand(2, 3, *size)
    with torch.no_grad():
        image = super_resolve(net, lq)
    assert image.shape == (2, 3, size[0] * 4, size[1] * 4)
    assert torch.equal(image, stock(net, lq))


def test_such_a_student_validates_on_images_of_any_size(options):
    options['network_g'] = dict(SWINIR)
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    model = build(options)
    assert model.students[0].super_resolve(torch.rand(1, 3, 19, 13), None).shape == (1, 3, 76, 52)
