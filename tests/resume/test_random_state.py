"""Code beside training does not change its random numbers, including those of a GPU that is not yet in use."""

import inspect

import numpy as np
import pytest
import torch

from sdakd_plugin.checks.run import check
from sdakd_plugin.utils import random_state
from sdakd_plugin.utils.random_state import undisturbed_rng
from tests.helpers.networks import TEACHER, UNET


@pytest.fixture
def seeded():
    """As BasicSR seeds a run; CUDA must not have started."""
    if torch.cuda.is_initialized():
        pytest.skip('CUDA is in use in this process')
    torch.manual_seed(7)
    torch.cuda.manual_seed(7)
    torch.cuda.manual_seed_all(7)


def waiting():
    """The seeds that wait for CUDA to start, in their order."""
    calls = [call for call in torch.cuda._lazy_seed_tracker.get_calls() if call]
    return [inspect.getclosurevars(seed).nonlocals['seed'] for seed, _ in calls]


def test_a_seed_inside_is_not_the_one_that_cuda_starts_with(seeded):
    with undisturbed_rng():
        torch.manual_seed(1)
        assert waiting() == [7, 1]
        with undisturbed_rng():
            torch.cuda.manual_seed(2)
        assert waiting() == [7, 1]
    assert waiting() == [7, 7]


def test_cuda_that_starts_inside_goes_on_with_the_seed_of_the_run(seeded, monkeypatch):
    seeds, started = [], False
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: started)
    torch.cuda._lazy_call(lambda: seeds.append('all'), seed_all=True)
    torch.cuda._lazy_call(lambda: seeds.append('current'), seed=True)
    with undisturbed_rng():
        torch.manual_seed(1)
        started = True
        assert not seeds
    assert seeds == ['all', 'current']


@pytest.mark.parametrize('kind', ['untrained teacher', 'cohort'])
def test_the_check_leaves_the_seed_alone_that_cuda_starts_with(seeded, options, kind):
    options['teacher'] = {'network_g': dict(TEACHER), 'pretrain_network_g': 'untrained'}
    if kind == 'cohort':
        del options['teacher'], options['train']['stages'], options['train']['feature_opt']
        options.update(
            model_type='MutualSRGANModel',
            network_d=dict(UNET),
            cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
        )
    queued = list(torch.cuda._queued_calls)
    check(options)
    assert waiting() == [7, 7]
    assert torch.cuda._queued_calls == queued


def test_states_of_a_gpu_that_is_not_in_use_do_not_wait_for_it(seeded, monkeypatch):
    states = random_state.capture() | {'cuda': [torch.zeros(16, dtype=torch.uint8)]}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    queued = list(torch.cuda._queued_calls)
    np.random.seed(3)
    random_state.restore(states)
    assert torch.cuda._queued_calls == queued


@pytest.mark.parametrize(('saved', 'expected'), [([5], 5), ([1, 2, 3, 4], 3), ([1], 1)])
def test_a_gpu_of_another_number_goes_on_with_the_state_of_the_process(monkeypatch, saved, expected):
    """A process has one GPU. Earlier versions stored the states of all of them."""
    restored = []
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', lambda: torch.tensor([5], dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda state, device: restored.append((int(state), device)))
    states = random_state.capture()
    assert [int(state) for state in states['cuda']] == [5]
    random_state.restore({**states, 'cuda': [torch.tensor([value], dtype=torch.uint8) for value in saved]})
    assert restored == [(expected, 2)]
