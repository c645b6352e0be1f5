"""SPAN, RealPLKSR and MoSR: all of each trains, is recognised, folds, exports, and is opened by spandrel."""

import copy

import numpy as np
import onnx as onnx_package
import pytest
import spandrel
import torch
from basicsr.archs import build_network

from sdakd_plugin.distillation.blocks import blocks
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.errors import UserError
from sdakd_plugin.export import ncnn, onnx, openvino, safetensors
from sdakd_plugin.families import span
from sdakd_plugin.families.calling import folded
from sdakd_plugin.families.registry import identify
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.networks.build import build_network as checked_network

SPAN = {'type': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8, 'upscale': 4}
PLKSR = {'type': 'RealPLKSR', 'dim': 8, 'n_blocks': 2, 'kernel_size': 5}
MOSR = {'type': 'MoSR', 'dim': 8, 'n_block': 2}
NETWORKS = {
    'span': SPAN,
    'span x2 without norm': {**SPAN, 'upscale': 2, 'norm': False},
    'realplksr': PLKSR,
    'realplksr x3 of layer norm': {**PLKSR, 'upscaling_factor': 3, 'layer_norm': True, 'use_ea': False},
    'realplksr dysample': {**PLKSR, 'dysample': True},
    'mosr': MOSR,
    'mosr gps': {**MOSR, 'upsampler': 'gps', 'kernel_size': 5, 'expansion_ratio': 2.0, 'conv_ratio': 0.5},
    'mosr dysample x2': {**MOSR, 'upsampler': 'dys', 'upscale': 2},
}
each_network = pytest.mark.parametrize('network', NETWORKS.values(), ids=NETWORKS)
LQ = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def build(network):
    """A network in which every parameter is random, in training mode."""
    torch.manual_seed(1)
    net = build_network(dict(network))
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return net


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / 'net.pth'
    torch.save({'params': build(network).state_dict()}, path)
    return path


@torch.no_grad()
def image_of(net, lq=LQ):
    return net.eval()(lq)


def train(net, iterations, look=lambda net: None):
    """Train a copy to repeat its input; ``look`` is called after each iteration."""
    net = copy.deepcopy(net).train()
    optimizer = torch.optim.Adam([one for one in net.parameters() if one.requires_grad], 1e-3)
    for _ in range(iterations):
        optimizer.zero_grad()
        sr = net(LQ)
        (sr - torch.nn.functional.interpolate(LQ, sr.shape[2:])).abs().mean().backward()
        optimizer.step()
        look(net.eval())
        net.train()
    return net


@each_network
def test_gradients_reach_every_parameter_that_the_optimizer_gets(network):
    net = train(build(network), 2)
    trainable = {name: one for name, one in net.named_parameters() if one.requires_grad}
    assert all(one.grad.abs().sum() > 0 for one in trainable.values())
    assert not any('eval_conv' in name for name in trainable)


@each_network
def test_validation_does_not_disturb_training(network):
    net = build(network)
    watched, unwatched = train(net, 3, image_of), train(net, 3)
    for (name, one), other in zip(watched.named_parameters(), unwatched.parameters(), strict=True):
        assert torch.equal(one, other) or 'eval_conv' in name


@each_network
def test_training_and_evaluation_agree(network):
    net = train(build(network), 2)
    with torch.no_grad():
        image = net.train()(LQ)
    torch.testing.assert_close(image_of(net), image, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(image_of(folded(net)), image, atol=2e-5, rtol=1e-5)


@each_network
def test_autocast_is_close_to_float32(network):
    net = build(network)
    with torch.autocast('cpu', torch.bfloat16):
        sr = net(LQ)
    sr.float().mean().backward()
    expected = image_of(net)
    assert (sr - expected).norm() < 0.1 * (expected - expected.mean()).norm()
    assert all(one.grad.isfinite().all() for one in net.parameters() if one.grad is not None)


@each_network
def test_a_checkpoint_is_recognised_and_is_the_same_in_spandrel(network, file):
    model = load_model(file, 'test')
    assert network.items() <= model.identity.network.items()
    found = spandrel.ModelLoader().load_from_file(file)
    net = build_network(dict(model.identity.network))
    net.load_state_dict(model.state)
    assert found.scale == model.identity.scale
    assert torch.equal(image_of(found.model), image_of(net))
    wrong = {**model.state, 'more.weight': torch.zeros(1)}
    assert identify(wrong) is None


@each_network
def test_exports_equal_pytorch(network, file):
    """Each exporter compares with PyTorch itself; a checkpoint's folded convolutions are those of its weights."""
    model = load_model(file, 'test')
    size = 24 if 'dys' in str(network) else None
    for exporter in (onnx, openvino, ncnn):
        assert exporter.export(model, size=size).error < 1e-5
    assert safetensors.export(model).error < 1e-5
    expected = image_of(build(network), LQ[:1, :, :, :12].repeat(1, 1, 2, 2))
    program = onnx.export(model, size=size).files['.onnx']
    image = onnx.runner(program)(LQ[:1, :, :, :12].repeat(1, 1, 2, 2))
    np.testing.assert_allclose(image, expected, atol=2e-5, rtol=1e-4)
    if size is not None:
        with pytest.raises(UserError, match='--size N'):
            onnx.export(model)


def test_export_folds_span(tmp_path):
    path = tmp_path / 'net.pth'
    torch.save(build(SPAN).state_dict(), path)
    graph = onnx_package.load_from_string(onnx.export(load_model(path, 'test')).files['.onnx']).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count('Conv') == 22 and 'Pad' not in kinds


def test_a_checkpoint_of_span_holds_the_folded_convolutions_of_its_weights():
    net = train(build(SPAN), 2)
    state = net.state_dict()
    for name, tensor in folded(net).state_dict().items():
        key = name if name in state else '.eval_conv.'.join(name.rsplit('.', 1))
        assert torch.equal(state[key], tensor)


@pytest.mark.parametrize('norm', [True, False])
def test_unfolding_gives_the_folded_network_exactly_and_all_of_it_trains(norm):
    network = {**SPAN, 'norm': norm}
    original = build(network)
    start = build_network(dict(network))
    start.load_state_dict(span.unfold(start, folded(original).state_dict()))
    assert torch.equal(image_of(start), image_of(original))
    with torch.no_grad():
        torch.testing.assert_close(start.train()(LQ), image_of(original), atol=2e-5, rtol=1e-5)
    start.train()(LQ).square().mean().backward()
    trained = {name: one for name, one in start.named_parameters() if one.requires_grad}
    later = {name for name, one in trained.items() if not one.grad.abs().sum() > 0}
    assert not later
    before = {name: one.clone() for name, one in trained.items()}
    after = dict(train(start, 2).named_parameters())
    assert all(not torch.equal(after[name], one) for name, one in before.items())


@each_network
def test_blocks_can_be_tapped(network):
    net = build(network)
    names = blocks(net)
    assert len(names) == (6 if network['type'] == 'SPAN' else 2)
    with Taps(net, names) as taps:
        net(LQ)
    assert all(feature.shape == (2, 8, 12, 20) for feature in taps.features.values())


@pytest.mark.parametrize(
    'change, phrase',
    [
        ({'feature_chanels': 48}, "unknown key 'feature_chanels' for SPAN; did you mean 'feature_channels'?"),
        ({'num_in_ch': 1, 'num_out_ch': 1}, 'norm: false'),
        ({'num_out_ch': 1}, 'num_out_ch is 1'),
        ({'img_range': 1.0}, "unknown key 'img_range'"),
    ],
)
def test_wrong_arguments_are_named(change, phrase):
    with pytest.raises(UserError, match=r'^network_g: ') as caught:
        checked_network({**SPAN, **change}, 'network_g')
    assert phrase in str(caught.value)


def test_a_file_of_a_span_for_other_images_says_so_by_no_norm(tmp_path):
    """The advice can be followed: with this entry, the file is that of a network without norm."""
    state = build({**SPAN, 'num_in_ch': 4, 'num_out_ch': 4, 'norm': False}).state_dict()
    marker = state.pop('no_norm')
    assert marker.shape == (1,)
    file = tmp_path / 'four.pth'
    torch.save({'params': state}, file)
    with pytest.raises(
        UserError, match=r'^--model: num_in_ch is 4, .* a weight file says by an entry no_norm'
    ) as caught:
        load_model(file, '--model')
    assert len(str(caught.value).splitlines()) == 1
    torch.save({'params': state | {'no_norm': torch.zeros(1)}}, file)
    assert load_model(file, '--model').identity.network['norm'] is False
