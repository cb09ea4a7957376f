"""Parameters of a flow on the command line, NAME=VALUE, as `prefect deployment run -p` takes them."""

import json
from collections.abc import Iterable


def read_parameters(texts: Iterable[str]) -> dict[str, object]:
    """Read parameters as Prefect does: a value that is not JSON is a text.

    Raises ValueError for a parameter without a name, for a name that is given twice, and for a value that begins as
    JSON does but is not valid.
    """
    read: dict[str, object] = {}
    for name, value in map(_read_parameter, texts):
        if name in read:
            raise ValueError(f"-p {name}=... is given twice; give it once")
        read[name] = value
    return read


def _read_parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"-p {text}: expected NAME=VALUE, for example -p recipe=tiny_cpu")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        if value.lstrip().startswith(("{", "[")):
            raise ValueError(f"-p {name}: {value} looks like JSON, but is not valid: {error}") from None
        return name, value
