"""Sends memories to the Hub and brings them back, with the Hub's own client: its addresses, tokens, cache and switches.

`HF_ENDPOINT` names another server that speaks the Hub's API; with `HF_HUB_OFFLINE=1` only the cache is read.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from comem_core.serving.folders import MEMORY_FILE, save_memory
from comem_core.serving.memory import Memory

Result = TypeVar("Result")
FILES = ("*.json", "*.safetensors", "*.parquet", "*.md", "bank/**", "index/**")
TRAINING_SET, HIDDEN = "training_set/**", "**/.*"


def push_memory(
    memory: Memory, repository: str, *, private: bool | None, token: str | None, pictures: bool, training_set: bool
) -> str:
    """Save a memory into a repository of the Hub (see `Memory.push_to_hub`)."""
    if constants.is_offline_mode():
        raise ValueError(
            f"{repository} was not pushed: HF_HUB_OFFLINE is set, so the Hub may not be asked; set HF_HUB_OFFLINE=0, "
            "or write a folder with memory.save(...)"
        )
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_memory(memory, Path(folder) / "memory", pictures=pictures, training_set=training_set)

        def send() -> str:
            made = api.create_repo(repository, private=private, exist_ok=True)
            name = f"{len(memory)} items of encoder {memory.encoder.encoder_id}"
            place = Path(folder) / "memory"
            api.upload_folder(repo_id=made.repo_id, folder_path=place, commit_message=name, ignore_patterns=[HIDDEN])
            return str(made)

        return _ask_hub(send, f"{repository!r} was not pushed")


def fetch_memory(repository: str, *, revision: str | None) -> Path:
    """Return the folder of a repository's files in the Hub's cache, without its training set.

    Raises:
        ValueError: the repository is not there, holds no memory, or is neither reachable nor cached.
    """
    fetch_file(repository, MEMORY_FILE, revision=revision)  # first, because a repository without it is no memory
    return Path(
        _ask_hub(
            lambda: snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), ignore_patterns=[TRAINING_SET]
            ),
            _describe_missing(repository),
        )
    )


def fetch_file(repository: str, name: str, *, revision: str | None) -> Path:
    """Return one file of a repository; it is downloaded if it is newer than the cached one. Raises ValueError."""
    return Path(_ask_hub(lambda: hf_hub_download(repository, name, revision=revision), _describe_missing(repository)))


def _describe_missing(repository: str) -> str:
    return (
        f"{repository!r} is not a folder here (expected the folder of a store, or one with {MEMORY_FILE}), and no "
        "repository (user/name) of that name with a memory was found"
    )


def _ask_hub(ask: Callable[[], Result], failed: str) -> Result:
    """Return what the Hub's client returns. Raises ValueError that says what failed and why, for what it raises."""
    try:
        return ask()
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        offline = constants.is_offline_mode()
        why = (
            "HF_HUB_OFFLINE is set, so only the local cache was searched; set HF_HUB_OFFLINE=0 to ask the Hub"
            if offline
            else f"the Hub at {constants.ENDPOINT} says: {str(error).strip().splitlines()[0]}"
        )
        raise ValueError(f"{failed}: {why}") from error
