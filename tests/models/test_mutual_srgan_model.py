"""A cohort of SRGANs: independent without the exchange, and learning from each other with it."""

import copy
import re

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils import set_random_seed

from sdakd_plugin.checks.run import check
from sdakd_plugin.distillation.discriminator import Batch, TrainedDiscriminator, backward
from sdakd_plugin.distillation.exchange import make_exchange
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from tests.helpers.networks import UNET

DEFAULTS = {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
NETS = ('net_g', 'net_g_ema', 'net_d')


def build(options):
    options = copy.deepcopy(options) | DEFAULTS
    options.pop('val', None)
    return build_model(options)


def train(model, iterations):
    torch.manual_seed(7)
    data = [{'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 64, 64)} for _ in range(iterations)]
    logs = []
    for iteration, batch in enumerate(data, 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
    return logs


def assert_same(a, b):
    for name in NETS:
        for x, y in zip(getattr(a, name).state_dict().values(), getattr(b, name).state_dict().values(), strict=True):
            assert torch.equal(x, y)


def test_with_weight_zero_it_is_so_many_independent_srganmodels(cohort):
    cohort['train']['mutual_opt']['loss_weight'] = 0.0
    together = build(cohort)
    logs = train(together, 4)
    seeds = {f'_{each["name"]}': each['manual_seed'] for each in cohort['cohort']}
    for member in together.trainees:
        alone = copy.deepcopy(cohort) | {'model_type': 'SRGANModel'}
        del alone['cohort'], alone['train']['mutual_opt']
        set_random_seed(seeds[member.suffix])
        stock = build(alone)
        for log, expected in zip(logs, train(stock, 4), strict=True):
            assert {key: log[f'{key}{member.suffix}'] for key in expected} == expected
        assert_same(member, stock)


def test_members_start_from_their_own_seeds_and_learn_from_each_other(cohort):
    model = build(cohort)
    a, b = (member.net_d.conv0.weight.clone() for member in model.trainees)
    assert not torch.equal(a, b)
    log = train(model, 2)[-1]
    assert log['l_d_mutual_a'] > 0 and log['l_d_mutual_b'] > 0
    assert {'l_g_pix_a', 'l_g_gan_b', 'l_d_real_a', 'out_d_fake_b', 'share_pix_a'} <= set(log)
    cohort['train']['mutual_opt']['loss_weight'] = 0.0
    independent = build(cohort)
    train(independent, 2)
    assert not torch.equal(model.trainees[0].net_d.conv0.weight, independent.trainees[0].net_d.conv0.weight)


def players(*nets):
    return [TrainedDiscriminator(net, net) for net in nets]


class Scorer(torch.nn.Module):
    """A discriminator of one number: score = weight * mean of the image."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, images):
        return self.weight * images.double().mean((1, 2, 3))


def no_gan(scores, is_real, is_disc):
    return scores.sum() * 0


def test_the_exchange_is_the_equation_and_gradients_stay_with_their_member(cohort):
    options = parse(copy.deepcopy(cohort) | DEFAULTS)
    weights = (0.5, -1.0, 2.0)
    nets = [Scorer(weight) for weight in weights]
    mutual = make_exchange(
        cohort['train']['mutual_opt'] | {'loss_weight': 0.3, 'temperature': 2.0}, options, nets, torch.device('cpu')
    )
    torch.manual_seed(0)
    images = [torch.rand(2, 3, 8, 8) for _ in range(4)]  # the truth, and each member's output
    batches = [Batch(True, images[0], range(3)), *(Batch(False, images[k + 1], [k]) for k in range(3))]
    logs = backward(players(*nets), no_gan, batches, mutual)
    x = torch.cat(images).double().mean((1, 2, 3))
    for k, weight in enumerate(weights):
        mine = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
        expected = 0.0
        for j, other in enumerate(weights):
            if j != k:
                q, p = torch.sigmoid(mine * x / 2), torch.sigmoid(other * x / 2)
                expected = expected + 0.3 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        expected.backward()  # with respect to this member only: its peers are constants
        assert logs[k]['l_d_mutual'].item() == pytest.approx(expected.item(), rel=1e-6)
        assert nets[k].weight.grad.item() == pytest.approx(mine.grad.item(), rel=1e-6)


@pytest.mark.parametrize('images, seen', [('real', 1), ('fake', 2), ('both', 3)])
def test_the_exchanged_images_are_an_option(cohort, images, seen):
    cohort['train']['mutual_images'] = images
    model = build(cohort)
    calls = []
    model.trainees[0].net_d.register_forward_hook(lambda module, inputs, output: calls.append(tuple(inputs[0].shape)))
    train(model, 1)
    own = 3  # the generator's step, the truth, its own output
    assert len(calls) == own + (1 if images in ('fake', 'both') else 0)
    assert model.exchange.images == images and seen


def test_features_can_be_exchanged_between_members_of_different_width(cohort):
    cohort['cohort'][1]['network_d'] = {**UNET, 'num_feat': 4}
    cohort['train']['mutual_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3'], 'loss_weight': 0.5}
    model = build(cohort)
    assert set(model.connectors) == {'mutual_0_1', 'mutual_1_0'}
    trained = {id(p) for group in model.trainees[1].d_optimizers[0].param_groups for p in group['params']}
    assert {id(p) for p in model.connectors['mutual_1_0'].parameters()} <= trained
    assert not {id(p) for p in model.connectors['mutual_0_1'].parameters()} & trained
    assert train(model, 2)[-1]['l_d_mutual_a'] > 0


def test_different_generators_may_form_a_cohort(cohort):
    cohort['cohort'][1]['network_g'] = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2}
    assert train(build(cohort), 1)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda o: o['cohort'].pop(), 'cohort: list should have at least 2 items'),
        (lambda o: o['cohort'][1].update(name='a'), "cohort: two members are named 'a'"),
        (lambda o: o['cohort'][1].update(sed=1), "cohort.1: unknown key 'sed'"),
        (lambda o: o.update(model_type='SDAKDModel'), 'cohort: MutualSRGANModel requires this key'),
        (lambda o: o['train']['mutual_opt'].update(temperature=0), 'temperature'),
        (lambda o: o['train']['mutual_opt'].update(loss_weight=-1), 'loss_weight'),
        (
            lambda o: o['train'].update(mutual_images='all'),
            "train.mutual_images: input should be 'real', 'fake' or 'both'",
        ),
        (
            lambda o: o['cohort'][1].update(
                network_d={'type': 'StyleGAN2Discriminator', 'out_size': 128, 'narrow': 0.0625}
            ),
            'cohort',
        ),
        (
            lambda o: (
                o['datasets']['train'].update(gt_size=128),
                o['cohort'][1].update(network_d={'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 8}),
            ),
            'train.mutual_opt: discriminator 1 gives scores of 1x128x128, 2 of 1; exchange features',
        ),
    ],
)
def test_bad_input_gets_one_clear_line(cohort, change, message):
    change(cohort)
    with pytest.raises(UserError) as caught:
        check(cohort)
    if message != 'cohort':
        assert re.sub(r'\s+', ' ', message) in str(caught.value)


def test_a_peer_teaches_the_student_discriminator_inside_sdakd(options):
    options['network_d_peer'] = {**UNET, 'num_feat': 16}
    options['train']['mutual_opt'] = {'type': 'MutualDiscriminatorLoss', 'loss_weight': 0.5}
    options['train']['stages'][2]['losses'].append('mutual')
    model = build(options)
    start = model.trainee.discriminators[1].conv0.weight.clone()
    log = train(model, 6)[-1]
    assert log['l_d_mutual'] > 0 and log['l_d_mutual_peer'] > 0 and 'l_d_real_peer' in log
    assert not torch.equal(start, model.trainee.discriminators[1].conv0.weight)


def test_a_peer_without_the_term_is_refused_or_not_built(options):
    options['network_d_peer'] = dict(UNET)
    assert len(build(options).trainee.discriminators) == 1
    del options['network_d_peer']
    options['train']['mutual_opt'] = {'type': 'MutualDiscriminatorLoss'}
    options['train']['stages'][2]['losses'].append('mutual')
    with pytest.raises(UserError, match='network_d_peer: this key is missing'):
        build(options)


def test_resuming_a_cohort_goes_on_where_it_was(cohort, tmp_path):
    cohort['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    cohort['train']['mutual_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3'], 'loss_weight': 0.5}
    model = build(cohort)
    train(model, 3)
    model.save(0, 3)
    files = {'net_g_a_3.pth', 'net_g_b_3.pth', 'net_d_a_3.pth', 'net_d_b_3.pth', '3.state'}
    assert {file.name for file in tmp_path.iterdir()} == files
    cohort['path'].update(resume_state=str(tmp_path / '3.state'), pretrain_network_g=str(tmp_path / 'net_g_3.pth'))
    resumed = build(cohort)
    resumed.resume_training(torch.load(tmp_path / '3.state', weights_only=True))
    for a, b in zip(model.trainees, resumed.trainees, strict=True):
        assert_same(a, b)
    assert train(model, 1) == train(resumed, 1)


def test_through_stock_basicsr_each_member_has_its_files_and_the_best_is_named(stock, cohort, options):
    log = stock.ok('basicsr/train.py', cohort)
    assert re.search(r'Best of the cohort on val: psnr [ab] \([\d.]+\), ssim [ab]', log)
    assert 'Validation val/a' in log and 'Validation val/b' in log
    models = stock.folder / 'experiments/run/models'
    assert {f'net_{kind}_{name}_latest.pth' for kind in 'gd' for name in 'ab'} <= {f.name for f in models.iterdir()}
    test = {
        'name': 'check',
        'model_type': 'SRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'test_1': options['datasets']['val']},
        'network_g': cohort['network_g'],
        'path': {'pretrain_network_g': str(models / 'net_g_a_latest.pth'), 'param_key_g': 'params_ema'},
        'val': {'save_img': False, 'suffix': None, 'metrics': options['val']['metrics']},
    }
    tested = stock.ok('basicsr/test.py', test)
    expected = re.findall(r'Validation val/a\s+# psnr: ([\d.]+)', log)[-1]
    assert f'# psnr: {expected}' in tested
