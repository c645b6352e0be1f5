"""The watch on colour and on the distance from the teacher's images (``train.drift_after``)."""

import re

import pytest
import torch

from sdakd_plugin.distillation.drift import Drift
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from tests.helpers.exact_resume import check_exact

CPU = torch.device('cpu')


def watched(offsets, patience=10, of_teacher=None):
    """What is reported for images whose mean differs from the reference's by ``offsets`` (of 255), one an iteration."""
    drift, said = Drift(patience, CPU), []
    reference = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for number, offset in enumerate(offsets):
        image = reference + torch.tensor(offset).view(1, -1, 1, 1) / 255
        teacher = None if of_teacher is None else image + of_teacher[number] / 255
        drift.watch(image, reference, teacher)
        said += drift.report()
    return said


def test_a_channel_that_drifts_is_named_once():
    said = watched([(0.0, 0.0, 0.2)] * 20 + [(0.0, -6.0, 0.2)] * 40)
    assert len(said) == 1
    value, best = re.fullmatch(
        r'change colour: the mean of green is (-\d\.\d) of 255 off .*, after (\d\.\d) at best, on .* 10 iterations',
        said[0],
    ).groups()
    assert -4.2 < float(value) <= -3 and best == '0.2'


def test_what_evens_out_or_was_never_near_is_no_drift():
    assert watched([(6.0, 6.0, 6.0), (-6.0, -6.0, -6.0)] * 30) == []
    assert watched([(9.0, 9.0, 9.0)] * 60) == []  # a student that has not learnt its colours yet


def test_images_that_move_away_from_the_teachers():
    still = [(0.0, 0.0, 0.0)] * 60
    assert watched(still, of_teacher=[8.0 - 0.1 * number for number in range(60)]) == []
    (said,) = watched(still, of_teacher=[4.0] * 30 + [20.0] * 30)
    assert said.startswith("move away from the teacher's: they differ by 8.") and 'after 4.0 at best' in said


def test_an_image_that_is_not_finite_does_not_end_the_watch():
    wild = (float('nan'), float('inf'), 0.0)
    still, drifted = [(0.0, 0.0, 0.0)], [(0.0, -6.0, 0.0)]
    (said,) = watched(still * 20 + [wild] + drifted * 40)
    assert 'the mean of green is -' in said
    distances = [4.0] * 20 + [float('nan')] + [20.0] * 20
    assert len(watched(still * 41, of_teacher=distances)) == 1


def test_a_restored_watch_goes_on_as_before():
    torch.manual_seed(0)
    whole, first, second = (Drift(5, CPU) for _ in range(3))
    for number in range(20):
        images = [torch.rand(1, 3, 4, 4) for _ in range(3)]
        whole.watch(*images)
        (first if number < 9 else second).watch(*images)
        if number == 8:
            second.load_state(first.state())
    assert str(second.state()) == str(whole.state()) and second.counts == {'colour': 20, 'distance': 20}


@pytest.fixture
def drifting(options):
    """The generator's learning rate is far too high in the last stage, after one in which nothing changes."""
    train = options['train']
    train['optim_g']['lr'] = 1e-30
    train['teacher_pixel_opt'] = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
    train['stages'] = [
        {'name': 'still', 'iters': 8, 'losses': ['pixel', 'teacher_pixel', 'feature']},
        {'name': 'wild', 'iters': 8, 'losses': ['pixel', 'teacher_pixel', 'gan'], 'lr_g': 0.02},
    ]
    train.update(total_iter=16, drift_after=4)
    options['logger'].update(print_freq=1)
    return options


def test_in_a_run(stock, drifting):
    log = stock.ok('sdakd train', drifting)
    assert len(re.findall(r'The images (?:change colour|move away from the teacher)', log)) in (1, 2)
    assert not re.search(r'iter: +[1-8],.*\n.*The images', log)
    del drifting['train']['drift_after']
    drifting['name'] = 'other'
    assert 'The images' not in stock.ok('sdakd train', drifting)


@pytest.mark.long
def test_a_resumed_run_is_exact(stock, drifting):
    check_exact(stock, drifting, [5, 11])


def test_a_negative_number_is_refused(options):
    options['train']['drift_after'] = -1
    with pytest.raises(UserError, match=r'^train\.drift_after: '):
        parse(options)
