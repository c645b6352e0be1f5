import subprocess
import sys
from pkgutil import walk_packages

import pytest

import sdakd_plugin

ROOMS = ('archs', 'commands', 'data', 'distillation', 'losses', 'models', 'networks', 'slimming', 'stock')


def modules():
    names = (module.name for module in walk_packages(sdakd_plugin.__path__, 'sdakd_plugin.'))
    return [name for name in names if not name.startswith('sdakd_plugin.students')]


def first_imports(names):
    command = [sys.executable, '-m', 'tests.helpers.first_import', *names]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    return (result.stdout + result.stderr).splitlines()


@pytest.mark.long
def test_a_room_can_be_imported_before_basicsr():
    names = [f'sdakd_plugin.{room}' for room in ROOMS] + ['sdakd_plugin.utils.registries']
    assert first_imports(names) == [f'checked {len(names)}']


@pytest.mark.long
def test_any_module_can_be_imported_before_basicsr():
    """BasicSR imports the plugin, which imports BasicSR: an import in the wrong order leaves classes out."""
    names = modules()
    assert len(names) > 150
    assert first_imports(names) == [f'checked {len(names)}']
