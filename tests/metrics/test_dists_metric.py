"""DISTS: equal to the package, one backbone, clear errors, and selection of the best checkpoint."""

import json
import sys
from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from torchvision.models import vgg

from sdakd_plugin.errors import UserError
from sdakd_plugin.metrics import dists_metric
from sdakd_plugin.metrics.dists_metric import build_dists, calculate_dists
from sdakd_plugin.models.checkpoints import Checkpoints
from sdakd_plugin.options import LoggerOptions
from tests.helpers.paths import SHARED

REAL, EXAMPLES = SHARED / 'weights/vgg16-features.fp16.pth', SHARED / 'fixtures/lpips'
DISTS_pt = pytest.importorskip('DISTS_pytorch.DISTS_pt')


@pytest.fixture(scope='module')
def features():
    """VGG16's features with random weights, whose signal neither dies nor grows on the way."""
    torch.manual_seed(0)
    found = vgg.make_layers(vgg.cfgs['D'])
    for layer in found:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
    return found


@pytest.fixture(scope='module')
def backbone(features, tmp_path_factory):
    """A file of them, as torchvision writes it."""
    file = tmp_path_factory.mktemp('backbone') / 'vgg16.pth'
    torch.save({f'features.{key}': value for key, value in features.state_dict().items()}, file)
    return str(file)


@pytest.fixture(autouse=True)
def fresh():
    dists_metric._network.cache_clear()


@pytest.fixture
def images():
    """A smooth image and a noisy copy, of odd sides, BGR."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (51, 45))
    return image, (image + rng.normal(0, 25, image.shape)).clip(0, 255).astype(np.uint8)


def of_the_package(features, monkeypatch):
    """The package's network as its own constructor builds it, but around the given features."""
    whole = type('VGG', (), {'features': features})
    monkeypatch.setattr(DISTS_pt.models, 'vgg16', lambda pretrained: whole)
    model = DISTS_pt.DISTS(load_weights=False)
    weights = torch.load(Path(DISTS_pt.__file__).with_name('weights.pt'), weights_only=True)
    model.alpha.data, model.beta.data = weights['alpha'], weights['beta']
    return model


def as_package_wants(image):
    return DISTS_pt.prepare_image(np.ascontiguousarray(image[..., ::-1]))


def test_equals_the_package(features, backbone, images, monkeypatch):
    expected = of_the_package(features, monkeypatch)(*map(as_package_wants, images)).item()
    assert expected > 0.01
    assert calculate_dists(*images, backbone_path=backbone) == pytest.approx(expected, abs=1e-6)
    cropped = calculate_metric(
        {'img': images[0], 'img2': images[1]},
        {'type': 'calculate_dists', 'crop_border': 4, 'backbone_path': backbone, 'better': 'lower'},
    )
    inner = [as_package_wants(image[4:-4, 4:-4]) for image in images]
    assert cropped == pytest.approx(of_the_package(features, monkeypatch)(*inner).item(), abs=1e-6)
    assert cropped != pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not (REAL.is_file() and EXAMPLES.is_dir()), reason=f'needs {REAL} and {EXAMPLES}')
def test_equals_the_package_with_real_weights(monkeypatch):
    features = vgg.make_layers(vgg.cfgs['D'])
    state = torch.load(REAL, weights_only=True)
    features.load_state_dict({key.removeprefix('features.'): value.float() for key, value in state.items()})
    reference, other = (cv2.imread(str(EXAMPLES / f'ex_{name}.png')) for name in ('ref', 'p0'))
    expected = of_the_package(features, monkeypatch)(as_package_wants(reference), as_package_wants(other)).item()
    assert calculate_dists(reference, other, backbone_path=str(REAL)) == pytest.approx(expected, abs=1e-6)
    assert calculate_dists(reference, reference, backbone_path=str(REAL)) == pytest.approx(0, abs=1e-6)


def test_zero_for_equal_images_symmetric_and_larger_for_more_noise(backbone, images):
    image, noisy = images
    noisier = (noisy.astype(float) + np.random.default_rng(1).normal(0, 60, image.shape)).clip(0, 255).astype(np.uint8)
    distance = calculate_dists(image, noisy, backbone_path=backbone)
    assert calculate_dists(image, image, backbone_path=backbone) == pytest.approx(0, abs=1e-6)
    assert calculate_dists(noisy, image, backbone_path=backbone) == pytest.approx(distance, abs=1e-6)
    assert calculate_dists(image, noisier, backbone_path=backbone) > distance


def test_takes_floats_grey_and_channels_first(backbone, images):
    grey = [image[..., 0] for image in images]
    colour = [np.stack(3 * [image.astype(np.float64)]) for image in grey]
    assert calculate_dists(*colour, input_order='CHW', backbone_path=backbone) == pytest.approx(
        calculate_dists(*grey, backbone_path=backbone), rel=1e-5
    )


def test_whole_and_half_precision_files_are_accepted(features, backbone, images, tmp_path):
    state = torch.load(backbone, weights_only=True)
    torch.save({**state, 'classifier.0.weight': torch.zeros(2, 2)}, tmp_path / 'whole.pth')
    torch.save({key.removeprefix('features.'): value.half() for key, value in state.items()}, tmp_path / 'half.pth')
    expected = calculate_dists(*images, backbone_path=backbone)
    assert calculate_dists(*images, backbone_path=str(tmp_path / 'whole.pth')) == expected
    assert calculate_dists(*images, backbone_path=str(tmp_path / 'half.pth')) == pytest.approx(expected, rel=1e-2)


def test_the_backbone_is_read_once_and_held_once(backbone, images, monkeypatch):
    reads, load = [], dists_metric.backbone.load_features
    monkeypatch.setattr(dists_metric.backbone, 'load_features', lambda *given: reads.append(given) or load(*given))
    monkeypatch.setattr(DISTS_pt.models, 'vgg16', lambda **_: pytest.fail('a second VGG16 was built'))
    assert calculate_dists(*images, backbone_path=backbone) == calculate_dists(*images, backbone_path=backbone)
    assert len(reads) == 1
    model = dists_metric._network(backbone, torch.device('cpu'))
    numbers = sum(buffer.numel() for buffer in model.buffers())
    vgg16 = 14_714_688  # of its 13 convolutions
    assert vgg16 < numbers < vgg16 + 20_000
    assert not list(model.parameters()) and not model.state_dict()


def test_building_draws_no_random_number_and_prints_nothing(backbone, capfd):
    before = torch.get_rng_state()
    build_dists(backbone)
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
    'path, message',
    [
        ('/none.pth', r'backbone_path: no such file: /none.pth; .*https://\S+vgg16-397923af.pth'),
        (__file__, f'backbone_path: {__file__} is not a weights file that loads safely'),
    ],
)
def test_a_bad_backbone_is_named(images, path, message):
    with pytest.raises(UserError, match=message):
        calculate_dists(*images, backbone_path=path)


def test_without_network_the_remedy_is_named(images, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError('no route to host')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    with pytest.raises(UserError, match=rf'vgg16-397923af.pth.*no route to host.* put it at {tmp_path}'):
        calculate_dists(*images)


def test_without_the_package_the_extra_is_named(images, monkeypatch):
    monkeypatch.setitem(sys.modules, 'DISTS_pytorch', None)
    with pytest.raises(UserError, match=r'needs the package dists-pytorch .*pip install "sdakd-plugin\[dists\]"'):
        calculate_dists(*images)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'crop_border': 30}, 'a border of 30 pixels leaves nothing'),
        ({'img2': np.zeros((8, 8, 3), np.uint8)}, r'the same shape, not \(45, 51, 3\) and \(8, 8, 3\)'),
    ],
)
def test_images_that_cannot_be_compared_cost_one_line(images, backbone, options, message):
    with pytest.raises(UserError, match=message):
        calculate_dists(**{'img': images[0], 'img2': images[1], 'backbone_path': backbone, **options})


def test_the_checkpoint_of_the_lowest_dists_is_kept(tmp_path):
    """And, without ``better``, which BasicSR takes for 'higher', the one of the highest."""

    def kept(folder, block):
        (folder / 'models').mkdir(parents=True)
        (folder / 'training_states').mkdir()
        opt = {
            'path': {
                'models': str(folder / 'models'),
                'training_states': str(folder / 'training_states'),
                'experiments_root': str(folder),
            },
            'val': {'metrics': {'dists': block}},
        }
        entries = [
            {'iter': iteration, 'stage': 'x', 'dataset': 'Set5', 'metrics': {'dists': value}}
            for iteration, value in ((1, 0.3), (2, 0.1), (3, 0.2), (4, 0.25))
        ]
        (folder / 'validations.json').write_text(json.dumps(entries))
        checkpoints = Checkpoints(opt, LoggerOptions(keep_last=1), [''])
        for iteration in range(1, 5):
            checkpoints.write(
                {
                    f'models/net_g_{iteration}.pth': {'params': {'weight': torch.zeros(1)}},
                    f'training_states/{iteration}.state': {'iter': iteration, 'epoch': 0, 'optimizers': []},
                }
            )
        return sorted(int(path.stem) for path in (folder / 'training_states').iterdir())

    assert kept(tmp_path / 'lower', {'type': 'calculate_dists', 'better': 'lower'}) == [2, 4]
    assert kept(tmp_path / 'higher', {'type': 'calculate_dists'}) == [1, 4]


@pytest.mark.long
def test_a_run_keeps_its_best_by_dists(stock, options, backbone):
    options['val']['val_freq'] = 1
    options['val']['metrics'] = {
        'dists': {'type': 'calculate_dists', 'backbone_path': backbone, 'better': 'lower', 'crop_border': 56}
    }  # 80x80 pixels are left
    options['logger'].update(save_checkpoint_freq=1, keep_last=1)
    log = stock.ok('sdakd train', options)
    folder = stock.folder / 'experiments/run'
    entries = json.loads((folder / 'validations.json').read_text())
    values = {entry['iter']: entry['metrics']['dists'] for entry in entries if entry['iter']}
    best = min(values, key=values.__getitem__)
    saved = {int(path.stem) for path in (folder / 'training_states').iterdir()}
    assert best in saved and 6 in saved and len(saved) <= 3, log
    assert f'Best: {values[best]:.4f} @ {best} iter' in log
