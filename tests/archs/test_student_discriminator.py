"""A student discriminator is a network of the teacher's family with fewer channels."""

import copy
import re
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from hypothesis import given, settings
from hypothesis import strategies as st

from sdakd_plugin.archs.student_discriminator_arch import StudentDiscriminator, supported, whole_width
from sdakd_plugin.errors import UserError

UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 64, 'skip_connection': True}
VGG = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 48, 'input_size': 128}
STYLEGAN2 = {'type': 'StyleGAN2Discriminator', 'out_size': 64, 'channel_multiplier': 2, 'narrow': 0.125}
FAMILIES = [(UNET, {'num_feat': 32}, 64), (VGG, {'num_feat': 24}, 128), (STYLEGAN2, {'narrow': 0.0625}, 64)]


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture
def stylegan2_on_cpu(monkeypatch):
    """BasicSR's fused activation exists for CUDA only; this is what it computes."""

    def fused_leaky_relu(x, bias, negative_slope=0.2, scale=2**0.5):
        return torch.nn.functional.leaky_relu(x + bias.view(1, -1, *[1] * (x.dim() - 2)), negative_slope) * scale

    monkeypatch.setattr('basicsr.ops.fused_act.fused_act.fused_leaky_relu', fused_leaky_relu)
    monkeypatch.setattr('basicsr.archs.stylegan2_arch.fused_leaky_relu', fused_leaky_relu)


@pytest.mark.parametrize('teacher, narrower, size', FAMILIES, ids=lambda value: str(value)[:30])
@pytest.mark.usefixtures('stylegan2_on_cpu')
def test_is_an_ordinary_network_of_the_family(teacher, narrower, size):
    before = copy.deepcopy(teacher)
    student = build_network({'type': 'StudentDiscriminator', 'teacher': teacher, 'width': 0.5})
    assert teacher == before
    plain = build_network({**teacher, **narrower})
    assert type(student) is type(plain)
    assert list(student.state_dict()) == list(plain.state_dict()) == list(build_network(teacher).state_dict())
    plain.load_state_dict(student.state_dict(), strict=True)
    student.eval(), plain.eval()
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        assert torch.allclose(student(image), plain(image), rtol=1e-5, atol=1e-6)


def test_stylegan2_runs_without_a_compiled_extension():
    student = StudentDiscriminator(STYLEGAN2, 0.5)
    student(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


@pytest.mark.parametrize('width, thousands', [(1, 4377), (0.5, 1095), (0.25, 274)])
def test_size_of_real_esrgans_discriminator(width, thousands):
    student = StudentDiscriminator({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}, width)  # num_feat by its default
    assert round(parameters(student) / 1000) == thousands


@pytest.mark.parametrize('multiplier, size', [(1, 256), (2, 256), (2, 1024)])
def test_stylegan2_keeps_whole_channels_everywhere(multiplier, size):
    teacher = {'type': 'StyleGAN2Discriminator', 'out_size': size, 'channel_multiplier': multiplier}
    with torch.device('meta'):
        full, student = build_network(teacher), StudentDiscriminator(teacher, 0.375)
    for (key, value), wide in zip(student.state_dict().items(), full.state_dict().values(), strict=True):
        if key.endswith('bias') and key != 'final_linear.1.bias':
            assert value.numel() == wide.numel() * 0.375, key


def test_a_third_as_yaml_writes_it():
    assert StudentDiscriminator(VGG, 0.333333).conv0_0.out_channels == 16


def test_every_supported_family_is_built():
    for name in supported():
        if 'StyleGAN2' in name or 'GCFSR' in name:
            needed = {'out_size': 64}
        else:
            needed = {'num_in_ch': 3} if 'UNet' in name else {'num_in_ch': 3, 'num_feat': 16} if 'VGG' in name else {}
        with torch.device('meta'):
            teacher = build_network({'type': name, **needed})
            student = StudentDiscriminator({'type': name, **needed}, 0.5)
        assert parameters(student) < 0.6 * parameters(teacher)


@pytest.mark.parametrize(
    'teacher, width, message',
    [
        (
            UNET,
            1 / 3,
            'width: 0.3333333333333333 of 64 channels is 21.3333, not a whole number; closest valid widths: '
            '0.328125 (21 of 64) and 0.34375 (22 of 64)',
        ),
        (UNET, 0.001, 'closest valid widths: 0.015625 (1 of 64)'),
        (
            {**STYLEGAN2, 'out_size': 256},
            1 / 3,
            'of 32 channels is 10.6667, not a whole number; closest valid widths: '
            '0.3125 (10 of 32) and 0.375 (12 of 32)',
        ),
        (UNET, 0, 'width: 0 is not greater than 0 and at most 1'),
        (UNET, 1.5, 'width: 1.5 is not greater than 0'),
        (UNET, float('nan'), 'width: nan is not greater than 0'),
        (UNET, '0.5', "width: '0.5' is not a number"),
        (UNET, None, 'width: None is not a number'),
        (
            {**UNET, 'type': 'UNetDiscriminator'},
            0.5,
            "teacher.type: there is no 'UNetDiscriminator'; did you mean 'UNetDiscriminatorSN'",
        ),
        (
            {**UNET, 'num_fat': 64},
            0.5,
            "teacher: unknown key 'num_fat' for UNetDiscriminatorSN; did you mean 'num_feat'",
        ),
        ({'type': 'VGGStyleDiscriminator', 'num_in_ch': 3}, 0.5, "VGGStyleDiscriminator needs the key 'num_feat'"),
        ({**UNET, 'num_feat': 'wide'}, 0.5, "teacher.num_feat: 'wide' is not a number"),
        ({**UNET, 'num_feat': 0}, 0.5, 'closest valid widths: none'),
        ({**STYLEGAN2, 'narrow': '1'}, 0.5, "teacher.narrow: '1' is not a number"),
        (
            {**STYLEGAN2, 'out_size': 100},
            0.5,
            'teacher.out_size: 100 is not one of 4, 8, 16, 32, 64, 128, 256, 512, 1024',
        ),
        ({'type': 'SpyNet'}, 0.5, 'teacher.type: SpyNet has neither num_feat nor narrow to make it narrower; valid: '),
        ({'type': 'StudentDiscriminator', 'teacher': UNET, 'width': 0.5}, 0.5, 'has neither num_feat nor narrow'),
        ({'num_in_ch': 3}, 0.5, 'teacher: expected a network block with the key type'),
        (None, 0.5, 'teacher: expected a network block with the key type'),
    ],
)
def test_bad_option(teacher, width, message):
    with pytest.raises(UserError) as caught:
        StudentDiscriminator(teacher, width)
    assert message in str(caught.value)


def test_the_error_lists_what_is_supported():
    with pytest.raises(UserError, match='StyleGAN2Discriminator, UNetDiscriminatorSN, VGGStyleDiscriminator'):
        StudentDiscriminator({'type': 'SpyNet'}, 0.5)


def test_values_that_the_family_refuses_are_its_own_error():
    with pytest.raises(AssertionError, match='input size must be 128 or 256'):
        StudentDiscriminator({**VGG, 'input_size': 100}, 0.5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 512), min_size=1, max_size=4), st.floats(0.001, 1))
def test_offered_widths_work_as_they_are_printed(channels, width):
    try:
        whole = whole_width(channels, width)
        assert whole == pytest.approx(width, abs=1e-3)
    except UserError as error:
        for offer in re.findall(r'(?:work: |and )([\d.]+) \(', str(error)):
            whole = whole_width(channels, float(offer))
            assert whole == pytest.approx(float(offer), abs=1e-5)
    else:
        assert all(count * whole == pytest.approx(round(count * whole), abs=2e-3) for count in channels)


def test_imports_of_the_plugin_only_networks_and_errors():
    source = Path(StudentDiscriminator.__code__.co_filename).read_text()
    assert set(re.findall(r'sdakd_plugin\.\w+', source)) <= {'sdakd_plugin.archs', 'sdakd_plugin.errors'}
