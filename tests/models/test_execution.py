"""Mixed precision and the memory format change only speed and rounding."""

import copy

import pytest
import torch
from basicsr.archs import build_network

from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.errors import UserError
from sdakd_plugin.models.recovery import Recovery
from sdakd_plugin.resume.training_state import read_state
from tests.helpers.networks import UNET
from tests.helpers.training import batch, build, steps

CPU = torch.device('cpu')


def train(options, iterations=6, **change):
    """The logs of the stages with options of ``train`` changed, and the model."""
    options = copy.deepcopy(options)
    options['train'].update(change)
    torch.manual_seed(0)
    model = build(options)
    return steps(model, 1, iterations), model


def relative(first, second):
    """The largest difference of the losses of two runs, relative to the loss."""
    return max(
        abs(first[iteration][key] - value) / (abs(value) + 1e-3)
        for iteration, log in second.items()
        for key, value in log.items()
        if key.startswith('l_')
    )


@pytest.mark.parametrize(
    'change, tolerance',
    [
        ({'channels_last': True}, 2e-5),
        ({'amp': {'teacher': 'bfloat16'}}, 2e-2),
        ({'amp': {'teacher': 'bfloat16', 'student': 'bfloat16'}}, 5e-2),
        ({'amp': {'student': 'float16'}, 'channels_last': True}, 1e-2),
    ],
)
def test_every_loss_of_every_stage_stays_what_it_was(options, change, tolerance):
    reference, _ = train(options)
    logs, model = train(options, **change)
    assert 0 < relative(logs, reference) < tolerance
    for nets in model.trainee.networks.values():
        for net in nets.values():
            floats = [value for value in net.state_dict().values() if value.is_floating_point()]
            assert all(value.dtype is torch.float32 for value in floats)


def test_gcfsr(gcfsr_run):
    reference, _ = train_gcfsr(gcfsr_run)
    logs, _ = train_gcfsr(gcfsr_run, amp={'teacher': 'bfloat16', 'student': 'bfloat16'})
    assert 0 < relative(logs, reference) < 0.1
    with pytest.raises(UserError, match='the modulated convolutions of GCFSR'):
        train_gcfsr(gcfsr_run, channels_last=True)


def train_gcfsr(options, **change):
    options = copy.deepcopy(options)
    options['train'].update(change)
    torch.manual_seed(0)
    model = build(options)
    logs = {}
    for iteration in range(1, 7):
        torch.manual_seed(iteration)  # the noise and the scale
        model.update_learning_rate(iteration)
        model.feed_data({'gt': torch.rand(2, 3, 64, 64), 'lq': torch.rand(2, 3, 16, 16)})
        model.optimize_parameters(iteration)
        logs[iteration] = dict(model.get_current_log())
    return logs, model


def test_what_leaves_a_network_is_float32_but_inside_it_is_not():
    net = build_network(
        {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
    )
    seen = []
    net.conv_body.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    forward_pass = ForwardPass(CPU, 'bfloat16', channels_last=True)
    forward_pass.prepare(net)
    out = forward_pass(lambda net, images: net(images), net, torch.rand(1, 3, 8, 8))
    assert out.dtype is torch.float32 and seen == [torch.bfloat16]
    assert net.conv_first.weight.is_contiguous(memory_format=torch.channels_last)


def test_spectral_norm_stays_in_float32():
    """Its vectors move exactly as without autocast: they see the weights only."""
    torch.manual_seed(0)
    net = build_network(dict(UNET)).train()
    other = copy.deepcopy(net)
    images = torch.rand(1, 3, 16, 16)
    net(images)
    forward_pass = ForwardPass(CPU, 'bfloat16')
    forward_pass.prepare(other)
    scores = forward_pass(lambda net, images: net(images), other, images)
    assert scores.dtype is torch.float32
    vectors = {name: value for name, value in net.state_dict().items() if name.endswith(('_u', '_v'))}
    assert len(vectors) == 16
    for name, value in vectors.items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_checkpoints_are_in_the_usual_order_of_memory(options, tmp_path):
    options['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    options['train']['channels_last'] = True
    model = build(options)
    assert model.net_g.conv_body.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.teacher.net_g.conv_body.weight.is_contiguous(memory_format=torch.channels_last)
    model.feed_data(batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    for path in tmp_path.glob('*.pth'):
        for state in torch.load(path, weights_only=True).values():
            assert all(value.is_contiguous() for value in state.values())


@pytest.mark.long
def test_resuming_in_float16_is_exact(stock, options):
    from tests.helpers.exact_resume import check_exact

    del options['val']
    options['train'].update(amp={'student': 'float16', 'teacher': 'bfloat16'}, channels_last=True)
    check_exact(stock, options, stops=(3, 5))


@pytest.mark.parametrize('before', [False, True])
def test_a_resumed_run_may_have_another_memory_format(options, tmp_path, before):
    """A fused optimizer, the default on a GPU, requires that the moments have the format of their parameters."""
    options['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    options['train']['channels_last'] = before
    model = build(options)
    steps(model, 1, 5)
    model.save(0, 5)
    options['train']['channels_last'] = not before
    options['path'].update({f'pretrain_network_{key}': str(tmp_path / f'net_{key}_5.pth') for key in 'gd'})
    resumed = build(options)
    resumed.resume_training(read_state(str(tmp_path / '5.state')))
    assert_formats_match(resumed)
    resumed.recovery = Recovery(True, 1, options['path'])
    resumed.recovery.restore(5, resumed.trainees, resumed.connectors)
    assert_formats_match(resumed)
    steps(resumed, 6, 6)


def assert_formats_match(model):
    for optimizer in model.optimizers:
        assert optimizer.state
        for parameter, state in optimizer.state.items():
            assert {state[key].stride() for key in ('exp_avg', 'exp_avg_sq')} == {parameter.stride()}
