"""Comparing methods: metrics, pictures of all kinds of images, and `sdakd compare`."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import img2tensor, tensor2img
from torchvision.models import vgg

from sdakd_plugin import cli
from sdakd_plugin.archs.gcfsr_arch import GCFSR
from sdakd_plugin.data.sample_image_dataset import SampleImageDataset
from sdakd_plugin.evaluation import cost, dataset_comparison, quality
from sdakd_plugin.evaluation.challenge_score import challenge_score
from sdakd_plugin.evaluation.folder_comparison import Comparison, compare, methods_of
from sdakd_plugin.evaluation.pairs import Pair
from sdakd_plugin.evaluation.picture import side_by_side
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.metrics import dists_metric

COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2, 'upscale': 4}


@pytest.fixture
def dataset():
    return SampleImageDataset(
        {'name': 'x', 'type': 'SampleImageDataset', 'phase': 'val', 'scale': 4, 'center_crop': 128}
    )


def test_metrics_are_basicsrs_means_over_the_images(dataset):
    metrics = quality.default_metrics(4)
    results = dataset_comparison.compare({'bicubic': quality.bicubic}, dataset, metrics, keep=4)
    images, truths = results['bicubic'].images, results['GT'].images
    expected = [calculate_psnr(images[name], truths[name], 4, test_y_channel=True) for name in images]
    assert len(expected) == 4
    assert results['bicubic'].metrics['psnr'] == pytest.approx(np.mean(expected))


def test_bicubic_is_the_benchmarks_baseline(shared):
    from basicsr.data import build_dataset

    block = {
        'name': 'Set5',
        'type': 'PairedImageDataset',
        'phase': 'val',
        'scale': 4,
        'io_backend': {'type': 'disk'},
        'dataroot_gt': str(shared / 'data/Set5/HR'),
        'dataroot_lq': str(shared / 'data/Set5/LR_bicubic_x4'),
    }
    result = dataset_comparison.compare({'bicubic': quality.bicubic}, build_dataset(block), quality.default_metrics(4))
    assert result['bicubic'].metrics['psnr'] == pytest.approx(28.43, abs=0.01)


def test_only_the_pictures_that_are_shown_are_kept(dataset):
    results = dataset_comparison.compare({'bicubic': quality.bicubic}, dataset, {}, keep=2)
    assert all(len(result.images) == 2 for result in results.values())


def test_the_picture_has_a_column_a_method_and_a_row_an_image(dataset):
    results = dataset_comparison.compare({'bicubic': quality.bicubic}, dataset, {})
    sheet = side_by_side({name: results[name].images for name in ('LR', 'bicubic', 'GT')}, {'bicubic': 'psnr 1.00'})
    assert sheet.size == (3 * (256 + 6) + 6, 46 + 3 * (256 + 6))


def test_grey_images_are_shown_too():
    class Grey:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {'lq': torch.rand(1, 16, 16), 'gt': torch.rand(1, 64, 64), 'lq_path': 'a.png'}

    results = dataset_comparison.compare({}, Grey(), {})
    assert results['GT'].images['a'].shape == (64, 64, 3)


def test_costs_are_those_of_the_reference():
    """mmengine's analysis of RRDBNet at 64x64: 16.698 M parameters and 73.4 G multiply-adds."""
    from basicsr.archs.rrdbnet_arch import RRDBNet

    found = cost.count(RRDBNet(3, 3), (3, 64, 64))
    assert found.parameters == 16_697_987
    assert found.multiply_adds / 1e9 == pytest.approx(73.4, abs=0.1)


@pytest.mark.parametrize('size', [(40, 40), (16, 48), (37, 37), (31, 53)])
def test_bicubic_enlarges_to_the_size_that_is_wanted(size):
    """GCFSR's images have any scale; a ramp stays a ramp, whose ends are those of the size."""
    lq = torch.linspace(0, 1, size[1]).expand(1, 3, *size).contiguous()
    wanted = tuple(round(side * 64 / size[0]) for side in size)
    sr = quality.bicubic(lq, wanted)
    assert sr.shape == (1, 3, *wanted)
    expected = torch.nn.functional.interpolate(lq, wanted, mode='bicubic', align_corners=False)
    assert (sr - expected)[..., 8:-8].abs().max() < 0.02


def test_gcfsr_is_compared_and_counted_as_it_is_called():
    torch.manual_seed(0)
    net = GCFSR(out_size=64, num_style_feat=16, narrow=0.03125).eval()
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = super_resolve(net, lq)
    assert torch.equal(dataset_comparison.network(net, torch.device('cpu'))(lq, (64, 64)), expected)
    found = cost.count(net, (3, 16, 16))
    assert found.parameters == sum(p.numel() for p in net.parameters()) and found.multiply_adds > found.parameters
    assert cost.seconds(net, lq, repeat=1) > 0


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Files of two small x4 networks and one x2 network."""
    folder = tmp_path_factory.mktemp('models')
    torch.manual_seed(0)
    for name, block in (('a', COMPACT), ('b', {**COMPACT, 'num_conv': 1}), ('x2', {**COMPACT, 'upscale': 2})):
        (folder / name).mkdir()
        torch.save({'params': build_network(block).state_dict()}, folder / f'{name}/net_g_latest.pth')
    return folder


def run(*arguments):
    return cli.main(['compare', '--device', 'cpu', '--backend', 'torch', *map(str, arguments)])


@pytest.fixture
def pair(photos, tmp_path):
    """Folders of two small images."""
    for kind in ('HR', 'LR'):
        (tmp_path / kind).mkdir()
        for name in ('coffee.png', 'rocket.png'):
            shutil.copy(photos / kind / name, tmp_path / kind)
    return tmp_path


def test_compare_writes_what_basicsr_measures(pair, models, capsys):
    a, b = (models / name / 'net_g_latest.pth' for name in 'ab')
    assert run('--gt', pair / 'HR', '--lq', pair / 'LR', '--model', a, '--model', b, '--out', pair / 'out') == 0
    found = json.loads((pair / 'out/compare.json').read_text())
    assert list(found['methods']) == ['bicubic', str(a), str(b)]  # the files have one name: told apart by their paths
    gt, lq = (cv2.imread(str(pair / kind / 'coffee.png')) for kind in ('HR', 'LR'))
    net = load_model(a, 'test').net
    with torch.no_grad():
        sr = net(torch.from_numpy(lq[..., ::-1].copy()).permute(2, 0, 1)[None] / 255)[0].clamp(0, 1)
    sr = (sr.permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    values = found['images']['coffee.png'][str(a)]
    assert values['psnr'] == pytest.approx(calculate_psnr(sr, gt, 4, test_y_channel=True), abs=1e-3)
    assert values['ssim'] == pytest.approx(calculate_ssim(sr, gt, 4, test_y_channel=True), abs=1e-4)
    rocket = found['images']['rocket.png'][str(a)]['psnr']
    assert found['mean'][str(a)]['psnr'] == pytest.approx((values['psnr'] + rocket) / 2)
    assert found['methods'][str(a)]['parameters'] == sum(p.numel() for p in net.parameters())
    assert f'{found["mean"]["bicubic"]["psnr"]:.2f}' in (pair / 'out/compare.md').read_text()
    assert '2 of 2 images compared' in capsys.readouterr().out


def test_images_are_measured_and_shown_as_the_methods_make_them(pair, models):
    """uint8 from the file to the metrics: nothing is converted in between."""
    cpu, model = torch.device('cpu'), load_model(models / 'a/net_g_latest.pth', '--model')
    seen, shown = [], {}

    def noting(enlarge):
        def method(lq, size):
            seen.append((lq, enlarge(lq, size)))
            return seen[-1][1]

        return method

    methods = {name: noting(method) for name, method in methods_of({'a': model}, cpu).items()}
    found = Comparison(4, quality.default_metrics(4), {name: {} for name in methods}, {}, 'a CPU')
    compare(
        [Pair('coffee.png', pair / 'HR/coffee.png', pair / 'LR/coffee.png')],
        methods,
        found,
        lambda _name, pictures: shown.update(pictures),
        pytest.fail,
    )
    assert all(lq is shown['LQ'] and lq.dtype == sr.dtype == np.uint8 for lq, sr in seen)
    assert [shown['bicubic'] is seen[0][1], shown['a'] is seen[1][1]] == [True, True]
    assert np.array_equal(shown['a'], Upscaler(model, cpu).enlarge(shown['LQ']))
    lq = img2tensor(shown['LQ'] / np.float32(255)).unsqueeze(0)
    assert np.array_equal(shown['bicubic'], tensor2img([quality.bicubic(lq, shown['GT'].shape[:2])]))


def test_lq_is_made_where_there_is_none(pair, models):
    """The LR files were made otherwise, by BasicSR's imresize, which is hardly different."""
    values = []
    for more in ((), ('--lq', pair / 'LR')):
        assert (
            run(
                '--gt',
                pair / 'HR/coffee.png',
                *more,
                '--model',
                models / 'a/net_g_latest.pth',
                '--overwrite',
                '--out',
                pair / 'out',
            )
            == 0
        )
        values.append(json.loads((pair / 'out/compare.json').read_text())['mean']['bicubic']['psnr'])
    assert values[0] == pytest.approx(values[1], abs=0.1)


def test_a_bad_image_costs_a_line_and_the_others_are_compared(pair, models, capsys):
    gt, lq = pair / 'HR', pair / 'LR'
    (gt / 'broken.png').write_bytes((gt / 'coffee.png').read_bytes()[:900])
    shutil.copy(lq / 'coffee.png', lq / 'broken.png')
    cv2.imwrite(str(gt / 'cut.png'), np.zeros((90, 96, 3), np.uint8))
    cv2.imwrite(str(lq / 'cut.png'), np.zeros((24, 24, 3), np.uint8))
    cv2.imwrite(str(gt / 'lonely.png'), np.zeros((96, 96, 3), np.uint8))
    cv2.imwrite(str(gt / 'grey.png'), cv2.imread(str(gt / 'coffee.png'), cv2.IMREAD_GRAYSCALE))
    cv2.imwrite(str(lq / 'grey.png'), cv2.imread(str(lq / 'coffee.png'), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257)
    assert run('--gt', gt, '--lq', lq, '--model', models / 'a/net_g_latest.pth', '--out', pair / 'out') == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if 'lonely.png has no LQ image' in line]
    assert [line for line in lines if 'broken.png is truncated or damaged' in line]
    assert [line for line in lines if '96x90, but 96x96 is expected' in line and 'which is 24x24' in line]
    assert len(lines) == 3 and all(line.startswith('error: ') for line in lines)
    found = json.loads((pair / 'out/compare.json').read_text())
    assert set(found['images']) == {'coffee.png', 'rocket.png', 'grey.png'}
    assert set(found['failed']) == {'broken.png', 'cut.png', 'lonely.png'}


@pytest.mark.parametrize(
    'mistake, message',
    [
        (('--model', '{models}/a/net_g_latest.pth', '--model', '{models}/x2/net_g_latest.pth'), 'must have one scale'),
        (('--model', '{models}/a/net_g_latest.pth') * 2, 'given twice'),
        (
            ('--model', 'mine={models}/a/net_g_latest.pth', '--model', 'mine={models}/x2/net_g_latest.pth'),
            'given twice',
        ),
        (('--model', 'GT={models}/a/net_g_latest.pth'), "'GT' cannot be the name of a model"),
        (('--model', '{models}/a/net_g_latest.pth', '--scale', '2'), 'the models have scale 4'),
        (('--model', '{models}/a/net_g_latest.pth', '--lpips', '{models}/none.pth'), '--lpips: no such file'),
        (
            ('--model', '{models}/a/net_g_latest.pth', '--dists', '{models}/none.pth'),
            'vgg16 (https://download.pytorch.org/models/vgg16-397923af.pth)',
        ),
        (('--model', '{models}/a/net_g_latest.pth', '--iqa', 'musiq,,niqe'), "--iqa: a name is empty: 'musiq,,niqe'"),
        (('--model', '{models}/a/net_g_latest.pth', '--gt', '{models}'), 'no image in this folder'),
        (('--model', 'RealESRGAN_x4'), 'did you mean'),
    ],
)
def test_a_mistake_costs_one_line(pair, models, capsys, mistake, message):
    assert run('--gt', pair / 'HR', '--out', pair / 'out', *(part.format(models=models) for part in mistake)) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith('error: ') and error.count('\n') == 1


def test_an_earlier_comparison_is_kept(pair, models, capsys):
    (pair / 'out').mkdir()
    (pair / 'out/compare.md').write_text('mine')
    assert run('--gt', pair / 'HR', '--model', models / 'a/net_g_latest.pth', '--out', pair / 'out') == 1
    assert 'exists and is kept; --overwrite' in capsys.readouterr().err
    assert (pair / 'out/compare.md').read_text() == 'mine'


def test_lpips_of_bicubic_is_the_literatures(shared, tmp_path, models):
    set5, backbone = shared / 'data/Set5', shared / 'weights/alexnet-features.pth'
    assert (
        run(
            '--gt',
            set5 / 'HR',
            '--lq',
            set5 / 'LR_bicubic_x4',
            '--model',
            models / 'a/net_g_latest.pth',
            '--lpips',
            backbone,
            '--out',
            tmp_path,
        )
        == 0
    )
    mean = json.loads((tmp_path / 'compare.json').read_text())['mean']['bicubic']
    assert mean['psnr'] == pytest.approx(28.43, abs=0.01)
    assert mean['lpips'] == pytest.approx(0.340, abs=0.001)


@pytest.fixture(scope='module')
def vgg16(tmp_path_factory):
    """A file of VGG16's features with random weights."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('backbone') / 'vgg16.pth'
    torch.save(vgg.make_layers(vgg.cfgs['D']).state_dict(), file)
    return file


def test_dists_has_a_column(pair, models, vgg16, capsys):
    pytest.importorskip('DISTS_pytorch')
    a = models / 'a/net_g_latest.pth'
    assert run('--gt', pair / 'HR', '--lq', pair / 'LR', '--model', a, '--dists', vgg16, '--out', pair / 'out') == 0
    output = capsys.readouterr().out
    assert 'dists' in output.splitlines()[0].split() and 'No DISTS' not in output
    assert 'score' not in output
    found = json.loads((pair / 'out/compare.json').read_text())
    assert found['metrics']['dists']['better'] == 'lower' and 'score' not in found['metrics']
    gt, lq = (cv2.imread(str(pair / kind / 'coffee.png')) for kind in ('HR', 'LR'))
    enlarged = tensor2img([quality.bicubic(img2tensor(lq / np.float32(255)).unsqueeze(0), (192, 192))])
    assert found['images']['coffee.png']['bicubic']['dists'] == pytest.approx(
        dists_metric.calculate_dists(enlarged, gt, backbone_path=str(vgg16)), abs=1e-5
    )


def test_without_a_backbone_one_line_says_where_it_belongs(pair, models, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    assert run('--gt', pair / 'HR/coffee.png', '--model', models / 'a/net_g_latest.pth', '--out', pair / 'out') == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('No ')]
    assert len(lines) == 2 and 'alexnet-owt-7be5be79.pth' in lines[0]
    assert 'https://download.pytorch.org/models/vgg16-397923af.pth' in lines[1]
    assert f'given by --dists or at {tmp_path}/checkpoints/vgg16-397923af.pth' in lines[1]


def test_dists_without_its_package_costs_one_line(pair, models, vgg16, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'DISTS_pytorch', None)
    arguments = '--gt', pair / 'HR/coffee.png', '--model', models / 'a/net_g_latest.pth', '--out', pair / 'out'
    assert run(*arguments, '--dists', vgg16) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: --dists: DISTS needs the package dists-pytorch') and error.count('\n') == 1
    assert run(*arguments) == 0
    assert 'No DISTS: it needs dists-pytorch (pip install "sdakd-plugin[dists]")' in capsys.readouterr().out


def test_pyiqas_metrics_have_columns(pair, models, pyiqa, capsys):
    a = models / 'a/net_g_latest.pth'
    assert run('--gt', pair / 'HR/coffee.png', '--model', a, '--iqa', 'musiq, niqe', '--out', pair / 'out') == 0
    found = json.loads((pair / 'out/compare.json').read_text())
    assert {name: block['better'] for name, block in found['metrics'].items()} == {
        'psnr': 'higher',
        'ssim': 'higher',
        'niqe': 'lower',
        'musiq': 'higher',
    }
    assert found['metrics']['niqe']['type'] == 'calculate_iqa'  # pyiqa's, as it was asked for
    values = found['images']['coffee.png']['bicubic']
    assert values['musiq'] == values['niqe'] > 0
    assert [metric.name for metric in pyiqa.made] == ['musiq', 'niqe']


@pytest.mark.parametrize(
    'names, message',
    [
        ('musik', "--iqa: pyiqa has no metric 'musik' without a reference; did you mean 'musiq'?"),
        ('musiq,musiq', '--iqa: musiq is given twice'),
    ],
)
def test_a_wrong_metric_of_pyiqas_costs_one_line(pair, models, pyiqa, capsys, names, message):
    assert run('--gt', pair / 'HR', '--model', models / 'a/net_g_latest.pth', '--iqa', names, '--out', pair / 'o') == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith('error: ') and error.count('\n') == 1


def test_a_metric_whose_weights_cannot_be_had_is_named(pair, models, pyiqa, capsys):
    pyiqa.fault = OSError('no route to host')
    a = models / 'a/net_g_latest.pth'
    assert run('--gt', pair / 'HR', '--model', a, '--iqa', 'maniqa', '--out', pair / 'o') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: --iqa: maniqa: pyiqa cannot load it (no route to host)') and error.count('\n') == 1


PARTS = {'lpips': 0.25, 'dists': 0.125, 'clipiqa': 0.5, 'maniqa': 0.375, 'musiq': 50.0, 'niqe': 5.0}


@pytest.mark.parametrize(
    'changes, speedup, expected',
    [
        ({}, 1.0, 2**3.5),  # 0.75 + 0.875 + 0.5 + 0.375 + 0.5 + 0.5
        ({}, 32.0, 2**3.5 * 2),  # the fifth root of 32
        ({'niqe': 12.0}, 1.0, 8.0),  # no less than nothing for a high NIQE: 2 ** 3
        ({'musiq': 100.0}, 1 / 32, 2**4 / 2),  # slower than the reference
    ],
)
def test_the_challenges_score_by_hand(changes, speedup, expected):
    assert challenge_score({**PARTS, 'psnr': 30.0, **changes}, speedup) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('missing', PARTS)
def test_without_a_part_there_is_no_score(missing):
    assert challenge_score({key: value for key, value in PARTS.items() if key != missing}, 1.0) is None
    assert challenge_score({**PARTS, missing: float('nan')}, 1.0) is None
    assert challenge_score(PARTS, None) is None


def test_the_table_has_the_score_relative_to_the_first_model():
    """Bicubic has no time, so no score; the second model takes a 32nd of the first one's time."""
    costs = {'bicubic': {}, 'a': {'seconds': 3.2}, 'b': {'seconds': 0.1}}
    found = Comparison(4, {name: {} for name in PARTS}, costs, {}, 'a CPU', {'x.png': dict.fromkeys(costs, PARTS)})
    assert [row.get('score') for row in found.rows()] == [None, pytest.approx(2**3.5), pytest.approx(2**4.5)]
    content = found.as_json()
    assert content['metrics']['score'] == {'better': 'higher', 'reference': 'a'}
    assert content['mean']['b']['score'] == pytest.approx(2**4.5) and 'score' not in content['images']['x.png']['b']
    assert 'speed-up that over a here' in found.notes()
    del found.metrics['dists']
    assert not any('score' in row for row in found.rows()) and 'score' not in found.as_json()['metrics']
    assert 'score' not in found.notes()
