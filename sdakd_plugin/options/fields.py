"""What the declarations of options have in common: strict types, counts, blocks without unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt

# strict: BasicSR does not convert most values, so text is not accepted as a number
STRICT = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)
MOST_ITERATIONS = 10**9  # decades of training
MOST_WORKERS = 256


def whole(value: Any) -> Any:
    """Convert a whole number written as ``!!float 5e3``, as in BasicSR's option files, to ``int``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[PositiveInt, BeforeValidator(whole)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Chances = Annotated[list[float], Field(min_length=3, max_length=3)]


class Block(BaseModel):
    """A block of the option file in which an unknown key is an error."""

    model_config = ConfigDict(extra='forbid', **STRICT)


def shown(value: object) -> str:
    """The ``repr`` of a value, shortened for a message."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        return 'an integer of more than 4300 digits'
    return text if len(text) <= 60 else f'{text[:57]}...'


def keys_of(block: type[BaseModel]) -> list[str]:
    """The keys of a block as an option file writes them."""
    return [field.alias or name for name, field in block.model_fields.items()]
