"""Training on LQ images alone: the teacher's image is the target."""

import json

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img

from tests.helpers.exact_resume import check_exact
from tests.helpers.mistakes import change, complaint
from tests.helpers.training import batch, build

L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}


@pytest.fixture
def run(options, photos):
    """A run on LQ images, with features and a discriminator whose real images are the teacher's."""
    lq = {'type': 'LQPhotoDataset', 'dataroot_lq': str(photos / 'LR')}
    more = {'gt_size': 64, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2}
    options['datasets'] = {'train': {'name': 'lq', **lq, **more}, 'val': {'name': 'unseen', **lq}}
    options['train']['pixel_opt']['target'] = 'teacher'
    options['train']['gan_opt']['target'] = 'teacher'
    return options


def test_every_stage_trains_and_the_metrics_compare_with_the_teacher(stock, run):
    stock.ok('basicsr/train.py', run)
    folder = stock.folder / 'experiments/run'
    entries = json.loads((folder / 'validations.json').read_text())
    assert {entry['dataset'] for entry in entries} == {'unseen_to_teacher'}
    assert [entry['iter'] for entry in entries] == [0, 2, 4, 6]
    nets = {}
    for name, path in (('student', folder / 'models/net_g_6.pth'), ('teacher', run['teacher']['pretrain_network_g'])):
        nets[name] = build_network(
            dict(run['network_g' if name == 'student' else 'teacher'].get('network_g', run['network_g']))
        )
        nets[name].load_state_dict(torch.load(path, weights_only=True)['params_ema'])
    dataset = build_dataset({**run['datasets']['val'], 'phase': 'val', 'scale': 4})
    with torch.no_grad():
        pairs = [[tensor2img(net(item['lq'][None])) for net in nets.values()] for item in dataset]
    psnr = np.mean([calculate_psnr(*pair, crop_border=4, test_y_channel=True) for pair in pairs])
    assert entries[-1]['metrics']['psnr'] == pytest.approx(psnr, abs=1e-6)


def test_the_real_images_of_the_discriminator_are_the_teachers(run, monkeypatch):
    run['train']['stages'][1].update(train_d=True)  # without the term gan
    model = build(run)
    calls, real = [], []
    generate = model.teacher.generate
    monkeypatch.setattr(model.teacher, 'generate', lambda *asked: calls.append(asked[1:3]) or generate(*asked))
    gan_loss = model.trainee.objective.gan_loss
    loss = type(gan_loss).forward
    monkeypatch.setattr(type(gan_loss), 'forward', lambda *a, **more: real.append(a[2]) or loss(*a, **more))
    import sdakd_plugin.distillation.iteration as iteration

    seen = []
    backward = iteration.backward
    monkeypatch.setattr(
        iteration, 'backward', lambda d, g, batches, *m: seen.append(batches) or backward(d, g, batches, *m)
    )
    for number in (3, 5):
        calls.clear()
        model.update_learning_rate(number)
        model.feed_data({'lq': batch()['lq']})
        model.optimize_parameters(number)
        assert calls == [(('body.0', 'body.1'), True)]  # once, for both networks
    expected = generate(batch()['lq']).sr
    assert len(seen) == 2 and all(torch.equal(batches[0].images, expected) for batches in seen)


def test_with_cached_images_resuming_is_exact(stock, run, tmp_path):
    run['teacher']['cache'] = str(tmp_path / 'cache')
    train = run['train']
    del train['feature_opt'], run['val']
    train['stages'] = [{'name': 'all', 'iters': 4, 'losses': ['pixel', 'gan']}]
    train['total_iter'] = 4
    check_exact(stock, run, stops=(3,))
    assert len(list((tmp_path / 'cache').glob('*.npy'))) == 4


def test_the_command_ends_with_a_comparison_with_the_teacher(stock, run):
    run['train']['stages'] = None
    run['train'].update(total_iter=2, gan_opt=None, feature_opt=None)
    del run['network_d']
    log = stock.ok('sdakd train', run)
    assert 'unseen_to_teacher' in log and 'psnr to teacher' in log
    trained = str(stock.folder / 'experiments/run/models/net_g_latest.pth')
    test = {
        **{key: run[key] for key in ('model_type', 'scale', 'num_gpu', 'network_g')},
        'name': 'test',
        'datasets': {'test': run['datasets']['val']},
        'path': {'pretrain_network_g': trained, 'param_key_g': 'params_ema'},
        'val': {'save_img': True, 'suffix': None},
    }
    stock.ok('basicsr/test.py', test)
    assert len(list((stock.folder / 'results/test').rglob('*.png'))) == 4
    rows = json.loads((stock.folder / 'experiments/run/summary.json').read_text())['unseen_to_teacher']
    assert [row['method'] for row in rows] == ['bicubic', 'student before training', 'student']


@pytest.mark.parametrize(
    'path, value, expected',
    [
        (
            'train/pixel_opt/target',
            ...,
            'train.pixel_opt: compares with the ground truth, which datasets.train does not',
        ),
        ('train/pixel_opt/target', ..., 'does not have; add target: teacher, or remove it'),
        ('train/pixel_opt/target', 'both', 'train.pixel_opt: compares with the ground truth'),
        (
            'train/gan_opt/target',
            ...,
            'train.gan_opt: takes its real images from the ground truth, which datasets.train',
        ),
        ('l1_gt_usm', True, 'l1_gt_usm: needs the ground truth, which datasets.train does not have; leave it out'),
        (
            'high_order_degradation',
            True,
            'high_order_degradation: is true, but LQPhotoDataset provides no blur kernels',
        ),
    ],
)
def test_what_needs_ground_truth_is_refused(run, path, value, expected):
    assert expected in complaint(change(run, path, value))


def test_ldl_is_refused(run):
    run['train']['ldl_opt'] = dict(L1)
    run['train']['stages'][2]['losses'].append('ldl')
    assert 'train.ldl_opt: compares with the ground truth, which datasets.train does not have; remove it' in complaint(
        run
    )


def test_nothing_is_written_before_a_refusal(stock, run):
    del run['train']['pixel_opt']['target']
    for command in ('sdakd check', 'sdakd train'):
        done = stock.run(command, run)
        assert done.returncode == 1 and done.stderr.startswith('error: train.pixel_opt: compares with the ground truth')
        assert done.stderr.count('\n') == 1 and not (stock.folder / 'experiments').exists()
