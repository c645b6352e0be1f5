"""Several teachers in one run."""

import copy

import pytest
import torch

from tests.helpers.exact_resume import check_exact, equal
from tests.helpers.mistakes import change, complaint
from tests.helpers.networks import STUDENT, TEACHER
from tests.helpers.training import batch, build, steps

L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}


@pytest.fixture
def several(options):
    """Two teachers: the first for features and, in the last stage, images; the second for images."""
    first = options.pop('teacher')
    options['teachers'] = {'sharp': first, 'smooth': {'network_g': dict(STUDENT), 'pretrain_network_g': 'untrained'}}
    train = options['train']
    train['structure_opt'] = {**L1, 'target': 'teacher', 'teacher': 'smooth'}
    train['texture_opt'] = {**L1, 'target': 'both'}
    train['stages'][0]['losses'] = ['pixel', 'structure']
    train['stages'][2]['losses'] += ['texture', 'structure']
    return options


def test_an_iteration_runs_the_teachers_of_its_terms_once(several, monkeypatch):
    model = build(several)
    calls = []
    for key, teacher in model.teachers.items():

        def generate(lq, layers, image, scale, key=key, run=teacher.generate):
            calls.append((key, tuple(layers), image))
            return run(lq, layers, image, scale)

        monkeypatch.setattr(teacher, 'generate', generate)
    per_stage = []
    for iteration in (1, 3, 5):
        calls.clear()
        steps(model, iteration, iteration)
        per_stage.append(list(calls))
    layers = ('body.0', 'body.1')
    assert per_stage == [
        [('teachers.smooth', (), True)],
        [('teachers.sharp', layers, False)],
        [('teachers.sharp', layers, True), ('teachers.smooth', (), True)],
    ]


def test_each_term_compares_with_its_own_teacher(several):
    model = build(several)
    with torch.no_grad():
        sr = model.net_g(batch()['lq'])
    log = steps(model, 1, 1)[1]
    expected = (sr - model.teachers['teachers.smooth'].net_g(batch()['lq'])).abs().mean()
    assert log['l_g_structure'] == pytest.approx(float(expected), rel=1e-6)


def test_one_of_several_is_the_same_as_a_single_one(options):
    torch.manual_seed(0)
    alone = build(options)
    named = copy.deepcopy(options)
    named['teachers'] = {'a': named.pop('teacher')}
    named['train']['feature_opt']['teacher'] = 'a'
    torch.manual_seed(0)
    several = build(named)
    assert steps(alone, 1, 6) == steps(several, 1, 6)
    assert equal(alone.net_g.state_dict(), several.net_g.state_dict())


def test_the_first_teacher_gives_a_student_its_weights(options):
    options['teachers'] = {'a': options.pop('teacher')}
    options['network_g'] = dict(TEACHER)
    options['path']['pretrain_network_g'] = 'teacher'
    model = build(options)
    assert equal(model.net_g.state_dict(), model.teacher.net_g.state_dict())


def test_resuming_is_exact(stock, several):
    several['train']['texture_opt']['teacher'] = 'smooth'
    del several['val']
    check_exact(stock, several, stops=(1, 5))


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('teacher', {'pretrain_network_g': 'untrained'}, 'teacher, teachers: give one of them'),
        ('teachers', {}, 'teachers: dictionary should have at least 1 item'),
        ('teachers/smooth/pretrain_network', 'x', "teachers.smooth: unknown key 'pretrain_network'; did you mean"),
        ('teachers/smooth/pretrain_network_g', ..., 'teachers.smooth.pretrain_network_g: this key is missing'),
        ('teachers/smooth/pretrain_network_g', '/no/file.pth', 'teachers.smooth.pretrain_network_g: '),
        ('teachers/smooth/network_g/num_blok', 1, "teachers.smooth.network_g: unknown key 'num_blok' for RRDBNet"),
        (
            'teachers/smooth/network_g/scale',
            2,
            'teachers.smooth.network_g: turns 16 pixels into 32, the student into 64',
        ),
        ('teachers/smooth/cache', 'folder', 'teachers.smooth.cache: images are stored for one teacher only'),
        (
            'train/structure_opt/teacher',
            'smoth',
            "train.structure_opt.teacher: there is no 'smoth' in teachers; did you mean 'smooth'?",
        ),
        ('train/pixel_opt/teacher', 'smooth', 'train.pixel_opt.teacher: pixel does not use a teacher'),
    ],
)
def test_mistakes(several, path, value, expected):
    assert expected in complaint(change(several, path, value))


def test_a_single_teacher_has_no_name(options):
    expected = 'train.feature_opt.teacher: chooses one of teachers, a block that is missing; leave it out'
    assert expected in complaint(change(options, 'train/feature_opt/teacher', 'a'))
