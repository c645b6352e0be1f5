"""Capturing named features of any network."""

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import nn

from sdakd_plugin.distillation.taps import Taps, cropped, next_with_map
from sdakd_plugin.errors import UserError


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1))


def test_features_are_those_of_the_modules(net):
    x = torch.rand(1, 3, 8, 8)
    with Taps(net, ['0', '1']) as taps:
        net(x)
    assert torch.equal(taps.features['0'], net[0](x))
    assert torch.equal(taps.features['1'], net[1](net[0](x)))


def test_gradients_flow_through_a_tap(net):
    with Taps(net, ['1']) as taps:
        net(torch.rand(1, 3, 8, 8))
    taps.features['1'].mean().backward()
    assert net[0].weight.grad is not None
    assert net[2].weight.grad is None


def test_no_hook_is_left_behind(net):
    with pytest.raises(ZeroDivisionError), Taps(net, ['0']):
        raise ZeroDivisionError
    with Taps(net, ['0']):
        net(torch.rand(1, 3, 8, 8))
    assert not any(module._forward_hooks for module in net.modules())


def test_stopping_skips_what_lies_behind_the_last_layer(net):
    net[2].register_forward_hook(lambda *_: pytest.fail('ran past the last tapped layer'))
    with Taps(net, ['0', '1'], stop=True) as taps:
        net(torch.rand(1, 3, 8, 8))
    assert set(taps.features) == {'0', '1'}


def test_without_layers_nothing_is_stopped(net):
    with Taps(net, [], stop=True) as taps:
        out = net(torch.rand(1, 3, 8, 8))
    assert out.shape[1] == 6 and taps.features == {}


@pytest.mark.parametrize(
    'layers', [['conv_hr'], ['body.0.rdb1.conv4'], ['conv_first', 'body.0.rdb1.conv2', 'conv_up2']]
)
def test_both_sides_mean_the_same_tensor_of_a_generator(layers):
    check_both_sides(RRDBNet(3, 3, num_feat=8, num_block=1, num_grow_ch=4), layers)


@pytest.mark.parametrize('layers', [[f'conv{number}'] for number in range(9)] + [['conv0', 'conv3', 'conv8']])
def test_both_sides_mean_the_same_tensor_of_a_discriminator(layers):
    check_both_sides(UNetDiscriminatorSN(3, num_feat=4).eval(), layers)  # the vectors of spectral norm stay


def check_both_sides(net, layers):
    """The student's features, which learn, are the teacher's, whether its pass ends early or not, and are what the
    module itself returns; the gradient is that of the module."""
    x = torch.rand(1, 3, 16, 16)
    with Taps(net, layers) as student:
        net(x)
    for stop in (True, False):
        with torch.no_grad(), Taps(net, layers, stop=stop) as teacher:
            net(x)
        for name in layers:
            assert (student.features[name] - teacher.features[name]).abs().max() == 0, (name, stop)
    for name in layers:
        module, inputs = net.get_submodule(name), []
        with module.register_forward_pre_hook(lambda module, args, inputs=inputs: inputs.append(args[0].detach())):
            net(x)
        assert torch.equal(module(inputs[0]), student.features[name])
    sum(feature.square().mean() for feature in student.features.values()).backward()
    for name in layers:
        assert next(iter(net.get_submodule(name).parameters())).grad.abs().sum() > 0


def test_an_unknown_layer_is_an_error_with_the_nearest_names():
    with pytest.raises(UserError, match=r"RRDBNet has no layer 'body\.23'; its last one is 'body\.2'"):
        Taps(RRDBNet(3, 3, num_feat=4, num_block=3, num_grow_ch=4), ['body.23'])


def test_a_layer_that_runs_several_times_is_ambiguous():
    with pytest.raises(UserError, match="'lrelu' of RRDBNet runs several times"):
        net = RRDBNet(3, 3, num_feat=4, num_block=1, num_grow_ch=4)
        with Taps(net, ['lrelu']):
            net(torch.rand(1, 3, 8, 8))


def test_a_layer_that_never_runs_is_an_error(net):
    net.spare = nn.Identity()
    net.forward = lambda x: net[0](x)
    with pytest.raises(UserError, match="'spare' of Sequential never runs"), Taps(net, ['spare']):
        net(torch.rand(1, 3, 8, 8))


def test_a_layer_that_gives_no_tensor_is_an_error():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0]

    net = Net()
    with pytest.raises(UserError, match="'pair' of Net returns a tuple"), Taps(net, ['pair']):
        net(torch.rand(1, 3, 8, 8))


def test_a_layer_that_is_suggested_returns_a_map_and_runs_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.tokens, self.twice = nn.Identity(), nn.Flatten(2), nn.Identity()
            self.last = nn.Identity()

        def forward(self, x):
            self.tokens(self.first(x))
            return self.last(self.twice(self.twice(x)))

    net, images = Net(), torch.rand(1, 3, 4, 4)
    assert next_with_map(net, lambda: net(images), 'tokens') == 'last'
    net.last = nn.Flatten(2)
    assert next_with_map(net, lambda: net(images), 'tokens') == 'first'


def test_maps_of_a_padded_image_are_cropped_to_the_image():
    for side, kept in ((24, 18), (48, 36), (12, 9), (6, 6)):  # a quarter of 18 is no whole number
        assert cropped(torch.rand(1, 2, side, side), (18, 18), (24, 24)).shape[2:] == (kept, kept)
