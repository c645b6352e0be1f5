"""The GCFSR networks equal the authors' at every width, without a compiled extension; bad input gives clear errors."""

import copy
import hashlib
import json
import zlib

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.stylegan2_arch import UpFirDnSmooth, UpFirDnUpsample
from basicsr.losses.gan_loss import r1_penalty
from basicsr.ops.fused_act.fused_act import FusedLeakyReLUFunction
from basicsr.ops.upfirdn2d.upfirdn2d import UpFirDn2d, upfirdn2d_native
from torch import nn

from sdakd_plugin.archs.gcfsr_arch import GCFSR, SIZES, GCFSRBlind, GCFSRDiscriminator
from sdakd_plugin.archs.student_discriminator_arch import StudentDiscriminator
from sdakd_plugin.archs.stylegan2_native import to_native
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.errors import UserError
from sdakd_plugin.weights import identify
from sdakd_plugin.weights.fit import load_into
from tests.helpers.paths import ROOT

NETWORKS = (GCFSR, GCFSRBlind, GCFSRDiscriminator)
PARITY = ROOT / 'tests/fixtures/gcfsr_parity_small.npz'


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def faces(size, batch=2, seed=7, **options):
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, (batch, 3, size, size))).to(**options)


def arguments(net, x, condition=0.5):
    """What the network's forward takes beside the image."""
    return (x.new_full((len(x), 1), condition),) if type(net) is GCFSR else ()


def image_of(net, x, **options):
    out = net(x, *arguments(net, x), **options)
    return out[0] if isinstance(out, tuple) else out


@pytest.fixture
def generator():
    """A small generator whose noise is visible."""
    torch.manual_seed(3)
    net = GCFSR(32, narrow=1 / 16)
    for key, parameter in net.named_parameters():
        if parameter.shape == (1,):
            assert not parameter.any(), key  # StyleGAN2 starts without noise
            nn.init.constant_(parameter, 0.5)
    return net


# ---- the authors' networks

KEYS = [  # keys, their shapes' digest, parameters
    (GCFSR, 1024, 170, '728e9608afcfcb22', 66_668_706),
    (GCFSR, 512, 146, '616bc8ea7095ba58', 62_352_925),
    (GCFSRBlind, 512, 146, '72efce2e2b06be7c', 88_698_653),
    (GCFSRDiscriminator, 1024, 48, '09b20cb89e52bd7a', 29_007_905),
]


@pytest.mark.parametrize(('network', 'size', 'keys', 'digest', 'count'), KEYS)
def test_keys_and_shapes_are_those_of_the_released_weights(network, size, keys, digest, count):
    with torch.device('meta'):
        net = network(size)
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert len(shapes) == keys
    assert hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16] == digest, json.dumps(shapes, indent=1)
    assert parameters(net) == count


def recipe(net):
    """Fill a network with the fixture's weights, a function of their names alone."""
    state = {}
    for key, value in net.state_dict().items():
        shape = tuple(value.shape)
        values = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
        if key.startswith('noises.') or shape == (1,):
            values *= 0
        elif key.endswith('modulation.bias') or (key.startswith('condition_scale') and key.endswith('bias')):
            values = 1 + np.float32(0.1) * values
        elif key.endswith('bias'):
            values *= np.float32(0.1)
        state[key] = torch.from_numpy(values)
    net.load_state_dict(state)
    return net


@pytest.mark.parametrize(
    ('name', 'network', 'size'),
    [
        ('gcfsr_64', GCFSR, 64),
        ('gcfsr_128', GCFSR, 128),
        ('gcfsr_blind_64', GCFSRBlind, 64),
        ('discriminator_64', GCFSRDiscriminator, 64),
    ],
)
def test_outputs_are_those_of_the_original_networks(name, network, size):
    net = recipe(network(size))
    condition = [torch.tensor([[0.25], [0.5]])] if network is GCFSR else []
    with torch.no_grad():
        out = net(faces(size, dtype=torch.float32), *condition)
    found = out if network is GCFSRDiscriminator else out[0][:, :, 1::5, 2::5]  # the part that is in the fixture
    expected = np.load(PARITY)[name]
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


# ---- sizes and widths


@pytest.mark.parametrize('size', SIZES)
def test_every_size(size):
    with torch.device('meta'):
        x = torch.empty(2, 3, size, size)
        for network in (GCFSR, GCFSRBlind):
            net = network(size)
            image, latents = net(x, *arguments(net, x), return_latents=True)
            assert image.shape == x.shape
            assert latents.shape == (2, net.num_latent, 512)
            assert net(x, *arguments(net, x), randomize_noise=False)[0].shape == x.shape
            assert net(x, *arguments(net, x))[1] is None
        assert GCFSRDiscriminator(size)(x).shape == (2, 1)


@pytest.mark.parametrize('narrow', [1 / 8, 0.2, 1 / 4, 1 / 3, 1 / 2, 0.75, 1])
def test_every_width(narrow):
    x = faces(64, batch=1, dtype=torch.float32)
    for network in NETWORKS:
        net = network(64, narrow=narrow)
        with torch.no_grad():
            out = image_of(net, x)
        assert out.shape == ((1, 1) if network is GCFSRDiscriminator else x.shape)
        assert out.isfinite().all() and out.std(unbiased=False) + abs(out.mean()) > 0


def test_narrow_keeps_the_latent_codes_length():
    with torch.device('meta'):
        teacher, student = GCFSR(512), GCFSR(512, narrow=1 / 8)
    assert student.num_latent == teacher.num_latent and student.num_style_feat == teacher.num_style_feat
    assert student.conv_body_first[0].weight.shape == (8, 3, 3, 3)


@pytest.mark.parametrize('width', [1 / 2, 1 / 4, 1 / 8])
def test_a_student_discriminator_narrows_it(width):
    teacher = {'type': 'GCFSRDiscriminator', 'out_size': 1024}
    with torch.device('meta'):
        student, plain = StudentDiscriminator(teacher, width), GCFSRDiscriminator(1024, narrow=width)
    assert type(student) is GCFSRDiscriminator
    assert [(key, value.shape) for key, value in student.state_dict().items()] == [
        (key, value.shape) for key, value in plain.state_dict().items()
    ]
    student = StudentDiscriminator({**teacher, 'out_size': 64}, width)
    assert student(faces(64, dtype=torch.float32)).shape == (2, 1)


# ---- condition, noise, latents, features


def test_the_condition_of_an_image_changes_that_image_alone(generator):
    x = faces(32, dtype=torch.float32)
    with torch.no_grad():
        first = generator(x, torch.tensor([[0.25], [0.5]]), randomize_noise=False)[0]
        second = generator(x, torch.tensor([[0.25], [1.0]]), randomize_noise=False)[0]
    assert torch.allclose(first[0], second[0], atol=1e-6)
    assert (first[1] - second[1]).abs().mean() > 0.01 * first[1].abs().mean()


@pytest.mark.parametrize('level', [0, 1])
def test_every_resolution_has_its_condition(generator, level):
    x = faces(32, dtype=torch.float32)
    with torch.no_grad():
        before = image_of(generator, x, randomize_noise=False)
        generator.condition_shift[level][0].weight.mul_(2)
        assert (image_of(generator, x, randomize_noise=False) - before).abs().mean() > 1e-3


def test_the_blind_network_has_a_condition_of_one():
    blind = GCFSRBlind(32, narrow=1 / 16)
    seen = []
    for layer in (*blind.condition_scale1, *blind.condition_scale2):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    blind(faces(32, dtype=torch.float32))
    assert len(seen) == 4 and all(torch.equal(value, torch.ones(2, 1)) for value in seen)


def test_fixed_noise_repeats_and_random_noise_does_not(generator):
    x = faces(32, dtype=torch.float32)
    with torch.no_grad():
        fixed = [image_of(generator, x, randomize_noise=False) for _ in range(2)]
        random = [image_of(generator, x) for _ in range(2)]
        torch.manual_seed(0)
        again = image_of(generator, x)
        torch.manual_seed(0)
        assert torch.equal(again, image_of(generator, x))
    assert torch.equal(*fixed)
    assert not torch.equal(*random)


def test_fixed_noise_travels_with_the_weights(generator):
    x = faces(32, dtype=torch.float32)
    other = GCFSR(32, narrow=1 / 16)
    other.load_state_dict(generator.state_dict())
    with torch.no_grad():
        assert torch.equal(image_of(generator, x, randomize_noise=False), image_of(other, x, randomize_noise=False))
        other.noises.noise2.neg_()
        assert not torch.equal(image_of(generator, x, randomize_noise=False), image_of(other, x, randomize_noise=False))


def test_noise_can_be_given(generator):
    x = faces(32, dtype=torch.float32)
    silence = [torch.zeros(1, 1, size, size) for size in (16, 32, 32)]
    with torch.no_grad():
        quiet = image_of(generator, x, noise=silence)
        assert not torch.equal(quiet, image_of(generator, x, randomize_noise=False))
        for layer in (generator.style_conv1, *generator.style_convs):
            layer.weight.zero_()
        assert torch.equal(quiet, image_of(generator, x))


def test_features_can_be_tapped_by_name(generator):
    sizes = {
        'conv_body_first': 32,
        'conv_body_down.0': 16,
        'final_conv': 16,
        'style_conv1': 16,
        'to_rgb1': 16,
        'style_convs.0': 32,
        'style_convs.1': 32,
        'to_rgbs.0': 32,
    }
    x = faces(32, dtype=torch.float32)
    with torch.no_grad(), Taps(generator, sizes) as taps:
        image = image_of(generator, x)
    for name, size in sizes.items():
        channels = 3 if 'rgb' in name else 32
        assert taps.features[name].shape == (2, channels, size, size), name
    assert torch.equal(taps.features['to_rgbs.0'], image)


# ---- gradients and precision


@pytest.mark.parametrize('network', NETWORKS)
def test_every_parameter_learns(network):
    torch.manual_seed(1)
    net = network(32, narrow=1 / 16)
    x = faces(32, dtype=torch.float32)
    image_of(net, x).square().mean().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


def test_r1_differentiates_twice():
    torch.manual_seed(1)
    net = GCFSRDiscriminator(32, narrow=1 / 32).double()
    x = faces(32).requires_grad_()
    weight = net.conv_body[1].conv1[0].weight

    def penalty():
        return r1_penalty(net(x), x)

    penalty().backward()
    direction = weight.grad / weight.grad.norm()
    slope = weight.grad.norm().item()
    with torch.no_grad():
        weight.add_(direction * 1e-5)
    above = penalty().item()
    with torch.no_grad():
        weight.sub_(direction * 2e-5)
    assert (above - penalty().item()) / 2e-5 == pytest.approx(slope, rel=1e-4)
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters() if parameter.grad is not None)


@pytest.mark.parametrize('network', NETWORKS)
def test_double_precision(network):
    torch.manual_seed(1)
    net = network(32, narrow=1 / 16)
    options = {} if network is GCFSRDiscriminator else {'randomize_noise': False}
    with torch.no_grad():
        single = image_of(net, faces(32, dtype=torch.float32), **options)
        double = image_of(net.double(), faces(32), **options)
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-5 * double.abs().max()


# ---- no compiled extension


@pytest.mark.parametrize('kernel', [(1, 3, 3, 1), (1, 2, 4), (1, 2), (1, 2, 3, 4, 5)])
def test_filters_are_those_of_basicsr(kernel):
    layers = [
        UpFirDnSmooth(kernel, upsample_factor=2, kernel_size=3),
        UpFirDnSmooth(kernel, downsample_factor=2, kernel_size=3),
        UpFirDnSmooth(kernel, downsample_factor=2),
        UpFirDnUpsample(kernel),
    ]
    x = faces(9)[..., :7]
    for layer, native in zip(layers, to_native(nn.Sequential(*layers)), strict=True):
        factor = getattr(layer, 'factor', 1)
        expected = upfirdn2d_native(x, layer.kernel.double(), factor, factor, 1, 1, *layer.pad, *layer.pad)
        assert torch.allclose(native(x), expected, atol=1e-12)


@pytest.mark.parametrize('network', NETWORKS)
def test_no_layer_calls_the_extension(network, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('needs the compiled extension')

    monkeypatch.setattr(FusedLeakyReLUFunction, 'apply', refuse)
    monkeypatch.setattr(UpFirDn2d, 'apply', refuse)
    image_of(network(32, narrow=1 / 16), faces(32, dtype=torch.float32))
    with torch.device('meta'):  # BasicSR's layers take any device but the CPU for a GPU
        image_of(network(32), torch.empty(1, 3, 32, 32))


def test_copies_and_state_dict():
    net = GCFSRDiscriminator(32, narrow=1 / 16)
    assert not [key for key in net.state_dict() if 'kernel' in key]
    x = faces(32, dtype=torch.float32)
    assert torch.equal(copy.deepcopy(net)(x), net(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('network', NETWORKS)
def test_gpu_and_cpu_agree(network):
    net = network(32, narrow=1 / 16).double()
    options = {} if network is GCFSRDiscriminator else {'randomize_noise': False}
    on_cpu = image_of(net, faces(32), **options)
    on_gpu = image_of(net.cuda(), faces(32).cuda(), **options)
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-9)


# ---- bad input


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'out_size': 100}, 'out_size must be one of 32, 64, 128, 256, 512, 1024, not 100'),
        ({'out_size': 16}, 'not 16'),
        ({'out_size': 2048}, 'not 2048'),
        ({'out_size': '512'}, "not '512'"),
        ({'out_size': None}, 'not None'),
        ({'narrow': 0}, 'narrow must be a number above 0, not 0'),
        ({'narrow': -1}, 'narrow must be'),
        ({'narrow': '1/2'}, "narrow must be a number above 0, not '1/2'"),
        ({'narrow': float('nan')}, 'not nan'),
        ({'narrow': float('inf')}, 'not inf'),
        ({'narrow': 0.003}, 'narrow 0.003 is too small: it leaves 1 of the channels at 4x4, but at least 2 are'),
        ({'out_size': 1024, 'narrow': 0.05}, 'narrow 0.05 is too small: it leaves 1 of the channels at 1024x1024'),
        ({'channel_multiplier': 0}, 'channel_multiplier must be a number above 0'),
        ({'resample_kernel': 1}, 'resample_kernel must be a list of numbers with a sum above 0, not 1'),
        ({'resample_kernel': []}, 'not []'),
        ({'resample_kernel': ['1', 3]}, "not ['1', 3]"),
    ],
)
def test_bad_option(network, options, message):
    with pytest.raises(UserError) as caught:
        network(**{'out_size': 32, **options})
    assert message in str(caught.value) and str(caught.value).startswith(f'{network.__name__}: ')


def test_bad_length_of_latent_codes():
    with pytest.raises(UserError, match='GCFSR: num_style_feat must be a whole number above 0, not 0'):
        GCFSR(32, num_style_feat=0)


@pytest.mark.parametrize('shape', [(1, 3, 64, 64), (1, 3, 32, 16), (1, 1, 32, 32), (3, 32, 32)])
@pytest.mark.parametrize('network', NETWORKS)
def test_images_of_another_size(network, shape):
    with torch.device('meta'):
        net, x = network(32), torch.empty(shape)
        with pytest.raises(UserError) as caught:
            net(x, *arguments(net, x))
    assert str(caught.value) == (
        f'{network.__name__}: expected images of shape (b, 3, 32, 32), but got {shape}; '
        'resize them bicubically to out_size first'
    )


def test_missing_wrong_and_needless_condition(generator):
    x = faces(32, dtype=torch.float32)
    with pytest.raises(UserError, match=r'GCFSR needs a condition in_size of shape \(2, 1\), .* but got none'):
        generator(x)
    for shape in ((2,), (1, 1), (2, 2)):
        with pytest.raises(UserError, match='got one of shape'):
            generator(x, torch.ones(shape))
    with torch.device('meta'), pytest.raises(UserError, match='GCFSRBlind has no condition'):
        GCFSRBlind(32)(torch.empty(1, 3, 32, 32), torch.ones(1, 1))


def test_too_little_noise(generator):
    with pytest.raises(UserError, match='noise must have 3 entries, one per style convolution, not 1'):
        image_of(generator, faces(32, dtype=torch.float32), noise=[None])


# ---- weights tell their network


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'GCFSR', 'out_size': 1024, 'num_style_feat': 512, 'channel_multiplier': 2, 'narrow': 1},
        {'type': 'GCFSR', 'out_size': 512, 'num_style_feat': 512, 'channel_multiplier': 2, 'narrow': 0.125},
        {'type': 'GCFSR', 'out_size': 64, 'num_style_feat': 128, 'channel_multiplier': 1, 'narrow': 0.3},
        {'type': 'GCFSR', 'out_size': 32, 'num_style_feat': 512, 'narrow': 0.25},
        {'type': 'GCFSRBlind', 'out_size': 512, 'num_style_feat': 512, 'channel_multiplier': 2, 'narrow': 1},
        {'type': 'GCFSRBlind', 'out_size': 256, 'num_style_feat': 512, 'channel_multiplier': 2, 'narrow': 0.5},
        {'type': 'GCFSRDiscriminator', 'out_size': 1024, 'channel_multiplier': 2, 'narrow': 1},
        {'type': 'GCFSRDiscriminator', 'out_size': 32, 'narrow': 0.125},
    ],
    ids=str,
)
def test_weights_tell_their_network(network):
    with torch.device('meta'):
        state = build_network(network).state_dict()
        found = identify(state)
        assert found is not None and found.network == network and found.scale is None
        assert found.kind == ('discriminator' if 'Discriminator' in network['type'] else 'generator')
        build_network(found.network).load_state_dict(state, strict=True, assign=True)
        lacking = dict(list(state.items())[:-1])
    assert identify(lacking) is None


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (
            lambda: GCFSR(32, narrow=1 / 8),
            'face.pth holds GCFSR(out_size=32, narrow=0.125), which does not fit network '
            'GCFSR(out_size=64, channel_multiplier=2, narrow=0.125)',
        ),
        (lambda: GCFSRBlind(64, narrow=1 / 8), 'face.pth holds GCFSRBlind(out_size=64'),
        (
            lambda: GCFSRDiscriminator(64, narrow=1 / 8),
            'face.pth holds a discriminator, GCFSRDiscriminator(out_size=64',
        ),
    ],
)
def test_weights_of_another_network_are_named(state, message):
    with pytest.raises(UserError) as caught:
        load_into(GCFSR(64, narrow=1 / 8), state().state_dict(), 'face.pth', 'path.pretrain_network_g')
    assert message in str(caught.value)
