"""Discovers what modules declare: in the files of a package, and in other installed packages by entry points.

A new benchmark or model family therefore needs only a new file; no list has to name it.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    """Anything that can be declared: it has a name that is unique among its kind."""

    @property
    def name(self) -> str: ...


Declared = TypeVar("Declared", bound=Named)


def find_declared(
    package: ModuleType, attribute: str, kind: type[Declared], *, group: str, word: str
) -> Mapping[str, Declared]:
    """Return, by name, what the modules of `package` and the entry points of `group` declare as `attribute`.

    `word` is the plural that messages use for them.

    Raises ValueError where two have the same name, and for an entry point that loads anything but a `kind`.
    """
    found: dict[str, tuple[str, Declared]] = {}
    for origin, each in [*_find_shipped(package, attribute), *_load_entry_points(attribute, kind, group)]:
        if each.name in found:
            raise ValueError(f"two {word} are named {each.name!r}: {found[each.name][0]} and {origin}; rename one")
        found[each.name] = origin, each
    return {name: found[name][1] for name in sorted(found)}


def _find_shipped(package: ModuleType, attribute: str) -> Iterator[tuple[str, Any]]:
    for found in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{found.name}")
        if hasattr(module, attribute):
            yield module.__name__, getattr(module, attribute)


def _load_entry_points(attribute: str, kind: type[Declared], group: str) -> Iterator[tuple[str, Declared]]:
    for point in sorted(entry_points(group=group), key=lambda each: (each.name, each.value)):
        loaded: Any = point.load()
        declared = getattr(loaded, attribute, loaded)
        if not isinstance(declared, kind):
            raise ValueError(
                f"entry point {point.name} = {point.value} of {group}: expected a {kind.__name__}, or a module with a "
                f"{attribute}; found {type(declared).__name__}"
            )
        yield point.value, declared
