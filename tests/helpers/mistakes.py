"""Options with one mistake, and the message of the check."""

import copy

import pytest
import torch

from sdakd_plugin.checks.run import check
from sdakd_plugin.errors import UserError


def change(options, path, value):
    """A copy of the options with the value at ``a.b.0.c`` replaced; ``...`` removes the key."""
    options = copy.deepcopy(options)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split('/')]
    holder = options
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return options


def complaint(options):
    """The message of the check, which must be one line and must not change the options or the random numbers."""
    before, state = copy.deepcopy(options), torch.get_rng_state()
    with pytest.raises(UserError) as caught:
        check(options)
    assert options == before
    assert torch.equal(state, torch.get_rng_state())
    message = str(caught.value)
    assert '\n' not in message
    return message
