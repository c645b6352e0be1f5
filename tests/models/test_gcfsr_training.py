"""SDAKD for GCFSR: the published recipe, number for number, and whole runs at 64x64 through stock BasicSR."""

import copy
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.losses.gan_loss import r1_penalty
from basicsr.models import build_model
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.matlab_functions import imresize
from PIL import Image
from skimage.data import astronaut
from torch.nn import functional as F

from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.data.scales import AtScale, ScaleDraw, at_scales, degrade
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import ImageToImage, score, super_resolve
from sdakd_plugin.models.student import check_objective
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions
from sdakd_plugin.utils.bicubic import resize
from tests.helpers.gcfsr import NET_D, NET_G, SIZE
from tests.helpers.mistakes import change, complaint
from tests.helpers.paths import ROOT


@pytest.fixture
def run(gcfsr_run):
    return gcfsr_run


@pytest.fixture
def faces(tmp_path):
    """A folder, with a subfolder, of images of two sizes that are no squares."""
    from skimage import data

    (tmp_path / 'faces/more').mkdir(parents=True)
    Image.fromarray(data.astronaut()[:200, 150:310]).save(tmp_path / 'faces/a.png')
    Image.fromarray(data.astronaut()[:128, 160:288]).save(tmp_path / 'faces/more/b.jpg')
    return tmp_path / 'faces'


def published_lq(gt, scale):
    """GCFSR's LQ image (c, h, w) of a GT image, range 0..1: by BasicSR's own function, rounded at full size alone."""
    return (imresize(imresize(gt, 1 / scale), scale) * 255).round().clamp(0, 255) / 255


def published_iteration(net_g, net_d, gt, scales, iteration):
    """An iteration as GCFSR publishes it, on images of -1..1, the discriminator first, then the generator.

    Written from the paper's settings, with nothing of the plugin but the networks.
    """
    every_g, every_d = 4, 16
    optim_g = torch.optim.Adam(net_g.parameters(), 2e-3, betas=(0.0, 0.99 ** (every_g / (every_g + 1))))
    optim_d = torch.optim.Adam(net_d.parameters(), 2e-3, betas=(0.0, 0.99 ** (every_d / (every_d + 1))))
    real = gt * 2 - 1
    x = torch.stack([published_lq(image, scale) for image, scale in zip(gt, scales, strict=True)]) * 2 - 1
    condition = torch.tensor([[scale / 4] for scale in scales])  # the largest scale at 64 pixels

    fake = net_g(x, condition)[0].detach()
    (F.softplus(-net_d(real)).mean() + F.softplus(net_d(fake)).mean()).backward()
    if iteration % every_d == 0:
        leaf = real.clone().requires_grad_()
        scores = net_d(leaf)
        (10 / 2 * r1_penalty(scores, leaf) * every_d + 0 * scores[0]).sum().backward()
    optim_d.step()

    optim_g.zero_grad()
    sr = net_g(x, condition)[0]
    net_d.requires_grad_(False)
    (F.l1_loss(sr, real) + 1e-2 * F.softplus(-net_d(sr)).mean()).backward()
    optim_g.step()


@pytest.mark.parametrize('iteration', [15, 16])  # without and with R1
def test_an_iteration_is_the_published_one(run, iteration):
    del run['teacher'], run['train']['stages'], run['train']['feature_opt'], run['val']
    run['train'].update(ema_decay=0, net_d_reg_every=16)
    torch.manual_seed(3)
    model = build_model({**run, 'is_train': True, 'dist': False, 'rank': 0, 'path': {'pretrain_network_g': None}})
    theirs_g, theirs_d = copy.deepcopy(model.net_g), copy.deepcopy(model.trainee.net_d)
    gt = torch.rand(2, 3, SIZE, SIZE)

    model.feed_data({'gt': gt})
    scales = model.batch.lq_scale.tolist()
    assert set(scales) == {2, 4}  # one batch has both
    torch.manual_seed(7)  # the noise
    model.optimize_parameters(iteration)
    torch.manual_seed(7)
    published_iteration(theirs_g, theirs_d, gt, scales, iteration)
    for ours, theirs, optimizer in (
        (model.net_g, theirs_g, model.trainee.optimizer_g),
        (model.trainee.net_d, theirs_d, model.trainee.d_optimizers[0]),
    ):
        for (name, mine), parameter in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            gradient = optimizer.state[mine]['exp_avg']  # with a first beta of 0
            assert (gradient - parameter.grad).abs().max() <= 1e-4 * parameter.grad.abs().max() + 1e-9, name
    assert ('l_d_r1' in model.get_current_log()) == (iteration == 16)
    assert model.trainee.optimizer_g.defaults['betas'] == pytest.approx((0, 0.99199), abs=1e-5)
    assert model.trainee.d_optimizers[0].defaults['betas'] == pytest.approx((0, 0.99059), abs=1e-5)


class TestCalling:
    def test_the_generator_sees_what_the_paper_says(self):
        torch.manual_seed(0)
        net = build_network(NET_G).eval()
        lq = torch.rand(2, 3, 16, 16)
        x = torch.stack([imresize(image, 4) for image in lq]).clamp(0, 1) * 2 - 1
        expected = net(x, torch.ones(2, 1), randomize_noise=False)[0] / 2 + 0.5
        assert torch.allclose(super_resolve(net, lq), expected, atol=1e-5)
        assert torch.equal(ImageToImage(net)(lq), super_resolve(net, lq))

    @torch.no_grad()
    def test_an_image_of_the_outputs_size_is_taken_as_it_is_each_at_its_scale(self):
        torch.manual_seed(0)
        net = build_network(NET_G).eval()
        lq = torch.rand(3, 3, SIZE, SIZE) * 1.2 - 0.1  # not even clipped
        expected = net(lq * 2 - 1, torch.tensor([[1], [0.5], [0.25]]), randomize_noise=False)[0] / 2 + 0.5
        assert torch.equal(super_resolve(net, lq, torch.tensor([4, 2, 1])), expected)
        assert not torch.allclose(super_resolve(net, lq), expected, atol=1e-3)  # without: the scale 1 for all
        blind = build_network({**NET_G, 'type': 'GCFSRBlind'}).eval()
        expected = blind(lq * 2 - 1, randomize_noise=False)[0] / 2 + 0.5
        assert torch.equal(super_resolve(blind, lq), expected)
        assert torch.equal(super_resolve(blind, lq, torch.tensor([4, 2, 1])), expected)

    def test_teacher_student_and_average_are_given_the_same(self, run):
        """In training and, with the scale of its data set, in validation."""
        torch.manual_seed(0)
        model = build_model({**run, 'is_train': True, 'dist': False, 'rank': 0, 'val': None})
        seen = {}
        average = model.trainee.net_g_ema
        for name, net in (('student', model.net_g), ('teacher', model.teacher.net_g), ('average', average)):
            net.register_forward_pre_hook(lambda module, inputs, name=name: seen.update({name: inputs}))
        gt = torch.rand(4, 3, SIZE, SIZE)
        model.feed_data({'gt': gt})
        model.optimize_parameters(3)  # with features
        super_resolve(average, model.batch.lq, model.batch.lq_scale)
        scales = model.batch.lq_scale.tolist()
        assert set(scales) == {2, 4}
        for x, condition in seen.values():
            assert torch.equal(condition, torch.tensor(scales)[:, None] / 4)
            assert torch.equal(x, torch.stack([degrade(*pair) for pair in zip(gt, scales, strict=True)]) * 2 - 1)
        assert set(seen) == {'student', 'teacher', 'average'}

        seen.clear()
        view = at_scales(build_dataset({**run['datasets']['val'], 'phase': 'val'}), run['scales'])[0]
        validation = model.stage_validation.validations[0]
        validation.feed_data(next(iter(torch.utils.data.DataLoader(view))))
        validation.test()
        x, condition = seen['average']
        assert torch.equal(x[0], degrade(view[0]['gt'], 2) * 2 - 1) and condition.tolist() == [[0.5]]

    def test_the_condition_changes_the_output(self):
        """The same resized input at two conditions: an LQ image, and itself enlarged to twice its size beforehand."""
        torch.manual_seed(0)
        net = build_network(NET_G).eval()
        flat = torch.full((1, 3, 16, 16), 0.7)
        assert torch.allclose(F.interpolate(flat, 32, mode='bicubic'), torch.full((1, 3, 32, 32), 0.7))
        difference = (super_resolve(net, flat) - super_resolve(net, F.interpolate(flat, 32, mode='bicubic'))).abs()
        assert difference.max() > 1e-3
        blind = build_network({**NET_G, 'type': 'GCFSRBlind'}).eval()
        same = super_resolve(blind, flat) - super_resolve(blind, F.interpolate(flat, 32, mode='bicubic'))
        assert same.abs().max() < 1e-5

    def test_the_members_of_a_cohort_are_given_the_same(self, run):
        for key in ('teacher', 'val'):
            del run[key]
        for key in ('stages', 'feature_opt', 'r1_reg_weight'):
            del run['train'][key]
        run.update(
            model_type='MutualSRGANModel', cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}]
        )
        model = build_model({**run, 'is_train': True, 'dist': False, 'rank': 0})
        seen = []
        for member in model.trainees:
            member.net_g.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].tolist()))
        torch.manual_seed(3)
        model.feed_data({'gt': torch.rand(8, 3, SIZE, SIZE)})
        for member in model.trainees:
            member.sample(model.batch)
        assert seen[0] == seen[1] and [0.5] in seen[0] and [1.0] in seen[0]

    def test_noise_is_drawn_while_training_and_stored_else(self):
        net = build_network(NET_G)
        for module in net.modules():
            if hasattr(module, 'modulated_conv') and hasattr(module, 'weight'):
                torch.nn.init.ones_(module.weight)
        lq = torch.rand(1, 3, 32, 32)
        assert not torch.equal(super_resolve(net, lq), super_resolve(net, lq))
        net.eval()
        assert torch.equal(super_resolve(net, lq), super_resolve(net, lq))

    @pytest.mark.parametrize('size', [(16, 32), (128, 128)])
    def test_images_that_do_not_fit(self, size):
        with pytest.raises(UserError, match=rf'square images of 64 pixels .* but got {size[1]}x{size[0]}'):
            super_resolve(build_network(NET_G), torch.rand(1, 3, *size))

    def test_the_discriminator_sees_images_of_minus_one_to_one(self):
        net = build_network(NET_D)
        images = torch.rand(1, 3, SIZE, SIZE)
        assert torch.equal(score(net, images), net(images * 2 - 1))
        unet = build_network({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}).eval()
        assert torch.equal(score(unet, images), unet(images))


def bicubic_in_float64(image, size):
    """MATLAB's imresize of (h, w, c), written down anew: a = -0.5, antialiased, mirrored at the borders."""
    for _ in range(2):
        length = len(image)
        factor, mirrored = min(size / length, 1), np.concatenate([image[::-1], image, image[::-1]])
        centres = (np.arange(size) + 0.5) * length / size - 0.5
        x = np.abs(centres[:, None] - np.arange(-length, 2 * length)) * factor
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x <= 1, near, np.where(x <= 2, far, 0))
        weights /= weights.sum(1, keepdims=True)
        image = np.tensordot(weights, mirrored, 1).swapaxes(0, 1)
    return image


class TestScales:
    def test_each_image_has_its_scale_and_each_is_drawn_as_often_as_it_is_listed(self):
        torch.manual_seed(0)
        draw = ScaleDraw([4, 4, 4, 2], torch.device('cpu'))
        seen, mixed = Counter(), 0
        gt = torch.rand(8, 3, 16, 16)
        for _ in range(50):
            draw.feed_data({'gt': gt})
            scales = draw.lq_scale.tolist()
            assert all(
                torch.equal(lq, degrade(image, scale)) for lq, image, scale in zip(draw.lq, gt, scales, strict=True)
            )
            seen.update(scales)
            mixed += len(set(scales)) == 2
        assert set(seen) == {2, 4} and 0.69 < seen[4] / 400 < 0.81 and mixed > 35

    @pytest.mark.parametrize('scale', [4, 8, 16, 32, 64])
    def test_lq_is_gcfsrs(self, scale):
        """Against BasicSR's ``imresize`` and a formula in float64: all that may differ is a tie in rounding."""
        photo = astronaut()
        lq = degrade(torch.from_numpy(photo).permute(2, 0, 1).float() / 255, scale)
        assert lq.shape == (3, 512, 512) and torch.equal((lq * 255).round() / 255, lq)
        theirs = published_lq(torch.from_numpy(photo).permute(2, 0, 1).float() / 255, scale)
        exact = bicubic_in_float64(bicubic_in_float64(photo / 255, 512 // scale), 512)
        exact = torch.from_numpy((exact * 255).round().clip(0, 255) / 255).permute(2, 0, 1)
        for reference in (theirs, exact):
            difference = (lq.double() - reference).abs()
            assert difference.max() < 1.01 / 255
            assert -10 * torch.log10((difference**2).mean()) > 85  # dB; torch's bicubic had 37 to 48

    @pytest.mark.parametrize('size, target', [(37, 64), (16, 512), (100, 33), (2, 64), (64, 64)])
    def test_resizing_is_basicsrs(self, size, target):
        image = torch.rand(3, size, size)
        expected = imresize(image, target / size)[:, :target, :target]
        assert (resize(image, target, target) - expected).abs().max() < 3e-6
        with torch.autocast('cpu', torch.bfloat16):
            assert (resize(image[None], target, target)[0] - expected).abs().max() < 3e-6
        assert torch.allclose(resize(image[:, :1, :1], target, target), image[:, :1, :1].expand(3, target, target))

    def test_a_network_of_one_scale_has_none_to_draw(self, run):
        run['network_g'] = {
            'type': 'SRVGGNetCompact',
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 8,
            'num_conv': 1,
            'upscale': 4,
        }
        assert complaint(run).startswith('scales: requires GCFSR, but network_g (SRVGGNetCompact)')

    def test_a_validation_set_is_seen_at_each_scale(self, run):
        dataset = build_dataset({**run['datasets']['val'], 'phase': 'val'})
        views = at_scales(dataset, [4, 2, 4])
        assert [(view.opt['name'], len(view), view[1]['lq_scale']) for view in views] == [
            ('faces_x2', 16, 2),
            ('faces_x4', 16, 4),
        ]
        assert torch.equal(views[1][1]['lq'], degrade(dataset[1]['gt'], 4))
        assert views[1][3]['lq_path'] == 'square_003_x4.png'
        assert at_scales(views[0], [4]) == [views[0]] and isinstance(views[0], AtScale)  # it has LQ images


@pytest.mark.parametrize('size', [512, 1024])
def test_the_option_files_have_gcfsrs_configuration(size):
    opt = read_yaml(str(ROOT / f'options/sdakd_gcfsr_{size}.yml'))
    train = opt['datasets']['train']
    assert (train['dataset_enlarge_ratio'], train['num_worker_per_gpu'], train['batch_size_per_gpu']) == (100, 6, 3)
    assert train['io_backend'] == {'type': 'lmdb'} and train['dataroot_gt'].endswith('.lmdb')
    assert opt['val']['val_freq'] == opt['logger']['save_checkpoint_freq'] == 5000
    assert (
        opt['scales'] == {512: [32] * 4 + [16] * 2 + [8] * 2 + [4], 1024: [64] * 4 + [32] * 2 + [16] * 2 + [8, 4]}[size]
    )


class TestWholeImages:
    def test_a_folder(self, faces):
        dataset = build_dataset(
            {'type': 'WholeImageDataset', 'name': 'faces', 'phase': 'val', 'gt_size': SIZE, 'dataroot_gt': str(faces)}
        )
        assert [item['gt_path'] for item in (dataset[0], dataset[1])] == [
            str(faces / 'a.png'),
            str(faces / 'more/b.jpg'),
        ]
        centre = Image.open(faces / 'a.png').crop((0, 20, 160, 180)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        ours = (dataset[0]['gt'] * 255).permute(1, 2, 0).numpy()
        assert np.abs(ours - np.asarray(centre)).max() < 2  # Pillow rounds between the two directions

    def test_an_lmdb(self, faces):
        """In the loader's workers too, and with a network's size below that of the images."""
        pytest.importorskip('lmdb')
        options = {'type': 'WholeImageDataset', 'name': 'faces', 'phase': 'train', 'gt_size': SIZE, 'use_hflip': False}
        folder = build_dataset({**options, 'dataroot_gt': str(faces)})
        names = ['a.png', 'more/b.jpg']
        make_lmdb_from_imgs(str(faces), str(faces / 'faces.lmdb'), names, [name[:-4] for name in names])
        dataset = build_dataset({**options, 'dataroot_gt': str(faces / 'faces.lmdb'), 'io_backend': {'type': 'lmdb'}})
        found = list(torch.utils.data.DataLoader(dataset, num_workers=1))
        assert [item['gt_path'] for item in found] == [['a'], ['more/b']]
        for item, expected in zip(found, (folder[0], folder[1]), strict=True):
            assert torch.equal(item['gt'][0], expected['gt'])

    def test_an_lmdb_that_is_none(self, run, faces):
        run['datasets']['train'].update(dataroot_gt=str(faces), io_backend={'type': 'lmdb'}, images=None)
        message = complaint(run)
        assert message.startswith(f'datasets.train.dataroot_gt: {faces} is not an LMDB') and 'type: disk' in message

    def test_flipping_leaves_the_photographs_alone(self):
        options = {
            'type': 'WholeImageDataset',
            'name': 'faces',
            'phase': 'train',
            'images': ['astronaut'],
            'gt_size': SIZE,
            'use_hflip': True,
        }
        dataset = build_dataset(options)
        straight = build_dataset({**options, 'use_hflip': False})[5]['gt']
        seen = [dataset[5]['gt'] for _ in range(12)]
        kinds = {bool(torch.equal(image, straight)) for image in seen}
        assert kinds == {True, False}
        assert all(
            torch.allclose(image if torch.equal(image, straight) else image.flip(-1), straight, atol=1e-5)
            for image in seen
        )


class TestTeacher:
    @pytest.mark.parametrize('network, key', [(NET_G, 'params_ema'), ({**NET_G, 'type': 'GCFSRBlind'}, None)])
    def test_files_laid_out_as_the_released_ones(self, tmp_path, network, key):
        """1024 has its weights under ``params_ema``, the blind one bare."""
        torch.manual_seed(1)
        net = build_network({**network, 'out_size': 32})
        state = net.state_dict()
        torch.save({key: state} if key else state, tmp_path / 'teacher.pth')
        teacher = Teacher(
            TeacherOptions(pretrain_network_g=str(tmp_path / 'teacher.pth')), ForwardPass(torch.device('cpu'))
        )
        assert type(teacher.net_g) is type(net)
        lq = torch.rand(1, 3, 16, 16)
        answer = teacher.generate(lq, ['conv_body_down.0', 'style_convs.1'])
        assert torch.equal(answer.sr, super_resolve(net.eval(), lq)) and len(answer.features) == 2

    def test_untrained_is_the_same_each_time_and_draws_nothing(self):
        state = torch.get_rng_state()
        first, second = (load_frozen(NET_G, 'untrained', None, 'g').net.state_dict() for _ in range(2))
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_weights_of_another_size(self, run, tmp_path):
        torch.save({'params_ema': build_network({**NET_G, 'out_size': 32}).state_dict()}, tmp_path / '32.pth')
        run['teacher'].update(network_g=NET_G, pretrain_network_g=str(tmp_path / '32.pth'))
        message = complaint(run)
        assert '32.pth' in message and 'out_size=32' in message and 'teacher.pretrain_network_g' in message


class TestBadInput:
    @pytest.mark.parametrize(
        'path, value, expected',
        [
            ('network_g/out_size', 48, 'network_g: GCFSR: out_size must be one of 32, 64, 128'),
            ('scales', [4, 3], 'scales: 3 is not one of 1, 2, 4, the scales of network_g'),
            ('scales', [8], 'scales: 8 is not one of 1, 2, 4'),
            ('scales', [], 'scales: list should have at least 1 item'),
            ('scales', ..., 'scales: this key is missing; WholeImageDataset under datasets.train has no LQ images'),
            ('datasets/val/scale', 1, 'datasets.val.scale: 1 is not in scales (2, 4)'),
            ('datasets/train/gt_size', 32, 'datasets.train.gt_size: is 32, but network_g makes images of 64 pixels'),
            ('datasets/val/gt_size', 128, 'datasets.val.gt_size: is 128, but network_g makes images of 64 pixels'),
            ('datasets/train/gt_sizes', 64, 'datasets.train.gt_sizes: unknown key for WholeImageDataset; did you mean'),
            ('datasets/train/dataroot_gt', '/nowhere', '/nowhere'),
            ('l1_gt_usm', True, 'l1_gt_usm: requires the on-the-fly degradation'),
            ('train/net_d_reg_every', ..., 'train: r1_reg_weight needs net_d_reg_every'),
            ('network_d/teacher/out_size', 32, 'network_d: rejects an input of 3x64x64'),
            ('teacher/network_g/out_size', 32, 'teacher.network_g: '),
            ('teacher/network_g', ..., "teacher.network_g: this key is missing; 'untrained' does not specify"),
            ('train/feature_d_opt', {'type': 'FeatureAlignmentLoss', 'layers': ['final_conv']}, "names 'feature_d'"),
            ('train/feature_opt/layers', ['style_convs.9'], "GCFSR has no layer 'style_convs.9'; its last one is"),
        ],
    )
    def test_one_line(self, run, path, value, expected):
        assert expected in complaint(change(run, path, value))

    def test_these_options_are_fine(self, run):
        check(run)

    def test_feature_alignment_of_discriminators_without_a_teachers(self, run):
        run['train']['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['final_conv']}
        run['train']['stages'][2]['losses'].append('feature_d')
        assert complaint(run) == ('train.feature_d_opt: needs teacher.network_d and teacher.pretrain_network_d')

    def test_range_norm(self, run, monkeypatch):
        """Without a VGG at hand: any loss that has the option."""
        built = build_model({**run, 'is_train': True, 'dist': False, 'rank': 0, 'val': None})
        objective = built.trainee.objective
        objective.terms['pixel'].loss.range_norm = True
        with pytest.raises(UserError, match=r'pixel_opt\.range_norm: requires images in'):
            check_objective(objective, built.options, built.net_g, averaged=True)

    def test_an_image_that_is_too_small(self, run, faces):
        Image.new('RGB', (100, 63)).save(faces / 'small.png')
        run['datasets']['train'] = {**run['datasets']['train'], 'dataroot_gt': str(faces)}
        assert complaint(run) == f'datasets.train: {faces / "small.png"} (100x63) is smaller than gt_size 64; remove it'

    @pytest.mark.parametrize(
        'size, expected',
        [
            ((16, 32), 'is 16x32; network_g takes square images of at most 64'),
            ((8, 8), '(8x8) has the scale 8, which is not in scales (2, 4)'),
        ],
    )
    def test_lq_images_alone(self, run, tmp_path, size, expected):
        (tmp_path / 'lq').mkdir()
        Image.new('RGB', size).save(tmp_path / 'lq/a.png')
        run['datasets'] = {
            'test': {
                'name': 'lq',
                'type': 'SingleImageDataset',
                'dataroot_lq': str(tmp_path / 'lq'),
                'io_backend': {'type': 'disk'},
            }
        }
        assert expected in complaint({**run, 'is_train': False})

    def test_images_of_the_outputs_size_for_the_blind_network(self, run, tmp_path):
        """Alone, for testing, and in pairs; without the word blind their scale would be 1, which is not listed."""
        (tmp_path / 'lq').mkdir()
        Image.new('RGB', (SIZE, SIZE)).save(tmp_path / 'lq/a.png')
        folder, disk = str(tmp_path / 'lq'), {'type': 'disk'}
        single = {'test': {'name': 'lq', 'type': 'SingleImageDataset', 'dataroot_lq': folder, 'io_backend': disk}}
        paired = {
            'test': {
                'name': 'pair',
                'type': 'PairedImageDataset',
                'dataroot_lq': folder,
                'dataroot_gt': folder,
                'io_backend': disk,
                'scale': 1,
            }
        }
        for datasets in (single, paired):
            options = {**run, 'is_train': False, 'datasets': datasets, 'val': {'save_img': False}}
            assert 'not in scales (2, 4)' in complaint(options)
            options['network_g'] = {**NET_G, 'type': 'GCFSRBlind'}
            check(options)

    def test_a_blind_network_takes_no_condition(self):
        net = build_network({**NET_G, 'type': 'GCFSRBlind'})
        with pytest.raises(UserError, match='GCFSRBlind has no condition in_size'):
            net(torch.zeros(1, 3, SIZE, SIZE), torch.ones(1, 1))


class TestWholeRuns:
    def test_three_stages_then_stock_test(self, stock, run):
        log = stock.ok('basicsr/train.py', run)
        for line in (
            "Stage 2 of 3, 'alignment'",
            'discriminator on',
            'Validation faces_x2',
            'Validation faces_x4',
            'teacher.network_g is untrained',
            'End of training.',
        ):
            assert line in log
        last = re.findall(r'iter: +6,.*', log)[0]
        for key in ('l_g_pix', 'l_g_feature', 'l_g_gan', 'l_d_real', 'l_d_r1', 'stage: 3 '):
            assert key in last
        entries = json.loads((stock.folder / 'experiments/run/stages.json').read_text())
        assert [(entry['iter'], entry['dataset']) for entry in entries] == [
            (iteration, f'faces_x{scale}') for iteration in (0, 2, 4, 6) for scale in (2, 4)
        ]

        net = build_network(NET_G)
        net.load_state_dict(
            torch.load(stock.folder / 'experiments/run/models/net_g_latest.pth', weights_only=True)['params_ema']
        )
        testing = {
            **{key: run[key] for key in ('model_type', 'num_gpu', 'manual_seed', 'scales', 'network_g')},
            'name': 'check',
            'datasets': {'test_1': run['datasets']['val']},
            'val': {**run['val'], 'suffix': None, 'save_img': True},
            'path': {'pretrain_network_g': 'experiments/run/models/net_g_latest.pth', 'param_key_g': 'params_ema'},
        }
        tested = stock.ok('basicsr/test.py', testing)
        psnr = re.findall(r'# psnr: ([\d.]+)', tested)
        assert psnr == re.findall(r'# psnr: ([\d.]+)', log)[-2:]
        saved = stock.folder / 'results/check/visualization/faces_x4/square_000_x4_check.png'
        assert Image.open(saved).size == (SIZE, SIZE)

    def test_a_folder_and_a_summary(self, stock, run, faces):
        for phase in ('train', 'val'):
            run['datasets'][phase].pop('images')
            run['datasets'][phase]['dataroot_gt'] = str(faces)
        out = stock.ok('sdakd train', run)
        assert 'faces_x2' in out and 'faces_x4' in out
        rows = json.loads((stock.folder / 'experiments/run/summary.json').read_text())['faces_x4']
        entries = json.loads((stock.folder / 'experiments/run/stages.json').read_text())
        assert [row['method'] for row in rows] == ['bicubic', 'teacher', 'student before training', 'student']
        assert rows[-1]['psnr'] == pytest.approx(entries[-1]['metrics']['psnr'], abs=1e-6)
        assert rows[-1]['parameters'] == sum(p.numel() for p in build_network(NET_G).parameters())
