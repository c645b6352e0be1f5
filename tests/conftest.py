"""What the tests share: real images, a small teacher, and stock BasicSR as a subprocess."""
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
torch.set_num_threads(1)  # the networks are small; two processes with two threads each wait for one another


def pytest_configure(config):
    if not config.option.markexpr and not any('::' in argument for argument in config.args):
        config.option.markexpr = 'not long'


@pytest.fixture(scope='session')
def shared():
    """The folder of real data and weights beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get('SDAKD_SHARED', ROOT.parent / 'shared'))
    if not (folder / 'data/Set5').is_dir():
        pytest.skip(f'needs real data: {folder} (or $SDAKD_SHARED) is absent')
    return folder


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs as paired folders ``HR`` and ``LR``, with a list of the HR files."""
    import cv2
    from basicsr.utils.matlab_functions import imresize
    from skimage import data
    folder = tmp_path_factory.mktemp('photos')
    (folder / 'HR').mkdir()
    (folder / 'LR').mkdir()
    names = []
    for name in ('astronaut', 'coffee', 'chelsea', 'rocket'):
        image = np.ascontiguousarray(getattr(data, name)()[60:252, 100:292, ::-1])
        lr = imresize(image / 255.0, 1 / 4)
        cv2.imwrite(str(folder / f'HR/{name}.png'), image)
        cv2.imwrite(str(folder / f'LR/{name}.png'), (lr * 255).round().clip(0, 255).astype(np.uint8))
        names.append(f'{name}.png')
    (folder / 'meta.txt').write_text('\n'.join(names) + '\n')
    return folder


STUDENT = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
TEACHER = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8}
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}


@pytest.fixture(scope='session')
def small_teacher(tmp_path_factory):
    """Weights of small random networks, as BasicSR saves them: a teacher generator and discriminator."""
    from basicsr.archs import build_network
    folder = tmp_path_factory.mktemp('teacher')
    torch.manual_seed(1)
    torch.save({'params_ema': build_network(TEACHER).state_dict()}, folder / 'net_g.pth')
    torch.save({'params': build_network({**UNET, 'num_feat': 16}).state_dict()}, folder / 'net_d.pth')
    return folder


@pytest.fixture
def options(photos, small_teacher):
    """A complete three-stage SDAKD run, small enough for a test; each test changes what it is about."""
    return {
        'name': 'run', 'model_type': 'SDAKDModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {
            'train': {'name': 'photos', 'type': 'PairedImageDataset', 'dataroot_gt': str(photos / 'HR'),
                      'dataroot_lq': str(photos / 'LR'), 'io_backend': {'type': 'disk'}, 'gt_size': 64,
                      'use_hflip': True, 'use_rot': True, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2,
                      'dataset_enlarge_ratio': 1},
            'val': {'name': 'val', 'type': 'PairedImageDataset', 'dataroot_gt': str(photos / 'HR'),
                    'dataroot_lq': str(photos / 'LR'), 'io_backend': {'type': 'disk'}},
        },
        'network_g': dict(STUDENT),
        'network_d': {'type': 'StudentDiscriminator', 'teacher': {**UNET, 'num_feat': 16}, 'width': 0.5},
        'teacher': {'network_g': dict(TEACHER), 'pretrain_network_g': str(small_teacher / 'net_g.pth')},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
            'optim_d': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'total_iter': 6, 'warmup_iter': -1,
            'stages': [
                {'name': 'supervised', 'iters': 2, 'losses': ['pixel']},
                {'name': 'alignment', 'iters': 2, 'losses': ['pixel', 'feature']},
                {'name': 'adversarial', 'iters': 2, 'losses': ['pixel', 'feature', 'gan']},
            ],
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'feature_opt': {'type': 'FeatureAlignmentLoss', 'layers': ['body.0', 'body.1'], 'loss_weight': 0.1},
            'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
        },
        'val': {'val_freq': 2, 'save_img': False, 'metrics': {
            'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True},
            'ssim': {'type': 'calculate_ssim', 'crop_border': 4, 'test_y_channel': True}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


class Warm:
    """The process of ``tests/warm.py``."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'tests.warm'], cwd=ROOT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, 'OMP_NUM_THREADS': '1'})

    def start(self, folder, arguments, **more):
        """Start a command; the process number of its session. What it prints goes to two files beside the folder.

        ``more`` goes into the order: ``processes`` for several that train together, whose numbers are ``children``.
        """
        order = {'folder': str(folder), 'arguments': arguments, 'stdout': f'{folder}.out', 'stderr': f'{folder}.err',
                 'store': f'{folder}.{uuid4().hex}', **more}
        self.process.stdin.write(json.dumps(order) + '\n')
        self.process.stdin.flush()
        self.children = [int(number) for number in self.process.stdout.readline().split()]
        return self.children[0]

    def wait(self, folder, arguments):
        """The end of the command that was started, of the first of its processes; ``codes`` has all exit codes."""
        self.codes = [int(code) for code in self.process.stdout.readline().split()]
        return subprocess.CompletedProcess(arguments, self.codes[0], *(Path(f'{folder}.{kind}').read_text()
                                                                       for kind in ('out', 'err')))


@pytest.fixture(scope='session')
def warm():
    server = Warm()
    yield server
    server.process.stdin.close()
    server.process.wait(30)


class Stock:
    """Stock BasicSR in a folder of its own: ``basicsr/train.py`` there is the installed one, unedited."""

    def __init__(self, folder, warm=None):
        self.folder, self.python, self.warm = folder, sys.executable, warm
        (folder / 'basicsr').symlink_to(Path(find_spec('basicsr').origin).parent)

    def run(self, command, opt, *arguments, env=None, **more):
        """Run ``basicsr/train.py``, ``basicsr/test.py`` or ``sdakd ...`` with an option dictionary or file.

        ``more`` goes to the warm process: how many ``processes`` train together, and a ``function`` instead of sdakd.
        """
        path = opt
        if isinstance(opt, dict):
            path = self.folder / 'opt.yml'
            path.write_text(yaml.safe_dump(opt, sort_keys=False))
        if self.warm and not command.endswith('.py') and not env and self.python == sys.executable:
            arguments = [*command.split()[1:], '-opt', str(path), *arguments]
            if more.get('processes', 1) > 1:
                arguments += ['--launcher', 'pytorch']
            self.warm.start(self.folder, arguments, **more)
            return self.warm.wait(self.folder, arguments)
        program = command.split() if command.endswith('.py') else ['-m', 'sdakd_plugin.cli', *command.split()[1:]]
        return subprocess.run([str(self.python), *program, '-opt', str(path), *arguments], cwd=self.folder, text=True,
                              capture_output=True, timeout=300,
                              env={**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})})

    def ok(self, command, opt, *arguments, env=None, **more):
        done = self.run(command, opt, *arguments, env=env, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not more or set(self.warm.codes) == {0}, self.warm.codes
        return done.stdout + done.stderr


@pytest.fixture
def stock(tmp_path, warm):
    return Stock(tmp_path, warm)
