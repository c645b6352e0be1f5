"""LPIPS as loss and metric: equal to the package, a frozen backbone that is not saved, clear errors."""

import warnings
from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import LOSS_REGISTRY
from torchvision.models import get_model

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.lpips_loss import BACKBONES, MIN_SIZE, LPIPSLoss
from sdakd_plugin.metrics.lpips_metric import calculate_lpips
from tests.helpers.paths import SHARED

EXAMPLES = SHARED / 'fixtures' / 'lpips'


def lpips_of_the_package(net: str) -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


@pytest.fixture(scope='module')
def backbones(tmp_path_factory):
    """Files of random backbones as torchvision writes them, and the package's networks with the same weights."""
    files, networks = {}, {}
    for net, arch in BACKBONES.items():
        networks[net] = lpips_of_the_package(net)
        state = {f'features.{key.split(".", 1)[1]}': value for key, value in networks[net].net.state_dict().items()}
        assert state.keys() == {f'features.{key}' for key in features_of(arch).state_dict()}
        files[net] = str(tmp_path_factory.mktemp('backbones') / f'{arch}.pth')
        torch.save(state, files[net])
    return files, networks


def features_of(arch: str) -> torch.nn.Module:
    with torch.device('meta'):
        return get_model(arch, weights=None).features


@pytest.fixture(scope='module')
def alex(backbones):
    return backbones[0]['alex']


@pytest.fixture()
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 40, 36), torch.rand(2, 3, 40, 36)


@pytest.mark.parametrize('net', BACKBONES)
def test_equals_the_lpips_package(net, backbones, images):
    files, networks = backbones
    expected = networks[net](*images, normalize=True).mean()
    assert LPIPSLoss(net, backbone_path=files[net])(*images).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ('net', 'file', 'distances'),
    [('alex', 'alexnet-features.pth', (0.7219, 0.1376)), ('vgg', 'vgg16-features.fp16.pth', (0.5686, 0.4217))],
)
def test_documented_values_of_the_example_images(net, file, distances):
    backbone = SHARED / 'weights' / file
    if not backbone.is_file() or not EXAMPLES.is_dir():
        pytest.skip(f'needs {backbone} and {EXAMPLES}')
    reference, *others = (cv2.imread(str(EXAMPLES / f'ex_{name}.png')) for name in ('ref', 'p0', 'p1'))
    measured = [calculate_lpips(reference, other, net=net, backbone_path=str(backbone)) for other in others]
    assert measured == pytest.approx(distances, abs=1e-4)


def test_the_gradient_reaches_the_prediction_only(alex, images):
    pred, reference = (image.requires_grad_() for image in images)
    loss = LPIPSLoss(backbone_path=alex)
    loss(pred, reference).backward()
    assert pred.grad.abs().sum() > 0
    assert reference.grad is None
    assert not list(loss.parameters())


def test_dead_features_give_a_finite_gradient(tmp_path, alex):
    state = torch.load(alex, weights_only=True)
    state['features.10.bias'].fill_(-100.0)  # no feature of the last layer is ever above zero
    torch.save(state, tmp_path / 'dead.pth')
    pred = torch.rand(1, 3, 40, 40).requires_grad_()
    LPIPSLoss(backbone_path=tmp_path / 'dead.pth')(pred, torch.rand(1, 3, 40, 40)).backward()
    assert pred.grad.isfinite().all()
    assert pred.grad.abs().sum() > 0


def test_the_backbone_is_never_saved_and_never_in_training_mode(alex, images):
    loss = LPIPSLoss(backbone_path=alex)
    holder = torch.nn.ModuleDict({'loss': loss}).train()
    assert not holder.state_dict()
    assert not any(module.training for module in loss.modules())
    assert loss(*images) == loss(*images)  # lpips has dropout
    holder.load_state_dict({})
    assert loss.to(torch.float64)(*(image.double() for image in images)).dtype == torch.float64


def test_the_weight_scales(alex, images):
    assert LPIPSLoss(backbone_path=alex, loss_weight='1e-6')(*images) == pytest.approx(  # YAML's 1e-6 is text
        1e-6 * LPIPSLoss(backbone_path=alex)(*images).item(), rel=1e-5
    )


def test_building_draws_no_random_number_and_prints_nothing(alex, capfd):
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        LPIPSLoss(backbone_path=alex)
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ('', '')


def test_half_precision_and_unprefixed_keys_are_accepted(tmp_path, alex, images):
    state = {key.removeprefix('features.'): value.half() for key, value in torch.load(alex, weights_only=True).items()}
    torch.save(state, tmp_path / 'half.pth')
    loss = LPIPSLoss(backbone_path=tmp_path / 'half.pth')
    assert {buffer.dtype for buffer in loss.buffers()} == {torch.float32}
    assert loss(*images).item() == pytest.approx(LPIPSLoss(backbone_path=alex)(*images).item(), rel=1e-2)


def test_a_whole_state_dict_is_accepted(tmp_path, alex, images):
    torch.save({**torch.load(alex, weights_only=True), 'classifier.1.weight': torch.zeros(2, 2)}, tmp_path / 'all.pth')
    assert LPIPSLoss(backbone_path=tmp_path / 'all.pth')(*images) == LPIPSLoss(backbone_path=alex)(*images)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'net': 'alexnet'}, "LPIPS: no net 'alexnet'; did you mean 'alex'"),
        ({'target': 'Teacher'}, "LPIPSLoss: no target 'Teacher'; did you mean 'teacher'"),
        ({'loss_weight': -1}, 'loss_weight must be a number of at least 0, not -1'),
        ({'loss_weight': 'much'}, "loss_weight must be a number of at least 0, not 'much'"),
        (
            {'backbone_path': '/none.pth'},
            r'backbone_path: no such file: /none.pth; .*https://\S+alexnet-owt-7be5be79.pth',
        ),
        ({'backbone_path': __file__}, f'backbone_path: {__file__} is not a weights file that loads safely'),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(UserError, match=message):
        LPIPSLoss(**options)


@pytest.mark.parametrize('target', ['teacher', 'gt', 'both'])
def test_the_target_is_stored_for_the_caller(target, alex):
    assert LPIPSLoss(target=target, backbone_path=alex).target == target


def test_a_backbone_of_another_network_is_refused(alex, tmp_path):
    with pytest.raises(UserError, match=r"backbone_path: .* does not hold the weights of torchvision's vgg16 "):
        LPIPSLoss('vgg', backbone_path=alex)
    torch.save({'epoch': 3}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='is not a plain state dict'):
        LPIPSLoss(backbone_path=tmp_path / 'other.pth')


def test_a_file_with_code_is_not_run(tmp_path):
    torch.save({'features.0.weight': Path('code')}, tmp_path / 'code.pth')
    with pytest.raises(UserError, match='loads safely'):
        LPIPSLoss(backbone_path=tmp_path / 'code.pth')


def test_without_network_the_remedy_is_named(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError('no route to host')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    with pytest.raises(UserError, match=rf'no route to host.*set backbone_path to it, or put it at {tmp_path}'):
        LPIPSLoss()


def test_a_file_in_torch_hubs_cache_needs_no_network(monkeypatch, tmp_path, alex, images):
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'alexnet-owt-7be5be79.pth').symlink_to(alex)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    assert LPIPSLoss()(*images) == LPIPSLoss(backbone_path=alex)(*images)


@pytest.mark.parametrize('net', BACKBONES)
def test_too_small_images_are_refused_by_size(net, backbones):
    loss, size = LPIPSLoss(net, backbone_path=backbones[0][net]), MIN_SIZE[net]
    loss(torch.rand(1, 3, size, 40), torch.rand(1, 3, size, 40))
    with pytest.raises(UserError, match=f'images of {size - 1}x40 are too small .* at least {size}x{size}'):
        loss(torch.rand(1, 3, size - 1, 40), torch.rand(1, 3, size - 1, 40))


def test_images_of_two_shapes_are_refused(alex):
    with pytest.raises(UserError, match=r'the same shape, not \(1, 3, 40, 40\) with \(2, 3, 40, 40\)'):
        LPIPSLoss(backbone_path=alex)(torch.rand(1, 3, 40, 40), torch.rand(2, 3, 40, 40))


def test_the_metric_is_basicsrs_and_agrees_with_the_loss(alex):
    rng = np.random.default_rng(0)
    img, img2 = (rng.integers(0, 256, (48, 44, 3), dtype=np.uint8) for _ in range(2))
    measured = calculate_metric(
        {'img': img, 'img2': img2},
        {'type': 'calculate_lpips', 'crop_border': 4, 'backbone_path': alex, 'better': 'lower'},
    )
    tensors = [
        torch.from_numpy(image[4:-4, 4:-4, ::-1].transpose(2, 0, 1) / 255.0).float().unsqueeze(0)
        for image in (img, img2)
    ]
    assert isinstance(measured, float)
    assert measured == pytest.approx(LPIPSLoss(backbone_path=alex)(*tensors).item(), rel=1e-5)


def test_the_metric_takes_floats_grey_and_channels_first(alex):
    rng = np.random.default_rng(0)
    img, img2 = (rng.integers(0, 256, (40, 40), dtype=np.uint8) for _ in range(2))
    grey = calculate_lpips(img, img2, backbone_path=alex)
    colour = [np.stack(3 * [image.astype(np.float64)]) for image in (img, img2)]
    assert calculate_lpips(*colour, input_order='CHW', backbone_path=alex) == pytest.approx(grey, rel=1e-4)


def test_basicsr_finds_the_loss():
    assert LOSS_REGISTRY.get('LPIPSLoss') is LPIPSLoss


def test_shifted_images_are_cut_alike_and_at_every_place(alex, monkeypatch):
    image, seen = torch.rand(1, 3, 48, 48), set()

    def record(pred, reference, normalize):
        assert torch.equal(pred, reference)
        seen.add(tuple(pred.shape[-2:]))
        return pred.sum()

    loss = LPIPSLoss(backbone_path=alex, max_shift=3)
    monkeypatch.setattr(loss.model, 'forward', record)
    for _ in range(300):
        loss(image, image)
    assert seen == {(48 - top, 48 - left) for top in range(4) for left in range(4)}


def test_a_shift_that_is_none():
    with pytest.raises(UserError, match='max_shift must be a number of pixels, 0 or more, not -1'):
        LPIPSLoss(max_shift=-1)
