"""Without teacher and stages, SDAKDModel equals stock SRGANModel or RealESRGANModel, digit for digit."""

import copy

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from basicsr.utils import set_random_seed

from sdakd_plugin.stock.degradation import ContiguousJPEG
from tests.helpers.degradation import degradation_options
from tests.helpers.networks import UNET


def run(options, model_type, iterations):
    """Train as BasicSR's loop does; the log of every iteration, and the final weights."""
    opt = copy.deepcopy(options) | {
        'model_type': model_type,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
    }
    block = {**opt['datasets']['train'], 'phase': 'train', 'scale': 4, 'num_worker_per_gpu': 0}
    set_random_seed(opt['manual_seed'])
    dataset = build_dataset(block)
    sampler = EnlargedSampler(dataset, 1, 0, 100)
    loader = build_dataloader(dataset, block, num_gpu=0, dist=False, sampler=sampler, seed=0)
    model = build_model(opt)
    log = []
    for iteration, data in enumerate(loader, 1):
        if iteration > iterations:
            break
        model.update_learning_rate(iteration, warmup_iter=opt['train'].get('warmup_iter', -1))
        model.feed_data(data)
        model.optimize_parameters(iteration)
        log.append({key: value for key, value in model.get_current_log().items() if key[:2] in ('l_', 'ou')})
    return log, model


@pytest.fixture
def plain(options):
    """SRGAN training, as BasicSR's own option files have it."""
    options = copy.deepcopy(options)
    del options['teacher'], options['train']['stages'], options['train']['feature_opt'], options['val']
    options['train'].update(
        total_iter=20, warmup_iter=5, scheduler={'type': 'MultiStepLR', 'milestones': [8, 15], 'gamma': 0.5}
    )
    options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}
    return options


def assert_equal_models(ours, stock):
    for name in ('net_g', 'net_d', 'net_g_ema'):
        for (key, a), b in zip(
            getattr(ours.trainee, name).state_dict().items(), getattr(stock, name).state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), f'{name}.{key}'


@pytest.mark.parametrize(
    'change',
    [
        {},
        {'ema_decay': 0.999},
        {'net_d_iters': 2, 'net_d_init_iters': 3},
        {
            'pixel_opt': {'type': 'CharbonnierLoss'},
            'gan_opt': {'type': 'GANLoss', 'gan_type': 'hinge', 'loss_weight': 0.2},
        },
        {'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [12, 12], 'restart_weights': [1, 0.5]}},
    ],
)
def test_the_losses_of_twenty_iterations_are_srganmodels(plain, change):
    plain['train'].update(change)
    ours, our_model = run(plain, 'SDAKDModel', 20)
    stock, stock_model = run(plain, 'SRGANModel', 20)
    assert ours == stock and len(ours) == 20
    assert_equal_models(our_model, stock_model)


def test_a_feature_loss_of_weight_zero_changes_no_digit(plain, options):
    stock, stock_model = run(plain, 'SRGANModel', 20)
    plain['teacher'] = options['teacher']
    plain['train']['feature_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['body.0', 'body.1'], 'loss_weight': 0.0}
    ours, our_model = run(plain, 'SDAKDModel', 20)
    assert [log.pop('l_g_feature') for log in ours] == [0.0] * 20
    assert ours == stock
    assert_equal_models(our_model, stock_model)


def test_with_degradation_they_are_realesrganmodels(plain, photos, monkeypatch):
    plain = degradation_options(plain, photos)
    plain['train']['ldl_opt'] = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
    ours, our_model = run(plain, 'SDAKDModel', 4)
    monkeypatch.setattr(torch.nn.Module, 'cuda', lambda self: self)  # the stock class insists on CUDA
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda self: self)
    monkeypatch.setattr('basicsr.models.realesrgan_model.DiffJPEG', ContiguousJPEG)  # on a CPU, stock's own fails
    stock, stock_model = run(plain, 'RealESRGANModel_basicsr', 4)
    assert ours == stock and len(ours) == 4
    assert_equal_models(our_model, stock_model)


def test_discriminator_of_the_plugin_by_name_is_the_familys_own(plain):
    direct, _ = run(plain, 'SDAKDModel', 3)
    plain['network_d'] = {'type': 'StudentDiscriminator', 'teacher': {**UNET, 'num_feat': 16}, 'width': 0.5}
    assert run(plain, 'SDAKDModel', 3)[0] == direct
