"""A student that starts from its teacher keeps the same channels in all layers, for every family."""

from itertools import pairwise

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils import check_resume
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.families.registry import slimmable
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions, parse
from sdakd_plugin.slimming.slim import slim, spread, weights_from_teacher
from tests.helpers.networks import STUDENT, UNET

RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8}
SRVGG = {'type': 'SRVGGNetCompact', 'num_feat': 16, 'num_conv': 3}
GCFSR = {'type': 'GCFSR', 'out_size': 128, 'num_style_feat': 8, 'narrow': 1 / 16}
TEACHERS = {
    'rrdbnet': RRDB,
    'rrdbnet x2': {**RRDB, 'scale': 2},
    'rrdbnet x1': {**RRDB, 'scale': 1},
    'srvgg': SRVGG,
    'srvgg relu': {**SRVGG, 'act_type': 'relu'},
    'msrresnet x4': {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 2},
    'msrresnet x3': {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 2, 'upscale': 3},
    'srgan': {'type': 'SRGANGenerator', 'num_feat': 16, 'num_block': 2},
    'srgan prelu x8': {'type': 'SRGANGenerator', 'num_feat': 16, 'num_block': 2, 'upscale': 8, 'fusion': 'prelu'},
    'span': {'type': 'SPAN', 'feature_channels': 16},
    'span x2 without norm': {'type': 'SPAN', 'feature_channels': 16, 'upscale': 2, 'norm': False},
    'gcfsr': GCFSR,
    'gcfsr blind': {**GCFSR, 'type': 'GCFSRBlind'},
}
WIDTHS = ('num_feat', 'num_grow_ch', 'narrow', 'feature_channels')
each_family = pytest.mark.parametrize('network', TEACHERS.values(), ids=TEACHERS)


def build(network, factor=1.0, seed=0):
    """A network of a fraction of the width, in which every parameter and statistic is random and has its effect: with
    BasicSR's small initial weights a dense block adds next to nothing."""
    torch.manual_seed(seed)
    own = {key: type(value)(value * factor) if key in WIDTHS else value for key, value in network.items()}
    net = build_network(own)
    for name, tensor in net.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 4 and not network['type'].startswith('GCFSR'):
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        elif tensor.dim() < 4 and tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return net.eval()


def run(net):
    with torch.no_grad():
        return super_resolve(net, torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)))


def test_every_family_is_tested():
    assert {network['type'] for network in TEACHERS.values()} == set(slimmable())


@each_family
@pytest.mark.parametrize('channels', ['l1', 'even'])
def test_a_student_of_the_teachers_size_is_the_teacher(network, channels):
    teacher, student = build(network), build(network, seed=1)
    state = slim(teacher, student, channels)
    assert state.keys() == teacher.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in teacher.state_dict().items())
    student.load_state_dict(state)
    assert torch.equal(run(student), run(teacher))


@each_family
@pytest.mark.parametrize('factor, channels', [(1 / 2, 'l1'), (1 / 4, 'even'), (1 / 8, 'l1')])
def test_smaller_students_load_strictly_and_run(network, factor, channels):
    teacher, student = build(network), build(network, factor, seed=1)
    before = run(student)
    student.load_state_dict(slim(teacher, student, channels))
    assert run(student).isfinite().all() and not torch.equal(run(student), before)


# ---- dead channels: who drops them, and only them, changes nothing ------------------------------------------------

# For each family the layers that together make the channels of a group, and how many entries in a row are a channel's.
# Who reads a group is not listed: the comparison of the images finds a reader that took other channels.


def dead_in_rrdbnet(net):
    convs = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    trunk = [name for name in convs if name in ('conv_first', 'conv_body') or name.endswith('.conv5')]
    yield trunk, 1
    yield from (([name], 1) for name in convs if name not in (*trunk, 'conv_last'))


def dead_in_srvgg(net):
    convs = [f'body.{index}' for index, module in enumerate(net.body) if isinstance(module, nn.Conv2d)]
    yield from (([name], 1) for name in convs[:-1])


def dead_in_msrresnet(net):
    yield ['conv_first', *(f'body.{index}.conv2' for index in range(len(net.body)))], 1
    yield from (([f'body.{index}.conv1'], 1) for index in range(len(net.body)))
    yield from (([name], net.pixel_shuffle.upscale_factor**2) for name in ('upconv1', 'upconv2') if hasattr(net, name))
    yield ['conv_hr'], 1


def dead_in_srgan(net):
    behind = ['fuse'] if isinstance(net.fuse, nn.BatchNorm2d) else []
    blocks = [f'body.{index}' for index in range(len(net.body))]
    yield ['conv_first', 'conv_body', *behind, *(f'{block}.{part}2' for block in blocks for part in ('conv', 'bn'))], 1
    yield from (([f'{block}.conv1', f'{block}.bn1'], 1) for block in blocks)
    yield from (([f'upsample.{index}.conv'], 4) for index in range(len(net.upsample)))


def dead_in_gcfsr(net):
    """Here the styles that weigh a dead channel are zero as well, for demodulation and noise reach it."""
    top = len(net.conv_body_down)
    for name in ('conv_body_first', *(f'conv_body_down.{index}' for index in range(top)), 'final_down1', 'final_down2'):
        yield [module for module, _ in net.named_modules() if module.startswith(f'{name}.')], 1
    yield ['final_conv.0', 'final_conv.1', 'style_conv1.modulated_conv.modulation'], 1
    for index in range(2 * top + 1):
        name, level = f'style_convs.{index - 1}' if index else 'style_conv1', (index + 1) // 2
        behind = [f'style_convs.{index}'] if index < 2 * top else []
        shift = [f'condition_shift.{top - level}.0'] if index % 2 == 0 else []
        to_rgb = [f'to_rgbs.{level - 1}' if index else 'to_rgb1'] if index % 2 == 0 else []
        styles = [f'{reader}.modulated_conv.modulation' for reader in behind + to_rgb]
        yield [f'{name}.modulated_conv', f'{name}.activate', *shift, *styles], 1


def dead_in_span(net):
    def parts(name):
        return [f'{name}.conv.2', f'{name}.sk', f'{name}.eval_conv']

    inner = [f'block_{block}.c{number}_r' for block in range(1, 7) for number in (1, 2)]
    trunk = ['conv_1', *(f'block_{block}.c3_r' for block in range(1, 7))]
    yield [part for name in trunk for part in parts(name)], 1
    yield from ((parts(name), 1) for name in (*inner, 'conv_2'))
    yield from (([f'{name}.conv.{index}'], 1) for name in (*inner, *trunk[1:], 'conv_2') for index in (0, 1))
    yield ['conv_1.conv.1'], 1  # conv_1.conv.0 is as wide as the image has channels
    yield ['conv_cat'], 1


DEAD = {
    'SPAN': dead_in_span,
    'RRDBNet': dead_in_rrdbnet,
    'SRVGGNetCompact': dead_in_srvgg,
    'MSRResNet': dead_in_msrresnet,
    'SRGANGenerator': dead_in_srgan,
    'GCFSR': dead_in_gcfsr,
    'GCFSRBlind': dead_in_gcfsr,
}


@torch.no_grad()
def half_dead(network):
    """A teacher in which half the channels of every group, at random places, are always zero."""
    teacher = build(network)
    for layers, each in DEAD[network['type']](teacher):
        dead = None
        for layer in layers:
            for tensor in teacher.get_submodule(layer).parameters(recurse=False):
                axis = 1 if tensor.dim() == 5 else 0
                if dead is None:
                    width = tensor.shape[axis] // each
                    dead = (torch.randperm(width)[: width // 2, None] * each + torch.arange(each)).flatten()
                tensor.index_fill_(axis, dead, 0)
    return teacher


@each_family
def test_without_its_dead_channels_a_network_does_what_it_did(network):
    teacher, student = half_dead(network), build(network, 0.5, seed=1)
    student.load_state_dict(slim(teacher, student, 'l1'))
    expected = run(teacher)
    atol = 1e-5 * max(1, float(expected.abs().max()))  # SPAN multiplies its input by 255
    torch.testing.assert_close(run(student), expected, atol=atol, rtol=1e-5)
    student.load_state_dict(slim(teacher, student, 'even'))  # which loses living ones
    assert not torch.allclose(run(student), run(teacher), atol=1e-3)


# ---- blocks -------------------------------------------------------------------------------------------------------


def test_blocks_are_spread_from_the_first_to_the_last():
    assert spread(23, 6) == [0, 4, 8, 13, 17, 22]
    assert spread(16, 4) == [0, 5, 10, 15]
    assert spread(5, 5) == [0, 1, 2, 3, 4]
    assert spread(7, 1) == [0]
    for count in range(2, 30):
        for chosen in range(2, count + 1):
            found = spread(count, chosen)
            assert (found[0], found[-1]) == (0, count - 1)
            steps = {after - before for before, after in pairwise(found)}
            assert min(steps) >= 1 and max(steps) - min(steps) <= 1


@pytest.mark.parametrize('name', ['rrdbnet', 'msrresnet x4', 'srgan'])
def test_a_shallower_student_has_whole_blocks_of_its_teacher(name):
    teacher, student = build({**TEACHERS[name], 'num_block': 5}), build({**TEACHERS[name], 'num_block': 3})
    student.load_state_dict(slim(teacher, student))
    for own, origin in enumerate((0, 2, 4)):
        x = torch.rand(1, 16, 5, 5)
        assert torch.equal(student.body[own](x), teacher.body[origin](x))
    teacher.body = nn.Sequential(*(teacher.body[index] for index in (0, 2, 4)))
    assert torch.equal(run(student), run(teacher))


def test_a_shallower_compact_student_keeps_convolutions_with_their_activations():
    teacher, student = build({**SRVGG, 'num_conv': 5}), build({**SRVGG, 'num_conv': 2})  # of 7 and 4 convolutions
    student.load_state_dict(slim(teacher, student))
    teacher.body = nn.ModuleList(teacher.body[index] for index in (0, 1, 4, 5, 8, 9, 12))
    assert torch.equal(run(student), run(teacher))


# ---- in a run -----------------------------------------------------------------------------------------------------


def model_options(options, **path):
    """Options as BasicSR's ``parse_options`` would hand them over."""
    options['path'].update(path, experiments_root='unused')
    return {**options, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'val': None, 'root_path': '.'}


def test_a_run_starts_from_the_teacher_and_trains(options, photos, small_teacher):
    model = build_model(model_options(options, pretrain_network_g='teacher'))
    teacher = model.teacher.net_g
    expected = slim(teacher, model.net_g)
    for net in (model.net_g, model.trainee.net_g_ema):
        assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())
    model.feed_data({'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 64, 64)})
    model.update_learning_rate(1)
    model.optimize_parameters(1)
    assert not any(torch.equal(value, expected[key]) for key, value in model.net_g.state_dict().items())


def test_members_of_a_cohort_start_from_the_teacher_each_on_its_own(options):
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1, 'pretrain_network_g': 'teacher'}, {'name': 'b', 'manual_seed': 2}],
    )
    model = build_model(model_options(options))
    first, second = model.trainees
    expected = slim(model.teacher.net_g, first.net_g)
    for member, same in ((first, True), (second, False)):
        for net in (member.net_g, member.net_g_ema):
            assert torch.equal(net.conv_last.weight, expected['conv_last.weight']) == same


def test_the_option_channels_reaches_the_student(options):
    options['teacher']['channels'] = 'l1'
    model = build_model(model_options(options, pretrain_network_g='teacher'))
    found = model.net_g.conv_first.weight
    assert torch.equal(found, slim(model.teacher.net_g, model.net_g, 'l1')['conv_first.weight'])
    assert not torch.equal(found, slim(model.teacher.net_g, model.net_g, 'even')['conv_first.weight'])


def test_the_l1_norm_of_the_filters_decides():
    """By hand, in a network where each group has one writer."""
    teacher, student = build(SRVGG), build(SRVGG, 0.5)
    state = slim(teacher, student, 'l1')
    largest = [
        sorted(sorted(range(16), key=lambda channel: -teacher.body[index].weight[channel].abs().sum())[:8])
        for index in (0, 2)
    ]
    assert torch.equal(state['body.2.weight'], teacher.body[2].weight[largest[1]][:, largest[0]])
    assert torch.equal(state['body.3.weight'], teacher.body[3].weight[largest[1]])


def test_the_teachers_weights_may_tell_its_architecture(options):
    del options['teacher']['network_g']
    model = build_model(model_options(options, pretrain_network_g='teacher'))
    assert torch.equal(model.net_g.conv_last.bias, model.teacher.net_g.conv_last.bias)


def test_a_teachers_weights_are_identified_once(options, monkeypatch):
    del options['teacher']['network_g']
    calls = []
    identify = weights.identify
    monkeypatch.setattr(weights, 'identify', lambda state: calls.append(identify(state)) or calls[-1])
    student = build_network(STUDENT)
    weights_from_teacher(student, STUDENT, parse(options).teacher, 'path.pretrain_network_g')
    teacher = parse(options).teacher
    assert len(calls) == 1
    assert load_frozen(None, teacher.pretrain_network_g, None, 'g').network == calls[0].network


def test_a_resumed_run_goes_on_from_its_own_weights(options, tmp_path):
    options['train']['stages'] = [{'name': 'supervised', 'iters': 6, 'losses': ['pixel']}]
    del options['network_d'], options['train']['feature_opt'], options['train']['gan_opt']
    opt = model_options(options, pretrain_network_g='teacher', resume_state='1.state', models=str(tmp_path))
    saved = build(STUDENT).state_dict()
    torch.save({'params': saved, 'params_ema': saved}, tmp_path / 'net_g_1.pth')
    check_resume(opt, 1)  # BasicSR's
    model = build_model(opt)
    for net in (model.net_g, model.trainee.net_g_ema):
        assert all(torch.equal(value, saved[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    'change, words',
    [
        ({'num_feat': 17}, 'network_g.num_feat is 17, but the teacher has 16; use 16 or less'),
        ({'num_block': 3}, 'network_g.num_block is 3, but the teacher has 2; use 2 or less'),
        ({'scale': 2}, 'network_g.scale is 2, but the teacher has 4; use 4'),
        ({'num_in_ch': 4}, 'network_g.num_in_ch is 4, but the teacher has 3; use 3'),
        ({'num_out_ch': 1}, 'network_g.num_out_ch is 1, but the teacher has 3; use 3'),
    ],
)
def test_a_student_that_does_not_fit_is_told_what_does(change, words, small_teacher):
    network = {**RRDB, 'num_feat': 8, 'num_grow_ch': 4, **change}
    options = TeacherOptions(pretrain_network_g=str(small_teacher / 'net_g.pth'))
    with pytest.raises(UserError) as caught:
        weights_from_teacher(build_network(network), network, options, 'path.pretrain_network_g')
    assert str(caught.value) == f'path.pretrain_network_g: teacher: {words}'


@pytest.mark.parametrize(
    'network, words',
    [
        ({**SRVGG, 'num_feat': 8}, 'network_g.type is SRVGGNetCompact, but the teacher has RRDBNet; use RRDBNet'),
        (
            {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3},
            'a EDSR cannot start from its teacher; these can: RRDBNet,',
        ),
    ],
)
def test_another_family_does_not_fit(network, words, small_teacher):
    options = TeacherOptions(pretrain_network_g=str(small_teacher / 'net_g.pth'))
    with pytest.raises(UserError, match=r'^path.pretrain_network_g: teacher: ') as caught:
        weights_from_teacher(build_network(network), network, options, 'path.pretrain_network_g')
    assert words in str(caught.value)


def test_options_that_leave_no_trace_in_the_shapes_count_too():
    """Activations without parameters and the last activation: the weights of one would be wrong in the other."""
    for name, key, value in (('srvgg relu', 'act_type', 'leakyrelu'), ('srgan', 'output', 'tanh')):
        network = TEACHERS[name]
        options = TeacherOptions(network_g={**network, key: value}, pretrain_network_g='untrained')
        with pytest.raises(UserError, match=f'network_g.{key} is .*, but the teacher has {value}; use {value}$'):
            weights_from_teacher(build_network(network), network, options, 'path.pretrain_network_g')


def test_without_a_teacher_there_is_nothing_to_start_from(options):
    del options['teacher']
    options['train']['stages'] = [{'name': 'supervised', 'iters': 6, 'losses': ['pixel']}]
    del options['train']['feature_opt'], options['train']['gan_opt']
    with pytest.raises(UserError, match=r'^path.pretrain_network_g: teacher: the block teacher is missing$'):
        build_model(model_options(options, pretrain_network_g='teacher'))


def test_only_two_ways_to_choose_channels(options):
    options['teacher']['channels'] = 'l2'
    with pytest.raises(UserError, match=r"^teacher.channels: .*'even' or 'l1'.*'l2'"):
        parse(options)
