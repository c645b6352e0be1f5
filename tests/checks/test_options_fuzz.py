"""Any option file is either accepted or rejected with a one-line error, and never changed."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdakd_plugin.checks.keys import check_keys, check_targets
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from tests.helpers.paths import ROOT

FILES = [
    ROOT / 'options' / name
    for name in (
        'sdakd_x4.yml',
        'sdakd_mutual_lpips_x4.yml',
        'mutual_srgan_x2.yml',
        'sdakd_gcfsr_512.yml',
        'test/sdakd_x4.yml',
    )
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.just(-1)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(['2e-4', '~', 'RRDBNet', 'Adam', '../..', '\0', 'ü' * 300, 'nan', '1' * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def places(value, parents=()):
    """Where something stands, as (holder's path, key), in depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield parents, key
        yield from places(inner, (*parents, key))


@st.composite
def mutated(draw, opt):
    """The options with one to three things replaced, removed, renamed, wrapped, or added."""
    opt = copy.deepcopy(opt)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(opt))
        if not found:
            break
        parents, key = draw(st.sampled_from(found))
        holder = opt
        for part in parents:
            holder = holder[part]
        change = draw(st.sampled_from(['replace', 'replace', 'remove', 'rename', 'list', 'dict', 'add']))
        if change == 'replace':
            holder[key] = draw(VALUES)
        elif change == 'remove':
            del holder[key]
        elif change in ('list', 'dict'):
            holder[key] = [holder[key]] if change == 'list' else {str(key): holder[key]}
        elif isinstance(holder, dict):
            name = draw(st.text(max_size=12) | st.integers() | st.sampled_from(['scale', 'stages', 'type']))
            holder[name] = holder.pop(key) if change == 'rename' else draw(VALUES)
    return opt


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT / 'options')))
def test_options_are_accepted_or_refused_with_one_line(path):
    original = read_yaml(str(path))
    is_train = 'train' in original

    @settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(original))
    def accepted_or_refused(opt):
        before = copy.deepcopy(opt)
        try:
            options = parse({**opt, 'is_train': is_train})
            if options.train is not None:
                Schedule.from_train(options.train)
            check_keys(opt, is_train)
            check_targets(opt, is_train)
        except UserError as error:
            assert '\n' not in str(error)
        assert repr(opt) == repr(before)  # nan is not equal to itself

    accepted_or_refused()
