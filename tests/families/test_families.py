"""One file adds a family of networks: a toy family is recognised, slimmed, called, tapped and exported."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.distillation.blocks import blocks
from sdakd_plugin.export import onnx
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.families.family import Export, Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.registry import (
    FAMILIES,
    OTHER,
    family_named,
    family_of,
    identify,
    register,
    slimmable,
    unregister,
)
from sdakd_plugin.families.shapes import conv, count
from sdakd_plugin.families.wiring import Layer, chain
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.options import TeacherOptions
from sdakd_plugin.slimming.slim import slim, weights_from_teacher

# ---- all that the file of a family would hold ---------------------------------------------------------------------


class Toy(nn.Module):
    """Residual convolutions that take images of -1..1 and enlarge them twice."""

    def __init__(self, num_feat=16, num_block=3):
        super().__init__()
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(num_block))
        self.tail = nn.Conv2d(num_feat, 12, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        for layer in self.layers:
            x = x + layer(x).relu()
        return nn.functional.pixel_shuffle(self.tail(x), 2)


def recognise(shapes):
    num_feat, num_block = shapes['head.weight'][0], count(shapes, r'layers\.\d+\.weight')
    expected = conv('head', num_feat, 3) | conv('tail', 12, num_feat)
    for index in range(num_block):
        expected |= conv(f'layers.{index}', num_feat, num_feat)
    return Identity('generator', {'type': 'Toy', 'num_feat': num_feat, 'num_block': num_block}, 2), expected


def wire(net):
    trunk = {f'layers.{index}': Layer('trunk', ('trunk',)) for index in range(len(net.layers))}
    return {'head': Layer('trunk', ('lq',))} | trunk | chain('trunk', 'tail')


TOY = Family(
    names=('Toy',),
    recognise=recognise,
    wire=wire,
    call=lambda net, lq, lq_scale: (net(lq * 2 - 1) + 1) / 2,
    blocks=lambda net: [f'layers.{index}' for index in range(len(net.layers))],
    export=Export(multiple_of=lambda net: 2),
)

# ---- what works with it -------------------------------------------------------------------------------------------


@pytest.fixture
def toy(monkeypatch):
    """The option block of a toy, which is known while a test runs."""
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Toy', Toy)
    register(TOY)
    yield {'type': 'Toy', 'num_feat': 16, 'num_block': 3}
    unregister(TOY)


@pytest.fixture
def file(toy, tmp_path):
    """The weights of a random toy, as BasicSR saves them."""
    torch.manual_seed(0)
    path = tmp_path / 'toy.pth'
    torch.save({'params': build_network(toy).state_dict()}, path)
    return path


def test_it_is_recognised(toy, file):
    model = load_model(file, 'test')
    assert (type(model.net), model.identity.network, model.identity.scale) == (Toy, toy, 2)
    wrong = {**model.state, 'layers.3.weight': torch.zeros(16, 16, 1, 1)}
    assert identify(wrong) is None


def test_a_student_starts_from_its_teacher(toy, file):
    student = {**toy, 'num_feat': 8}
    state = weights_from_teacher(build_network(student), student, TeacherOptions(pretrain_network_g=str(file)), 'role')
    teacher = load_model(file, 'test').net
    assert torch.equal(state['layers.0.bias'], teacher.layers[0].bias[[0, 2, 4, 6, 8, 10, 12, 15]])
    build_network(student).load_state_dict(state)


@torch.no_grad()
def test_a_student_without_dead_channels_does_what_its_teacher_did(toy):
    teacher, student = build_network(toy), build_network({**toy, 'num_feat': 8})
    for layer in (teacher.head, *teacher.layers):
        layer.weight[::2] = layer.bias[::2] = 0
    student.load_state_dict(slim(teacher, student, 'l1'))
    lq = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(student(lq), teacher(lq))


@torch.no_grad()
def test_it_is_called_and_tapped_as_it_says(toy):
    net, lq = build_network(toy), torch.rand(1, 3, 8, 8)
    assert torch.equal(super_resolve(net, lq), (net(lq * 2 - 1) + 1) / 2)
    assert torch.equal(super_resolve(nn.DataParallel(net), lq), super_resolve(net, lq))
    assert blocks(net) == ['layers.0', 'layers.1', 'layers.2']


@torch.no_grad()
def test_it_enlarges_images(file):
    model = load_model(file, 'test')
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    found = Upscaler(model, torch.device('cpu')).enlarge(image)
    lq = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None] / 255
    expected = (super_resolve(model.net, lq)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert found.shape == (24, 40, 3)
    assert np.abs(found[..., ::-1] - expected).max() <= 1


@torch.no_grad()
def test_it_is_exported(file):
    pytest.importorskip('onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    model = load_model(file, 'test')
    exported = onnx.export(model)
    assert 'multiples of 2' in exported.about
    session = onnxruntime.InferenceSession(exported.files['.onnx'], providers=['CPUExecutionProvider'])
    lq = torch.rand(2, 3, 8, 10)
    found = session.run(['sr'], {'lq': lq.numpy()})[0]
    np.testing.assert_allclose(found, super_resolve(model.net, lq).numpy(), atol=1e-5)


# ---- the registry -------------------------------------------------------------------------------------------------


def test_without_its_file_a_toy_is_a_network_like_any_other():
    net, lq = Toy(), torch.rand(1, 3, 8, 8)
    assert family_of(net) is OTHER
    assert torch.equal(super_resolve(net, lq), net(lq))
    assert (blocks(net), identify(net.state_dict())) == ([], None)
    assert 'Toy' not in slimmable()


def test_a_class_of_ones_own_belongs_to_the_family_of_its_parent(toy):
    assert family_of(type('MyToy', (Toy,), {})()) is TOY


def test_a_name_has_one_family(toy):
    names = [name for family in FAMILIES for name in family.names]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match='there is already a family of RRDBNet'):
        register(Family(names=('Mine', 'RRDBNet')))
    assert family_named('Mine') is OTHER


# ---- spandrel, an implementation of its own -----------------------------------------------------------------------

RRDB = {
    'type': 'RRDBNet',
    'num_in_ch': 3,
    'num_out_ch': 3,
    'scale': 4,
    'num_feat': 16,
    'num_block': 2,
    'num_grow_ch': 32,
}
COMPACT = {
    'type': 'SRVGGNetCompact',
    'num_in_ch': 3,
    'num_out_ch': 3,
    'num_feat': 24,
    'num_conv': 4,
    'upscale': 4,
    'act_type': 'prelu',
}


@pytest.mark.parametrize(
    'network',
    [
        RRDB,
        {**RRDB, 'scale': 2},
        {**RRDB, 'scale': 1, 'num_block': 1},
        COMPACT,
        {**COMPACT, 'upscale': 2, 'num_feat': 8, 'num_conv': 11},
    ],
    ids=str,
)
def test_hyper_parameters_are_those_that_spandrel_reads(network):
    spandrel = pytest.importorskip('spandrel')
    state = build_network(dict(network)).state_dict()
    theirs, ours = spandrel.ModelLoader().load_from_state_dict(dict(state)), identify(state)
    options = ours.network
    assert (theirs.scale, theirs.input_channels, theirs.output_channels) == (
        ours.scale,
        options['num_in_ch'],
        options['num_out_ch'],
    )
    sizes = {'nf': 'num_feat', 'nb': 'num_block', 'nc': 'num_conv'}  # spandrel's tags, such as '64nf'
    tags = {tag[-2:]: int(tag[:-2]) for tag in theirs.tags if tag[-2:] in sizes}
    assert tags == {tag: options[key] for tag, key in sizes.items() if key in options}
    assert theirs.architecture.id == {'RRDBNet': 'ESRGAN', 'SRVGGNetCompact': 'Compact'}[options['type']]


def test_spandrel_takes_every_rrdbnet_to_grow_by_32():
    """While it does, we recognise RRDBNet ourselves, and ``widen`` is needed."""
    spandrel = pytest.importorskip('spandrel')
    state = build_network({**RRDB, 'num_grow_ch': 16}).state_dict()
    assert identify(state).network['num_grow_ch'] == 16
    with pytest.raises(RuntimeError, match='size mismatch'):
        spandrel.ModelLoader().load_from_state_dict(dict(state))
