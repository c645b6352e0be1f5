"""A resumed run equals an uninterrupted one, bit for bit."""

import re
import shutil

import pytest
import torch

from sdakd_plugin.data.degradation import make_degradation
from sdakd_plugin.options import parse
from tests.helpers.degradation import batches, degradation_options, seed
from tests.helpers.exact_resume import check_exact
from tests.helpers.networks import UNET
from tests.helpers.posix import WORKERS


def test_every_stage_its_edges_and_the_middle_of_an_epoch(stock, options):
    """An epoch of four images and batches of two has two iterations; the stages have 3, 2 and 3."""
    options['datasets']['train'].update(num_worker_per_gpu=2 * WORKERS)
    options['train']['total_iter'] = 8
    for stage, iters in zip(options['train']['stages'], (3, 2, 3), strict=True):
        stage['iters'] = iters
    options['train']['stages'][1].update(lr_g=5e-4, optimizer='reset')
    options['train']['scheduler'] = {
        'type': 'CosineAnnealingRestartLR',
        'periods': [4, 4],
        'restart_weights': [1, 1],
        'eta_min': 1e-7,
    }
    options['val']['val_freq'] = 3
    check_exact(stock, options, stops=(1, 3, 4, 5, 7))
    best = re.findall(
        r'# psnr: [\d.]+\tBest: ([\d.]+) @ (\d+) iter',
        (next((stock.folder / 'experiments/run').glob('train_*.log'))).read_text(),
    )
    assert best


def test_a_loader_in_the_main_process(stock, options):
    options['datasets']['train'].update(num_worker_per_gpu=0)
    del options['val']
    check_exact(stock, options, stops=(3,))


def test_prefetching_without_workers(stock, options):
    """BasicSR's thread would draw from the random numbers of training at moments of its own."""
    options['datasets']['train'].update(
        num_worker_per_gpu=0, prefetch_mode='cpu', num_prefetch_queue=2, dataset_enlarge_ratio=3
    )
    del options['val']
    check_exact(stock, options, stops=(3,))


@pytest.mark.long
def test_the_pool_and_noise_of_the_degradation(stock, options, photos):
    options = degradation_options(options, photos)
    options.pop('val')
    check_exact(stock, options, stops=(3,))


@pytest.mark.long
def test_a_pool_that_is_half_full_goes_on_with_a_larger_batch(options, photos):
    options = degradation_options(options, photos)
    seed(0)
    before = make_degradation(options, parse(options), torch.device('cpu'))
    before.feed_data(batches(options, 1)[0])  # two of four
    options['datasets']['train']['batch_size_per_gpu'] = 4
    after = make_degradation(options, parse(options), torch.device('cpu'))
    after.load_state(before.state())
    small = batches(options, 2)
    large = {key: torch.cat([batch[key] for batch in small]) for key in ('gt', 'kernel1', 'kernel2', 'sinc_kernel')}
    for _ in range(2):  # fills it, then takes from it
        after.feed_data(large)
    assert after.lq.shape[0] == 4


@pytest.mark.parametrize('more', [{}, {'function': 'tests.helpers.together:train_by_stock'}], ids=['sdakd', 'stock'])
def test_all_iterations_where_images_remain_after_the_last_batch_of_an_epoch(stock, options, more):
    """Four images in batches of three; BasicSR counts two batches and would end after five of the eight iterations."""
    options['datasets']['train'].update(batch_size_per_gpu=3)
    del options['val'], options['datasets']['val']
    options['train'].update(total_iter=8, stages=None, feature_opt=None)
    check_exact(stock, options, stops=(6,), **more)


def test_photographs_that_were_added(stock, options, photos, tmp_path):
    """Epochs are longer now: with the number of the last one BasicSR would take the run to be at its end."""
    for role in ('gt', 'lq'):
        options['datasets']['train'][f'dataroot_{role}'] = str(tmp_path / role)
    shutil.copytree(photos / 'HR', tmp_path / 'gt')
    shutil.copytree(photos / 'LR', tmp_path / 'lq')
    options['datasets']['train'].update(batch_size_per_gpu=1)
    del options['val'], options['datasets']['val']
    options['train'].update(total_iter=11, stages=None, feature_opt=None)
    stock.ok('sdakd train', options)
    for role in ('gt', 'lq'):
        for path in list((tmp_path / role).iterdir()):
            for number in range(2):
                shutil.copy(path, path.with_name(f'{number}{path.name}'))
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert re.findall(r'iter: +(\d+), lr', log) == ['11']
    assert 'other data, workers or processes than before (images 4 before and 12 now)' in ' '.join(log.split())


def test_initial_weights_under_another_key(stock, options, tmp_path):
    """The checkpoint from which a run resumes has no such key; its moving average must not become the student."""
    from basicsr.archs import build_network

    torch.manual_seed(3)
    torch.save({'state_dict': build_network(dict(options['network_g'])).state_dict()}, tmp_path / 'start.pth')
    options['path'].update(pretrain_network_g=str(tmp_path / 'start.pth'), param_key_g='state_dict')
    del options['val'], options['datasets']['val']
    options['train'].update(total_iter=4, stages=None, feature_opt=None)
    check_exact(stock, options, stops=(2,))


def test_a_cohort_that_exchanges_features(stock, options):
    del options['teacher'], options['train']['stages'], options['train']['feature_opt'], options['val']
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    )
    options['train'].update(total_iter=5, mutual_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3']})
    check_exact(stock, options, stops=(3,))


def test_gcfsr_with_its_noise_and_scales(stock, gcfsr_run):
    del gcfsr_run['val']
    check_exact(stock, gcfsr_run, stops=(1, 3, 5))  # inside each stage


def test_stocks_own_loop_goes_on_exactly(stock, options):
    """In the middle of an epoch and at its edge; only its ``load_resume_state``, which needs CUDA, is not its own."""
    options['datasets']['train'].update(num_worker_per_gpu=1 + WORKERS, dataset_enlarge_ratio=1.5)
    check_exact(stock, options, stops=(3, 4), function='tests.helpers.together:train_by_stock')


@pytest.mark.long
def test_stocks_own_loop_and_random_numbers_of_the_main_process(stock, gcfsr_run):
    del gcfsr_run['val']
    gcfsr_run['datasets']['train'].update(num_worker_per_gpu=0, dataset_enlarge_ratio=3)
    check_exact(stock, gcfsr_run, stops=(4,), function='tests.helpers.together:train_by_stock')


@pytest.mark.long
def test_a_learning_rate_ahead_may_change_and_one_behind_is_refused_before_anything_is_written(stock, options):
    del options['val']
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [3, 3], 'restart_weights': [1, 1]}
    stock.ok('sdakd train', options)
    options['train']['total_iter'] = 8  # longer
    options['train']['stages'][2]['iters'] = 4
    done = stock.run('sdakd train', options, '--auto_resume')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'error: train.scheduler.periods: add up to 6 iterations, but train.total_iter is 8' in done.stderr
    options['train']['scheduler']['periods'] = [2, 6]
    before = {path: path.stat().st_mtime_ns for path in stock.folder.rglob('*')}
    done = stock.run('sdakd train', options, '--auto_resume')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert (
        'error: train.scheduler.periods: up to iteration 6, where the run resumes, they were [3] and would now be '
        '[2]; change only the part after it' in done.stderr
    )
    assert {path: path.stat().st_mtime_ns for path in before if path.name != 'opt.yml'} == {
        path: time for path, time in before.items() if path.name != 'opt.yml'
    }
    options['train']['scheduler']['periods'] = [3, 5]
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert 'iter:       8' in log
    assert (
        'train.scheduler: from iteration 7 the learning rate follows the option file (periods [3, 3] before and '
        '[3, 5] now)'
    ) in ' '.join(log.split())


def test_a_changed_schedule_is_refused_and_changed_data_are_named(stock, options):
    del options['val']
    options['datasets']['train']['num_worker_per_gpu'] = 1
    stock.ok('sdakd train', options)
    folder = stock.folder / 'experiments/run'
    (folder / 'training_states/6.state').unlink()
    for stage, iters in zip(options['train']['stages'], (4, 1, 1), strict=True):
        stage['iters'] = iters
    done = stock.run('sdakd train', options, '--auto_resume')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert "iteration 4 of the run was in the stage 'alignment' and would now be in 'supervised'" in done.stderr

    for stage, iters in zip(options['train']['stages'], (2, 2, 3), strict=True):  # the last one longer: fine
        stage['iters'] = iters
    options['train']['total_iter'] = 7
    options['datasets']['train']['num_worker_per_gpu'] = 2
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert '(num_worker_per_gpu 1 before and 2 now)' in log and 'iter:       7' in log

    for iteration in (4, 6):  # trained with other workers
        (folder / f'training_states/{iteration}.state').unlink()
    options['datasets']['train'].update(num_worker_per_gpu=1, persistent_workers=True)
    assert 'persistent_workers: the random numbers' in stock.ok('sdakd train', options, '--auto_resume')
