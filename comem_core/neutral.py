"""The value of a field that means "off", declared beside the field and not by its default.

What names a result leaves out fields at this value, so an option that is added and switched off keeps every old name.
A default that changes is another matter: it makes another result, and so another name.
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
    """Tell whether a field's value is the one that it declares as off. 0 is not False here, nor 1.0 equal to 1."""
    if _KEY not in field.metadata:
        return False
    neutral = field.metadata[_KEY]
    return type(value) is type(neutral) and value == neutral
