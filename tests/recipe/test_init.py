"""``sdakd init`` turns a folder of photographs into an option file that passes ``sdakd check`` and trains."""

import argparse
import errno
import json
from dataclasses import replace

import cv2
import jsonschema
import numpy as np
import pytest
import torch
import yaml

from sdakd_plugin import cli
from sdakd_plugin.commands import init as init_command
from sdakd_plugin.commands.arguments.init import add_arguments
from sdakd_plugin.data.photo_dataset import PhotoDataset
from sdakd_plugin.errors import UserError
from sdakd_plugin.recipe import option_file, plan, survey
from sdakd_plugin.recipe.choices import Choices, TeacherNetwork, choose
from sdakd_plugin.recipe.measurement import Measurement
from sdakd_plugin.recipe.names import STUDENTS
from sdakd_plugin.utils.machine import Machine
from tests.helpers.paths import ROOT

CPU = Machine(None, False, 4)
GPU = Machine('a card', True, 8)


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """Twelve photographs, one of them with a space in its name, one too small, one truncated, and a text file."""
    from skimage import data

    root = tmp_path_factory.mktemp('holidays')
    (root / 'two').mkdir()
    image = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    for index in range(12):
        part = image[20 * index : 20 * index + 140, 10 * index : 10 * index + 160]
        cv2.imwrite(str(root / ('a photo.png' if not index else f'two/{index:02}.png')), part)
    cv2.imwrite(str(root / 'small.png'), image[:40, :200])
    (root / 'broken.png').write_bytes((root / 'two/01.png').read_bytes()[:5000])
    (root / 'notes.txt').write_text('not a photograph')
    for name in ('IMG 1.HEIC', '.hidden.heic'):
        (root / name).write_text('of a phone')
    return root


@pytest.fixture
def init(tmp_path, monkeypatch, small_teacher, alexnet):
    """Run the command in a temporary folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        given = ['--teacher', str(small_teacher / 'net_g.pth'), '--lpips', str(alexnet)]
        return cli.main(['init', *map(str, arguments), *given])

    return run


def test_the_file_passes_the_check(init, folder, tmp_path, capsys, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    monkeypatch.setattr(init_command, 'crowded', lambda: 'Other programs are using the processor')
    assert init(folder, '--student', 'nano', '--photos', 'clean', '--hours', '0.5') == 0
    said = capsys.readouterr().out
    assert torch.cuda.is_available() or 'Other programs are using the processor\n' in said
    assert '11 photographs train, 1 are kept for validation' in said
    assert 'smaller than the crop of 128 pixels: 1, such as small.png (200x40)' in said
    assert 'damaged: 1, such as broken.png' in said
    assert 'left out, of other formats (convert them to JPEG or PNG): 1, such as IMG 1.HEIC\n' in said
    assert 'sdakd train -opt my.yml' in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before

    train, val = ((tmp_path / f'my_{part}.txt').read_text().splitlines() for part in ('train', 'val'))
    assert len(train) == 11 and len(val) == 1 and not set(train) & set(val)
    assert 'a photo.png' in train + val and 'small.png' not in train + val
    text = (tmp_path / 'my.yml').read_text()
    assert text.startswith('# yaml-language-server: $schema=sdakd_schema.json\n')
    opt = yaml.safe_load(text)
    jsonschema.validate(opt, json.loads((tmp_path / 'sdakd_schema.json').read_text()))
    assert opt['path']['pretrain_network_g'] == 'sdakd_nano_x4'
    assert sum(stage['iters'] for stage in opt['train']['stages']) == opt['train']['total_iter'] > 100
    assert len((tmp_path / 'my.yml').read_text().splitlines()) < 70

    assert cli.main(['check', '-opt', 'my.yml']) == 0
    assert 'my.yml is fine' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['absent'], "there is no folder 'absent'"),
        (['empty'], "no photograph in 'empty'"),
        (['text'], 'none of 1 photographs can be read; a.png'),
        (['one'], 'of 1 readable photographs 1 can be used'),
        (['tiny'], 'of 3 readable photographs 0 can be used, as crops have 64 pixels'),
        (['two', '--hours', '0'], '--hours: expected a number above 0'),
        pytest.param(['two', '--hours', '1e-9'], '--hours: 1e-09 is too short', marks=pytest.mark.long),
        (['two', '--out', 'kept.yml'], 'kept.yml exists and is kept; --overwrite replaces it'),
        (['two', '--out', 'my.txt'], 'my.txt must end with .yml'),
        (['two', '--out', 'absent/my.yml'], 'cannot be written: No such file or directory'),
        ([], 'PHOTOS: name a folder of photographs'),
        (['two', '--from', 'kept.yml'], 'leave out PHOTOS'),
    ],
)
def test_bad_input_costs_one_line(init, tmp_path, capsys, arguments, message):
    def photograph(path, side):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8))

    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text/a.png').write_text('<html>')
    photograph(tmp_path / 'one/a.png', 128)
    for name in 'abc':
        photograph(tmp_path / f'two/{name}.png', 128)
        photograph(tmp_path / f'tiny/{name}.png', 24)
    (tmp_path / 'kept.yml').write_text('mine')
    before = set(tmp_path.iterdir())
    assert init(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('error: ') and message in line
    assert (tmp_path / 'kept.yml').read_text() == 'mine' and set(tmp_path.iterdir()) == before


def test_a_full_disk_costs_one_line_and_leaves_no_option_file(init, folder, tmp_path, capsys, monkeypatch):
    def measured(*_arguments):
        return Measurement({'perceptual': 0.1}, 10**9, 0.0, 0.01)

    def full(_path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(init_command, 'tried', measured)
    assert init(folder, '--out', 'my run.yml') == 0
    assert 'sdakd train -opt "my run.yml"' in capsys.readouterr().out  # to be pasted
    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setattr(init_command, 'new_file', full)
    assert init(folder) == 1
    assert capsys.readouterr().err.strip().endswith('cannot be written: No space left on device')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('student', STUDENTS)
@pytest.mark.parametrize('photos', ['real', 'clean'])
@pytest.mark.parametrize('machine', [CPU, GPU], ids=['cpu', 'gpu'])
@pytest.mark.parametrize('lpips', [None, '', '/a b/alexnet.pth'])
def test_every_choice_makes_a_valid_file(tmp_path, student, photos, machine, lpips):
    from sdakd_plugin.distillation.stages import Schedule
    from sdakd_plugin.options import parse

    teacher = TeacherNetwork('RealESRGAN_x4plus', 'RRDBNet', 4, None)
    for cached in (True, False):
        chosen = replace(choose(student, photos, teacher, 128, machine, lpips), cached=cached, iterations=1001)
        text = option_file.option_file(chosen, '/photos: "mine"', tmp_path / 'my run.yml', (9, 1), ['said'])
        opt = yaml.safe_load(text)
        Schedule.from_train(parse(opt).train)
        assert opt['datasets']['train']['dataroot_gt'] == '/photos: "mine"'
        assert ('cache' in opt['teacher']) == cached
        assert ('lpips_opt' in opt['train']) == (lpips is not None)
    start = {'nano': 'sdakd_nano_x4', 'small': 'sdakd_small_x4', 'half': 'teacher', 'medium': None}[student]
    assert opt['path']['pretrain_network_g'] == (start + '_real' * (photos == 'real') if 'x4' in str(start) else start)


def chosen_for(machine=CPU):
    return Choices('small', 'real', 'T', 4, 'sdakd_small_x4_real', 128, 8, 1, machine, '')


def measured(chosen):
    return Measurement({'perceptual': 0.5 if chosen.cached else 0.9}, 2 * 10**9, 0.1, 0.01)


def test_the_iterations_fill_the_time(tmp_path):
    work = plan.Work(photographs=50, train_pixels=500_000, val_pixels=10_000, teacher=1e-4)
    made = plan.make_plan(chosen_for(), work, 1.0, tmp_path, measured)
    assert made.choices.cached and made.reason == ''
    assert made.before == pytest.approx(plan.START + 50 + 5)
    assert 0.93 * 3600 < made.seconds < 3600
    assert made.choices.iterations % 100 == 0


def test_without_a_time_the_usual_number_is_trained(tmp_path):
    work = plan.Work(50, 500_000, 10_000, 1e-4)
    assert plan.make_plan(chosen_for(), work, None, tmp_path, measured).choices.iterations == plan.FROM_TRAINED
    scratch = replace(chosen_for(), start=None)
    assert plan.make_plan(scratch, work, None, tmp_path, measured).choices.iterations == plan.ITERATIONS


def test_images_that_take_longer_than_they_save_or_do_not_fit_are_not_stored(tmp_path):
    many = plan.Work(50_000, 10**11, 10_000, 1e-4)
    made = plan.make_plan(chosen_for(), many, 5.0, tmp_path, measured)
    assert not made.choices.cached and made.reason
    vast = plan.make_plan(chosen_for(), replace(many, train_pixels=10**16, teacher=1e-15), 5.0, tmp_path, measured)
    assert not vast.choices.cached and 'GB are free' in vast.reason


def test_the_crop_shrinks_until_most_photographs_are_as_large():
    sizes = {f'{index}.png': (100, 300) for index in range(10)}
    assert survey.Survey('.', sizes, {}, 10).crop(256) == 64
    assert survey.Survey('.', {**sizes, 'l.png': (500, 400)}, {}, 11).crop(256) == 64
    assert survey.Survey('.', dict.fromkeys(sizes, (256, 300)), {}, 10).crop(256) == 256


def test_validation_is_spread_over_the_names_and_avoids_large_photographs():
    sizes = {f'{index:03}.png': (200, 200) for index in range(100)} | {'z.png': (4000, 3000)}
    train, val = survey.Survey('.', sizes, {}, 0).split(128)
    assert len(val) == 10 and len(train) == 91 and 'z.png' in train
    assert np.diff([int(name[:3]) for name in val]).min() >= 8


@pytest.mark.parametrize(
    'text, message', [('', 'lists no photographs'), (None, 'cannot be read'), ('absent.png', 'No such file')]
)
def test_a_list_of_photographs_that_cannot_be_used(folder, tmp_path, text, message):
    path = tmp_path / 'list.txt'
    if text is not None:
        path.write_text(text)
    opt = {'phase': 'val', 'scale': 4, 'dataroot_gt': str(folder), 'meta_info': str(path)}
    with pytest.raises(UserError, match=message):
        PhotoDataset(opt)[0]


def test_a_list_of_photographs_is_read_as_basicsr_writes_it(folder, tmp_path):
    (tmp_path / 'list.txt').write_text('two/03.png (140,160,3)\n\na photo.png\n')
    opt = {'phase': 'val', 'scale': 4, 'dataroot_gt': str(folder), 'meta_info': str(tmp_path / 'list.txt')}
    dataset = PhotoDataset(opt)
    assert [item['gt_path'] for item in dataset.paths] == [str(folder / 'two/03.png'), str(folder / 'a photo.png')]
    everything = PhotoDataset({key: value for key, value in opt.items() if key != 'meta_info'})
    index = [item['gt_path'] for item in everything.paths].index(str(folder / 'two/03.png'))
    assert torch.equal(dataset[0]['lq'], everything[index]['lq'])


def test_the_tutorial_names_every_option():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = (ROOT / 'docs/tutorial.md').read_text(encoding='utf-8')
    for option in ('--student', '--photos', '--teacher', '--hours', '--lpips', '--out'):
        assert f'| `{option}` |' in text and option in parser.format_help()
