"""Opens the filesystem of an address, patiently or not, and ends what fsspec started with the program."""

import atexit
import contextlib
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import fsspec
from fsspec import asyn

from comem_core.addresses.faults import check_protocol

# The first look at an address: a refused connection is an answer, so nothing is asked twice; silence is waited for.
TRIES, TRY_SECONDS, SILENT_SECONDS = 3, 5.0, 1.0
log = logging.getLogger("comem.stage")


def open_filesystem(address: str, **options: Any) -> Any:
    """Open the filesystem of an address. Raises ValueError if its protocol is unknown here."""
    check_protocol(address)
    # Listings are never remembered: other machines write too.
    return fsspec.filesystem(address.partition("://")[0], use_listings_cache=False, **options)


def open_impatient(address: str) -> Any:
    """Open a filesystem that does not try for minutes, where it is known how: for S3."""
    if not address.startswith(("s3://", "s3a://")):
        return open_filesystem(address)
    once = {"retries": {"total_max_attempts": 1}, "connect_timeout": TRY_SECONDS, "read_timeout": TRY_SECONDS}
    files = open_filesystem(address, config_kwargs=once, skip_instance_cache=True)
    files.retries = min(files.retries, TRIES)
    return files


@contextlib.contextmanager
def say_if_slow(address: str) -> Iterator[None]:
    """Say in the log of the flow, if there is one, that an address is tried, where that takes more than a second."""
    line = f"the store {address} has not answered yet; trying for {TRIES * TRY_SECONDS:g} s"
    timer = threading.Timer(SILENT_SECONDS, copy_context().run, args=(log.warning, "%s", line))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@atexit.register
def _end_requests() -> None:
    """End the thread in which fsspec makes its requests. While it lives, the interpreter cannot free what it can
    reach, and libraries such as DuckDB list all that as leaked."""
    loop, thread = asyn.loop[0], asyn.iothread[0]
    if loop is None or thread is None or not loop.is_running():
        return
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=5)
    if not thread.is_alive():
        loop.close()
