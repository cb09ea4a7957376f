"""What the nodes of a cluster need of a store, in a folder or at an address: seen by all, and writable."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

from comem_core.addresses.faults import WAIT
from comem_core.addresses.places import CACHE, choose_variables, find_store_cache
from tasks.engine.context import Context

LookAtStore = Callable[[], dict[str, str]]


def list_store_variables(context: Context) -> dict[str, str]:
    """Return the variables that workers need for a store at an address: the filesystem's, and where its copies are."""
    address = context.store_address
    if address is None:
        return {}
    own = {WAIT: os.environ[WAIT]} if WAIT in os.environ else {}
    return choose_variables(address, os.environ) | own | {CACHE: str(find_store_cache(address).parent)}


@contextlib.contextmanager
def mark_store(context: Context) -> Iterator[LookAtStore]:
    """Put a file into the store for the nodes to find, and yield the function by which a node looks for it."""
    context.store.mkdir(parents=True, exist_ok=True)
    name = f".seen-{uuid4().hex}"
    if context.store_address is None:
        (context.store / name).touch()
        try:
            yield _make_look_at_folder(str(context.store), name)
        finally:
            for path in context.store.glob(f"{name}*"):
                path.unlink(missing_ok=True)
        return
    from comem_core.addresses.remote import Remote

    remote = Remote(context.store_address)
    remote.write(name, b"1")
    try:
        yield _make_look_at_address(context.store_address, name, str(context.store), list_store_variables(context))
    finally:
        remote.remove([each for each in remote.list_names() if each.startswith(name)])


# Both are sent by value and use nothing of ours, because a node may have no code of this project.


def _make_look_at_folder(folder: str, name: str) -> LookAtStore:
    def look() -> dict[str, str]:
        seen = Path(folder, name)
        try:
            seen.with_name(f"{name}-{uuid4().hex}").touch()
            written = seen.is_file()
        except OSError:
            written = False
        return {f"the store {folder}": "seen" if written else "not seen, or not writable"}

    return look


def _make_look_at_address(address: str, name: str, cache: str, variables: dict[str, str]) -> LookAtStore:
    def look() -> dict[str, str]:
        os.environ.update(variables)
        try:
            import fsspec
            from fsspec.config import conf, set_conf_env

            set_conf_env(conf)
            files = fsspec.filesystem(address.partition("://")[0], use_listings_cache=False)
            files.pipe_file(f"{address}/{name}-{uuid4().hex}", b"1")
            found = "seen" if files.cat_file(f"{address}/{name}") == b"1" else "another one"
        except Exception as error:
            found = f"not seen, or not writable ({type(error).__name__}: {str(error)[:200]})"
        try:
            Path(cache).mkdir(parents=True, exist_ok=True)
            tried = Path(cache, f"{name}-{uuid4().hex}")
            tried.touch()
            tried.unlink()
            made = "writable"
        except OSError as error:
            made = f"not writable ({error})"
        return {f"the store {address}": found, f"the folder for its copy, {cache},": made}

    return look
