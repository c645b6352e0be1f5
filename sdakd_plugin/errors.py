"""The error that a user can cause, with the name that was meant; and the end that a signal asks for."""
from collections.abc import Iterable
from difflib import get_close_matches
from signal import Signals


class UserError(ValueError):
    """Something in the user's options, files or weights is wrong. The message is one line that needs no traceback:
    it names the key or the file, what is wrong with it, and what would be right."""

    def __init__(self, message: str) -> None:
        # torch raises the error of a loader's worker anew, with the worker's traceback before the message
        super().__init__(' '.join(str(message).rpartition('UserError: ')[2].split()))


class Interrupted(Exception):
    """A signal came, the run was saved and ends here; ``code`` is the exit code that shells expect."""

    def __init__(self, number: Signals) -> None:
        super().__init__(number.name)
        self.code = 128 + number


def nearest(name: object, choices: Iterable[str], limit: int = 3) -> str:
    """Return ``'; did you mean ...?'`` for the valid names closest to ``name``, or a list of what there is.

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
    """What to say of a key that is missing: the one that was meant to be it, if another stands there.

    Args:
        key: where it should be, such as ``'train.total_iter'``.
        present: the keys that stand there.
        valid: those that mean something themselves.
        what: ``'key'`` or ``'block'``.
    """
    inside, _, name = key.rpartition('.')
    unknown = {str(other) for other in present} - set(valid)
    for slip in _close(name, sorted(unknown), 1, 0.8):
        return f"{inside}{': ' * bool(inside)}unknown key {slip!r}; did you mean {name!r}?"
    return f'{key}: this {what} is missing'


def _close(name: str, names: list[str], limit: int, cutoff: float) -> list[str]:
    """The names that are alike, whatever their case; only those that differ in nothing else, if there are such."""
    folded = {other.casefold(): other for other in names}
    same = [other for other in names if other.casefold() == name.casefold()]
    return same or [folded[match] for match in get_close_matches(name.casefold(), folded, limit, cutoff)]
