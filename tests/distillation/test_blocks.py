"""Layers selected by a number of depths."""

import pytest
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN, VGGStyleDiscriminator
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from sdakd_plugin.archs.gcfsr_arch import GCFSR
from sdakd_plugin.archs.srgan_arch import SRGANDiscriminator, SRGANGenerator
from sdakd_plugin.distillation.blocks import blocks, name_layers, spread
from sdakd_plugin.distillation.taps import TapError, check_layers
from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss

KEY = 'train.feature_opt.layers'


def rrdbnet(num_block=23):
    return RRDBNet(3, 3, num_feat=4, num_block=num_block, num_grow_ch=2)


def compact(num_conv=8, act_type='prelu'):
    return SRVGGNetCompact(3, 3, num_feat=4, num_conv=num_conv, upscale=4, act_type=act_type)


def named(layers, student, teacher):
    loss = FeatureAlignmentLoss(layers)
    name_layers(loss, student, teacher, KEY)
    return loss.layers


def test_four_of_23_blocks_are_those_of_the_option_file():
    assert named(4, rrdbnet(), rrdbnet()) == {f'body.{index}': f'body.{index}' for index in (5, 11, 17, 22)}


def test_a_student_of_fewer_blocks_takes_its_own():
    assert named(4, rrdbnet(6), rrdbnet()) == {
        'body.1': 'body.5',
        'body.2': 'body.11',
        'body.4': 'body.17',
        'body.5': 'body.22',
    }


@pytest.mark.parametrize('act_type', ['prelu', 'relu', 'leakyrelu'])
def test_a_compact_student_is_tapped_behind_its_activations(act_type):
    net = compact(act_type=act_type)
    assert all(not isinstance(net.get_submodule(name), type(net.body[0])) for name in blocks(net))
    assert len(blocks(net)) == 9  # the first convolution and eight more; the last makes the image
    assert named(4, net, rrdbnet()) == {
        'body.5': 'body.5',
        'body.9': 'body.11',
        'body.13': 'body.17',
        'body.17': 'body.22',
    }


@pytest.mark.parametrize(
    'net',
    [
        rrdbnet(3),
        compact(),
        MSRResNet(3, 3, 4, 3),
        SRGANGenerator(num_feat=4, num_block=3),
        UNetDiscriminatorSN(3, 4),
        SRGANDiscriminator(num_feat=4, input_size=32),
        GCFSR(32, narrow=0.0625),
    ],
    ids=lambda net: type(net).__name__,
)
def test_blocks_are_layers_of_the_network(net):
    check_layers(net, blocks(net))
    assert blocks(net)


@pytest.mark.parametrize('count', [1, 3, 8, 23])
def test_spread_ends_with_the_last_and_repeats_none(count):
    names = [str(number) for number in range(count)]
    for depths in range(1, count + 1):
        chosen = spread(names, depths)
        assert len(set(chosen)) == depths and chosen[-1] == names[-1] and chosen == sorted(chosen, key=names.index)


def test_too_few_blocks():
    with pytest.raises(UserError, match='RRDBNet has 3 blocks, fewer than 4 depths; use 3 or less'):
        named(4, rrdbnet(3), rrdbnet())


def test_a_network_without_known_blocks():
    with pytest.raises(UserError, match='the blocks of VGGStyleDiscriminator are unknown; name its layers'):
        named(2, VGGStyleDiscriminator(3, 4), VGGStyleDiscriminator(3, 4))


def test_names_of_one_family_do_not_serve_another():
    with pytest.raises(UserError, match='RRDBNet number their layers differently; use a number of depths'):
        named(['body.5', 'body.11'], compact(), rrdbnet())
    assert named({'body.5': 'body.5'}, compact(), rrdbnet()) == {'body.5': 'body.5'}  # the user means it
    assert named(['body.1'], MSRResNet(3, 3, 4, 3), SRGANGenerator(num_feat=4, num_block=3)) == {'body.1': 'body.1'}


@pytest.mark.parametrize('layers', [0, -1, True, 'body.5', [], 1.5])
def test_layers_that_are_none(layers):
    with pytest.raises(UserError, match='layers: expected a number of depths, a list of layer names, or a mapping'):
        FeatureAlignmentLoss(layers)


def test_a_block_beyond_the_last_is_not_mistaken_for_the_first():
    with pytest.raises(TapError, match=r"no layer 'body.11'; its last one is 'body.5'; layers: 4 selects") as caught:
        check_layers(rrdbnet(6), ['body.11'])
    assert 'did you mean' not in str(caught.value)
