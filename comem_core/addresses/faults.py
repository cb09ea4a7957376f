"""What can be wrong with the address of a store, and what each of these faults is called and explained."""

import errno
import os

from comem_core.addresses.places import is_address

WAIT = "COMEM_STORE_WAIT_SECONDS"
WAIT_SECONDS = 600.0
NOT_AN_OUTAGE = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
FAULTS_OF_OURS = (errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT)
# Errors of botocore and aiohttp that are no OSError, by name: these packages need not be there.
OUTAGES = {"ConnectionError", "HTTPClientError", "ClientError", "ServerTimeoutError", "IncompleteReadError"}


class StoreGone(ConnectionError):
    """The address of the store did not answer within the wait. What is finished is kept there."""


class StoreRefused(ValueError):
    """The address of the store cannot be used: no such place, no permission, or no package for it."""


def read_wait_seconds() -> float:
    """Return how long a process waits for an address that does not answer (`COMEM_STORE_WAIT_SECONDS`).

    Raises ValueError unless it is a number that is not negative.
    """
    text = os.environ.get(WAIT, str(WAIT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"{WAIT} is {text!r}; expected a number of seconds")
    return seconds


def is_outage(error: Exception) -> bool:
    """Tell whether an error says that nobody answers, or not now, so that the same request may succeed later."""
    if isinstance(error, OSError):
        return not isinstance(error, NOT_AN_OUTAGE) and error.errno not in FAULTS_OF_OURS
    return any(each.__name__ in OUTAGES for each in type(error).__mro__)


def check_protocol(address: str) -> None:
    """Refuse an address whose filesystem is unknown, or whose package is not installed.

    Raises:
        StoreRefused: the message says what to install, or which address to give.
    """
    import fsspec
    from fsspec.registry import known_implementations

    assert is_address(address)
    protocol = address.partition("://")[0]
    if protocol not in known_implementations and protocol not in fsspec.registry:  # also what a program registered
        raise StoreRefused(
            f"{address} is an address of the kind {protocol!r}, which fsspec does not know; expected a folder, or an "
            "address such as s3://bucket/store"
        )
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        package = known_implementations[protocol]["class"].partition(".")[0]
        raise StoreRefused(
            f"{address} needs the package {package}, which is not installed here ({error}). Install it: "
            f".venv/bin/pip install -c constraints.txt {package}"
        ) from error


def explain(error: Exception) -> str:
    """Say what an error of a filesystem means and what to do."""
    said, kind = shorten(error), type(error).__name__
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or place ({said}). Make it first, or name another one with COMEM_STORE"
    if isinstance(error, PermissionError):
        return f"these credentials may not write and read there ({said}). Give others, or the permission"
    if "Credentials" in kind:
        return (
            f"there are no credentials for it ({said}). Set those of its filesystem (for s3 AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
        )
    if is_outage(error):
        return (
            f"nobody answers there as an object store does ({said}). Look at the network and at the endpoint (for s3 "
            "AWS_ENDPOINT_URL or FSSPEC_S3_ENDPOINT_URL)"
        )
    return said


def shorten(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
