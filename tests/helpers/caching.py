"""Creates and reads the teacher's cached images in this process."""

import random

import pytest
import torch
from basicsr.data import build_dataset

from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from sdakd_plugin.teacher_cache.cache import TeacherCache, with_cache
from sdakd_plugin.teacher_cache.fill import load_teacher, make, prepare


def fill(opt):
    """What ``sdakd cache`` does, in this process; the options as training gets them."""
    opt = {**opt, 'is_train': True, 'datasets': {'train': {**opt['datasets']['train'], 'phase': 'train', 'scale': 4}}}
    cache = TeacherCache(parse(opt))
    teacher = load_teacher(cache, torch.device('cpu'), 0)
    for name in prepare(cache):
        make(cache, teacher, name)
    return opt


def items(block, count=40):
    """Items as one worker of BasicSR's loader makes them."""
    dataset = build_dataset(block)
    random.seed(5)
    return [dataset[index % len(dataset)] for index in range(count)]


def refused(opt, *parts):
    """The message with which training refuses the cache; it must have these parts."""
    with pytest.raises(UserError) as found:
        with_cache(opt)
    message = str(found.value)
    assert message.startswith('teacher.cache: ') and all(part in message for part in parts), message
    return message
