"""The error that a user can cause, and the nearest valid choice; and the end that a signal asks for."""
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
    close = get_close_matches(str(name), valid, n=limit, cutoff=0.6)
    if close:
        return '; did you mean ' + ' or '.join(repr(match) for match in close) + '?'
    shown = ', '.join(valid[:12]) + (', ...' if len(valid) > 12 else '')
    return f'; valid: {shown}' if valid else ''
