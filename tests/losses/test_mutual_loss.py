"""The mutual loss of discriminators: exact, always finite, with a gradient only for the first argument."""

import math

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.mutual_loss import MutualDiscriminatorLoss

SHAPES = [(), (4,), (4, 1), (2, 1, 5, 7)]  # single scores and per-pixel maps


def scores(shape, scale=3.0):
    torch.manual_seed(len(shape))
    return scale * torch.randn(shape, dtype=torch.float64), scale * torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('temperature', [0.5, 1.0, 10.0])
def test_equals_the_formula_in_float64(shape, temperature):
    logits, peer = scores(shape)
    q, p = torch.sigmoid(logits / temperature), torch.sigmoid(peer / temperature)
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean().item()
    loss = MutualDiscriminatorLoss(0.7, temperature)
    assert loss(logits, peer).item() == pytest.approx(0.7 * expected, rel=1e-12)
    assert loss(logits.float(), peer.float()).item() == pytest.approx(0.7 * expected, rel=1e-5)


@pytest.mark.parametrize('shape', SHAPES)
def test_equals_torchs_own_divergence(shape):
    logits, peer = scores(shape)
    expected = kl_divergence(Bernoulli(logits=peer), Bernoulli(logits=logits)).mean().item()
    assert MutualDiscriminatorLoss()(logits, peer).item() == pytest.approx(expected, rel=1e-10)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_finite_and_not_negative_for_any_scores(first, second):
    logits = torch.tensor([[first]], requires_grad=True)
    value = MutualDiscriminatorLoss()(logits, torch.tensor([[second]]))
    value.backward()
    assert math.isfinite(value.item())
    assert value.item() > -1e-6
    assert logits.grad.isfinite().all()


def test_exact_where_a_probability_rounds_to_one():
    value = MutualDiscriminatorLoss()(torch.tensor([-1e4]), torch.tensor([1e4]))
    assert value.item() == pytest.approx(1e4)


def test_zero_with_zero_gradient_for_equal_scores():
    logits, _ = scores((4, 1))
    value = MutualDiscriminatorLoss()(logits.requires_grad_(), logits.clone())
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() < 1e-15


def test_the_gradient_is_the_difference_of_the_predictions():
    logits, peer = (score.requires_grad_() for score in scores((6, 1)))
    MutualDiscriminatorLoss(0.5, temperature=2.0)(logits, peer).backward()
    expected = 0.5 * (torch.sigmoid(logits / 2) - torch.sigmoid(peer / 2)) / 2 / 6
    torch.testing.assert_close(logits.grad, expected.detach(), rtol=1e-10, atol=1e-14)
    assert peer.grad is None


def test_different_shapes_are_refused():
    with pytest.raises(UserError, match=r"not \(4, 1\) with the peer's \(4, 1, 8, 8\)"):
        MutualDiscriminatorLoss()(torch.zeros(4, 1), torch.zeros(4, 1, 8, 8))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'loss_weight': -1.0}, 'loss_weight must be a number of at least 0, not -1.0'),
        ({'loss_weight': None}, 'loss_weight must be a number of at least 0, not None'),
        ({'temperature': 0}, 'temperature must be a number above 0, not 0'),
        ({'temperature': -3}, 'temperature must be a number above 0'),
        ({'temperature': math.nan}, 'temperature must be a number above 0'),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(UserError, match=message):
        MutualDiscriminatorLoss(**options)


def test_basicsr_finds_the_loss():
    assert LOSS_REGISTRY.get('MutualDiscriminatorLoss') is MutualDiscriminatorLoss
