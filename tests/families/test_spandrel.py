"""Networks that spandrel builds, against spandrel's own calls."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import safetensors.torch
import spandrel
import torch
from basicsr.archs import build_network
from spandrel.architectures.DRUNet import DRUNet

from sdakd_plugin.cli import main
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.taps import NoMapError, Taps
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import padded, super_resolve
from sdakd_plugin.families.registry import blocks, family_of, identify
from sdakd_plugin.families.spandrel import FAMILY
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.networks.identified import load_identified
from sdakd_plugin.options import TeacherOptions
from sdakd_plugin.weights.files import load_state_dict
from tests.helpers.networks import TEACHER
from tests.helpers.other_networks import in_old_keys, in_own_keys, random_file, random_state

NAMES = ['SwinIR', 'HAT', 'DAT', 'DRCT', 'OmniSR']  # of RealPLKSR there is a family of our own, which does not clamp
SIZES = [(19, 23), (5, 40), (16, 16)]  # no multiples of a window, smaller than one, and one that needs no padding


@torch.no_grad()
@pytest.mark.parametrize('name', NAMES)
def test_a_teachers_image_is_that_of_spandrel(tmp_path, name):
    file = random_file(tmp_path, name)
    theirs = spandrel.ModelLoader().load_from_file(file).eval()
    teacher = Teacher(TeacherOptions(pretrain_network_g=str(file)), ForwardPass(torch.device('cpu')))
    for size in SIZES:
        lq = torch.rand(2, 3, *size)
        sr = teacher.generate(lq).sr
        assert sr.shape == (2, 3, 4 * size[0], 4 * size[1])
        assert torch.equal(sr, theirs(lq))
        assert not sr.is_inference()  # else a loss could not use it


@torch.no_grad()
def test_a_network_that_spandrel_calls_in_a_way_of_its_own():
    """DRUNet takes the level of noise as a fourth channel, which spandrel adds."""
    torch.manual_seed(0)
    state = DRUNet(in_nc=4, out_nc=3, nc=[8, 16, 24, 32], nb=4).state_dict()
    net, identity = load_identified(state, 'file', 'role')
    assert (identity.kind, identity.scale, identity.network['num_in_ch']) == ('generator', 1, 3)
    lq = torch.rand(1, 3, 13, 20)
    theirs = spandrel.ModelLoader().load_from_state_dict(state).eval()
    assert torch.equal(super_resolve(net.eval(), lq), theirs(lq))


def test_its_layers_have_their_usual_names_and_its_blocks_are_found():
    expected = {'SwinIR': ['layers.0', 'layers.1'], 'DAT': ['layers.0', 'layers.1'], 'OmniSR': []}
    for name, names in expected.items():
        net, _ = load_identified(random_state(name), 'file', 'role')
        assert family_of(net) is FAMILY
        assert blocks(net) == names


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'block', 'inside'),
    [('SwinIR', 'layers.1', (24, 24)), ('HAT', 'layers.1', (32, 32)), ('DAT', 'layers.1', (19, 23))],
)
def test_tokens_become_the_map_that_the_network_makes_of_them(name, block, inside):
    """The network itself makes a map of the last block's tokens, after ``norm``, for the next convolution."""
    net, _ = load_identified(random_state(name), 'file', 'role')
    lq, given = torch.rand(1, 3, 19, 23), {}
    net.conv_after_body.register_forward_pre_hook(lambda module, inputs: given.update(map=inputs[0]))
    with Taps(net.eval(), [block], images=lq) as taps:
        super_resolve(net, lq)
    assert padded(net, 19, 23) == inside == given['map'].shape[2:]
    feature = taps.features[block]
    normed = net.norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(normed, given['map'][..., :19, :23])


@torch.no_grad()
def test_tokens_of_an_unknown_order_are_refused():
    net, _ = load_identified(random_state('SwinIR'), 'file', 'role')
    with pytest.raises(NoMapError, match=r"layer 'norm' of SwinIR returns no map"), Taps(net, ['norm']):
        super_resolve(net.eval(), torch.rand(1, 3, 16, 16))


def test_an_image_of_another_number_of_channels():
    net, _ = load_identified(random_state('SwinIR', in_chans=1), 'file', 'role')
    with pytest.raises(UserError, match='SwinIR takes images of 1 channel, not 3'):
        super_resolve(net, torch.rand(1, 3, 16, 16))


# ---- ESRGAN's older keys ------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('renamed', [in_old_keys, in_own_keys])
def test_esrgan_in_its_older_keys_is_basicsrs_rrdbnet(tmp_path, renamed):
    torch.manual_seed(0)
    network = {**TEACHER, 'num_block': 3, 'num_grow_ch': 32}
    net = build_network(dict(network)).eval()
    state = renamed(net.state_dict())
    assert not state.keys() & {'body.0.rdb1.conv1.weight', 'conv_hr.weight', 'conv_up1.bias'}
    torch.save(state, tmp_path / 'esrgan.pth')
    found = load_state_dict(tmp_path / 'esrgan.pth')
    assert identify(found).network == {**network, 'scale': 4}
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())
    lq = torch.rand(1, 3, 9, 12)  # spandrel reads these keys by itself
    theirs = spandrel.ModelLoader().load_from_file(tmp_path / 'esrgan.pth').eval()
    torch.testing.assert_close(theirs(lq), net(lq).clamp(0, 1), atol=1e-5, rtol=0)


def test_an_old_esrgan_of_another_scale_is_spandrels():
    """BasicSR's RRDBNet has two layers that enlarge, this one a single one."""
    from spandrel.architectures.ESRGAN import ESRGAN

    state = ESRGAN(num_filters=16, num_blocks=1, scale=2).state_dict()
    net, identity = load_identified(state, 'file', 'role')
    assert family_of(net) is FAMILY
    assert (identity.network['type'], identity.scale) == ('ESRGAN', 2)


# ---- what the commands do -----------------------------------------------------------------------------------------


def test_inspect(tmp_path, capsys):
    file = tmp_path / 'hat.safetensors'
    safetensors.torch.save_file({key: value.contiguous() for key, value in random_state('HAT').items()}, file)
    assert main(['weights', 'inspect', str(file)]) == 0
    shown = capsys.readouterr().out
    assert 'architecture  HAT, built by spandrel' in shown
    assert 'scale         x4' in shown
    assert f'parameters    {sum(p.numel() for p in load_model(file, "test").net.parameters()):,}' in shown


@torch.no_grad()
def test_upscale(tmp_path, capsys):
    """Also in tiles, and on one thread as spandrel's image but for a step of 8 bits."""
    file = random_file(tmp_path, 'SwinIR')
    image = np.random.default_rng(0).integers(0, 256, (21, 27, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'lq.png'), image)
    for name, more in (('sr', []), ('tiles', ['--tile', '16'])):
        given = ['upscale', '--model', str(file), str(tmp_path / 'lq.png'), str(tmp_path / f'{name}.png')]
        assert main([*given, '--device', 'cpu', *more]) == 0
        assert cv2.imread(str(tmp_path / f'{name}.png')).shape == (84, 108, 3)
    assert 'SwinIR runs in no other' in capsys.readouterr().err
    lq = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    expected = spandrel.ModelLoader().load_from_file(file).eval()(lq)[0].mul(255).round().permute(1, 2, 0).numpy()
    assert np.abs(cv2.imread(str(tmp_path / 'sr.png'))[..., ::-1] - expected).max() <= 1


def test_export(tmp_path, capsys):
    pytest.importorskip('onnxruntime')
    file, out = str(random_file(tmp_path, 'SwinIR')), str(tmp_path)
    assert main(['export', file, '--format', 'onnx', '--out', out]) == 1
    assert '--size: SwinIR pads images, so its file is for one size; add e.g. --size 64' in capsys.readouterr().err
    for more in (['--format', 'onnx', '--size', '19'], ['--format', 'safetensors']):
        assert main(['export', file, '--out', out, *more]) == 0
    exported = spandrel.ModelLoader().load_from_file(tmp_path / 'SwinIR.safetensors')
    assert exported.architecture.id == 'SwinIR'
    convolutions = str(random_file(tmp_path, 'RealPLKSR'))
    assert main(['export', convolutions, '--format', 'onnx', '--out', out]) == 0
    assert 'any batch, height and width' in capsys.readouterr().out


def test_report(tmp_path, capsys):
    files = [str(random_file(tmp_path, name)) for name in ('SwinIR', 'RealPLKSR')]
    given = ['--teacher', files[0], '--student', files[1], '--size', '20', '--repeat', '1', '--backend', 'torch']
    assert main(['report', *given]) == 0
    assert 'SwinIR(' in capsys.readouterr().out


def test_the_plugin_does_not_import_spandrel_at_start():
    code = 'import sys, basicsr.models, sdakd_plugin.inference.model; sys.exit("spandrel" in sys.modules)'
    assert subprocess.run([sys.executable, '-W', 'ignore', '-c', code]).returncode == 0
