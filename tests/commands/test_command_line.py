"""The command line itself: names, versions, and arguments in more than one form."""

import argparse
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from sdakd_plugin import __version__, cli
from sdakd_plugin.commands.arguments import compare
from sdakd_plugin.commands.arguments.export import FORMATS
from sdakd_plugin.commands.compare import ALEXNET, VGG16
from sdakd_plugin.commands.export import SUFFIXES
from sdakd_plugin.losses.backbone import cached_file
from tests.helpers.paths import ROOT


@pytest.mark.parametrize('given, meant', [('trian', 'train'), ('chek', 'check'), ('int', 'init')])
def test_a_misspelt_command_is_suggested(capsys, given, meant):
    assert cli.main([given]) == 2
    assert f"there is no command '{given}'; did you mean '{meant}'" in capsys.readouterr().err


def test_the_version(capsys):
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == f'{__version__}\n'


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, '-m', 'sdakd_plugin', '--version'], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f'{__version__}\n')


def test_check_takes_a_file_with_and_without_opt(capsys):
    for arguments in (['absent.yml'], ['-opt', 'absent.yml']):
        assert cli.main(['check', *arguments]) == 1
        assert "cannot read 'absent.yml'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(['check'])


def test_weights_alone_lists_them(capsys):
    assert cli.main(['weights']) == cli.main(['weights', 'list']) == 0
    said = capsys.readouterr().out
    assert said[: len(said) // 2] == said[len(said) // 2 :] and 'sdakd_nano_x4' in said


HELP = [f'{name} --help' for name in (*cli.BASICSR, *cli.COMMANDS)]


@pytest.mark.parametrize('arguments', ['--version', '--help', 'weights', 'weights list', *HELP])
def test_what_needs_no_network_does_not_wait_for_torch(capsys, arguments):
    code = (
        'import sys; from sdakd_plugin import cli\n'
        'try: cli.main(sys.argv[1:])\n'
        "finally: assert 'torch' not in sys.modules and 'basicsr' not in sys.modules"
    )
    alone = subprocess.run(
        [sys.executable, '-c', code, *arguments.split()], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    with suppress(SystemExit):
        cli.main(arguments.split())
    printed = capsys.readouterr()
    assert alone.returncode == 0, alone.stderr
    assert (alone.stdout, alone.stderr) == (printed.out, printed.err) and printed.out + printed.err


@pytest.mark.parametrize('name', cli.BASICSR)
def test_train_and_test_take_the_arguments_of_basicsr(monkeypatch, capsys, name):
    """They are declared again so that ``--help`` need not wait for torch."""
    from basicsr.utils.options import parse_options

    def options():
        return set(re.findall(r'(?<![\w-])--?[a-z]\w+', capsys.readouterr().out.split('options:')[1]))

    monkeypatch.setattr(sys, 'argv', ['train.py', '--help'])
    with pytest.raises(SystemExit):
        parse_options('.')
    stock = options()
    with pytest.raises(SystemExit):
        cli.main([name, '--help'])
    assert options() == stock and '--force_yml' in stock


@pytest.mark.parametrize('name', cli.BASICSR)
def test_train_and_test_without_a_file(capsys, name):
    with pytest.raises(SystemExit):
        cli.main([name])
    assert f'sdakd {name}: error: the following arguments are required: -opt' in capsys.readouterr().err


def test_the_arguments_name_what_the_commands_know():
    """The help cannot look it up where that would import torch."""
    assert tuple(SUFFIXES) == FORMATS
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    said = ' '.join(parser.format_help().split())
    assert all(cached_file(arch).name in said for arch in (ALEXNET, VGG16))
