"""What a run is told about its machine."""

import os

import pytest
import torch

from sdakd_plugin.utils.machine import crowded


@pytest.mark.parametrize(
    'load, cores, slower', [(0.2, 2, None), (2.0, 2, '2.0'), (3.0, 4, None), (6.0, 4, '2.0'), (40.0, 64, None)]
)
def test_other_programs_are_noticed(monkeypatch, load, cores, slower):
    monkeypatch.setattr(os, 'getloadavg', lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: cores)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    said = crowded()
    if slower is None:
        assert said is None
    else:
        assert f'load {load:.1f} on {cores} cores' in said and f'about {slower} times faster' in said


def test_a_system_without_a_load_says_nothing(monkeypatch):
    def unobtainable():
        raise OSError

    monkeypatch.setattr(os, 'getloadavg', unobtainable, raising=False)
    assert crowded() is None
    monkeypatch.delattr(os, 'getloadavg')
    assert crowded() is None
