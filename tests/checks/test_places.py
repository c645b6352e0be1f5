"""Missing images give a one-line error with the key, the file and the remedy."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from basicsr.utils import imfrombytes
from PIL import Image

from sdakd_plugin.checks.data import _size, check_datasets
from sdakd_plugin.checks.places import unpaired
from sdakd_plugin.errors import UserError

ORIENTATION = 0x0112  # in EXIF
RIGHT_TOP = 6  # to be turned by a quarter


@pytest.fixture
def data(photos, tmp_path, options):
    """Photographs of one's own, for training and validation."""
    shutil.copytree(photos, tmp_path / 'data')
    for block in options['datasets'].values():
        block.update(dataroot_gt=str(tmp_path / 'data/HR'), dataroot_lq=str(tmp_path / 'data/LR'))
    return tmp_path / 'data'


def complaint(options):
    with pytest.raises(UserError) as caught:
        check_datasets(options)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('key', ['dataroot_gt', 'dataroot_lq'])
@pytest.mark.parametrize('listed', [False, True])
def test_a_missing_folder(options, data, key, listed):
    options['datasets']['train'][key] = 'nowhere'
    if listed:
        options['datasets']['train']['meta_info_file'] = str(data / 'meta.txt')
    assert complaint(options) == f'datasets.train.{key}: nowhere does not exist'


def test_a_list_that_is_empty(options, data):
    (data / 'meta.txt').write_text('\n')
    options['datasets']['train']['meta_info_file'] = str(data / 'meta.txt')
    assert complaint(options).startswith(
        f"datasets.train.meta_info_file: '{data}/meta.txt' lists no photographs; it needs the path of one"
    )


def test_a_list_with_a_space_in_a_name(options, data):
    """BasicSR takes what comes before the space for the name."""
    name = min(path.name for path in (data / 'HR').iterdir())
    for folder in ('HR', 'LR'):
        (data / folder / name).rename(data / folder / f'my {name}')
    (data / 'meta.txt').write_text(f'my {name} (96,96,3)\n')
    options['datasets']['train']['meta_info_file'] = str(data / 'meta.txt')
    assert complaint(options) == (
        f"datasets.train.meta_info_file: PairedImageDataset reads 'my {name}' up to the space only; rename the image, "
        'or use type: PhotoDataset'
    )


def test_a_missing_folder_of_a_set_for_validation(options, data):
    options['datasets']['val'].update(type='SingleImageDataset', dataroot_lq=str(data / 'x2'))
    assert complaint(options) == f'datasets.val.dataroot_lq: {data}/x2 does not exist'


def test_a_file_for_a_folder(options, data):
    options['datasets']['train']['dataroot_lq'] = str(data / 'meta.txt')
    assert complaint(options) == f'datasets.train.dataroot_lq: {data}/meta.txt is not a folder'


def test_a_missing_folder_of_a_class_that_does_not_read_it_is_fine(options, data, photos):
    from tests.helpers.degradation import degradation_options

    options = degradation_options(options, photos)
    options['datasets']['train']['dataroot_lq'] = 'nowhere'
    check_datasets(options)


@pytest.mark.parametrize('key', ['meta_info', 'meta_info_file'])
def test_a_missing_list(options, photos, key):
    if key == 'meta_info':
        from tests.helpers.degradation import degradation_options

        options = degradation_options(options, photos)
    options['datasets']['train'][key] = 'nowhere.txt'
    assert complaint(options) == f'datasets.train.{key}: nowhere.txt does not exist'


def test_a_list_that_names_what_is_not_there(options, data):
    (data / 'meta.txt').write_text('astronaut.png\ntea.png\n')
    options['datasets']['train']['meta_info_file'] = str(data / 'meta.txt')
    message = complaint(options)
    assert message.startswith(f'datasets.train: {data}/') and message.endswith(
        '/tea.png is in the list of images, but does not exist'
    )


def test_a_folder_for_an_lmdb(options, data):
    (data / 'HR').rename(data / 'HR.lmdb')
    (data / 'LR').rename(data / 'LR.lmdb')
    options['datasets']['train'].update(
        dataroot_gt=str(data / 'HR.lmdb'), dataroot_lq=str(data / 'LR.lmdb'), io_backend={'type': 'lmdb'}
    )
    assert complaint(options) == (
        f'datasets.train.dataroot_gt: {data}/HR.lmdb is not an LMDB of BasicSR: it '
        'has no meta_info.txt; for a folder of images use io_backend: {type: disk}'
    )


@pytest.mark.parametrize('pattern', ['{}x4', 'LR_{}', 'a_{}_b'])
def test_lq_images_with_names_of_their_own(options, data, pattern):
    for path in (data / 'LR').iterdir():
        path.rename(path.with_stem(pattern.format(path.stem)))
    message = complaint(options)
    assert message == (
        f"datasets.train.filename_tmpl: '{{}}' makes astronaut.png the LQ image of astronaut.png, and "
        f"{data}/LR has no such file; '{pattern}' fits all"
    )
    for block in options['datasets'].values():
        block['filename_tmpl'] = pattern
    check_datasets(options)


def test_no_template_is_suggested_that_fits_some(options, data):
    for path in (data / 'LR').iterdir():
        path.rename(path.with_stem(f'{path.stem}x4' if 'o' in path.stem else f'{path.stem}_small'))
    message = complaint(options)
    assert f'{data}/HR/astronaut.png has no LQ image {data}/LR/astronaut.png' in message
    assert f'{data}/LR/astronautx4.png has no GT image (6 more are unpaired)' in message
    assert "filename_tmpl ('{}' here) makes the name of an LQ image from that of the GT image" in message


def test_other_endings(options, data):
    for path in (data / 'LR').iterdir():
        path.rename(path.with_suffix('.jpg'))
    assert 'makes the name of an LQ image from that of the GT image, whose suffix it keeps' in complaint(options)


@pytest.mark.parametrize(
    'folder, expected',
    [
        ('LR', '{data}/LR/notes.txt has no GT image; every image needs its partner'),
        ('HR', '{data}/HR/notes.txt has no LQ image {data}/LR/notes.txt; every image needs its partner; filename_tmpl'),
    ],
)
def test_a_stray_file_is_named(options, data, folder, expected):
    (data / folder / 'notes.txt').write_text('x')
    message = complaint(options)
    assert message.startswith('datasets.train: ' + expected.format(data=data))
    assert message.endswith('partner') == (folder == 'LR')


def test_what_is_paired_or_in_no_two_folders_is_not_explained(options, data):
    block = options['datasets']['train']
    assert unpaired(block, 'x') is None
    assert unpaired({**block, 'dataroot_lq': 'nowhere'}, 'x') is None
    assert unpaired({'type': 'SampleImageDataset'}, 'x') is None


def test_an_image_that_a_camera_has_marked_to_be_turned(options, data):
    """BasicSR turns it, as OpenCV does; its header has the other sides."""
    exif = Image.Exif()
    exif[ORIENTATION] = RIGHT_TOP
    for path in [*(data / 'HR').iterdir(), *(data / 'LR').iterdir()]:
        image = Image.open(path).convert('RGB')
        image = image.crop((0, 0, image.width, image.height * 3 // 4))
        path.unlink()
        if path.parent.name == 'HR':  # stored lying, shown upright
            image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix('.jpg'), exif=exif)
        else:
            image.save(path.with_suffix('.jpg'))
    check_datasets(options)
    lying = next((data / 'LR').iterdir())
    Image.fromarray(np.zeros((48, 36, 3), np.uint8)).save(lying)  # the sides of the header fit, those of the image not
    assert 'times scale 4 is not' in complaint(options)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_the_size_is_that_of_the_image_that_basicsr_reads(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = str(tmp_path / 'image')
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path, kind, exif=exif)
    height, width, _ = imfrombytes(Path(path).read_bytes()).shape
    assert _size(path, 'x') == [width, height]
