"""The error that a user can cause, how it is reported, and the exception that ends a run by a signal."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from signal import Signals


class UserError(ValueError):
    """Something in the user's options, files or weights is wrong. The message is one line, which is shown without a
    traceback: it names the key or the file, what is wrong with it, and the remedy.

    Attributes: others (messages of further mistakes that were found with this one).
    """

    def __init__(self, message: str, others: Iterable[str] = ()) -> None:
        # torch raises the error of a data loader's worker again, with the worker's traceback before the message
        super().__init__(' '.join(str(message).rpartition('UserError: ')[2].split()))
        self.others = tuple(others)

    def report(self) -> str:
        """All messages, each on a line of its own."""
        return '\n'.join(f'error: {message}' for message in (self, *self.others))


def all_of(*checks: Callable[[], object]) -> None:
    """Run every check, then raise one ``UserError`` with the different mistakes that they found."""
    found: dict[str, None] = {}  # an ordered set
    for check in checks:
        try:
            check()
        except UserError as error:
            found |= dict.fromkeys([str(error), *error.others])
        except Exception:
            if not found:  # otherwise a mistake that is already known may be the cause
                raise
    if found:
        first, *others = found
        raise UserError(first, others)


class Interrupted(Exception):
    """A signal has ended the run, which is saved; ``code`` is the exit code that shells expect."""

    def __init__(self, number: Signals) -> None:
        super().__init__(number.name)
        self.code = 128 + number


def print_traceback() -> None:
    """Print the traceback of the exception that is being handled, if the environment has ``SDAKD_DEBUG=1``: a user's
    error is otherwise reported in one line."""
    if os.environ.get('SDAKD_DEBUG') == '1':
        traceback.print_exc(file=sys.stderr)


def reported(command: Callable[..., int], *arguments: str) -> int:
    """Run a command and return its exit code. A ``UserError`` is reported in one line for each mistake, with
    ``SDAKD_DEBUG=1`` after its traceback."""
    try:
        return command(*arguments)
    except UserError as error:
        print_traceback()
        print(error.report(), file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.code
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def nearest(name: object, choices: Iterable[str], limit: int = 3) -> str:
    """Return ``'; did you mean ...?'`` with the valid names closest to ``name``, or a list of the valid names.

    Args:
        name: what the user wrote.
        choices: the valid names.
        limit: how many names to offer.
    """
    valid = sorted({str(choice) for choice in choices})
    close = _close(str(name), valid, limit, 0.6)
    if close:
        return '; did you mean ' + ' or '.join(repr(match) for match in close) + '?'
    shown = ', '.join(valid[:12]) + (', ...' if len(valid) > 12 else '')
    return f'; valid: {shown}' if valid else ''


def missing_key(key: str, present: Iterable[object], valid: Iterable[str] = (), what: str = 'key') -> str:
    """The message for a missing key, which suggests it in place of an unknown key that looks like it.

    Args:
        key: the missing key with its block, such as ``'train.total_iter'``.
        present: the keys of that block.
        valid: the known keys, which cannot be misspelt forms of the missing one.
        what: ``'key'`` or ``'block'``.
    """
    inside, _, name = key.rpartition('.')
    unknown = {str(other) for other in present} - set(valid)
    for slip in _close(name, sorted(unknown), 1, 0.8):
        return f'{inside}{": " * bool(inside)}unknown key {slip!r}; did you mean {name!r}?'
    return f'{key}: this {what} is missing'


def _close(name: str, names: list[str], limit: int, cutoff: float) -> list[str]:
    """The similar names, regardless of case; if some differ in case only, no others."""
    folded = {other.casefold(): other for other in names}
    same = [other for other in names if other.casefold() == name.casefold()]
    return same or [folded[match] for match in get_close_matches(name.casefold(), folded, limit, cutoff)]
