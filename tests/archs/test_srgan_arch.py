"""SRGAN's networks: the paper's layout, real trained weights, every scale and crop size, clear errors."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.archs.srgan_arch import SRGANDiscriminator, SRGANGenerator
from sdakd_plugin.errors import UserError
from sdakd_plugin.weights import key_maps
from tests.helpers.paths import SHARED

LEFTTHOMAS = SHARED / 'weights' / 'srgan_leftthomas_netG_x4.pth'


def leftthomas_state() -> dict:
    if not LEFTTHOMAS.is_file():
        pytest.skip(f'needs {LEFTTHOMAS}')
    return torch.load(LEFTTHOMAS, map_location='cpu', weights_only=True)


def leftthomas_generator() -> SRGANGenerator:
    options: dict[str, Any] = {key: value for key, value in key_maps.LEFTTHOMAS_NETWORK.items() if key != 'type'}
    generator = SRGANGenerator(**options)
    generator.load_state_dict(key_maps.translated(leftthomas_state()), strict=True)
    return generator.eval()


@pytest.mark.parametrize('upscale', [2, 3, 4, 8])
def test_generator_scales_any_size(upscale):
    generator = SRGANGenerator(num_feat=4, num_block=1, upscale=upscale)
    assert generator(torch.rand(2, 3, 7, 10)).shape == (2, 3, 7 * upscale, 10 * upscale)


def test_generator_takes_other_channels():
    assert SRGANGenerator(1, 2, num_feat=4, num_block=1)(torch.rand(1, 1, 5, 5)).shape == (1, 2, 20, 20)


@pytest.mark.parametrize(('num_block', 'parameters'), [(16, 1_549_462), (4, 660_106)])
def test_generator_has_the_documented_number_of_parameters(num_block, parameters):
    assert sum(p.numel() for p in SRGANGenerator(num_block=num_block).parameters()) == parameters


def test_generator_has_the_papers_layout():
    generator = SRGANGenerator()
    assert generator.conv_first.kernel_size == generator.conv_last.kernel_size == (9, 9)
    assert isinstance(generator.fuse, nn.BatchNorm2d)
    assert [type(layer) for layer in generator.upsample[0]] == [nn.Conv2d, nn.PixelShuffle, nn.PReLU]
    assert [name for name, _ in generator.body[15].named_children()] == ['conv1', 'bn1', 'act', 'conv2', 'bn2']
    assert len(generator.body) == 16


def test_tanh_output_stays_in_range_and_linear_does_not():
    torch.manual_seed(0)
    linear, tanh = (SRGANGenerator(num_feat=4, num_block=1, output=output) for output in ('linear', 'tanh'))
    tanh.load_state_dict(linear.state_dict())
    images = 50 * torch.randn(1, 3, 8, 8)
    assert linear.eval()(images).abs().max() > 1
    assert torch.equal(tanh.eval()(images), (linear(images).tanh() + 1) / 2)


def test_real_weights_load_strictly_and_reach_their_psnr_on_set5():
    generator = leftthomas_generator()
    psnr = []
    for file in sorted((SHARED / 'data' / 'Set5' / 'HR').glob('*.png')):
        lq, gt = (cv2.imread(str(path)) for path in (file.parents[1] / 'LR_bicubic_x4' / file.name, file))
        with torch.inference_mode():
            sr = tensor2img(generator(img2tensor(lq / 255.0, float32=True).unsqueeze(0)))
        psnr.append(calculate_psnr(sr, gt, crop_border=4, test_y_channel=True))
    assert len(psnr) == 5
    assert np.mean(psnr) == pytest.approx(30.66, abs=0.01)


def test_the_key_map_recognises_its_file_and_no_other():
    state = leftthomas_state()
    assert {'conv_first.weight', 'body.4.bn2.bias', 'conv_last.bias'} <= key_maps.translated(state).keys()
    for other in ({**state, 'extra.weight': torch.zeros(1)}, SRGANGenerator(num_block=1).state_dict(), {}):
        assert key_maps.translated(other).keys() == other.keys()


@pytest.mark.parametrize('input_size', [16, 17, 31, 33, 96, 100])
def test_discriminator_takes_any_crop_size(input_size):
    discriminator = SRGANDiscriminator(num_feat=4, input_size=input_size)
    assert discriminator(torch.rand(2, 3, input_size, input_size)).shape == (2, 1)


def test_discriminator_has_the_papers_layout():
    discriminator = SRGANDiscriminator()
    convolutions = [layer for layer in discriminator.features.modules() if isinstance(layer, nn.Conv2d)]
    assert [(conv.out_channels, conv.stride[0]) for conv in convolutions] == [
        (64, 1),
        (64, 2),
        (128, 1),
        (128, 2),
        (256, 1),
        (256, 2),
        (512, 1),
        (512, 2),
    ]
    assert [len(block) for block in discriminator.features] == [2] + 7 * [3]  # BatchNorm except in the first
    assert [layer.out_features for layer in discriminator.classifier if isinstance(layer, nn.Linear)] == [1024, 1]


def test_a_narrower_discriminator_is_narrower_everywhere():
    full, half = SRGANDiscriminator(num_feat=8).state_dict(), SRGANDiscriminator(num_feat=4).state_dict()
    for key in full.keys() - {'features.0.0.weight', 'classifier.2.bias'}:
        assert full[key].dim() == 0 or full[key].shape[0] == 2 * half[key].shape[0] or key == 'classifier.2.weight'
    assert full['classifier.2.weight'].shape == (1, 128)


def test_discriminator_gives_logits():
    discriminator = SRGANDiscriminator(num_feat=4, input_size=16)
    discriminator.classifier[-1].bias.data.fill_(5.0)
    assert (discriminator(torch.rand(2, 3, 16, 16)) > 1).all()


def test_activations_leave_tapped_features_alone():
    discriminator = SRGANDiscriminator(num_feat=4, input_size=16)
    tapped = []
    discriminator.features[1][1].register_forward_hook(lambda module, inputs, output: tapped.append(output))
    discriminator(torch.rand(2, 3, 16, 16))
    assert tapped[0].mean().abs() < 1e-5  # still what BatchNorm made it


def test_discriminator_refuses_another_size_by_name():
    with pytest.raises(UserError, match='input_size is 96, but the images are 64x128'):
        SRGANDiscriminator(num_feat=4)(torch.rand(1, 3, 64, 128))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'upscale': 5}, 'no upscale 5; valid: 2, 3, 4, 8'),
        ({'fusion': 'batchnorm'}, "no fusion 'batchnorm'; valid: bn, prelu"),
        ({'output': 'tahn'}, "did you mean 'tanh'"),
        ({'num_feat': 0}, 'num_feat must be a whole number of at least 1'),
        ({'num_block': 2.5}, 'num_block must be a whole number'),
    ],
)
def test_generator_names_a_bad_option(options, message):
    with pytest.raises(UserError, match=message):
        SRGANGenerator(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'input_size': 15}, 'input_size must be a whole number of at least 16, not 15'),
        ({'input_size': '96'}, "not '96'"),
        ({'num_feat': -1}, 'num_feat must be'),
    ],
)
def test_discriminator_names_a_bad_option(options, message):
    with pytest.raises(UserError, match=message):
        SRGANDiscriminator(**options)


def test_basicsr_finds_the_networks():
    assert ARCH_REGISTRY.get('SRGANGenerator') is SRGANGenerator
    assert ARCH_REGISTRY.get('SRGANDiscriminator') is SRGANDiscriminator
