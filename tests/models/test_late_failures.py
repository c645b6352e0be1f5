"""What may fail late in a run without ending it: TensorBoard's file and a validation."""

import errno

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from sdakd_plugin.models.student import Student
from sdakd_plugin.stock.pipelines import guarded
from tests.helpers.training import batch

FULL = OSError(errno.ENOSPC, 'No space left on device')
FAILING_WRITER = """
import errno
from tensorboard.summary.writer.record_writer import RecordWriter

written, write = [], RecordWriter.write

def full(self, data):
    written.append(data)
    if len(written) > 3:
        raise OSError(errno.ENOSPC, 'No space left on device')
    write(self, data)

RecordWriter.write = full
"""


@pytest.fixture
def errors(monkeypatch):
    """What is logged as an error."""
    found = []
    monkeypatch.setattr(get_root_logger(), 'error', found.append)
    return found


def raises(error):
    def fail(*_):
        raise error

    return fail


def test_tensorboard_gives_up_where_its_file_cannot_be_written(tmp_path, monkeypatch, errors):
    scalars = guarded(lambda opt: SummaryWriter(opt['folder']))({'folder': str(tmp_path)})
    monkeypatch.setattr(RecordWriter, 'write', raises(FULL))
    monkeypatch.setattr('threading.excepthook', lambda _: None)
    scalars.add_scalar('loss', 1.0, 1)
    writer = scalars.writer
    worker = writer.file_writer.event_writer._async_writer._worker
    worker.join(30)
    with pytest.raises(OSError):  # as BasicSR would be told in each later call
        writer.add_scalar('loss', 1.0, 2)
    scalars.add_scalar('loss', 1.0, 2)
    scalars.add_scalar('loss', 1.0, 3)
    scalars.close()
    assert len(errors) == 1 and 'cannot be written (No space left on device)' in errors[0]


def test_a_process_without_tensorboard_has_none():
    assert guarded(lambda opt: None)({}) is None


def test_a_run_ends_well_although_tensorboard_fails(stock, options):
    (stock.folder / 'full_disk.py').write_text(FAILING_WRITER)
    options['logger']['use_tb_logger'] = True
    log = stock.ok('sdakd train', options | {'custom_imports': ['full_disk']})
    assert log.count("TensorBoard's file cannot be written") == 1 and 'End of training' in log


@pytest.fixture
def model(options, tmp_path):
    options['path'] |= {'visualization': str(tmp_path), 'experiments_root': str(tmp_path)}
    options['datasets']['val'] |= {'phase': 'val', 'scale': 4}
    options['train']['ema_decay'] = 0  # the student itself is validated
    return build_model(options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1})


@pytest.mark.parametrize(
    'error', [FULL, OSError(), torch.cuda.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB')]
)
def test_a_validation_that_fails_late_does_not_end_the_run(model, monkeypatch, errors, error):
    model.update_learning_rate(1)
    model.feed_data(batch())
    model.optimize_parameters(1)
    (loader,), (validation,) = model.stage_validation._loaders(), model.stage_validation.validations
    told = []
    monkeypatch.setattr(model, 'after_validation', told.append)
    monkeypatch.setattr('sdakd_plugin.models.student.super_resolve', raises(error))
    model.validation(loader, 2, None)
    assert len(errors) == 1 and errors[0].startswith('The validation on val at iteration 2 is incomplete')
    assert '\n' not in errors[0] and str(error).partition('\n')[0] in errors[0]
    assert model.net_g.training and not told
    assert not {'lq', 'gt', 'output'} & vars(validation).keys()  # frees their memory
    monkeypatch.undo()
    model.validation(loader, 4, None)
    assert [entry['iter'] for entry in model.stage_validation._known('')] == [0, 4]


def test_a_validation_that_fails_at_the_start_does(options, tmp_path, monkeypatch):
    options['path'] |= {'visualization': str(tmp_path), 'experiments_root': str(tmp_path)}
    options['datasets']['val'] |= {'phase': 'val', 'scale': 4}
    monkeypatch.setattr(Student, 'super_resolve', raises(torch.cuda.OutOfMemoryError('CUDA out of memory.')))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        build_model(options | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1})
