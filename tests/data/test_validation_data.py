"""Several validation sets, also in LMDBs: each is opened once at a time, and none is skipped."""

import json
import re

import pytest

RUN = 'experiments/run'


@pytest.fixture(scope='session')
def databases(photos, tmp_path_factory):
    """The photographs as ``HR.lmdb`` and ``LR.lmdb``, as BasicSR makes them."""
    import lmdb

    folder = tmp_path_factory.mktemp('databases')
    for role in ('HR', 'LR'):
        lines = []
        with lmdb.open(str(folder / f'{role}.lmdb'), map_size=2**24) as base, base.begin(write=True) as transaction:
            for path in sorted((photos / role).glob('*.png')):
                transaction.put(path.stem.encode(), path.read_bytes())
                lines.append(f'{path.name} (192,192,3) 1\n')
        (folder / f'{role}.lmdb/meta_info.txt').write_text(''.join(lines))
    return folder


def in_databases(block, folder):
    block.update(dataroot_gt=str(folder / 'HR.lmdb'), dataroot_lq=str(folder / 'LR.lmdb'), io_backend={'type': 'lmdb'})


def validations(stock, name='validations.json'):
    return [
        (entry['iter'], entry['dataset'], entry['metrics']['psnr'])
        for entry in json.loads((stock.folder / RUN / name).read_text())
    ]


@pytest.mark.parametrize('command', ['sdakd train', pytest.param('basicsr/train.py', marks=pytest.mark.long)])
def test_a_database_is_that_of_files(stock, options, databases, command):
    """The stages end where the loop validates, and where it does not; then comes the summary."""
    options['val']['val_freq'] = 3
    stock.ok(command, options)
    files = validations(stock)
    assert [iteration for iteration, _, _ in files] == [0, 2, 3, 4, 6]
    (stock.folder / RUN).rename(stock.folder / 'files')
    in_databases(options['datasets']['val'], databases)
    log = stock.ok(command, options)
    assert [(*entry[:2], pytest.approx(entry[2])) for entry in files] == validations(stock)  # in another order
    assert 'could not be made' not in log
    stock.ok('sdakd check', options)


def test_training_in_the_main_process_from_a_database(stock, options, photos, databases):
    """The check has built the data sets before, and going on builds them again."""
    options['datasets']['train'].update(num_worker_per_gpu=0)
    in_databases(options['datasets']['train'], databases)
    stock.ok('sdakd train', options)
    (stock.folder / RUN / 'training_states/6.state').unlink()
    options['datasets']['train']['batch_size_per_gpu'] = 1  # counts the epoch anew
    assert 'iter:       6' in stock.ok('sdakd train', options, '--auto_resume')


def test_a_cohort_validates_on_one_database(stock, cohort, databases):
    in_databases(cohort['datasets']['val'], databases)
    cohort['val']['val_freq'] = 2
    stock.ok('sdakd train', cohort)
    for member in cohort['cohort']:
        found = validations(stock, f'validations_{member["name"]}.json')
        assert [iteration for iteration, _, _ in found][:2] == [0, 2]


def test_a_stop_between_two_validation_sets(stock, options):
    """Only what is missing is made up for."""
    options['datasets']['val_2'] = {**options['datasets']['val'], 'name': 'second'}
    options['logger']['save_checkpoint_freq'] = 2
    stock.ok('sdakd train', options)
    whole = validations(stock)
    assert len(whole) == 2 * 4
    path = stock.folder / RUN / 'validations.json'
    entries = json.loads(path.read_text())
    path.write_text(
        json.dumps([entry for entry in entries if entry['iter'] < 4 or (entry['iter'], entry['dataset']) == (4, 'val')])
    )
    (stock.folder / RUN / 'training_states/6.state').unlink()
    log = stock.ok('sdakd train', options, '--auto_resume')
    assert validations(stock) == whole
    made_up = log[: log.index('Start training')].splitlines()
    assert [name for line in made_up for name in re.findall(r'Validation (\w+)', line)] == ['second']
