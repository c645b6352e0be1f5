"""FeatureAlignmentLoss against its formula in float64."""

import numpy as np
import pytest
import torch

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss

torch.manual_seed(0)
STUDENT = {'a': torch.randn(2, 4, 6, 5), 'b': torch.randn(2, 3, 6, 5)}
TEACHER = {'a': 3 * torch.randn(2, 8, 6, 5), 'b': 0.1 * torch.randn(2, 7, 6, 5)}


def connected(loss):
    """Connectors with weights of ordinary size, as after some training."""
    loss.connect(STUDENT, TEACHER)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return loss


def mlp(loss, layer, feature):
    """W2 relu(W1 F), in NumPy and float64."""
    first, _, second = loss.connectors[layer]
    hidden = np.einsum('oc,nchw->nohw', first.weight.detach().double().numpy()[:, :, 0, 0], feature.double().numpy())
    hidden = np.maximum(hidden + first.bias.detach().double().numpy()[:, None, None], 0)
    out = np.einsum('oc,nchw->nohw', second.weight.detach().double().numpy()[:, :, 0, 0], hidden)
    return out + second.bias.detach().double().numpy()[:, None, None]


@pytest.mark.parametrize('normalize', [False, True])
def test_mse_is_the_formula(normalize):
    loss = connected(FeatureAlignmentLoss(['a', 'b'], loss_weight=0.7, normalize=normalize))
    value = loss(STUDENT, TEACHER)
    expected = 0.0
    for layer in 'ab':
        target = TEACHER[layer].double().numpy()
        distance = np.mean((mlp(loss, layer, STUDENT[layer]) - target) ** 2)
        expected += distance / np.mean(target**2) if normalize else distance
    assert value.item() == pytest.approx(0.7 * expected, rel=1e-5)


def test_rmse_gram_is_the_formula_of_gcc():
    loss = connected(FeatureAlignmentLoss(['a'], distance='rmse_gram', normalize=False))
    value = loss(STUDENT, TEACHER)
    student, target = mlp(loss, 'a', STUDENT['a']), TEACHER['a'].double().numpy()

    def gram(f):
        n, c, h, w = f.shape
        f = f.reshape(n, c, h * w)
        return f @ f.transpose(0, 2, 1) / (c * h * w)

    expected = np.sqrt(np.mean((student - target) ** 2)) + np.sqrt(np.mean((gram(student) - gram(target)) ** 2))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_hidden_channels_default_to_the_teachers():
    loss = FeatureAlignmentLoss(['a'])
    loss.connect(STUDENT, TEACHER)
    first, _, second = loss.connectors['a']
    assert first.weight.shape[:2] == (8, 4) and second.weight.shape[:2] == (8, 8)


def test_hidden_channels_are_an_option_and_zero_is_one_convolution_without_bias():
    loss = FeatureAlignmentLoss(['a'], hidden_channels=5)
    loss.connect(STUDENT, TEACHER)
    assert loss.connectors['a'][0].weight.shape[:2] == (5, 4)
    loss = FeatureAlignmentLoss(['a'], hidden_channels=0)
    loss.connect(STUDENT, TEACHER)
    assert loss.connectors['a'].weight.shape[:2] == (8, 4) and loss.connectors['a'].bias is None


def test_normalized_the_weight_carries_over_between_teachers():
    loss = FeatureAlignmentLoss(['a'])
    loss.connect(STUDENT, TEACHER)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
    for size in (1e-3, 1.0, 1e3):  # a student that has learnt nothing is at distance 1 from any teacher
        assert loss(STUDENT, {'a': size * TEACHER['a']}).item() == pytest.approx(1.0, rel=1e-5)


def test_a_new_connector_does_not_pull_at_a_student_of_larger_features():
    loss = FeatureAlignmentLoss(['a'])
    assert loss({'a': 30 * STUDENT['a']}, TEACHER).item() == pytest.approx(1.0, abs=0.01)


def test_gradients_reach_the_student_and_the_connectors_but_not_the_teacher():
    student = {name: f.clone().requires_grad_() for name, f in STUDENT.items()}
    teacher = {name: f.clone().requires_grad_() for name, f in TEACHER.items()}
    loss = FeatureAlignmentLoss({'a': 'b', 'b': 'a'})
    loss(student, teacher).backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in student.values())
    assert all(f.grad is None for f in teacher.values())
    assert all(p.grad is not None for p in loss.parameters())


def test_the_gradient_is_finite_where_student_and_teacher_agree():
    same = {'a': torch.zeros(1, 4, 3, 3, requires_grad=True)}
    loss = FeatureAlignmentLoss(['a'], distance='rmse_gram', hidden_channels=0)
    loss(same, {'a': torch.zeros(1, 4, 3, 3)}).backward()
    assert torch.isfinite(same['a'].grad).all()


def test_vectors_are_maps_of_one_pixel():
    assert FeatureAlignmentLoss(['a'])({'a': torch.rand(2, 4)}, {'a': torch.rand(2, 8)}).ndim == 0


def test_connecting_leaves_the_random_numbers_of_training_alone():
    state = torch.get_rng_state()
    FeatureAlignmentLoss(['a']).connect(STUDENT, TEACHER)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(layers='body.5'), 'layers: expected a number of depths, a list'),
        (dict(layers=[]), 'layers: expected a number of depths, a list'),
        (dict(layers=['a'], distance='mes'), "distance: unknown 'mes'; did you mean 'mse'"),
        (dict(layers=['a'], hidden_channels=-1), 'hidden_channels: must be 0 or more'),
        (dict(layers=['a'], loss_weight=-1.0), 'loss_weight: must not be negative'),
    ],
)
def test_bad_arguments_get_one_clear_line(arguments, message):
    with pytest.raises(UserError, match=message):
        FeatureAlignmentLoss(**arguments)


def test_features_of_different_size_are_refused_by_name():
    with pytest.raises(UserError, match="'a' of the student is 6x5, 'a' of the teacher 3x5"):
        FeatureAlignmentLoss(['a'])(STUDENT, {'a': TEACHER['a'][:, :, :3]})


def test_a_larger_map_is_folded_to_the_teachers_size():
    student, teacher = torch.randn(2, 4, 12, 8), torch.randn(2, 5, 6, 4)
    loss = FeatureAlignmentLoss(['a'], hidden_channels=0, normalize=False)
    loss.connect({'a': student}, {'a': teacher})
    weight = torch.randn(5, 16)
    loss.connectors['a'].weight.data = weight[:, :, None, None]
    expected = 0.0
    for row in range(6):
        for column in range(4):  # the square of each place, channel by channel
            square = student[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, 16)
            expected += (square.double() @ weight.T.double() - teacher[:, :, row, column].double()).pow(2).sum()
    assert loss({'a': student}, {'a': teacher}).item() == pytest.approx(expected.item() / teacher.numel(), rel=1e-5)


@pytest.mark.parametrize('size', [(12, 4), (13, 8), (3, 2)])
def test_a_map_that_cannot_be_folded(size):
    loss = FeatureAlignmentLoss(['a'])
    with pytest.raises(UserError, match='align layers of equal spatial size'):
        loss.connect({'a': torch.zeros(1, 2, *size)}, {'a': torch.zeros(1, 2, 6, 4)})
