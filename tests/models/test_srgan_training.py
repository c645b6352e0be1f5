"""The SRGAN family through stock BasicSR: LPIPS distillation, and all three methods in one run."""

import re
import shutil

import pytest
import torch
import yaml
from basicsr.utils.options import ordered_yaml

from tests.helpers.networks import UNET
from tests.helpers.paths import ROOT

GENERATOR = {'type': 'SRGANGenerator', 'num_feat': 8, 'num_block': 1, 'upscale': 4}


@pytest.fixture
def alexnet(tmp_path):
    """A file as torchvision's AlexNet, with random weights."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path / 'alexnet.pth'
    torch.save(alexnet(weights=None).features.state_dict(), path)
    return path


@pytest.fixture
def vgg(tmp_path):
    """A file as torchvision's VGG11, with random weights."""
    from torchvision.models import vgg11

    path = tmp_path / 'vgg.pth'
    torch.save(vgg11(weights=None).features.state_dict(), path)
    return path


def small(name, options, **train):
    """An option file of the project, on small networks and the tests' photographs."""
    opt = yaml.load((ROOT / f'options/{name}.yml').read_text(), Loader=ordered_yaml()[0])
    opt = yaml.safe_load(yaml.dump(opt, Dumper=ordered_yaml()[1]))
    for key in ('num_gpu', 'datasets', 'logger'):
        opt[key] = options[key]
    opt['val'] = {**opt['val'], 'val_freq': 100}
    opt['train'].update(total_iter=4, **train)
    return opt


def test_lpips_distillation_of_a_teacher_trained_before(stock, options, alexnet, vgg):
    losses = {
        'vgg_opt': {
            'type': 'VGGMSELoss',
            'vgg_type': 'vgg11',
            'layer': 'conv3_1',
            'vgg_path': str(vgg),
            'loss_weight': 6e-3,
        }
    }
    options['datasets']['train']['gt_size'] = 96
    teacher = small('srgan_teacher_x4', options, **losses)
    teacher['network_g'] = {**GENERATOR, 'num_block': 2}
    teacher['network_d'].update(num_feat=8)
    assert 'End of training' in stock.ok('sdakd train', teacher)

    student = small('srgan_lpips_kd_x4', options, **losses)
    student['network_g'] = dict(GENERATOR)
    student['network_d'].update(num_feat=8)
    student['teacher']['network_g'] = dict(teacher['network_g'])
    student['train']['lpips_opt'].update(backbone_path=str(alexnet), target='both')
    student['val']['metrics']['lpips']['backbone_path'] = str(alexnet)
    log = stock.ok('basicsr/train.py', student)
    assert re.search(r'l_g_pix: \S+ l_g_gan: \S+ l_g_vgg: \S+ l_g_lpips: ', log)
    assert re.search(r'# lpips: 0\.\d+', log)
    saved = torch.load(stock.folder / 'experiments/srgan_lpips_kd_x4/models/net_g_latest.pth', weights_only=True)
    assert not [key for key in saved['params'] if 'lpips' in key or 'vgg' in key]


def test_all_three_methods_at_once(stock, options, small_teacher, alexnet):
    opt = small('sdakd_mutual_lpips_x4', options)
    opt['high_order_degradation'] = False
    opt['gt_size'] = 64
    opt['network_g'], opt['teacher'] = options['network_g'], options['teacher']
    opt['network_d']['teacher']['num_feat'] = 16
    opt['network_d_peer']['num_feat'] = 16
    opt['path']['pretrain_network_d_peer'] = str(small_teacher / 'net_d.pth')
    opt['train']['feature_opt']['layers'] = ['body.0', 'body.1']
    opt['train']['lpips_opt']['backbone_path'] = str(alexnet)
    opt['train']['perceptual_opt'] = {'type': 'L1Loss', 'loss_weight': 0.0}  # its VGG19 would have to be downloaded
    for stage, iters in zip(opt['train']['stages'], (1, 1, 2), strict=True):
        stage['iters'] = iters
    log = stock.ok('basicsr/train.py', opt)
    last = re.findall(r'iter: +4,.*', log)[0]
    for key in ('l_g_feature', 'l_g_lpips', 'l_g_gan', 'l_d_mutual:', 'l_d_mutual_peer', 'l_d_fake_peer'):
        assert key in last
    models = stock.folder / 'experiments/sdakd_mutual_lpips_x4/models'
    assert {'net_g_4.pth', 'net_d_4.pth', 'net_d_peer_4.pth'} <= {file.name for file in models.iterdir()}


@pytest.mark.parametrize('scale', [2, 4])
def test_the_mutual_option_files(stock, options, vgg, photos, tmp_path, scale):
    if scale == 2:
        import cv2

        (tmp_path / 'LR').mkdir()
        for path in (photos / 'HR').iterdir():
            image = cv2.imread(str(path))
            cv2.imwrite(str(tmp_path / 'LR' / path.name), cv2.resize(image, None, fx=0.5, fy=0.5))
        for block in options['datasets'].values():
            block['dataroot_lq'] = str(tmp_path / 'LR')
    options['datasets']['train']['gt_size'] = 96
    opt = small(f'mutual_srgan_x{scale}', options)
    opt['network_g'].update(num_feat=8, num_block=1)
    opt['network_d'].update(num_feat=8)
    opt['train']['vgg_opt'].update(vgg_type='vgg11', layer='conv3_1', vgg_path=str(vgg))
    log = stock.ok('sdakd train', opt)
    assert re.search(r'Best of the cohort on val: psnr [ab] .*, niqe [ab]', log)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'lpips_opt': {'target': 'teacher', 'type': 'LPIPSLoss', 'backbone_path': 'ALEX'}},
            'train.lpips_opt: compares with the teacher, but the block teacher is missing',
        ),
        ({'lpips_opt': {'target': 'gt', 'type': 'LPIPSLoss', 'backbone_path': 'nowhere.pth'}}, 'nowhere.pth'),
        ({'lpips_opt': {'target': 'tacher', 'type': 'LPIPSLoss', 'backbone_path': 'ALEX'}}, "did you mean 'teacher'"),
        ({'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanila'}}, 'vanila'),
    ],
)
def test_bad_input(options, alexnet, change, message):
    from sdakd_plugin.checks.run import check
    from sdakd_plugin.errors import UserError

    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options['train'].update(change)
    for block in change.values():
        if block.get('backbone_path') == 'ALEX':
            block['backbone_path'] = str(alexnet)
    with pytest.raises(UserError, match=message):
        check(options)


def test_a_crop_smaller_than_the_discriminator_needs(options):
    from sdakd_plugin.checks.run import check
    from sdakd_plugin.errors import UserError

    options['network_d'] = {'type': 'SRGANDiscriminator', 'num_feat': 8, 'input_size': 96}
    with pytest.raises(UserError, match='network_d: rejects an input of 3x64x64'):
        check(options)


def test_a_real_trained_srgan_generator_through_stock_test(stock, shared):
    """Trained by others, raw state dict, other names: 30.66 dB on Set5."""
    opt = yaml.load((ROOT / 'options/test/srgan_teacher_x4.yml').read_text(), Loader=ordered_yaml()[0])
    opt = yaml.safe_load(yaml.dump(opt, Dumper=ordered_yaml()[1]))
    opt['num_gpu'] = 0
    del opt['datasets']['test_2']
    opt['datasets']['test_1'].update(
        dataroot_gt=str(shared / 'data/Set5/HR'), dataroot_lq=str(shared / 'data/Set5/LR_bicubic_x4')
    )
    opt['network_g'].update(num_block=5, fusion='prelu', output='tanh')
    opt['path'].update(pretrain_network_g=str(shared / 'weights/srgan_leftthomas_netG_x4.pth'))
    log = stock.ok('basicsr/test.py', opt)
    assert float(re.search(r'# psnr: ([\d.]+)', log)[1]) == pytest.approx(30.66, abs=0.01)
    shutil.rmtree(stock.folder / 'results')


@pytest.mark.parametrize(
    'networks',
    [
        {
            'network_g': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1},
            'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128},
        },
        {'network_g': dict(GENERATOR), 'network_d': dict(UNET)},
    ],
)
def test_the_networks_combine(stock, options, alexnet, networks):
    options['datasets']['train']['gt_size'] = 128
    del options['train']['stages'], options['train']['feature_opt']
    options['train'].update(total_iter=2, lpips_opt={'type': 'LPIPSLoss', 'backbone_path': str(alexnet)})
    assert 'l_g_lpips' in stock.ok('sdakd train', options | networks)
