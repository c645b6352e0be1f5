"""Complete runs through stock ``basicsr/train.py`` and ``basicsr/test.py``, started as by a user."""

import json
import re

import pytest
import torch
from basicsr.archs import build_network
from PIL import Image

from tests.helpers.degradation import degradation_options
from tests.helpers.networks import STUDENT, UNET


@pytest.fixture
def test_options(options):
    """Stock testing of what the run saved."""
    return {
        'name': 'check',
        'model_type': 'SDAKDModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'test_1': options['datasets']['val']},
        'network_g': dict(STUDENT),
        'path': {
            'pretrain_network_g': 'experiments/run/models/net_g_latest.pth',
            'param_key_g': 'params_ema',
            'strict_load_g': True,
        },
        'val': {'save_img': True, 'suffix': None, 'metrics': options['val']['metrics']},
    }


def psnr(text):
    return re.findall(r'# psnr: ([\d.]+)', text)


def test_three_stages_on_paired_data_then_stock_test(stock, options, test_options):
    options['logger']['use_tb_logger'] = True
    log = stock.ok('basicsr/train.py', options)
    for line in (
        "Stage 1 of 3, 'supervised': iterations 1 to 2; losses pixel; discriminator off.",
        "Stage 3 of 3, 'adversarial': iterations 5 to 6; losses pixel, feature, gan; discriminator on.",
        'Model [SDAKDModel] is created.',
        'End of training.',
    ):
        assert line in log
    last = re.findall(r'iter: +6,.*', log)[0]
    for key in ('l_g_pix', 'l_g_feature', 'l_g_gan', 'l_d_real', 'out_d_fake', 'share_pix', 'stage: 3 '):
        assert key in last

    run = stock.folder / 'experiments/run'
    entries = json.loads((run / 'stages.json').read_text())
    assert [(entry['iter'], entry['stage']) for entry in entries] == [
        (0, 'start'),
        (2, 'supervised'),
        (4, 'alignment'),
        (6, 'adversarial'),
    ]
    assert list(entries[0]['metrics']) == ['psnr', 'ssim']

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(stock.folder / 'tb_logger/run')).Reload()
    assert [int(event.value) for event in events.Scalars('stage')] == [1, 1, 2, 2, 3, 3]
    assert {'losses/l_g_feature', 'share_pix', 'metrics/val/psnr'} <= set(events.Tags()['scalars'])

    net = build_network(STUDENT)  # an ordinary checkpoint of an ordinary network
    net.load_state_dict(torch.load(run / 'models/net_g_latest.pth', weights_only=True)['params_ema'])

    tested = stock.ok('basicsr/test.py', test_options)
    assert psnr(tested)[-1] == psnr(log)[-1]
    assert Image.open(stock.folder / 'results/check/visualization/val/astronaut_check.png').size == (192, 192)
    test_options['model_type'] = 'SRModel'  # nothing of the plugin is needed
    assert psnr(stock.ok('basicsr/test.py', test_options)) == psnr(tested)


def test_on_the_fly_degradation(stock, options, photos):
    log = stock.ok('basicsr/train.py', degradation_options(options, photos))
    assert 'End of training.' in log and 'Stage 3 of 3' in log


def test_a_training_file_is_tested_by_the_comparison_that_ended_the_training(stock, options):
    missing = stock.run('sdakd test', options)
    assert missing.returncode == 1 and 'net_g_latest.pth yet: sdakd train -opt' in missing.stderr
    assert not (stock.folder / 'results').exists()
    stock.ok('sdakd train', options)
    run = stock.folder / 'experiments/run'
    (run / 'summary.json').rename(run / 'first.json')
    stock.ok('sdakd test', options)
    assert (stock.folder / 'results/run/comparison.png').is_file() and not (run / 'summary.json').exists()
    first, again = (
        json.loads(path.read_text()) for path in (run / 'first.json', stock.folder / 'results/run/summary.json')
    )
    for name, rows in first.items():
        for row, repeated in zip(rows, again[name], strict=True):
            row.pop('s/image', 0), repeated.pop('s/image', 0)
            assert row == repeated


def test_without_validation_data_nothing_is_compared(stock, options):
    del options['datasets']['val']
    log = stock.ok('sdakd train', options)
    assert 'names no validation data (datasets.val).\nStudent: experiments/run/models/net_g_latest.pth' in log
    assert not (stock.folder / 'experiments/run/summary.json').exists()


def test_stages_end_where_validation_does_not(stock, options):
    options['val']['val_freq'] = 100
    stock.ok('sdakd train', options)
    entries = json.loads((stock.folder / 'experiments/run/stages.json').read_text())
    assert [entry['iter'] for entry in entries] == [0, 2, 4, 6]


def test_validating_more_often_changes_no_weight(stock, options):
    options['val']['val_freq'] = 6
    stock.ok('sdakd train', options)
    first = torch.load(stock.folder / 'experiments/run/models/net_g_latest.pth', weights_only=True)
    del options['val']
    stock.ok('sdakd train', options)
    second = torch.load(stock.folder / 'experiments/run/models/net_g_latest.pth', weights_only=True)
    for key in ('params', 'params_ema'):
        assert all(torch.equal(first[key][name], second[key][name]) for name in first[key])


@pytest.mark.parametrize(
    'change',
    [
        # the three families of discriminator
        {
            'network_d': {
                'type': 'StudentDiscriminator',
                'width': 0.25,
                'teacher': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 8, 'input_size': 128},
            },
            'gt_size': 128,
        },
        {
            'network_d': {
                'type': 'StudentDiscriminator',
                'width': 0.0625,
                'teacher': {'type': 'StyleGAN2Discriminator', 'out_size': 64},
            }
        },
        # a compact student of another architecture, GCC's distance, the teacher's image
        {
            'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2},
            'feature_opt': {
                'type': 'FeatureAlignmentLoss',
                'layers': {'body.2': 'body.0', 'body.4': 'body.1'},
                'distance': 'rmse_gram',
                'hidden_channels': 0,
                'loss_weight': 0.1,
            },
        },
        {'feature_d': True},
    ],
)
def test_variants(stock, options, small_teacher, change):
    options['network_g'] = change.get('network_g', options['network_g'])
    options['network_d'] = change.get('network_d', options['network_d'])
    options['datasets']['train']['gt_size'] = change.get('gt_size', 64)
    options['train']['feature_opt'] = change.get('feature_opt', options['train']['feature_opt'])
    if 'feature_d' in change:
        options['teacher'].update(
            network_d={**UNET, 'num_feat': 16}, pretrain_network_d=str(small_teacher / 'net_d.pth')
        )
        options['train']['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3']}
        options['train']['stages'][2]['losses'].append('feature_d')
        options['train']['stages'][1].update(train_d=True, optimizer='reset', lr_g=1e-4)
    del options['val']
    log = stock.ok('sdakd train', options)
    assert 'End of training.' in log and 'nan' not in log


def test_the_command_ends_with_a_table_and_a_picture(stock, options):
    out = stock.ok('sdakd train', options)
    columns = ('method', 'psnr', 'ssim', 'psnr to teacher', 'parameters', 'multiply-adds', 's/image')
    assert re.search(r' +\| '.join(columns), out)
    for method in ('bicubic', 'teacher', 'student before training', 'student'):
        assert re.search(rf'\| {method} +\| +\d', out)
    run = stock.folder / 'experiments/run'
    assert Image.open(run / 'comparison.png').size[1] > 400
    rows = json.loads((run / 'summary.json').read_text())['val']
    entries = json.loads((run / 'stages.json').read_text())
    assert rows[-1]['psnr'] == pytest.approx(entries[-1]['metrics']['psnr'], abs=1e-6)  # the model that was validated
    assert 'psnr to teacher' not in rows[1] and rows[-1]['psnr to teacher'] > 0
    assert rows[2]['psnr'] == entries[0]['metrics']['psnr']
    assert rows[-1]['parameters'] == sum(p.numel() for p in build_network(STUDENT).parameters())


def test_the_command_tests(stock, options, test_options):
    options.pop('val')
    said = stock.ok('sdakd train', options)
    assert 'Nothing is compared: the option file has no block val.' in said and 'Comparing' not in said
    assert len(psnr(stock.ok('sdakd test', test_options))) == 1
    assert (stock.folder / 'results/check').is_dir()


def test_the_command_resumes_without_cuda(stock, options):
    options.pop('val')
    stock.ok('sdakd train', options)
    run = stock.folder / 'experiments/run'
    whole = torch.load(run / 'models/net_g_6.pth', weights_only=True)
    (run / 'training_states/6.state').unlink()  # as if it had been stopped after iteration 4
    (run / 'models/net_g_6.pth').unlink()
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert 'Resuming training from epoch: 1, iter: 4.' in log
    assert 'Stage 3 of 3' in log and 'Stage 1 of 3' not in log
    assert torch.load(run / 'models/net_g_6.pth', weights_only=True).keys() == whole.keys()
    assert [path.name for path in (stock.folder / 'experiments').iterdir()] == ['run']


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(stock, options):
    options.pop('val')
    stock.ok('sdakd train', options)
    run = stock.folder / 'experiments/run'
    whole = torch.load(run / 'models/net_g_6.pth', weights_only=True)
    network, state = run / 'models/net_g_6.pth', run / 'training_states/4.state'
    network.write_bytes(network.read_bytes()[:-100])
    state.write_bytes(b'half a file')
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert re.search(r'warning: path.models: \S+net_g_6.pth .*trying the previous training state', log)
    assert re.search(r'warning: path.resume_state: \S+4.state is missing, damaged or not a training state', log)
    assert 'Resuming training from epoch: 0, iter: 2.' in log
    again = torch.load(run / 'models/net_g_6.pth', weights_only=True)
    assert all(torch.equal(again['params'][name], whole['params'][name]) for name in whole['params'])

    for path in run.glob('training_states/*.state'):
        path.write_bytes(b'half a file')
    done = stock.run('sdakd train', options, '--auto_resume')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'error: path.resume_state: ' in done.stderr
