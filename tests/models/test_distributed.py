"""Two processes on a CPU (gloo) equal one with the whole batch in every stage; they save, resume and stop together."""

import copy
import json
import os
import pickle
import posix
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers.exact_resume import check_exact, equal, losses
from tests.helpers.networks import STUDENT, UNET
from tests.helpers.paths import ROOT, python_path

ALL, HALVES = [[0, 1, 2, 3]], [[0, 1], [2, 3]]  # the images of a batch, for one process and for each of two
RUN = 'experiments/run'


# ------------------------------------------------------------------------------------------------------- gradients


def trained(warm, folder, options, shares, fixed_noise=False):
    """What ``tests/helpers/together.py`` saves, for each process."""
    options = copy.deepcopy(options)
    options.pop('val')
    for key in ('optim_g', 'optim_d'):  # far from dividing a gradient by its own size: that would enlarge rounding
        options['train'][key] = {'type': 'Adam', 'lr': 1e-3, 'eps': 1.0}
    order, result = folder / 'order.pkl', folder / 'result'
    order.write_bytes(pickle.dumps({'options': options, 'shares': shares, 'fixed_noise': fixed_noise}))
    arguments = [str(order), str(result)]
    warm.start(folder, arguments, processes=len(shares), function='tests.helpers.together:train_on_shares')
    done = warm.wait(folder, arguments)
    assert set(warm.codes) == {0}, done.stderr
    return [torch.load(f'{result}.{rank}', weights_only=True) for rank in range(len(shares))]


def difference(one, other):
    """The largest difference of two snapshots, relative to each tensor's largest entry."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp_min(1e-30)) for name in one)


def check_shares(warm, folder, options, shares=HALVES, fixed_noise=False):
    """Both processes have the same gradients, weights and spectral-norm vectors, and those of one; their names."""
    (whole,) = trained(warm, folder, options, ALL, fixed_noise)
    first, second = trained(warm, folder, options, shares, fixed_noise)
    assert equal(first, second)
    for iteration, (one, part) in enumerate(zip(whole, first, strict=True), start=1):
        assert difference(one, part) < 1e-11, iteration
    return {name.removeprefix('gradient of ').split('.')[0] for name in whole[-1] if name.startswith('gradient of ')}


def test_every_stage_with_every_term(warm, options, small_teacher, tmp_path):
    options['teacher'].update(network_d={**UNET, 'num_feat': 16}, pretrain_network_d=str(small_teacher / 'net_d.pth'))
    options['network_d_peer'] = dict(UNET)
    options['train']['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3']}
    options['train']['mutual_opt'] = {'type': 'MutualDiscriminatorLoss'}
    options['train']['stages'][1]['losses'] = ['feature']  # reaches a part of the student only
    options['train']['stages'][2]['losses'] += ['feature_d', 'mutual']
    assert check_shares(warm, tmp_path, options) == {'feature', 'feature_d', 'net_d', 'net_d_peer', 'net_g'}


def test_a_cohort_that_exchanges_features(warm, options, tmp_path):
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    )
    options['train'].update(total_iter=3, mutual_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3']})
    assert check_shares(warm, tmp_path, options) == {
        'mutual_0_1',
        'mutual_1_0',
        'net_d_a',
        'net_d_b',
        'net_g_a',
        'net_g_b',
    }


def test_iterations_of_the_discriminator_alone(warm, options, tmp_path):
    """Every iteration has losses to print, also where no discriminator trains."""
    options['train'].update(net_d_iters=2, net_d_init_iters=1)
    assert check_shares(warm, tmp_path, options) == {'feature', 'net_d', 'net_g'}


def test_gcfsr_with_r1(warm, gcfsr_run, tmp_path):
    assert check_shares(warm, tmp_path, gcfsr_run, fixed_noise=True) == {'feature', 'net_d', 'net_g'}


def test_a_minibatch_standard_deviation_is_that_of_each_process(warm, gcfsr_run, tmp_path):
    """StyleGAN2 takes it of groups of images, here the first and third, second and fourth: within a process alike."""
    family = {'type': 'StyleGAN2Discriminator', 'out_size': 64, 'narrow': 1 / 16, 'stddev_group': 2}
    gcfsr_run['network_d'] = {'type': 'StudentDiscriminator', 'teacher': family, 'width': 0.5}
    gcfsr_run['train'].update(total_iter=2, stages=[{'name': 'all', 'iters': 2, 'losses': ['pixel', 'feature', 'gan']}])
    check_shares(warm, tmp_path, gcfsr_run, [[0, 2], [1, 3]], fixed_noise=True)
    with pytest.raises(AssertionError):
        check_shares(warm, tmp_path, gcfsr_run, HALVES, fixed_noise=True)


def test_several_teachers_and_ramps(warm, options, tmp_path):
    first = options.pop('teacher')
    options['teachers'] = {'sharp': first, 'smooth': {'network_g': dict(STUDENT), 'pretrain_network_g': 'untrained'}}
    image = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
    train = options['train']
    train['structure_opt'] = {**image, 'target': 'mix', 'teacher': 'smooth', 'ramp': {'from': 1, 'to': 0}}
    train['gan_opt'].update(target='teacher', teacher='sharp', ramp={'from': 0.5, 'to': 1})
    for stage in train['stages']:
        stage['losses'].append('structure')
    assert check_shares(warm, tmp_path, options) == {'feature', 'net_d', 'net_g'}


@pytest.mark.parametrize('more', [{'grad_clip': 0.01}, {'adaptive_d': True, 'adaptive_d_ema_decay': 0.5}])
def test_what_looks_after_a_gan(warm, options, tmp_path, more):
    options['train'].update(more)
    options['train']['stages'][2]['iters'] = 4
    options['train']['total_iter'] = 8
    assert check_shares(warm, tmp_path, options) == {'feature', 'net_d', 'net_g'}


def test_a_quantised_student_has_the_same_ranges_in_both(warm, options, tmp_path):
    """They are fitted to the batches of the first process, so that a run in one process differs."""
    options['train']['quantize'] = {'bits': 4, 'from': 'alignment'}
    first, second = trained(warm, tmp_path, options, HALVES)
    assert equal(first, second)
    ranges = [key for key in first[-1] if key.startswith('gradient of net_g.') and key.endswith('.ends')]
    assert ranges and all(first[-1][key].abs().sum() > 0 for key in ranges)


def test_batchnorm_normalises_by_each_processes_part(warm, options, tmp_path):
    """The gradient is then the mean of what two runs with half the batch each have, not that of the whole batch."""
    options['network_g'] = {'type': 'SRGANGenerator', 'num_feat': 8, 'num_block': 1}
    del options['teacher'], options['network_d'], options['train']['stages'], options['train']['feature_opt']
    del options['train']['gan_opt']
    options['train']['total_iter'] = 1

    def gradients(shares):
        return {
            name: tensor
            for name, tensor in trained(warm, tmp_path, options, shares)[0][0].items()
            if name.startswith('gradient of ')
        }

    first, second = gradients([HALVES[0]]), gradients([HALVES[1]])
    both = gradients(HALVES)
    assert difference({name: (tensor + second[name]) / 2 for name, tensor in first.items()}, both) < 1e-9
    assert difference(gradients(ALL), both) > 1e-3


# ------------------------------------------------------------------------------------------------------ whole runs


@pytest.fixture
def epochs(options):
    """Options of a run whose epochs have six iterations with two processes, twelve with one."""
    options['datasets']['train'].update(num_worker_per_gpu=0, dataset_enlarge_ratio=6)
    return options


def test_a_run_is_validated_and_saved_once_and_resumes_exactly(stock, epochs):
    epochs['datasets']['train']['dataset_enlarge_ratio'] = 3
    check_exact(stock, epochs, stops=(4,), processes=2)  # in the middle of an epoch of three
    log = next((stock.folder / RUN).glob('train_*.log')).read_text()
    assert len(re.findall('Stage 3 of 3', log)) == 1
    validated = [
        (entry['iter'], entry['stage']) for entry in json.loads((stock.folder / RUN / 'validations.json').read_text())
    ]
    assert validated == [(0, 'start'), (2, 'supervised'), (4, 'alignment'), (6, 'adversarial')]
    assert 'Validation' not in Path(f'{stock.folder}.err.1').read_text()


@pytest.mark.long
@pytest.mark.parametrize(('before', 'after'), [(1, 2), (2, 1)])
def test_going_on_with_another_number_of_processes(stock, epochs, before, after):
    del epochs['val']
    epochs['logger']['save_checkpoint_freq'] = 1
    stock.ok('sdakd train', epochs, processes=before)
    for path in (stock.folder / RUN).glob('*/*'):
        if path.name in ('6.state', '5.state'):
            path.unlink()
    log = stock.ok('sdakd train', epochs, '--auto_resume', processes=after)
    assert f'(world_size {before} before and {after} now)' in log and 'The epoch starts again' in log
    assert set(losses(log)) == {5, 6}
    state = torch.load(stock.folder / RUN / 'training_states/6.state', weights_only=True)
    assert len(state['processes']) == after and state['stage'] == 'adversarial'


def test_a_process_that_was_not_there_before_agrees_with_the_others(stock, epochs):
    """On what is printed, R1 of the last time among it, and on when to give up."""
    del epochs['val'], epochs['teacher'], epochs['train']['feature_opt'], epochs['train']['stages']
    epochs['train'].update(r1_reg_weight=10, net_d_reg_every=4)
    epochs['logger']['save_checkpoint_freq'] = 1
    stock.ok('sdakd train', epochs)
    for path in (stock.folder / RUN).glob('*/*.state'):
        if path.name in ('5.state', '6.state'):
            path.unlink()
    kept = stock.folder / RUN / 'training_states/4.state'
    state = torch.load(kept, weights_only=True)
    state['processes'][0]['updates'].update(in_a_row=3, last=4)
    torch.save(state, kept)
    logged = losses(stock.ok('sdakd train', epochs, '--auto_resume', processes=2))
    assert set(logged) == {5, 6} and all('l_d_r1' in line for line in logged.values())
    states = torch.load(stock.folder / RUN / 'training_states/6.state', weights_only=True)['processes']
    assert [(own['updates']['in_a_row'], own['updates']['last']) for own in states] == [(3, 4)] * 2


@pytest.mark.long
def test_going_on_in_a_late_epoch_with_fewer_processes_trains_to_the_end(stock, epochs):
    """BasicSR counts epochs from the options of now: with twice as long ones the old number lies behind the end."""
    del epochs['val']
    epochs['datasets']['train']['dataset_enlarge_ratio'] = 1  # one iteration an epoch with two processes
    epochs['logger']['save_checkpoint_freq'] = 5
    stock.ok('sdakd train', epochs, processes=2)
    epochs['datasets']['train']['dataset_enlarge_ratio'] = 4
    assert set(losses(stock.ok('sdakd train', epochs, '--auto_resume'))) == {6}


# --------------------------------------------------------------------------------------------------------- signals


@pytest.fixture
def whole(stock, epochs):
    """Options of a run in one epoch, with a worker for each process, and what an undisturbed one logs; its files are in
    ``undisturbed``."""
    del epochs['val']
    epochs['datasets']['train'].update(num_worker_per_gpu=1, dataset_enlarge_ratio=12)
    epochs['train']['total_iter'] = 12
    for stage in epochs['train']['stages']:
        stage['iters'] = 4
    epochs['logger']['save_checkpoint_freq'] = 12
    logged = losses(stock.ok('sdakd train', epochs, processes=2))
    (stock.folder / RUN).rename(stock.folder / 'undisturbed')
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(epochs))
    return epochs, logged


def check_stopped(stock, whole, log, number):
    """That the run was saved once, and goes on exactly."""
    options, logged = whole
    stopped = int(re.search(number.name + r': stopped after iteration (\d+), which is saved', log)[1])
    assert [path.name for path in (stock.folder / RUN).glob('*/*.state')] == [f'{stopped}.state']
    assert losses(stock.ok('sdakd train', options, '--auto_resume', processes=2)) == {
        iteration: line for iteration, line in logged.items() if iteration > stopped
    }
    for path in (stock.folder / 'undisturbed').glob('*/*12.*'):
        assert equal(
            torch.load(path, weights_only=True),
            torch.load(next((stock.folder / RUN).glob(f'*/{path.name}')), weights_only=True),
        ), path.name


@pytest.mark.long
@pytest.mark.parametrize(
    ('ranks', 'number', 'send'),
    [
        ([1], signal.SIGTERM, os.kill),  # a scheduler picks one
        ([0, 1, 0, 1], signal.SIGINT, posix.killpg),
    ],
)  # scheduler and launcher, each to all, the loader's workers too
def test_a_signal_to_any_process_stops_all_after_the_same_iteration(stock, whole, ranks, number, send):
    output = Path(f'{stock.folder}.err')
    output.unlink()
    arguments = ['train', '-opt', 'opt.yml', '--launcher', 'pytorch']
    stock.warm.start(stock.folder, arguments, processes=2)
    while not (output.exists() and re.search(r'iter: +4,', output.read_text())):
        time.sleep(0.02)
    for rank in ranks:
        send(stock.warm.children[rank], number)
    log = stock.warm.wait(stock.folder, arguments).stderr
    assert stock.warm.codes == [128 + number] * 2, log
    check_stopped(stock, whole, log, number)


@pytest.mark.long
def test_torchrun_passes_a_signal_on(stock, whole):
    command = [
        sys.executable,
        '-u',
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node=2',
        str(ROOT / 'tests/helpers/launched.py'),
        'train',
        '-opt',
        'opt.yml',
        '--launcher',
        'pytorch',
    ]
    process = subprocess.Popen(
        command,
        cwd=stock.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': python_path(ROOT)},
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(r'iter: +4,', line):
            process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    check_stopped(stock, whole, ''.join(lines), signal.SIGTERM)
