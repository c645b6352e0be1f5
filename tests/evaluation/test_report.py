"""`sdakd report`: the costs agree with known values and are measured in turns."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.archs.rrdbnet_arch import RRDBNet

from sdakd_plugin import cli
from sdakd_plugin.archs.gcfsr_arch import GCFSR
from sdakd_plugin.commands.report import wrapped
from sdakd_plugin.evaluation import budget, cost, cost_report, report_networks
from sdakd_plugin.evaluation.peak_memory import peak_memory
from sdakd_plugin.evaluation.table import text
from tests.helpers.posix import needs_posix

SMALL = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
LARGE = {**SMALL, 'num_feat': 64, 'num_grow_ch': 32}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    torch.manual_seed(0)
    for name, block in (('large', LARGE), ('small', SMALL)):
        torch.save({'params': build_network(block).state_dict()}, folder / f'{name}.pth')
    return folder


def run(*arguments):
    return cli.main(['report', '--device', 'cpu', *map(str, arguments)])


def macs(net, size):
    """Multiply-adds of the convolutions, by hand: each weight once for each pixel of its output."""
    total = []
    handles = [
        module.register_forward_hook(
            lambda module, _, output: total.append(module.weight.numel() * output.shape[-1] * output.shape[-2])
        )
        for module in net.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        net(torch.rand(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return sum(total)


def test_files_are_compared(files, tmp_path, capsys):
    assert (
        run(
            '--teacher',
            files / 'large.pth',
            '--student',
            files / 'small.pth',
            '--size',
            32,
            16,
            '--repeat',
            3,
            '--json',
            tmp_path / 'r.json',
            '--markdown',
            tmp_path / 'r.md',
        )
        == 0
    )
    said = ' '.join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / 'r.json').read_text())
    assert 'limit' not in said and 'budget' not in found  # it was not asked for
    for name, block, file in (('teacher', LARGE, 'large.pth'), ('student', SMALL, 'small.pth')):
        net, ours = build_network(block), found['networks'][name]
        assert ours['parameters'] == sum(p.numel() for p in net.parameters())
        assert ours['file_bytes'] == os.path.getsize(files / file)
        assert list(ours['sizes']) == ['16', '32']
        assert ours['sizes']['32']['multiply_adds'] == pytest.approx(macs(net, 32), rel=0.01)
        times = ours['sizes']['16']
        low, high = times['seconds_middle_half']
        assert min(times['seconds']) <= low <= times['seconds_median'] <= high <= max(times['seconds'])
    ratio = found['ratios']['student']
    networks = found['networks']
    assert ratio['parameters'] == networks['teacher']['parameters'] / networks['student']['parameters']
    assert ratio['time, 32x32'] > 2  # forty times the work
    lines = (tmp_path / 'r.md').read_text().splitlines()
    assert f'{ratio["parameters"]:.2f}x' in next(line for line in lines if line.startswith('| parameters'))
    assert len({len(line) for line in lines if line.startswith('|')}) == 1  # aligned
    assert 'multiply-adds, 16x16' in said and 'median of 3 passes' in said


@needs_posix('the memory of a process in /proc')
def test_memory_grows_by_what_the_features_take():
    """From 64 to 128 pixels RRDBNet's largest pair of features alone grows by 3 * 2 * 64 * 256 * 256 floats."""
    ((small, large),) = peak_memory([LARGE], [64, 128], torch.device('cpu'))
    weights = sum(p.numel() for p in build_network(LARGE).parameters()) * 4
    assert small > weights
    features = 3 * 2 * 64 * 256 * 256 * 4
    assert features * 0.8 < large - small < features * 4


@needs_posix('the memory of a process in /proc')
def test_without_fork_a_process_is_started_anew():
    """As on Windows, where the start method fork does not exist."""
    code = (
        'import multiprocessing.context as context, os\n'
        'from sdakd_plugin.evaluation import peak_memory\n'
        'if __name__ == "__main__":\n'
        '    del os.fork, context._concrete_contexts["fork"]\n'
        f'    (found,), = peak_memory.main([{SMALL}], [16], "cpu", 1, ["basicsr.archs.rrdbnet_arch"])\n'
        '    assert found > 0\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_passes_are_made_in_turns():
    order = []

    class Noting(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, lq):
            order.append(self.name)
            return lq

    times = cost.interleaved({'a': Noting('a'), 'b': Noting('b')}, torch.rand(1, 3, 8, 8), 2)
    assert order == ['a', 'b'] * 3  # the first of each is for warming up
    assert {name: len(found) for name, found in times.items()} == {'a': 2, 'b': 2}


def test_an_option_file_without_checkpoints_has_random_weights(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    unknown = [[None]] * 2  # as where the system is not Linux
    monkeypatch.setattr(cost_report, 'peak_memory', lambda networks, sizes, device: unknown)
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options))
    assert run('-opt', 'opt.yml', '--size', 16, '--repeat', 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].strip() == options['teacher']['pretrain_network_g']
    assert lines[2].startswith('student: RRDBNet(') and lines[3].strip() == cost_report.RANDOM
    assert next(line for line in lines if line.startswith('memory')).split() == ['memory,', '16x16']  # unknown: empty


def test_it_fits_a_terminal_of_100_columns():
    """At the default sizes, for a teacher and a student, whatever the times are."""

    def entry(seconds, **backends):
        sizes = {size: cost_report.Measured(int(9e12), seconds, int(9e9), backends) for size in (64, 128)}
        return cost_report.Entry('RRDBNet', 'file', int(9e8), int(9e8), sizes, {})

    slow, fast = [99.9] * 3, [0.101] * 3
    backends = {'torch channels last': fast, 'openvino int8': fast}
    entries = {'teacher': entry(slow), 'student': entry(fast, **backends)}
    assert max(map(len, text(cost_report.rows(entries)).splitlines())) <= 100
    notes = cost_report.notes(entries, torch.device('cpu'))
    assert max(map(len, wrapped(notes))) <= 100 and ' '.join(wrapped(notes)) == notes
    assert wrapped('a\n\nb') == ['a', '', 'b']


@pytest.mark.parametrize(
    'seconds, said',
    [
        ([0.0012345], '1.23 ms (1.23 to 1.23)'),
        ([0.01, 0.02, 0.03], '20.0 ms (15.0 to 25.0)'),
        ([0.99, 0.99, 1.5], '990 ms (990 to 1,245)'),
        ([5.4321], '5.43 s (5.43 to 5.43)'),
    ],
)
def test_a_time_has_three_digits(seconds, said):
    one = cost_report.Measured(1, seconds, None)
    rows = cost_report.rows({'student': cost_report.Entry('', '', 1, None, {64: one})})
    assert next(row['student'] for row in rows if row[''] == 'time, 64x64') == said


@pytest.mark.parametrize('given', ['files', 'one file', 'an option file'])
def test_students_without_a_teacher_are_compared_with_nothing(files, options, tmp_path, monkeypatch, capsys, given):
    monkeypatch.setattr(cost_report, 'peak_memory', lambda networks, sizes, device: [[None]] * len(networks))
    monkeypatch.chdir(tmp_path)
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options))
    named = {
        'files': ['--student', files / 'small.pth', '--student', files / 'large.pth'],
        'one file': ['--student', files / 'small.pth'],
        'an option file': ['-opt', 'opt.yml'],
    }[given]
    assert run(*named, '--size', 16, '--repeat', 1, '--json', 'r.json', '--markdown', 'r.md') == 0
    said, found = capsys.readouterr().out, json.loads((tmp_path / 'r.json').read_text())
    assert list(found['networks']) == (['small', 'large'] if given == 'files' else ['student']) and not found['ratios']
    for shown in (said, (tmp_path / 'r.md').read_text()):
        assert 'multiply-adds, 16x16' in shown and 'ratio' not in shown and 'teacher' not in shown


def test_students_are_those_that_were_saved_last(options, tmp_path):
    """Of each member of a cohort, and of no other member whose name begins alike."""
    models = tmp_path / 'run/models'
    models.mkdir(parents=True)
    options |= {
        'model_type': 'MutualSRGANModel',
        'teacher': None,
        'network_d': None,
        'cohort': [{'name': 'A', 'manual_seed': 1}, {'name': 'A-2', 'manual_seed': 2}],
    }
    for number, name in enumerate(('net_g_A_500.pth', 'net_g_A_latest.pth', 'net_g_A_1000.pth', 'net_g_A-2_5.pth')):
        torch.save({'params': build_network(options['network_g']).state_dict()}, models / name)
        os.utime(models / name, (number, number))
    found = report_networks.from_options(options, tmp_path)
    assert {name: subject.weights.name for name, subject in found.items()} == {
        'A': 'net_g_A_1000.pth',
        'A-2': 'net_g_A-2_5.pth',
    }
    saved = torch.load(models / 'net_g_A_1000.pth', weights_only=True)['params']
    assert all(torch.equal(value, saved[key]) for key, value in found['A'].net.state_dict().items())


def test_a_network_that_cannot_take_a_size_costs_one_line(tmp_path, files, capsys):
    x2 = RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4)
    torch.save({'params': x2.state_dict()}, tmp_path / 'x2.pth')
    assert run('--teacher', files / 'small.pth', '--student', tmp_path / 'x2.pth', '--size', 33) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: --size 33: ') and error.count('\n') == 1


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), 'give either -opt FILE, or --student'),
        (('--teacher', 'x.pth'), 'give either -opt FILE, or --student'),
        (('-opt', 'x.yml', '--student', 'x.pth'), 'give either -opt FILE, or --student'),
        (('-opt', 'none.yml'), "cannot read 'none.yml'"),
        (('--teacher', 'none.pth', '--student', 'none.pth'), '--teacher: neither a file nor a known name: none.pth'),
        (('-opt', 'x.yml', '--size', 0), '--size: expected 8 or more'),
        (('-opt', 'x.yml', '--json', 'nowhere/x.json'), '--json: nowhere/x.json is a folder, or in a folder that'),
    ],
)
def test_a_mistake_costs_one_line(arguments, message, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith('error: ') and error.count('\n') == 1


def test_the_budget_of_efficiency(files, tmp_path, monkeypatch, capsys):
    """Four blocks of x4plus are small enough, but have too much to do. The teacher is not asked."""
    monkeypatch.setattr(cost_report, 'peak_memory', lambda networks, sizes, device: [[None]] * 3)  # takes seconds
    four = {**LARGE, 'num_block': 4}
    torch.save({'params': build_network(four).state_dict()}, tmp_path / 'four.pth')
    assert (
        run(
            '--teacher',
            files / 'large.pth',
            '--student',
            files / 'small.pth',
            '--student',
            tmp_path / 'four.pth',
            '--size',
            16,
            '--repeat',
            1,
            '--budget',
            'efficiency',
            '--json',
            tmp_path / 'r.json',
            '--markdown',
            tmp_path / 'r.md',
        )
        == 0
    )
    output = capsys.readouterr().out
    lines = [line for line in output.splitlines() if ', limit ' in line]
    small, large = (sum(p.numel() for p in build_network(block).parameters()) / 1e6 for block in (SMALL, four))
    assert lines[0] == f'small: {small:.3f} M parameters, limit 5.000 M: yes'
    assert lines[2] == f'four: {large:.3f} M parameters, limit 5.000 M: yes'
    work = {
        name: macs(build_network(block), 36) / 36**2 * 960 * 540 / 1e9
        for name, block in (('small', SMALL), ('four', four))
    }
    assert work['small'] < 2000 < work['four']
    at = 'G multiply-adds for an LQ image of 960x540, limit 2,000 G'
    assert lines[1] == f'small: {work["small"]:,.1f} {at}: yes' and lines[3] == f'four: {work["four"]:,.1f} {at}: no'
    assert len(lines) == 4 and lines[3] in (tmp_path / 'r.md').read_text()
    found = json.loads((tmp_path / 'r.json').read_text())['budget']
    assert found['networks']['four']['multiply_adds']['kept'] is False
    assert found['networks']['small']['parameters'] == {'value': round(small * 1e6), 'limit': 5_000_000, 'kept': True}


def test_what_the_budget_counts_is_what_the_report_counts():
    """torch's counter halved, and mmengine's analysis."""
    net, at = build_network(LARGE), budget.Budget(5_000_000, 2 * 10**12, 48, 32)
    usage = budget.count_usage(net, at)
    assert usage.multiply_adds == pytest.approx(cost.count(net, (3, 32, 48)).multiply_adds, rel=1e-3)
    assert next(net.parameters()).device.type == 'cpu'  # the network itself stays where it is


def test_real_esrgan_does_not_keep_the_budget():
    """Its work at 960x540 is what the limit is said to be 22 % of."""
    usage, at = budget.count_usage(RRDBNet(3, 3), budget.BUDGETS['efficiency']), budget.BUDGETS['efficiency']
    assert at.multiply_adds / usage.multiply_adds == pytest.approx(0.22, abs=0.005)
    assert [line.rpartition(': ')[2] for line in usage.lines('x4plus', at)] == ['no', 'no']
    assert usage.lines('x4plus', at)[0] == 'x4plus: 16.698 M parameters, limit 5.000 M: no'


def test_a_limit_itself_is_kept():
    usage = budget.Usage(5_000_000, 2 * 10**12)
    assert all(line.endswith(': yes') for line in usage.lines('net', budget.BUDGETS['efficiency']))


def test_a_network_without_images_of_the_budgets_size_is_said():
    """GCFSR takes square images only."""
    at = budget.BUDGETS['efficiency']
    usage = budget.count_usage(GCFSR(out_size=64, num_style_feat=16, narrow=0.03125).eval(), at)
    line = usage.lines('face', at)[1]
    assert line.startswith('face: multiply-adds for an LQ image of 960x540 unknown: GCFSR makes square images')
    assert usage.as_json(at)['multiply_adds']['kept'] is None
