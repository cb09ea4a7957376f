"""The configurations of published models, each with its source and revision: a model's shapes, without its weights."""

import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

FOLDER = Path(__file__).parent


def read_configuration(name: str, **changes: Any) -> PreTrainedConfig:
    """Read a published model's configuration, with some of its values changed; a changed part keeps its other values.

    Raises:
        ValueError: this model's configuration is not here; the message lists those that are.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.json")))
        raise ValueError(f"the configuration of {name!r} is not here; expected one of {known}")
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["config"]
    stated |= {name: stated[name] | new if isinstance(new, dict) else new for name, new in changes.items()}
    return CONFIG_MAPPING[stated.pop("model_type")](**stated)
