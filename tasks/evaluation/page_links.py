"""Addresses of the pages that runs write, for a browser."""

import urllib.request
from pathlib import Path

from tasks.engine.context import Context

ANSWER_SECONDS = 2.0


def find_page(context: Context, page: Path) -> str:
    """Return the address of a page of the store: where COMEM_PAGES_URL serves it, if it does, else that of the file, or
    of the object in a store that is an address.

    The address is tried, because a run may have another store than the one that is served.
    """
    if not page.is_relative_to(context.store):
        return page.as_uri()
    place = page.relative_to(context.store).as_posix()
    if context.pages_url and _is_served(address := f"{context.pages_url.rstrip('/')}/{place}"):
        return address
    return page.as_uri() if context.store_address is None else f"{context.store_address}/{place}"


def name_page(context: Context, page: Path) -> str:
    """Return the address of a page for a log: where it is served, with its file after it, else that of the file."""
    address = find_page(context, page)
    if context.store_address is not None and page.is_relative_to(context.store):
        return f"{address} (copy on this machine: {page})"
    return address if address == page.as_uri() else f"{address} (file: {page})"


def write_link(page: Path) -> str:
    """Return the link to a page of a store from another page of it, which is right wherever the store is."""
    return Path("..", "..", *page.parts[-3:]).as_posix()


def _is_served(address: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_SECONDS) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False
