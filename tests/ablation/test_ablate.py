"""``sdakd ablate``: its arms, its statistics, and the command."""

import copy
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from scipy.stats import ttest_1samp

from sdakd_plugin.ablation import processes, report
from sdakd_plugin.ablation.arms import built_in, read_arm, user_arm
from sdakd_plugin.ablation.paired_difference import SAME, Difference, difference, time_to
from sdakd_plugin.ablation.plan import all_arms, make_runs, plain, seeded
from sdakd_plugin.ablation.results import Outcome, Results, average, directions
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.cli import main
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import AblateOptions, parse
from tests.helpers.networks import UNET
from tests.helpers.paths import ROOT
from tests.helpers.posix import needs_posix
from tests.helpers.training import build

FILES = sorted(path.name for path in (ROOT / 'options').glob('*.yml'))


def stages(opt):
    return {stage['name']: (stage['iters'], stage['losses']) for stage in opt['train']['stages']}


# ---------------------------------------------------------------------------------------------------------------- arms


def test_the_arms_of_a_recipe(options):
    before = copy.deepcopy(options)
    arms = built_in(options)
    assert options == before
    assert list(arms) == ['stock', 'student_d', 'teacher_images', 'sdakd']

    pixel_and_gan = {'supervised': (2, ['pixel']), 'alignment': (2, ['pixel']), 'adversarial': (2, ['pixel', 'gan'])}
    assert stages(arms['stock']) == stages(arms['student_d']) == pixel_and_gan
    assert arms['stock']['network_d'] == {**UNET, 'num_feat': 16}
    assert arms['student_d']['network_d'] == options['network_d']
    for name in ('stock', 'student_d'):
        assert 'teacher' not in arms[name] and 'feature_opt' not in arms[name]['train']

    images = arms['teacher_images']
    assert {tuple(losses) for _, losses in stages(images).values()} == {('pixel', 'teacher_pixel')}
    assert images['train']['teacher_pixel_opt'] == options['train']['pixel_opt']
    assert images['teacher'] == options['teacher'] and 'network_d' not in images
    assert not {'gan_opt', 'feature_opt'} & set(images['train'])
    assert arms['sdakd'] == options


@pytest.mark.parametrize('name', FILES)
def test_every_arm_of_our_option_files_is_a_recipe_of_as_many_iterations(name):
    opt = read_yaml(str(ROOT / 'options' / name))
    for arm in built_in(plain(opt)).values():
        options = parse(arm)
        assert Schedule.from_train(options.train).stages[-1].last == opt['train']['total_iter']


def test_terms_that_compare_with_the_teacher_go_and_those_with_both_keep_the_ground_truth(options):
    options['train'].update(
        lpips_opt={'type': 'LPIPSLoss'},
        other_opt={'type': 'LPIPSLoss', 'target': 'both'},
        gt_opt={'type': 'LPIPSLoss', 'target': 'gt'},
    )
    options['train']['stages'][2]['losses'] += ['lpips', 'other', 'gt']
    arms = built_in(options)
    assert stages(arms['stock'])['adversarial'] == (2, ['pixel', 'gan', 'other', 'gt'])
    assert arms['stock']['train']['other_opt'] == {'type': 'LPIPSLoss', 'target': 'gt'}
    assert 'lpips_opt' not in arms['stock']['train']
    assert stages(arms['teacher_images'])['adversarial'] == (2, ['pixel', 'lpips', 'other', 'gt'])  # nothing is added
    assert options['train']['other_opt']['target'] == 'both'


def test_a_stage_without_losses_gives_its_iterations_to_the_next_one_and_the_last_to_the_one_before(options):
    alignment, adversarial = options['train']['stages'][1:]
    alignment['losses'], adversarial['losses'] = ['feature'], ['gan', 'pixel']
    options['train']['stages'].append({'name': 'end', 'iters': 5, 'losses': ['feature'], 'lr_g': 1e-5})
    options['train']['total_iter'] = 11
    assert stages(built_in(options)['stock']) == {'supervised': (2, ['pixel']), 'adversarial': (9, ['gan', 'pixel'])}


def test_what_no_loss_uses_goes_too(options):
    options['network_d_peer'] = dict(UNET)
    options['teacher'].update(network_d=dict(UNET), pretrain_network_d='net_d.pth', cache='images')
    options['path'].update(pretrain_network_d='d.pth', pretrain_network_d_peer='p.pth', param_key_d='params')
    options['train'].update(
        mutual_opt={'type': 'MutualDiscriminatorLoss'},
        mutual_images='real',
        feature_d_opt=dict(options['train']['feature_opt']),
    )
    options['train']['stages'][1].update(train_d=True, lr_d=1e-4)
    options['train']['stages'][2]['losses'] += ['mutual', 'feature_d']
    arms = built_in(options)
    assert stages(arms['stock'])['adversarial'] == (2, ['pixel', 'gan'])
    assert arms['stock']['train']['stages'][1]['train_d'] is True
    assert 'pretrain_network_d' not in arms['stock']['path']  # those are the student discriminator's
    assert arms['student_d']['path']['pretrain_network_d'] == 'd.pth'
    images = arms['teacher_images']
    assert set(images['teacher']) == {'network_g', 'pretrain_network_g', 'cache'}
    assert not {'network_d', 'network_d_peer'} & set(images) and not {'mutual_images'} & set(images['train'])
    assert not any('d' in key.split('_') for key in images['path'])
    assert not {'train_d', 'lr_d'} & set(images['train']['stages'][1])
    for arm in arms.values():
        Schedule.from_train(parse(arm).train)


def test_a_student_that_starts_from_its_teacher_does_so_in_all_arms(options):
    options['path']['pretrain_network_g'] = 'teacher'
    options['teacher']['cache'] = 'images'
    stock = built_in(options)['stock']
    assert stock['path']['pretrain_network_g'] == 'teacher'
    assert stock['teacher'] == {key: value for key, value in options['teacher'].items() if key != 'cache'}


def test_arms_that_are_alike_are_one(options):
    options['network_d'] = dict(UNET)
    assert list(built_in(options)) == ['stock', 'teacher_images', 'sdakd']
    del options['teacher'], options['train']['feature_opt']
    for stage in options['train']['stages']:
        stage['losses'] = [loss for loss in stage['losses'] if loss != 'feature']
    assert list(built_in(options)) == ['sdakd']


def test_the_arms_of_a_cohort():
    opt = plain(read_yaml(str(ROOT / 'options/mutual_srgan_x4.yml')))
    arms = built_in(opt)
    assert list(arms) == ['independent', 'cohort'] and arms['cohort'] == opt
    assert 'mutual_opt' not in arms['independent']['train'] and arms['independent']['cohort'] == opt['cohort']


def test_arms_of_the_user(options):
    arm = user_arm(
        options,
        'x',
        {
            'from': 'student_d',
            'network_d.width': 0.25,
            'train:optim_g:lr': 5e-4,
            'train.stages.0.lr_g': 1e-5,
            'train.ema_decay': 0.5,
        },
    )
    assert arm['network_d'] == {**options['network_d'], 'width': 0.25} and 'teacher' not in arm
    assert arm['train']['optim_g']['lr'] == 5e-4 and arm['train']['stages'][0]['lr_g'] == 1e-5
    arm = user_arm(options, 'x', {'without': 'feature'})
    assert stages(arm) == stages(built_in(options)['student_d']) and 'teacher' not in arm
    assert user_arm(options, 'x', {'from': 'stock', 'without': ['feature', 'gan']})['train']['stages'][2]['losses'] == [
        'pixel'
    ]
    assert read_arm('x', 'train:optim_g:lr=!!float 1e-4', 'without=[a, b]', 'path:pretrain_network_g=~') == (
        'x',
        {'train:optim_g:lr': 1e-4, 'without': ['a', 'b'], 'path:pretrain_network_g': None},
    )


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'from': 'stok'}, "ablate.arms.x.from: there is no built-in arm 'stok'; did you mean 'stock'?"),
        ({'without': 'feture'}, "ablate.arms.x.without: there is no loss 'feture'; did you mean 'feature'?"),
        ({'without': ['pixel', 'feature', 'gan']}, 'ablate: without feature, gan, pixel no loss is left'),
        (
            {'network_e.width': 1},
            "'network_e.width': there is no block 'network_e' in the option file; did you mean 'network_",
        ),
        ({'train.stages.7.lr_g': 1}, "'train.stages.7.lr_g': there is no block '7'"),
        ({'train.stages.7': {}}, "'train.stages.7': the list has 3 entries, numbered from 0"),
        ({'train.total_iter': 7}, 'ablate.arms.x: trains for 7 iterations, the others for 6'),
    ],
)
def test_arms_that_make_no_sense(options, changes, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        all_arms(options, AblateOptions(arms={'x': changes}))


def test_names_of_arms(options):
    with pytest.raises(UserError, match="'stock' is the name of another arm"):
        all_arms(options, AblateOptions(arms={'stock': {'without': 'gan'}}))
    with pytest.raises(UserError, match="'mine' is the name of another arm"):
        all_arms(options, None, [('mine', {'without': 'gan'}), ('mine', {'without': 'feature'})])
    with pytest.raises(UserError, match="'a/b' is not a valid name of an arm"):
        all_arms(options, None, [('a/b', {'without': 'gan'})])


def test_training_takes_no_notice_of_the_block(options):
    before = copy.deepcopy(options)
    options['ablate'] = {'arms': {'x': {'network_d.width': 0.25}}, 'seeds': 5, 'control': 'x'}
    torch.manual_seed(0)
    first = check(before)
    torch.manual_seed(0)
    second = check(options)
    assert all(map(torch.equal, first.trainee.net_d.state_dict().values(), second.trainee.net_d.state_dict().values()))


# ------------------------------------------------------------------------------------------------------------- pairing


def test_runs_of_one_seed_start_alike(options):
    """The student has the same weights, and what is drawn in training is the same, whatever else is built."""
    runs = {run.name: run.opt for run in make_runs(Path('x'), all_arms(options, None), 2)}
    assert list(runs) == [
        f'{arm}_seed{seed}' for seed in (0, 1) for arm in ('stock', 'student_d', 'teacher_images', 'sdakd')
    ]
    for seed in (0, 1):
        weights, drawn = [], []
        for opt in (opt for name, opt in runs.items() if name.endswith(str(seed))):
            torch.manual_seed(seed)  # as BasicSR does
            model = build(opt)
            weights.append(torch.cat([parameter.flatten() for parameter in model.net_g.parameters()]))
            drawn.append(torch.rand(9))
        assert all(torch.equal(weights[0], other) for other in weights)
        assert all(torch.equal(drawn[0], other) for other in drawn)
    assert runs['stock_seed0']['manual_seed'] == 0 and runs['stock_seed1']['manual_seed'] == 1


def test_without_reseeding_a_run_draws_what_stock_draws(options):
    """A discriminator's weights are drawn from the numbers of training there, as in BasicSR."""
    assert 'reseed' not in options['train']
    drawn = []
    for arm in built_in(options).values():
        torch.manual_seed(0)
        build(arm)
        drawn.append(torch.rand(1).item())
    assert drawn[0] != drawn[1]


def test_members_of_a_cohort_have_weights_that_no_other_seed_has():
    opt = plain(read_yaml(str(ROOT / 'options/mutual_srgan_x4.yml')))
    seeds = [[member['manual_seed'] for member in seeded(opt, 'cohort', index)['cohort']] for index in range(3)]
    assert seeds == [[1, 2], [3, 4], [5, 6]]


# ---------------------------------------------------------------------------------------------------------- statistics


def test_a_paired_difference_by_hand():
    found = difference([(11, 10), (22, 20), (33, 30)])  # 1, 2, 3: standard deviation 1
    assert (found.count, found.mean) == (3, 2)
    assert found.high - 2 == pytest.approx(4.302652730 / math.sqrt(3))  # t of 97.5 % at 2 degrees of freedom
    assert found.low == pytest.approx(4 - found.high)


def test_a_paired_difference_is_that_of_scipy():
    pairs = [(27.1, 26.9), (27.4, 26.8), (26.9, 27.0), (27.5, 27.1), (27.2, 27.1)]
    interval = ttest_1samp([a - b for a, b in pairs], 0).confidence_interval(0.95)
    found = difference(pairs)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ('low', 'high', 'better', 'expected'),
    [
        (0.0, 0.4, 'higher', SAME),
        (-0.4, 0.0, 'higher', SAME),
        (-0.1, 0.3, 'lower', SAME),
        (0.0, 0.0, 'higher', SAME),
        (1e-9, 0.4, 'higher', 'better'),
        (1e-9, 0.4, 'lower', 'worse'),
        (-0.4, -1e-9, 'higher', 'worse'),
        (-0.4, -1e-9, 'lower', 'better'),
        (-math.inf, math.inf, 'higher', SAME),
    ],
)
def test_the_verdict_at_its_boundaries(low, high, better, expected):
    middle = 0.2 if math.isinf(low) else (low + high) / 2
    assert Difference(3, middle, low, high).verdict(better) == expected


def test_the_verdict_in_words():
    def say(pairs, better):
        return report.sentence('sdakd', 'stock', 'lpips on Set5', difference(pairs), better)

    assert say([(0.3, 0.4), (0.31, 0.42), (0.29, 0.38)], 'lower') == (
        'sdakd, lpips on Set5: better than stock by 0.1000 [0.0752, 0.1248] (3 seeds).'
    )
    assert say([(0.4, 0.3), (0.42, 0.31), (0.38, 0.29)], 'lower') == (
        'sdakd, lpips on Set5: worse than stock by 0.1000 [0.0752, 0.1248] (3 seeds).'
    )
    assert say([(0.4, 0.3), (0.3, 0.4)], 'lower').startswith(
        'sdakd, lpips on Set5: not distinguishable from stock (+0.0000 ['
    )
    assert say([(0.4, 0.3)], 'lower') == (
        'sdakd, lpips on Set5: not distinguishable from stock by a single seed (+0.1000).'
    )


def test_time_to_quality():
    assert time_to([(0, 20.0), (5, 24.0), (9, 26.0), (12, 25.0)], 24.0, 'higher') == 5
    assert time_to([(0, 0.5), (5, 0.3), (9, 0.2)], 0.25, 'lower') == 9
    assert time_to([(0, 0.5), (5, 0.3)], 0.25, 'lower') is None


def curve(values, seconds, dataset='Set5'):
    return [
        {
            'iter': 10 * index,
            'stage': 'x',
            'dataset': dataset,
            'metrics': {'psnr': value},
            'elapsed': seconds * index / (len(values) - 1),
        }
        for index, value in enumerate(values)
    ]


def outcomes():
    return [
        Outcome('fast', 0, 'f', 'a CPU', curve([20, 26, 27], 40)),
        Outcome('stock', 0, 'f', 'a CPU', curve([20, 24, 25], 100)),
        Outcome('fast', 1, 'f', 'a CPU', curve([21, 25, 27.4], 50)),
        Outcome('stock', 1, 'f', 'a CPU', curve([21, 25, 25.5], 100)),
        Outcome('slow', 1, 'f', 'a CPU', curve([21, None, 22], 300)),
    ]


def test_the_report(tmp_path):
    results = Results('recipe', 'stock', {'psnr': 'higher'}, 20, ['slow'], outcomes())
    assert results.arms == ['stock', 'slow', 'fast']
    results.write(tmp_path)
    assert Results.read(tmp_path) == results
    page = report.write(results, tmp_path)
    assert (tmp_path / 'ablation.md').read_text() == page
    assert 'fast, psnr on Set5: better than stock by 1.9500 [1.3147, 2.5853] (2 seeds).' in page
    assert 'slow, psnr on Set5: not distinguishable from stock by a single seed (-3.5000).' in page
    rows = {
        cells[0]: cells[1:]
        for cells in (
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in page.split('## Time')[1].splitlines()
            if line.startswith('| ')
        )
    }
    assert rows['fast'] == ['45.00 ± 7.0711', '0.45 (0.40 to 0.50)', '0.35 (0.20 to 0.50)']
    assert rows['slow'] == ['300.00', '3.00', 'not by 1 of 1']
    picture = (tmp_path / 'ablation.svg').read_text()
    assert '<svg' in picture
    report.write(Results.read(tmp_path), tmp_path)
    assert (tmp_path / 'ablation.svg').read_text() == picture


def test_a_cohort_counts_as_the_mean_of_its_members():
    a, b = curve([20.0, 24.0], 10), curve([22.0, None], 12)
    assert [(entry['metrics']['psnr'], entry['elapsed']) for entry in average([a, b])] == [(21.0, 0.0), (None, 12.0)]
    assert average([a]) == a


def test_directions_of_metrics():
    assert directions(
        {'a': {'type': 'calculate_psnr'}, 'b': {'type': 'calculate_lpips'}, 'c': {'type': 'mine', 'better': 'lower'}}
    ) == {'a': 'higher', 'b': 'lower', 'c': 'lower'}


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def recipe(options, tmp_path, monkeypatch):
    """An option file of embedded images, in a folder of its own; a function writes it."""
    monkeypatch.chdir(tmp_path)
    options['datasets'] = {
        'train': {
            'name': 'embedded',
            'type': 'SampleImageDataset',
            'images': ['chelsea'],
            'gt_size': 64,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
            'dataset_enlarge_ratio': 8,
        },
        'val': {'name': 'astronaut', 'type': 'SampleImageDataset', 'images': ['astronaut'], 'center_crop': 64},
    }

    def write():
        Path('recipe.yml').write_text(yaml.safe_dump(options, sort_keys=False))
        return options

    write()
    options['write'] = write
    return options


FAKE = """
import json, pathlib, sys
arm, seed, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
print('begins')
if (arm, seed) == ('sdakd', 1) and not pathlib.Path('repaired').exists():
    sys.exit('RuntimeError: no more memory')
(folder / 'models').mkdir(parents=True)
(folder / 'models/net_g_latest.pth').touch()
value = {'stock': 20, 'sdakd': 22}[arm] + seed
(folder / 'validations.json').write_text(json.dumps([
    {'iter': it, 'stage': 'x', 'dataset': 'astronaut', 'metrics': {'psnr': value + it, 'ssim': 0.5}, 'elapsed': it}
    for it in (0, 6)]))
"""


@pytest.fixture
def faked(recipe, monkeypatch):
    """Runs that take no time: what trains is a process that writes metrics, or fails."""
    del recipe['write']
    Path('recipe.yml').write_text(yaml.safe_dump(recipe, sort_keys=False))
    started = []

    def start(run, jobs, lock):
        started.append(run.name)
        run.log.parent.mkdir(parents=True, exist_ok=True)
        with run.log.open('ab') as log:
            return subprocess.Popen(
                [sys.executable, '-S', '-c', FAKE, run.arm, str(run.seed), str(run.experiment)], stdout=log, stderr=log
            )

    monkeypatch.setattr(processes, 'start', start)
    monkeypatch.setattr('sdakd_plugin.commands.ablate.check', lambda opt: None)
    return started


COMMAND = ['ablate', '-opt', 'recipe.yml', '--arms', 'stock,sdakd', '--seeds', '2']
OUT = Path('experiments/run_ablation')


def test_a_run_that_fails_is_named_and_the_others_go_on(faked, capsys):
    assert main([*COMMAND, '--jobs', '2']) == 1
    out = capsys.readouterr().out
    assert sorted(faked) == ['sdakd_seed0', 'sdakd_seed1', 'stock_seed0', 'stock_seed1']
    (line,) = re.findall(r'sdakd_seed1 failed.*', out)
    assert 'exit code 1' in line and f'{OUT}/logs/sdakd_seed1.log ends: RuntimeError: no more memory' in line
    assert re.search(r'stock_seed0: astronaut psnr 26, astronaut ssim 0.5, 6 s of training; \d to go, about', out)
    assert 'sdakd, psnr on astronaut: not distinguishable from stock by a single seed (+2.0000)' in out
    assert (OUT / 'ablation.md').read_text() in out and (OUT / 'ablation.svg').exists()

    faked.clear()
    Path('repaired').touch()
    assert main(COMMAND) == 0
    assert faked == ['sdakd_seed1']  # those that are finished are not trained again
    assert 'sdakd, psnr on astronaut: better than stock by 2.0000 [2.0000, 2.0000] (2 seeds)' in capsys.readouterr().out
    runs = json.loads((OUT / 'ablation.json').read_text())['runs']
    assert sorted((run['arm'], run['seed']) for run in runs) == [('sdakd', 0), ('sdakd', 1), ('stock', 0), ('stock', 1)]

    assert main(['ablate', '--report', str(OUT), '--control', 'sdakd']) == 0
    assert 'stock, psnr on astronaut: worse than sdakd by 2.0000' in capsys.readouterr().out


def test_an_ablation_is_not_resumed_with_other_options(faked, capsys):
    assert main([*COMMAND[:-1], '1']) == 0
    text = Path('recipe.yml').read_text()
    Path('recipe.yml').write_text(text.replace('width: 0.5', 'width: 0.25'))
    faked.clear()
    assert main(COMMAND[:4] + ['stock']) == 0  # in which nothing has changed
    faked.clear()
    assert main(COMMAND) == 1
    assert faked == []
    assert capsys.readouterr().err.strip() == (
        f'error: {OUT}/options/sdakd_seed0.yml: this run was begun with other options: network_d.width was 0.5 and is '
        '0.25 now; choose another folder by --out, or another name for the arm'
    )
    Path('recipe.yml').write_text(
        text.replace('total_iter: 6', 'total_iter: 8')
        .replace('iters: 2', 'iters: 3', 1)
        .replace('iters: 2', 'iters: 3', 1)
    )
    assert main(COMMAND) == 1
    assert 'the runs there train for 6 iterations, those of the option file for 8' in capsys.readouterr().err


@needs_posix('a lock')
def test_a_folder_in_which_runs_are_still_training(faked, capsys):
    with processes.locked(OUT):
        assert main(COMMAND) == 1
    assert f'{OUT}: another `sdakd ablate`, or a run that it has started, still works here' in capsys.readouterr().err
    assert not list(OUT.glob('[a-z]*'))


@needs_posix('a lock')
def test_the_folder_is_locked_until_the_last_run_has_ended(tmp_path):
    """Where its parent is killed, a run trains on; nobody else may train it then."""
    with processes.locked(tmp_path) as lock:
        child = subprocess.Popen(['sleep', '60'], pass_fds=[lock])
    try:
        with pytest.raises(UserError, match='still works here'), processes.locked(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
    with processes.locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--arms', 'stok'], "--arms: there is no arm 'stok'; valid: stock, student_d, teacher_images, sdakd"),
        (['--control', 'x'], "--control: there is no arm 'x' among those that are chosen or trained; valid: stock, st"),
        (['--seeds', '0'], '--seeds: expected 1 or more, not 0'),
        (['--arm', 'x', 'width'], "--arm x: expected KEY:KEY=VALUE, not 'width'"),
        (['--arm', 'x'], '--arm x: expected NAME KEY:KEY=VALUE ...'),
        (['--arm', 'x', 'network_d:width=0.3'], 'arm x: network_d: width: 0.3 of 16 channels'),
        (['--arm', 'x', 'network_d:widht=0.5'], "arm x: network_d: unknown key 'widht'"),
        (['--report', 'nowhere'], '--report: nowhere holds no ablation.json'),
    ],
)
def test_mistakes_on_the_command_line(recipe, capsys, arguments, expected):
    del recipe['write']
    assert main(['ablate', '-opt', 'recipe.yml', *arguments]) == 1
    error = capsys.readouterr().err
    assert f'error: {expected}' in error and error.count('\n') == 1
    assert os.listdir() == ['recipe.yml']


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (
            lambda opt: opt['val']['metrics'].update(
                lpips={'type': 'calculate_lpips', 'better': 'lower', 'backbone_path': 'absent.pth'}
            ),
            'absent.pth',
        ),
        (lambda opt: opt['val'].pop('metrics'), 'val.metrics: recipe.yml measures nothing'),
        (lambda opt: opt['datasets'].pop('val'), 'val.metrics: recipe.yml measures nothing'),
        (lambda opt: opt.update(ablate={'arm': {}}), "ablate: unknown key 'arm'; did you mean 'arms'?"),
        (lambda opt: opt.update(ablate={'seeds': 0}), 'ablate.seeds: input should be greater than 0'),
        (lambda opt: opt['train'].update(gan_opt={'type': 'GANLos'}), "train.gan_opt.type: there is no 'GANLos'"),
    ],
)
def test_mistakes_in_the_option_file(recipe, capsys, change, expected):
    write = recipe.pop('write')
    change(recipe)
    write()
    assert main(['ablate', '-opt', 'recipe.yml']) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count('\n') == 1
    assert os.listdir() == ['recipe.yml']


@pytest.mark.long
def test_two_arms_and_two_seeds_stopped_and_resumed(recipe):
    """The whole command; in the middle of the second run it is asked to stop, and the run saves itself."""
    write = recipe.pop('write')
    recipe['train']['total_iter'] = 150
    for stage in recipe['train']['stages']:
        stage['iters'] = 50
    recipe['val']['val_freq'] = recipe['logger']['save_checkpoint_freq'] = 50
    recipe['ablate'] = {'arms': {'narrow': {'network_d.width': 0.25}}, 'control': 'stock'}
    write()
    command = [
        sys.executable,
        '-m',
        'sdakd_plugin.cli',
        'ablate',
        '-opt',
        'recipe.yml',
        '--arms',
        'stock,narrow',
        '--seeds',
        '2',
        '--out',
        'out',
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log, end = Path('out/logs/narrow_seed0.log'), time.monotonic() + 600
    while not (log.exists() and 'iter:       5' in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and 'SIGTERM: the runs are saved; the same command goes on' in text, text
    assert 'SIGTERM: stopped after iteration' in log.read_text()
    finished = {path: path.stat().st_mtime for path in Path('out/experiments').glob('*/models/net_g_latest.pth')}
    assert {path.parts[2] for path in finished} == {'stock_seed0'}, text

    done = subprocess.run([*command, '--jobs', '2'], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Resuming training from epoch' in log.read_text()
    assert all(path.stat().st_mtime == before for path, before in finished.items())
    results = Results.read(Path('out'))
    assert {(run.arm, run.seed) for run in results.outcomes} == {
        ('stock', 0),
        ('stock', 1),
        ('narrow', 0),
        ('narrow', 1),
    }
    for run in results.outcomes:
        assert [entry['iter'] for entry in run.curve] == [0, 50, 100, 150]
        seconds = [entry['elapsed'] for entry in run.curve]
        assert seconds[0] == 0 and seconds == sorted(set(seconds))
        assert run.curve[0]['metrics'] == results.find('stock', run.seed).curve[0]['metrics']  # the same start
        assert run.curve[1]['metrics'] == results.find('stock', run.seed).curve[1]['metrics']  # and the same images
    assert results.find('stock', 0).curve[0] != results.find('stock', 1).curve[0]
    assert results.find('stock', 0).curve[3] != results.find('narrow', 0).curve[3]
    assert Path('out/ablation.md').read_text() in done.stdout
