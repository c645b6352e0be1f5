"""Messages suggest the right name, or none."""

import pytest

from sdakd_plugin import cli
from sdakd_plugin.checks.keys import check_keys
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.errors import UserError, missing_key, nearest
from sdakd_plugin.options import parse
from sdakd_plugin.weights import KNOWN


@pytest.mark.parametrize(
    'name, choices, expected',
    [
        ('realesrgan_x4plus', KNOWN, "; did you mean 'RealESRGAN_x4plus'?"),
        ('REALESR-GENERAL-X4V3', KNOWN, "; did you mean 'realesr-general-x4v3'?"),
        ('l1loss', ['L1Loss', 'MSELoss', 'L2Loss'], "; did you mean 'L1Loss'?"),
        ('RRDBNETT', ['RRDBNet', 'SwinIR'], "; did you mean 'RRDBNet'?"),
        ('nothing like it', ['b', 'a'], '; valid: a, b'),
        ('nothing at all', [], ''),
    ],
)
def test_names_are_compared_without_their_case_first(name, choices, expected):
    assert nearest(name, choices) == expected


def test_weights_by_a_name_of_another_case(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(['weights', 'get', 'realesrgan_x4plus']) == 1
    assert capsys.readouterr().err.endswith(": realesrgan_x4plus; did you mean 'RealESRGAN_x4plus'?\n")


@pytest.mark.parametrize(
    'key, present, valid, expected',
    [
        ('train.total_iter', ['total_iters'], [], "train: unknown key 'total_iters'; did you mean 'total_iter'?"),
        ('model_type', ['Model_Type'], [], "unknown key 'Model_Type'; did you mean 'model_type'?"),
        ('model_type', ['name'], ['name'], 'model_type: this key is missing'),
        ('train', ['is_train'], ['is_train'], 'train: this key is missing'),
        (
            'val.val_freq',
            ['val_freqs'],
            ['val_freqs'],
            'val.val_freq: this key is missing',
        ),  # it means something itself
    ],
)
def test_a_key_that_is_missing(key, present, valid, expected):
    assert missing_key(key, present, valid) == expected


def complaint(options):
    with pytest.raises(UserError) as caught:
        parse({**options, 'is_train': True})
    return str(caught.value)


def test_a_slip_in_a_key_that_must_be_there(options):
    options['train']['total_iters'] = options['train'].pop('total_iter')
    assert complaint(options) == "train: unknown key 'total_iters'; did you mean 'total_iter'?"
    del options['train']['total_iters']
    assert complaint(options) == 'train.total_iter: this key is missing'


def test_a_file_for_testing_that_is_to_train(options):
    del options['train']
    assert complaint(options) == 'train: this block is missing'
    options['datasets'] = {'test_1': options['datasets']['val']}
    assert complaint(options) == 'train: this block is missing; the file is for testing: sdakd test'


@pytest.mark.parametrize(
    'block, key, slip, expected',
    [
        ('logger', 'print_freq', 'print_freqs', "logger: unknown key 'print_freqs'; did you mean 'print_freq'?"),
        ('logger', 'print_freq', None, 'logger.print_freq: this key is missing'),
        ('datasets', 'train', 'trian', "datasets: unknown key 'trian'; did you mean 'train'?"),
        ('datasets', 'train', None, 'datasets.train: this block is missing'),
    ],
)
def test_a_slip_in_a_key_that_basicsr_reads_late(options, block, key, slip, expected):
    value = options[block].pop(key)
    if slip:
        options[block][slip] = value
    with pytest.raises(UserError) as caught:
        check_keys(options, True)
    assert str(caught.value) == expected


def test_an_option_file_with_a_name_alone(tmp_path):
    (tmp_path / 'opt.yml').write_text('name: x')
    with pytest.raises(UserError) as caught:
        read_yaml(str(tmp_path / 'opt.yml'))
    assert str(caught.value) == f'model_type: this key is missing in {tmp_path}/opt.yml'


def test_what_realesrnet_calls_otherwise(options):
    options['gt_usm'] = True
    message = complaint(options)
    assert (
        message == "unknown key 'gt_usm', which is RealESRNetModel's; here l1_gt_usm sharpens the ground truth of "
        'pixel_opt'
    )
    options['l1_gt_usm'] = options.pop('gt_usm')
    assert parse(options).l1_gt_usm
