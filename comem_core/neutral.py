"""The neutral value of a field, which means "off". It is declared beside the field and may differ from the default.

A fingerprint leaves out fields at their neutral value, so a new option that is off keeps every old name valid.
Changing a default changes the result, and so the name.
"""

from collections.abc import Mapping
from dataclasses import Field
from typing import Any

_KEY = "neutral"


def off_at(value: Any) -> Mapping[str, Any]:
    """Return the `metadata` of a dataclass field that is off at this value."""
    return {_KEY: value}


OFF_AT_NONE = off_at(None)
OFF_AT_FALSE = off_at(False)


def is_off(field: Field, value: Any) -> bool:
    """Tell whether a field has its neutral value. The type counts too: 0 is not False, and 1.0 is not 1."""
    if _KEY not in field.metadata:
        return False
    neutral = field.metadata[_KEY]
    return type(value) is type(neutral) and value == neutral
