"""Parts of a run on a GPU in pretence that no option file switches on, and those around training.

``DistributedDataParallel`` itself is not run: its C++ code reads the memory of the parameters, which fake tensors lack.
Of two ranks everything else is, over PyTorch's fake process group, in which every process has the values of this one.
"""

import pytest
import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from basicsr.models import build_model
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG, USMSharp
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from sdakd_plugin.data.degradation import make_degradation
from sdakd_plugin.metrics import lpips_metric
from sdakd_plugin.options import parse
from sdakd_plugin.resume.training_state import read_state
from sdakd_plugin.utils import processes
from tests.helpers.degradation import degradation_options, seed
from tests.helpers.fake_cuda import CUDA, check
from tests.helpers.fake_runs import batch, rehearsal, small, step, train
from tests.helpers.networks import TEACHER, UNET
from tests.helpers.training import build

NANO = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2, 'upscale': 4}


@pytest.fixture
def everything(options):
    """All losses, two teachers, ramps, a peer, and what watches over training; the discriminator soon wins."""
    second = {'network_g': dict(TEACHER), 'pretrain_network_g': 'untrained'}
    first = second | {'network_d': {**UNET, 'num_feat': 16}, 'pretrain_network_d': 'untrained'}
    del options['teacher']
    options.update(num_gpu=1, teachers={'first': first, 'second': second}, network_d_peer=dict(UNET))
    train = options['train']
    train.update(
        grad_clip=0.1,
        on_collapse='rollback',
        collapse_after=1,
        adaptive_d=True,
        drift_after=1,
        net_d_reg_every=2,
        r1_reg_weight=10,
        feature_d_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3'], 'teacher': 'first'},
        mutual_opt={'type': 'MutualDiscriminatorLoss', 'ramp': {'from': 0, 'to': 1}},
        ldl_opt={'type': 'L1Loss'},
        teacher_pixel_opt={'type': 'L1Loss', 'teacher': 'second', 'ramp': {'from': 1, 'to': 0}},
        lpips_opt={'type': 'LPIPSLoss', 'target': 'gt', 'max_shift': 3},
    )
    options['logger']['print_freq'] = 6
    train['pixel_opt'].update(target='mix', teacher='first', ramp={'from': 1, 'to': 0})
    train['feature_opt']['teacher'] = 'first'
    train['stages'][1]['optimizer'] = 'reset'
    train['stages'][2]['losses'] += ['feature_d', 'mutual', 'ldl', 'teacher_pixel', 'lpips']
    return options


def in_folder(opt, folder):
    """The options with the folders that BasicSR would add."""
    folders = {'experiments_root': folder, 'models': folder / 'models', 'training_states': folder / 'training_states'}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    opt['path'] = {'visualization': str(folder), **{key: str(path) for key, path in folders.items()}}
    return opt


def test_everything_in_bfloat16(everything):
    everything['train'].update(amp={'teacher': 'bfloat16', 'student': 'bfloat16'}, channels_last=True, on_collapse=None)
    with rehearsal():
        train(everything, whole=False)


def resumed(opt, iteration):
    """The model of a run that goes on after an iteration, as BasicSR builds it."""
    opt = {**opt, 'path': {**opt['path'], 'resume_state': f'{opt["path"]["training_states"]}/{iteration}.state'}}
    for network in ('g', 'd'):
        opt['path'][f'pretrain_network_{network}'] = f'{opt["path"]["models"]}/net_{network}_{iteration}.pth'
    model = build(opt)
    model.resume_training(read_state(opt['path']['resume_state']))
    return model


def test_everything_in_float16_resumes_and_goes_back_after_a_collapse(everything, tmp_path):
    in_folder(everything, tmp_path)
    everything['train']['amp'] = {'teacher': 'float16', 'student': 'float16'}  # the gradients' scale is resumed too
    data = batch(everything)
    with rehearsal():
        model = build(everything)
        step(model, data, 5)
        model.save(0, 5)
        model = resumed(everything, 5)
        step(model, data, 6)
        model.get_current_log()
        assert [list(taken) for taken in model.recovery.taken] == [[6, 6, 5]]
        step(model, data, 6)


def test_resumes_with_a_pool(options, photos, tmp_path):
    options = in_folder(small(degradation_options(options, photos)), tmp_path)
    options['queue_size'] = 2
    data = batch(options)
    with rehearsal():
        model = build(options)
        step(model, data, 5)
        model.save(0, 5)
        model = resumed(options, 5)
        assert model.degradation.queue_lr.device == CUDA
        step(model, data, 6)


@pytest.fixture
def quantized(options):
    options['network_g'] = dict(NANO)
    options['train']['quantize'] = {'bits': 8, 'from': 'adversarial'}
    options['train']['feature_opt']['layers'] = 2
    return small(options)


def test_resumes_quantised(quantized, tmp_path):
    in_folder(quantized, tmp_path)
    data = batch(quantized)
    with rehearsal():
        model = build(quantized)
        for iteration in (4, 5):
            step(model, data, iteration)
        model.save(0, 5)
        step(resumed(quantized, 5), data, 6)


def test_validation(options, tmp_path, monkeypatch):
    """At the start, at the end of a stage, and when BasicSR asks; LPIPS computes on the GPU."""
    monkeypatch.setattr(lpips_metric, '_network', lpips_metric._network.__wrapped__)
    options = in_folder(small(options), tmp_path)
    options['datasets']['val'] |= {'phase': 'val', 'scale': 4}
    options['val'].update(val_freq=5, save_img=True)
    options['val']['metrics']['lpips'] = {'type': 'calculate_lpips', 'crop_border': 4, 'better': 'lower'}
    data = batch(options)
    with rehearsal():
        model = build_model(
            options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'root_path': str(tmp_path)}
        )
        for iteration in (1, 2, 3):
            step(model, data, iteration)
        (loader,) = model.stage_validation._loaders()
        model.validation(loader, 4, None, save_img=True)


class Distributed(DistributedDataParallel):
    """In place of ``DistributedDataParallel``: checks devices, and runs the network."""

    def __init__(self, module, device_ids, **_):
        nn.Module.__init__(self)
        assert device_ids == [0]
        for name, parameter in module.named_parameters():
            check(name, parameter.device, CUDA)
        self.module = module

    def forward(self, *inputs, **named):
        return self.module(*inputs, **named)


@pytest.fixture
def first_of_two(monkeypatch):
    monkeypatch.setattr('basicsr.models.base_model.DistributedDataParallel', Distributed)
    monkeypatch.setattr(processes, '_cpu', lambda: None)  # gloo needs the other process
    monkeypatch.setattr(processes, 'gathered', lambda value: [value, value])  # by pickle, which rejects fake tensors
    distributed.init_process_group('fake', store=FakeStore(), rank=0, world_size=2)
    yield {'dist': True, 'rank': 0, 'world_size': 2}
    distributed.destroy_process_group()


def test_two_ranks(everything, first_of_two, tmp_path):
    in_folder(everything, tmp_path)
    everything['num_gpu'] = 2
    data = batch(everything)
    with rehearsal():
        model = build(everything, **first_of_two)
        for iteration in (2, 4, 5):
            step(model, data, iteration)
        model.save(0, 5)
        step(model, data, 6)
        model.get_current_log()


def test_a_cohort_of_two_ranks(cohort, first_of_two):
    cohort['num_gpu'] = 2
    with rehearsal():
        train(cohort, **first_of_two)


def test_two_ranks_quantise(quantized, first_of_two):
    quantized['num_gpu'] = 2
    with rehearsal():
        train(quantized, whole=False, **first_of_two)


def test_a_batch_of_the_prefetcher_is_kept_until_the_gpu_has_used_it(options):
    """``CUDAPrefetcher`` copies on a stream of its own, which may use the memory again as soon as the host is done."""
    options = small(options)
    with rehearsal() as waits:
        model = build(options)
        prefetcher = CUDAPrefetcher([batch(options), batch(options)], options)
        for iteration in (1, 2):
            data = prefetcher.next()
            assert {value.device for value in data.values()} == {CUDA}
            step(model, data, iteration)
            assert all(any(value is kept for kept in waits.recorded) for value in data.values())


def test_the_degradation_computes_as_stocks(options, photos):
    """The same operators in the same order, with the same memory formats, by which they choose how they round."""
    options = small(degradation_options(options, photos))
    options['queue_size'] = 2
    data = batch(options)
    calls = []
    with rehearsal():
        stock = object.__new__(RealESRGANModel)  # its constructor would build a network
        stock.opt, stock.device, stock.is_train, stock.queue_size = options, CUDA, True, 2
        stock.jpeger, stock.usm_sharpener = DiffJPEG(differentiable=False).to(CUDA), USMSharp().to(CUDA)
        stock.queue_lr, stock.queue_gt = (torch.zeros(2, 3, side, side, device=CUDA) for side in (16, 64))
        stock.queue_ptr = 0
        ours = make_degradation(options, parse(options), CUDA)
        for degradation in (stock, ours):
            seed(0)
            for _ in range(6):
                with Calls() as found:
                    degradation.feed_data({key: value.to(CUDA) for key, value in data.items() if key != 'bicubic'})
                calls.append(found.calls)
    assert calls[:6] == calls[6:] and min(map(len, calls)) > 100


class Calls(TorchDispatchMode):
    """Remembers the operators, and the strides of what they return."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls.append((str(function), result.stride() if isinstance(result, torch.Tensor) else None))
        return result
