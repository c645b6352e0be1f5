"""The benchmark of a training step runs, and its tables and numbers are consistent; speed is not tested."""

import json
import logging
from importlib.util import find_spec
from statistics import median

import pytest
import torch

from benchmarks import ddp, serving
from benchmarks.command import put
from benchmarks.step import options, tables, timed
from benchmarks.step.__main__ import main
from benchmarks.step.measure import peak, point
from benchmarks.step.options import Setting
from benchmarks.step.plan import PLANS, sweep
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.table import markdown

TINY = ['--device', 'cpu', '--batch', '1', '--gt-size', '32', '--width', '0.125', '--rounds', '2']


@pytest.fixture(autouse=True)
def as_before():
    """The benchmark sets what training sets for a whole process."""
    logger = logging.getLogger('basicsr')
    before = torch.backends.cudnn.benchmark, logger.level
    yield
    torch.backends.cudnn.benchmark = before[0]
    logger.setLevel(before[1])


@pytest.mark.long
def test_table_and_json_are_complete_and_agree(tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('# What people wrote\n')
    others = ['stock', 'stock, small D', 'plain loop', 'plain, small D']
    assert main([*TINY, '--blocks', '2', '--json', str(tmp_path / 'a.json'), '--markdown', str(page)]) == 0
    found = json.loads((tmp_path / 'a.json').read_text())
    assert list(found['runs']) == [*others, 'supervised', 'alignment', 'adversarial']
    printed = capsys.readouterr().out
    for name, run in found['runs'].items():
        assert len(run['seconds']) == 2 and min(run['seconds']) > 0 and run['median'] == median(run['seconds'])
        for other in others:
            pairs = zip(run['seconds'], found['runs'][other]['seconds'], strict=True)
            assert run['ratios'][other] == pytest.approx(median(mine / theirs for mine, theirs in pairs))
        if run['parts']:
            parts = [
                sum(count * found['parts'][part]['seconds'][turn] for part, count in run['parts'].items())
                for turn in range(2)
            ]
            assert run['floor'] == pytest.approx(parts)
            assert run['ratios']['floor'] == pytest.approx(
                median(mine / floor for mine, floor in zip(run['seconds'], parts, strict=True))
            )
        assert run['peak_memory_bytes'] > 1e5
        assert f'{name} ' in printed
    runs = found['runs']
    assert not runs['stock']['parts'] and 'floor' not in runs['stock']['ratios']
    assert set(runs['supervised']['parts']) < set(runs['alignment']['parts']) < set(runs['adversarial']['parts'])
    full, small = (runs[name]['peak_memory_bytes'] for name in ('stock', 'stock, small D'))
    assert full - small > 16 * 4.2e6  # the discriminators' weights, gradients and moments, 4.377 M and 0.07 M

    assert page.read_text().startswith('# What people wrote\n') and page.read_text().count('\n| adversarial') == 1


def test_a_section_is_replaced_and_the_rest_of_the_page_kept(tmp_path):
    page = tmp_path / 'page.md'
    for content in ('one', 'two'):
        put(page, 'a', content)
    page.write_text(f'head\n\n{page.read_text()}\ntail\n')
    put(page, 'b', 'three')
    put(page, 'a', 'four')
    words = [line for line in page.read_text().splitlines() if line and not line.startswith('<!--')]
    assert words == ['head', 'four', 'tail', 'three']
    page.write_text(page.read_text().replace('end: a', 'end: c'))
    with pytest.raises(UserError, match="has no line '<!-- end: a"):
        put(page, 'a', 'five')


@pytest.mark.long
def test_cohort(tmp_path):
    assert main([*TINY, '--model', 'mutual', '--blocks', '1', '--json', str(tmp_path / 'a.json')]) == 0
    found = json.loads((tmp_path / 'a.json').read_text())
    assert list(found['runs']) == ['2 x stock', 'cohort'] and found['runs']['cohort']['floor']


def test_gcfsr_trains_and_has_all_parts_of_its_floors():
    plan = PLANS['gcfsr'](Setting('gcfsr', torch.device('cpu'), 1, 64, width=0.125))
    parts = timed.parts(plan.opt, plan.images)
    assert all(set(run.floor) <= set(parts) for run in plan.runs.values())
    for part in parts.values():
        part()
    plan.runs['no teacher, small D'].build()()
    plan.runs['adversarial'].build()()


@pytest.mark.long
def test_sweep_is_shown_as_table():
    base = Setting('sdakd', torch.device('cpu'), 2, 64, width=0.125, blocks=1)
    planned = sweep(base)
    assert [name.split()[1] for name in planned] == [
        '1',
        '2',
        '4',
        '32',
        '64',
        '96',
        '0.5',
        '0.25',
        '0.125',
        '2',
        '3',
        '4',
    ]
    table = markdown(tables.of_sweep(dict.fromkeys(planned, point(planned['crop 32'], rounds=1))))
    assert all(name in table for name in planned) and table.count('\n|') == len(planned) + 1


@pytest.mark.long
def test_processes_take_turns(tmp_path):
    assert (
        ddp.main(
            [
                '--batch',
                '1',
                '--gt-size',
                '32',
                '--blocks',
                '1',
                '--width',
                '0.125',
                '--rounds',
                '1',
                '--processes',
                '1',
                '--json',
                str(tmp_path / 'ddp.json'),
            ]
        )
        == 0
    )
    assert all(len(times) == 1 for times in json.loads((tmp_path / 'ddp.json').read_text())['seconds'].values())


@pytest.mark.skipif(find_spec('openvino') is None or find_spec('onnxruntime') is None, reason='needs both runtimes')
def test_serving_has_a_row_for_each_backend_and_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, 'IMAGES', 2)
    monkeypatch.setattr(serving, 'HEIGHT', 24)
    monkeypatch.setattr(serving, 'TEACHER', 'sdakd_nano_x4')
    page, numbers = tmp_path / 'page.md', tmp_path / 'a.json'
    given = ['--networks', 'sdakd_nano_x4', '--rounds', '2', '--size', '24', '16', '--all']
    assert serving.main([*given, '--json', str(numbers), '--markdown', str(page)]) == 0
    found = json.loads(numbers.read_text())[0]
    labels = ['torch', 'torch channels last', 'openvino', 'onnx', 'openvino int8', 'onnx int8']
    assert list(found['seconds']['sdakd_nano_x4']) == labels and found['peaks']['float32'] > 1e8
    assert all(len(times) == 2 for times in found['seconds']['sdakd_nano_x4'].values())
    assert found['quality']['sdakd_nano_x4 openvino int8'][0] > 40
    table = page.read_text()
    assert all(f'| sdakd_nano_x4 | {label} ' in table for label in labels)
    ratio = median(
        slow / fast
        for slow, fast in zip(*(found['seconds']['sdakd_nano_x4'][label] for label in ('torch', 'onnx')), strict=True)
    )
    assert f'| {ratio:.2f} ' in next(line for line in table.splitlines() if '| onnx ' in line)
    assert '2 images of 256x24 pixels by sdakd_nano_x4 in ' in table


def test_options_under_test_reach_the_models_and_not_stock():
    setting = Setting('sdakd', torch.device('cpu'), 1, 32, blocks=1, channels_last=True)
    opt = options.sdakd(setting)
    assert opt['train']['channels_last'] is True
    assert 'channels_last' not in options.stock(opt)['train']


def test_peak_memory_is_what_the_second_step_holds():
    def build():
        kept = [torch.zeros(1_000_000)]

        def step():
            kept.append(torch.zeros(500_000))
            torch.zeros(250_000) + torch.zeros(250_000)

        torch.zeros(10_000_000)
        return step

    assert peak(build, torch.device('cpu')) == 4 * (1_000_000 + 2 * 500_000 + 3 * 250_000)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--width', '0.3'], '--width: 0.3 of 64 channels is 19.2'),
        (['--gt-size', '20'], '--gt-size: 20 is less than 32'),
        (['--model', 'gcfsr', '--gt-size', '96'], '--gt-size: gcfsr knows 64'),
        (['--rounds', '0'], '--rounds: 0 is less than 1'),
        (['--json', '/no/such/folder/a.json'], '--json: there is no folder /no/such/folder'),
    ],
)
def test_mistakes_cost_a_line(arguments, message, capsys):
    assert main(['--device', 'cpu', *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'error: {message}') and error.count('\n') == 1
