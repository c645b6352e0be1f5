"""Every option file trains on a GPU in pretence: ``tests/helpers/fake_cuda.py``.

Not in it are the data sets, whose batches are made by hand, since they never see the GPU.
"""

import pytest
import torch

from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.updates import OptimizerSteps
from sdakd_plugin.models import shared_parts
from sdakd_plugin.utils import random_state
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.fake_runs import of_file, rehearsal, small, train
from tests.helpers.paths import ROOT

RUN = (
    'compact_x4',
    'gcfsr_quickstart_64',
    'gcfsr_teacher_64',
    'lq_photos_x4',
    'mutual_srgan_x4',
    'quantize_nano_x4',
    'quickstart_x4',
    'sdakd_mutual_lpips_x4',
    'srgan_lpips_kd_x4',
    'srgan_teacher_x4',
    'students/sdakd_nano_x4',
    'evidence/cohort_x4',
    'evidence/discriminator_x4',
    'evidence/lq_photos_x4',
    'evidence/ramp_x4',
    'evidence/srgan_lpips_x4',
)
# of these only the first iteration of the last stage is trained, because they differ from another file in little
VARIANTS = {
    'compact_x2': 'the scale and the teacher',
    'mutual_srgan_x2': 'the scale',
    'sdakd_gcfsr_512': 'the size, a blind teacher and the perceptual loss',
    'sdakd_gcfsr_1024': 'the size and the perceptual loss',
    'sdakd_x4': 'no LPIPS and no peer',
    'span_x4': 'the student',
    'students/sdakd_nano_x4_real': 'the degradation, which is not computed on the GPU',
    'students/sdakd_small_x4': 'the width of the student',
    'students/sdakd_small_x4_real': 'both',
    'evidence/cohort_x2': 'the scale',
    'evidence/discriminator_eighth_x4': 'widths',
    'evidence/discriminator_half_x4': 'widths',
}
LONG = {'compact_x2', 'mutual_srgan_x2', 'sdakd_gcfsr_1024', 'evidence/cohort_x2'}  # so that the rest takes a minute


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in (*RUN, *VARIANTS)]
)
def test_option_file(name):
    with rehearsal():
        train(of_file(name), whole=name in RUN)


def test_no_option_file_is_forgotten():
    files = {path.relative_to(ROOT / 'options').with_suffix('').as_posix() for path in ROOT.glob('options/**/*.yml')}
    tested = {name for name in files if name.startswith('test/')}  # for basicsr/test.py: one forward pass, no training
    assert files - tested == {*RUN, *VARIANTS}


def left_on_the_cpu(module):
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(torch.zeros(parameter.shape))


class TestPlanted:
    """Mistakes that would only show on a GPU, or only slow it down."""

    def test_a_tensor_on_the_cpu(self, options, monkeypatch):
        real = shared_parts.TrainingBatch
        monkeypatch.setattr(
            shared_parts, 'TrainingBatch', lambda lq, gt, *more: real(lq, torch.zeros(gt.shape, device='cpu'), *more)
        )
        with fake_cuda(), pytest.raises(RuntimeError, match=r'cuda:0.*cpu|cpu.*cuda:0'):
            train(small(options))

    def test_a_value_that_is_read(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, loss * loss.item()))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'_local_scalar_dense'):
            train(small(options))

    def test_a_value_that_is_read_where_the_batch_is_made(self, options, monkeypatch):
        """This function has a decorator in common with functions that may read."""
        real = shared_parts.TrainingBatch
        monkeypatch.setattr(shared_parts, 'TrainingBatch', lambda lq, *more: real(lq * lq.mean().item(), *more))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'_local_scalar_dense'):
            train(small(options))

    def test_a_flag_that_is_read(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, loss if loss > 0 else loss * 2))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'_local_scalar_dense'):
            train(small(options))

    def test_a_value_that_is_copied_into_a_tensor_on_the_cpu(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(
            OptimizerSteps, 'backward', lambda self, loss: real(self, loss * torch.zeros(()).copy_(loss.detach()))
        )
        with fake_cuda(), pytest.raises(RuntimeError, match=r'copy that waits: is cpu, expected cuda:0'):
            train(small(options))

    def test_a_value_that_is_copied_and_read(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, loss * loss.cpu().item()))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'copy that waits: is cpu, expected cuda:0'):
            train(small(options))

    def test_a_copy_to_the_gpu_that_blocks(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(
            OptimizerSteps, 'backward', lambda self, loss: real(self, loss * torch.ones(()).to(loss.device))
        )
        with fake_cuda(), pytest.raises(RuntimeError, match=r'copy that waits: is cuda:0, expected cpu'):
            train(small(options))

    def test_a_loss_in_half_precision(self, options, monkeypatch):
        real = ForwardPass.__call__
        monkeypatch.setattr(ForwardPass, '__call__', lambda *arguments: real(*arguments).bfloat16())
        options['train']['amp'] = {'student': 'bfloat16'}
        options['train']['stages'] = [{'name': 'adversarial', 'iters': 6, 'losses': ['gan']}]
        del options['train']['pixel_opt'], options['train']['feature_opt']
        with fake_cuda(), pytest.raises(RuntimeError, match=r'loss: is torch.bfloat16, expected torch.float32'):
            train(small(options))

    @pytest.mark.parametrize(
        ('spoil', 'expected'),
        [
            (lambda gradient: torch.zeros(gradient.shape, device='cpu'), r'gradient: is cpu, expected cuda:0'),
            (lambda gradient: gradient * gradient.item(), r'_local_scalar_dense'),
        ],
    )
    def test_a_mistake_in_the_backward_pass(self, options, monkeypatch, spoil, expected):
        class Planted(torch.autograd.Function):
            @staticmethod
            def forward(ctx, loss):
                return loss.clone()

            @staticmethod
            def backward(ctx, gradient):
                return spoil(gradient)

        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, Planted.apply(loss)))
        with fake_cuda(), pytest.raises(RuntimeError, match=expected):
            train(small(options))

    def test_a_connector_that_is_not_moved(self, options):
        with fake_cuda(), pytest.raises(RuntimeError, match=r'cuda:0.*cpu|cpu.*cuda:0'):
            train(small(options), lambda model: model.connectors['feature'].apply(left_on_the_cpu))

    def test_a_generator_state_on_the_device(self):
        with fake_cuda() as waits:
            waits.allowed = True
            states = random_state.capture()
            random_state.restore(states)
            with pytest.raises(RuntimeError, match=r'RNG state: is cuda:0, expected cpu'):
                torch.cuda.set_rng_state(states['cuda'][0].to('cuda'))

    def test_a_generator_of_another_device(self):
        with fake_cuda(), pytest.raises(RuntimeError, match=r'generator: is cpu, expected cuda:0'):
            torch.rand(2, device='cuda', generator=torch.Generator())
