"""Parameters of a flow on the command line, NAME=VALUE, as `prefect deployment run -p` takes them."""

import json
from collections.abc import Iterable


def read_parameters(texts: Iterable[str]) -> dict[str, object]:
    """Read parameters as Prefect does: a value that is no JSON is a text. Raises ValueError for one without a name."""
    return dict(_parameter(text) for text in texts)


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"-p {text}: expected NAME=VALUE, for example -p recipe=tiny_cpu")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
