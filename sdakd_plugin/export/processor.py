"""Whether this processor multiplies 8-bit integers faster than floats."""

from __future__ import annotations

from pathlib import Path

INT8 = {'avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm'}  # x86 and ARM, as Linux names them
CPUINFO = Path('/proc/cpuinfo')


def has_int8() -> bool | None:
    """Whether there are such instructions; ``None`` where the system does not say."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    flags = [set(line.split()) for line in lines if line.lower().startswith(('flags', 'features'))]
    return bool(INT8.intersection(*flags)) if flags else None
