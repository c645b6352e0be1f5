"""Every network of a known family is identified from its weights, and no other network is."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdakd_plugin.weights import KNOWN, Identity, identify

CHANNELS = {'num_in_ch': 3, 'num_out_ch': 3}
GENERATORS = [
    {'type': 'RRDBNet', **CHANNELS, 'scale': 4, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8},
    {'type': 'RRDBNet', **CHANNELS, 'scale': 2, 'num_feat': 12, 'num_block': 1, 'num_grow_ch': 4},
    {'type': 'RRDBNet', **CHANNELS, 'scale': 1, 'num_feat': 8, 'num_block': 3, 'num_grow_ch': 8},
    {'type': 'RRDBNet', 'num_in_ch': 1, 'num_out_ch': 1, 'scale': 4, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    {'type': 'RRDBNet', 'num_in_ch': 1, 'num_out_ch': 1, 'scale': 2, 'num_feat': 8, 'num_block': 11, 'num_grow_ch': 4},
    {'type': 'SRVGGNetCompact', **CHANNELS, 'num_feat': 24, 'num_conv': 4, 'upscale': 4, 'act_type': 'prelu'},
    {'type': 'SRVGGNetCompact', **CHANNELS, 'num_feat': 3, 'num_conv': 1, 'upscale': 1, 'act_type': 'prelu'},
    {'type': 'SRVGGNetCompact', **CHANNELS, 'num_feat': 8, 'num_conv': 12, 'upscale': 3, 'act_type': 'relu'},
    {
        'type': 'SRVGGNetCompact',
        'num_in_ch': 1,
        'num_out_ch': 1,
        'num_feat': 8,
        'num_conv': 2,
        'upscale': 2,
        'act_type': 'prelu',
    },
    {'type': 'MSRResNet', **CHANNELS, 'num_feat': 8, 'num_block': 2, 'upscale': 2},
    {'type': 'MSRResNet', **CHANNELS, 'num_feat': 16, 'num_block': 1, 'upscale': 3},
    {'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 11, 'upscale': 4},
    {'type': 'SRGANGenerator', **CHANNELS, 'num_feat': 8, 'num_block': 2, 'upscale': 4},
    {'type': 'SRGANGenerator', **CHANNELS, 'num_feat': 4, 'num_block': 11, 'upscale': 8},
    {'type': 'SRGANGenerator', **CHANNELS, 'num_feat': 4, 'num_block': 1, 'upscale': 3},
    {
        'type': 'SRGANGenerator',
        **CHANNELS,
        'num_feat': 8,
        'num_block': 5,
        'upscale': 2,
        'fusion': 'prelu',
        'output': 'tanh',
    },
]
DISCRIMINATORS = [
    {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8},
    {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 12},
    {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128},
    {'type': 'VGGStyleDiscriminator', 'num_in_ch': 1, 'num_feat': 2, 'input_size': 256},
    {'type': 'SRGANDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 96},
    {'type': 'SRGANDiscriminator', 'num_in_ch': 1, 'num_feat': 2, 'input_size': 16},
    {'type': 'StyleGAN2Discriminator', 'out_size': 8, 'narrow': 0.05},
    {'type': 'StyleGAN2Discriminator', 'out_size': 32, 'narrow': 0.125},
    {'type': 'StyleGAN2Discriminator', 'out_size': 64, 'channel_multiplier': 1, 'narrow': 0.1},
    {'type': 'StyleGAN2Discriminator', 'out_size': 256, 'channel_multiplier': 2, 'narrow': 0.3},
    {'type': 'StyleGAN2Discriminator', 'out_size': 512, 'channel_multiplier': 1, 'narrow': 0.25},
]


def weights_of(network: dict) -> dict[str, Tensor]:
    return build_network(network).state_dict()


@pytest.mark.parametrize('network', GENERATORS + DISCRIMINATORS, ids=str)
def test_a_network_is_told_with_all_its_options(network: dict) -> None:
    state = weights_of(network)
    found = identify(state)
    assert found is not None
    assert found.network == network
    assert found.kind == ('generator' if network in GENERATORS else 'discriminator')
    assert found.scale == network.get('scale', network.get('upscale'))
    build_network(found.network).load_state_dict(state, strict=True)


@pytest.mark.parametrize('known', KNOWN.values(), ids=lambda known: known.name)
def test_the_table_of_known_weights_is_told_from_its_own_networks(known) -> None:
    found = identify(weights_of(known.network))
    assert (found.network, found.kind) == (known.network, known.kind)
    assert found.scale in (known.scale, None)


def test_any_narrow_width_of_stylegan2_rebuilds_a_network_that_loads() -> None:
    for narrow in (1, 0.5, 1 / 3, 0.0777, 0.9):
        with torch.device('meta'):
            state = weights_of({'type': 'StyleGAN2Discriminator', 'out_size': 128, 'narrow': narrow})
            found = identify(state)
            build_network(found.network).load_state_dict(state, strict=True, assign=True)


def test_an_identity_reads_like_a_constructor() -> None:
    found = identify(weights_of(GENERATORS[0]))
    assert str(found) == 'RRDBNet(num_feat=16, num_block=2, num_grow_ch=8)'
    found = identify(weights_of(GENERATORS[1]))
    assert str(found) == 'RRDBNet(scale=2, num_feat=12, num_block=1, num_grow_ch=4)'


def test_files_from_before_batch_norm_counted_are_told() -> None:
    state = weights_of(DISCRIMINATORS[2])
    old = {key: value for key, value in state.items() if not key.endswith('num_batches_tracked')}
    assert identify(old) == identify(state)


ALL_NAMES = sorted({key for network in GENERATORS + DISCRIMINATORS for key in weights_of(network)})
SHAPES = st.lists(st.integers(0, 64), max_size=5).map(lambda shape: torch.empty(shape, device='meta'))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(ALL_NAMES) | st.text(max_size=20), SHAPES, max_size=12))
def test_garbage_is_nothing(state: dict[str, Tensor]) -> None:
    assert identify(state) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_network_with_one_wrong_tensor_is_never_taken_for_what_it_is_not(data) -> None:
    network = data.draw(st.sampled_from(STATES))
    state = dict(network)
    name = data.draw(st.sampled_from(sorted(state)))
    action = data.draw(st.sampled_from(['remove', 'add', 'reshape', 'rename']))
    tensor = state[name] if action == 'add' else state.pop(name)
    if action == 'add':
        state[f'{name}.more'] = tensor
    elif action == 'reshape':
        state[name] = data.draw(SHAPES)
    elif action == 'rename':
        state[f'_{name}'] = tensor
    found = identify(state)
    if found is not None:  # a counter of BatchNorm, or a shape drawn as it was
        assert loads(found, state)


STATES = [weights_of(network) for network in GENERATORS[:2] + GENERATORS[5:6] + GENERATORS[9:10] + DISCRIMINATORS[:6]]


def loads(found: Identity, state: dict[str, Tensor]) -> bool:
    shapes = {
        key: value.shape for key, value in weights_of(found.network).items() if not key.endswith('num_batches_tracked')
    }
    return shapes == {key: value.shape for key, value in state.items() if 'num_batches_tracked' not in key}
