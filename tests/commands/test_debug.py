"""``SDAKD_DEBUG=1`` shows the traceback of an error that is otherwise a one-line message."""

import sys

import pytest
import yaml
from basicsr.utils import options as basicsr_options

from sdakd_plugin import bootstrap
from sdakd_plugin.errors import UserError, reported

MESSAGE = 'scale: expected a number'
HEAD = 'Traceback (most recent call last):'


def fails(*arguments):
    raise UserError(MESSAGE)


def a_command():
    assert reported(fails) == 1


def a_broken_plugin():
    bootstrap.register()


@pytest.mark.parametrize(
    'report, line, culprit',
    [
        (a_command, f'error: {MESSAGE}', 'in fails'),
        (a_broken_plugin, 'sdakd_plugin: not available in BasicSR: ModuleNotFoundError: ', 'in register'),
    ],
)
def test_the_traceback_comes_before_the_line(report, line, culprit, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'sdakd_plugin.registration', None)
    for value in ('', '0'):
        monkeypatch.setenv('SDAKD_DEBUG', value)
        report()
        error = capsys.readouterr().err
        assert error.startswith(line) and error.count('\n') == 1
    monkeypatch.setenv('SDAKD_DEBUG', '1')
    report()
    *traceback, last = capsys.readouterr().err.splitlines()
    assert traceback[0] == HEAD and any(culprit in entry for entry in traceback)
    assert last.startswith(line)


def test_stock_programs_show_it_too(tmp_path, monkeypatch, capsys):
    """BasicSR's ``parse_options``, in which options of this plugin's models are checked."""
    file = tmp_path / 'options.yml'
    file.write_text(
        yaml.safe_dump({'name': 'x', 'model_type': 'SDAKDModel', 'num_gpu': 0, 'network_g': {}, 'path': {}})
    )
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(file)])
    for value, shown in (('0', False), ('1', True)):
        monkeypatch.setenv('SDAKD_DEBUG', value)
        with pytest.raises(SystemExit, match=r'^error: datasets: this key is missing$'):
            basicsr_options.parse_options(str(tmp_path), is_train=True)
        assert capsys.readouterr().err.startswith(HEAD) is shown
