"""SRGAN's VGG loss: equal to torchvision in float64, layers by BasicSR's names, a frozen network that is not saved."""

import warnings

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torchvision.models import vgg
from torchvision.transforms.functional import normalize

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses import vgg_mse_loss
from sdakd_plugin.losses.vgg_mse_loss import VGGMSELoss
from tests.helpers.paths import SHARED


@pytest.fixture(scope='module')
def vgg11(tmp_path_factory):
    """A random VGG11: the file of its features, and torchvision's layers in float64."""
    features = vgg.make_layers(vgg.cfgs['A'])
    file = tmp_path_factory.mktemp('vgg') / 'vgg11.pth'
    torch.save({f'features.{key}': value for key, value in features.state_dict().items()}, file)
    return str(file), features.double()


@pytest.fixture()
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 40), torch.rand(2, 3, 32, 40)


@pytest.mark.parametrize(
    ('layer', 'depth'), [('conv1_1', 1), ('relu1_1', 2), ('pool1', 3), ('conv5_2', 19), ('pool5', 21)]
)
def test_equals_torchvision_in_float64(layer, depth, vgg11, images):
    file, features = vgg11
    pred, reference = (
        features[:depth](normalize(image.double(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))) for image in images
    )
    loss = VGGMSELoss(layer, 'vgg11', vgg_path=file, loss_weight=6e-3)
    assert loss(*images).item() == pytest.approx(6e-3 * (pred - reference).pow(2).mean().item(), rel=1e-4)


def test_normalisation_is_an_option(vgg11, images):
    file, features = vgg11
    plain = (features[:1](images[0].double()) - features[:1](images[1].double())).pow(2).mean().item()
    loss = VGGMSELoss('conv1_1', 'vgg11', use_input_norm=False, vgg_path=file)
    assert loss(*images).item() == pytest.approx(plain, rel=1e-4)
    signed = VGGMSELoss('conv1_1', 'vgg11', use_input_norm=False, range_norm=True, vgg_path=file)
    assert signed(*(2 * image - 1 for image in images)).item() == pytest.approx(plain, rel=1e-4)


def test_real_half_precision_weights():
    file = SHARED / 'weights' / 'vgg16-features.fp16.pth'
    if not file.is_file():
        pytest.skip(f'needs {file}')
    loss = VGGMSELoss('conv5_3', 'vgg16', vgg_path=str(file))
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    features = vgg.make_layers(vgg.cfgs['D'])[:29].double()
    features.load_state_dict(
        {key.removeprefix('features.'): value.double() for key, value in torch.load(file, weights_only=True).items()}
    )
    pred, reference = (
        features(normalize(image.double(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))) for image in images
    )
    assert loss(*images).item() == pytest.approx((pred - reference).pow(2).mean().item(), rel=1e-4)


def test_the_gradient_reaches_the_prediction_only(vgg11, images):
    pred, reference = (image.requires_grad_() for image in images)
    loss = VGGMSELoss('relu2_1', 'vgg11', vgg_path=vgg11[0])
    loss(pred, reference).backward()
    assert pred.grad.abs().sum() > 0
    assert reference.grad is None
    assert not list(loss.parameters())


def test_images_are_left_alone(vgg11, images):
    copies = [image.clone() for image in images]
    VGGMSELoss('relu1_1', 'vgg11', use_input_norm=False, vgg_path=vgg11[0])(*images)
    assert all(map(torch.equal, images, copies))


def test_the_network_is_never_saved_and_never_in_training_mode(vgg11):
    holder = torch.nn.ModuleDict({'loss': VGGMSELoss('conv5_2', 'vgg11', vgg_path=vgg11[0])}).train()
    assert not holder.state_dict()
    assert not any(module.training for module in holder['loss'].modules())


def test_batchnorm_keeps_its_statistics_and_old_files_load(tmp_path, images):
    state = vgg.make_layers(vgg.cfgs['A'], batch_norm=True).state_dict()
    torch.save({key: value for key, value in state.items() if 'num_batches' not in key}, tmp_path / 'vgg11_bn.pth')
    loss = VGGMSELoss('bn2_1', 'vgg11_bn', vgg_path=tmp_path / 'vgg11_bn.pth').train()
    assert loss(*images) == loss(*images)
    assert torch.equal(loss.features[1].running_mean, state['1.running_mean'])


def test_building_draws_no_random_number_and_prints_nothing(vgg11, capfd):
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        VGGMSELoss('conv5_2', 'vgg11', vgg_path=vgg11[0])
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ('', '')


def test_basicsrs_own_vgg19_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg_mse_loss, 'VGG_PRETRAIN_PATH', str(tmp_path / 'vgg19.pth'))
    torch.save({'features.0.weight': torch.zeros(1)}, tmp_path / 'vgg19.pth')
    with pytest.raises(UserError, match=f'vgg_path: {tmp_path}/vgg19.pth does not hold'):
        VGGMSELoss()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'layer': 'conv5_5'}, "vgg19 has no layer 'conv5_5'; did you mean 'conv5_4'"),
        ({'layer': 'conv5_4', 'vgg_type': 'vgg16'}, "vgg16 has no layer 'conv5_4'; did you mean 'conv5_3'"),
        ({'vgg_type': 'vgg-19'}, "no vgg_type 'vgg-19'; did you mean 'vgg19'"),
        ({'loss_weight': float('nan')}, 'loss_weight must be a number of at least 0'),
        ({'vgg_path': '/none.pth'}, r'vgg_path: no such file: /none.pth; .*vgg19-dcbb9e9d.pth'),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(UserError, match=message):
        VGGMSELoss(**options)


def test_a_file_of_another_vgg_is_refused(vgg11):
    with pytest.raises(UserError, match=r"vgg_path: .* does not hold the weights of torchvision's vgg13 "):
        VGGMSELoss('conv1_1', 'vgg13', vgg_path=vgg11[0])


def test_too_small_images_are_refused_by_size(vgg11):
    with pytest.raises(UserError, match=r'images of 15x40 are too small .* at least 16x16'):
        VGGMSELoss('conv5_1', 'vgg11', vgg_path=vgg11[0])(torch.rand(1, 3, 15, 40), torch.rand(1, 3, 15, 40))


def test_basicsr_finds_the_loss():
    assert LOSS_REGISTRY.get('VGGMSELoss') is VGGMSELoss
