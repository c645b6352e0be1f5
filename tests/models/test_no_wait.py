"""An iteration that prints nothing reads no value from the device, which would mean waiting for a GPU.

No GPU is needed: all operations pass through torch's dispatcher, which shows those that read.
"""

import copy
import traceback

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.networks import UNET
from tests.helpers.training import build

READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.is_nonzero.default,
}


class Readers(TorchDispatchMode):
    """Remembers where values are read."""

    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in READS:
            self.places.append(''.join(traceback.format_stack(limit=12)))
        return function(*args, **(kwargs or {}))


def watched(options, data):
    """Where an iteration of each stage reads a value back, and one that prints."""
    options = copy.deepcopy(options)
    for optimizer in ('optim_g', 'optim_d'):
        options['train'][optimizer]['fused'] = True  # as on a GPU
    model = build(options)
    for member in model.trainees:
        member.steps.device = torch.device('meta')  # any but the CPU, where reading costs nothing
    silent, printing = Readers(), Readers()
    for iteration in range(1, options['train']['total_iter'] + 1):
        model.update_learning_rate(iteration)
        model.feed_data(copy.deepcopy(data))
        with silent:
            model.optimize_parameters(iteration)
        if iteration % 2 == 0:
            with printing:
                model.get_current_log()
    return silent.places, printing.places


PAIR = {'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 64, 64)}


@pytest.mark.parametrize('amp', [None, {'teacher': 'bfloat16', 'student': 'float16'}])
def test_every_term_and_a_peer_with_guards(options, small_teacher, amp):
    options['teacher'].update(network_d={**UNET, 'num_feat': 16}, pretrain_network_d=str(small_teacher / 'net_d.pth'))
    options['network_d_peer'] = dict(UNET)
    train = options['train']
    train.update(
        amp=amp,
        grad_clip=0.1,
        on_collapse='rollback',
        feature_d_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3']},
        mutual_opt={'type': 'MutualDiscriminatorLoss'},
        ldl_opt={'type': 'L1Loss'},
        teacher_pixel_opt={'type': 'L1Loss'},
    )
    train['stages'][2]['losses'] += ['feature_d', 'mutual', 'ldl', 'teacher_pixel']
    silent, printing = watched(options, PAIR)
    assert not silent, silent[0]
    assert printing  # the test can see it


def test_a_cohort(options):
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    )
    options['train'].update(total_iter=2, mutual_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3']})
    silent, _ = watched(options, PAIR)
    assert not silent, silent[0]


def test_gcfsr_with_r1(gcfsr_run):
    silent, _ = watched(gcfsr_run, PAIR)
    assert not silent, silent[0]
