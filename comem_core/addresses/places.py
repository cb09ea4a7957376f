"""What is an address, what is a folder, and where the local copy of an address is. Imports no filesystem."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

CACHE = "COMEM_STORE_CACHE"
LOCAL = ("file", "local")
VARIABLES = {
    "s3": "AWS_",
    "s3a": "AWS_",
    "gs": "GOOGLE_",
    "gcs": "GOOGLE_",
    "az": "AZURE_",
    "abfs": "AZURE_",
    "abfss": "AZURE_",
}
"""How the variables begin that the library of a filesystem reads; all of them read those of fsspec too."""
OF_ONE_MACHINE = ("AWS_CONTAINER_", "AWS_EXECUTION_", "AWS_WEB_IDENTITY_")


def is_address(place: str) -> bool:
    """Tell whether a place is an address such as `s3://bucket/prefix`, and not a folder of this machine."""
    protocol, found, _ = place.partition("://")
    return bool(found) and protocol not in LOCAL


def read_place(text: str) -> str | Path:
    """Return the folder that a text names, or the address in the form in which records name it.

    Raises ValueError for an address that has a key in it, is one inside another, or names no bucket or folder.
    """
    if not is_address(text):
        _, found, path = text.partition("://")
        return Path(unquote(path) if found else text).absolute()
    parts = urlsplit(text)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"the address of the store begins with {parts.scheme}:// and has a key or an option in it, which would be "
            "written into records and logs. Give the address alone, and keys in the variables of its filesystem (such "
            "as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL for s3)"
        )
    if "::" in text:
        raise ValueError(f"{text!r} is an address inside another one; name the place itself, such as s3://bucket/store")
    address = text.rstrip("/")
    if not address.partition("://")[2]:
        raise ValueError(f"{text!r} names no bucket or folder; expected an address such as s3://bucket/store")
    return address


def find_store_cache(address: str) -> Path:
    """Return the folder of the local copy of the store at an address: below `COMEM_STORE_CACHE`, or else in the cache
    folder (`COMEM_CACHE`). Raises ValueError if a variable is set to nothing."""
    named = os.environ.get(CACHE)
    if named is not None and not named.strip():
        raise ValueError(f"{CACHE} is set to nothing; give it a value, or unset it")
    if not named:
        from comem_core.backbone.finding import find_cache_folder  # imports what a worker may not need

        named = find_cache_folder() / "stores"
    caches = Path(named)
    return caches.absolute() / hashlib.sha256(address.encode()).hexdigest()[:16]


def choose_variables(address: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the filesystem of an address is set up; processes on other machines need them."""
    if address is None:
        return {}
    own = VARIABLES.get(address.partition("://")[0])
    found = {
        name: value for name, value in environ.items() if name.startswith("FSSPEC_") or (own and name.startswith(own))
    }
    return {name: value for name, value in found.items() if not name.startswith(OF_ONE_MACHINE)}


def split_artefact(uri: str) -> tuple[str, str, str]:
    """Split the address of an artefact into that of its store, its stage and its fingerprint."""
    address, stage, fingerprint = uri.rsplit("/", 2)
    return address, stage, fingerprint
