"""The plugin as users install it: a wheel and an editable install, each in a virtual environment of its own.

Torch, BasicSR and the like are borrowed from the running environment as links, so that nothing large is installed, and
so that the running environment's own copy of the plugin stays out.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.posix import needs_posix

# without isolation no build tool has to be fetched; setuptools before 70.1 cannot build a wheel by itself
OFFLINE = ['--no-build-isolation'] if find_spec('setuptools.command.bdist_wheel') else []
HOOK = 'sdakd_plugin.pth'

BUILD = """
import basicsr
from basicsr.archs import build_network
teacher = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}
net = build_network({'type': 'StudentDiscriminator', 'teacher': teacher, 'width': 0.5})
print(type(net).__name__, net.conv0.out_channels)
"""
# without the plugin, BasicSR 1.4.2 does not import beside torchvision 0.17 and later
KNOWN = """
import sys
try:
    import basicsr
except ModuleNotFoundError as error:
    assert error.name == 'torchvision.transforms.functional_tensor', error
print([name for name in sys.modules if 'sdakd' in name])
"""
STATE = """
import json, sys
from importlib.util import find_spec
modules = sorted(sys.modules)
specs = {name: find_spec(name) and find_spec(name).origin for name in ('json', 'numpy', 'no_such_module')}
print(json.dumps({'modules': modules, 'path': sys.path, 'specs': specs,
                  'finders': [getattr(finder, '__name__', type(finder).__name__) for finder in sys.meta_path]}))
"""
BROKEN = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == 'sdakd_plugin.losses':
            raise RuntimeError('a reason\\nof two lines')

sys.meta_path.insert(0, Broken())
"""


class Environment:
    """A virtual environment without pip, into which the running one's pip installs a copy of the source tree."""

    def __init__(self, folder, borrowed):
        self.folder, self.source = folder, folder / 'source'
        venv.create(folder / 'venv', symlinks=True)
        self.python = folder / 'venv/bin/python'
        self.site = next((folder / 'venv').glob('lib/python*/site-packages'))
        (self.site / 'borrowed.pth').write_text(f'{borrowed}\n')  # .pth files in there are not read

    def install(self, kind):
        shutil.copytree(ROOT / 'sdakd_plugin', self.source / 'sdakd_plugin', ignore=shutil.ignore_patterns('*.pyc'))
        for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
            shutil.copy(ROOT / name, self.source)
        self.pip('install', '--no-deps', *OFFLINE, *(['-e'] if kind == 'editable' else []), str(self.source))
        return self

    def pip(self, *arguments):
        command = [sys.executable, '-m', 'pip', '--python', str(self.python), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, code, **variables):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'SDAKD'))}
        return subprocess.run(
            [self.python, '-W', 'ignore', '-c', code],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**clean, **variables},
            timeout=120,
        )

    def ok(self, code, **variables):
        done = self.run(code, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    def traces(self):
        return sorted(path.name for path in (self.folder / 'venv').rglob('*sdakd*'))


@pytest.fixture(scope='module')
def borrowed(tmp_path_factory):
    """Links to all that is installed here except the plugin."""
    folder = tmp_path_factory.mktemp('borrowed')
    origins = [Path(find_spec(name).origin).parent.parent for name in ('torch', 'basicsr', 'setuptools')]
    for origin in dict.fromkeys(origins):  # one folder, unless BasicSR is a checkout
        for entry in origin.iterdir():
            if 'sdakd' not in entry.name and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(params=['wheel', pytest.param('editable', marks=pytest.mark.long)])
def kind(request):
    return request.param


@pytest.fixture(scope='module')
def installed(tmp_path_factory, borrowed):
    """Environments with the plugin, by kind; tests leave them as they are."""
    return {kind: Environment(tmp_path_factory.mktemp(kind), borrowed).install(kind) for kind in ('wheel', 'editable')}


def test_basicsr_builds_the_plugins_network(installed, kind):
    assert installed[kind].ok(BUILD) == 'UNetDiscriminatorSN 4'
    assert (installed[kind].site.parents[2] / 'bin/sdakd').is_file()


def test_stock_train_and_test_run_it(installed, kind, stock, options):
    stock.python = installed[kind].python
    log = stock.ok('basicsr/train.py', options)
    assert 'Model [SDAKDModel] is created.' in log and 'End of training.' in log
    test = {key: options[key] for key in ('model_type', 'scale', 'num_gpu', 'network_g', 'val')}
    test['val'] = {**options['val'], 'suffix': None}
    test |= {
        'name': 'check',
        'datasets': {'test_1': options['datasets']['val']},
        'path': {'pretrain_network_g': 'experiments/run/models/net_g_latest.pth'},
    }
    assert '# psnr: ' in stock.ok('basicsr/test.py', test)


def test_switched_off(installed, kind):
    assert installed[kind].ok(KNOWN, SDAKD_DISABLE='1') == '[]'
    assert 'sdakd_plugin.registration' in installed[kind].ok(KNOWN)


def test_uninstall_leaves_nothing(tmp_path, borrowed, kind):
    environment = Environment(tmp_path, borrowed).install(kind)
    assert {HOOK, 'sdakd'} < set(environment.traces())
    environment.pip('uninstall', '-y', 'sdakd-plugin')
    assert environment.traces() == []
    assert environment.ok(KNOWN) == '[]'


def test_changes_nothing_without_basicsr(installed, kind):
    """The same modules but the hook's own, the same search path, and the same answer to every search."""
    on = json.loads(installed[kind].ok(STATE))
    off = json.loads(installed[kind].ok(STATE, SDAKD_DISABLE='1'))
    added = set(on['modules']) - set(off['modules'])
    assert added - {'__future__'} == {'sdakd_plugin', 'sdakd_plugin.bootstrap'}
    assert not {'torch', 'numpy', 'typing', 'basicsr'} & set(on['modules'])
    assert (on['path'], on['specs']) == (off['path'], off['specs'])
    assert on['finders'] == ['BasicSRFinder', *off['finders']]


def test_basicsr_starts_with_a_broken_plugin(installed, kind, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(BROKEN)
    done = installed[kind].run('import basicsr; print(basicsr.archs.build_network.__name__)', PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, 'build_network\n'), done.stderr
    assert done.stderr == 'sdakd_plugin: not available in BasicSR: RuntimeError: a reason of two lines\n'


def test_python_starts_with_a_stale_hook(tmp_path, borrowed, kind):
    environment = Environment(tmp_path, borrowed).install(kind)
    shutil.rmtree({'wheel': environment.site, 'editable': environment.source}[kind] / 'sdakd_plugin')
    done = environment.run('print(1)')
    assert (done.returncode, done.stdout) == (0, '1\n')
    assert done.stderr == (
        'sdakd_plugin: start-up hook failed, SDAKD_DISABLE=1 skips it: '
        """ModuleNotFoundError("No module named 'sdakd_plugin'")\n"""
    )
    assert environment.run('print(1)', SDAKD_DISABLE='1').stderr == ''


@needs_posix('the time that a child took on the CPU')
def test_start_up_cost(installed, kind, tmp_path, borrowed):
    """Less than half as much again as a start without the hook (measured: a fifth); in time on the CPU, in turns, as
    other processes run beside this one."""

    def seconds(environment):
        process = os.posix_spawn(environment.python, [str(environment.python), '-c', 'pass'], os.environ)
        usage = os.wait4(process, 0)[2]
        return usage.ru_utime + usage.ru_stime

    without = Environment(tmp_path, borrowed)
    assert median(seconds(installed[kind]) / seconds(without) for _ in range(40)) < 1.5
