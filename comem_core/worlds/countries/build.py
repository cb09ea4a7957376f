"""Makes the data files of the countries world from the pinned packages: `python -m comem_core.worlds.countries.build`.

Needs npm and the `world` extra. Builds from the same packages write files with the same content; `--check` builds into
a temporary folder and compares with the shipped data. `templates.json` and `LICENCES.md` are written by hand.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.worlds.countries.facts import CORRECTIONS, CountryFacts, read_facts
from comem_core.worlds.countries.flags import draw_flags, hash_pixels, make_thumbnail
from comem_core.worlds.countries.sources import SOURCES
from comem_core.worlds.countries.splits import choose_split
from comem_core.worlds.countries.world import ATTRIBUTES, KNOWLEDGE_STYLE, LANGUAGES, Flag
from comem_core.worlds.packages import check_installed, hash_rows, run_build, write_json

SAME_FLAG = 0.02  # two drawings whose thumbnails have a mean colour difference below this show the same flag
NEAR = 0.05  # two drawings with a difference below this are counted as near-identical

# Pictures that show another flag than the knowledge style, found by looking at every picture.
OTHER_FLAGS = {
    ("FK", "flagpack"): "a blue ensign whose badge is missing",
    ("MQ", "flagpack"): "the flag of France",
    ("MQ", "twemoji"): "the former ensign with four snakes",
    ("MS", "flagpack"): "a blue ensign without the badge",
    ("NC", "flagpack"): "the flag of France",
    ("SY", "flagpack"): "the flag before 2025",
    ("TC", "flagpack"): "a blue ensign without the badge",
    ("VG", "flagpack"): "a blue ensign without the badge",
}


def build(modules: Path, data: Path) -> dict:
    """Write the data files; return the content of `build.json`: counts, what was dropped and why, content hashes."""
    check_installed(SOURCES, modules)
    countries, dropped = read_facts(modules)
    flags = draw_flags(modules, [country.country_id for country in countries])
    twins = _find_flag_twins(countries, flags)
    dropped |= {country_id: f"has no flag of its own: {owner}'s is the same" for country_id, owner in twins.items()}
    countries = [country for country in countries if country.country_id not in twins]
    flags = [flag for flag in flags if flag.country_id not in twins]
    dropped_flags = _find_useless_flags(flags)
    flags = [flag for flag in flags if (flag.country_id, flag.style) not in dropped_flags]

    data.mkdir(parents=True, exist_ok=True)
    tables = {"countries.parquet": _make_country_table(countries), "flags.parquet": _make_flag_table(flags)}
    for name, table in tables.items():
        pq.write_table(table, data / name, compression="zstd")
    sources = {
        "sources": [asdict(source) for source in SOURCES],
        "corrections": [
            {"country_id": country_id, "attribute": attribute, "value": value, "why": why}
            for (country_id, attribute), (value, why) in sorted(CORRECTIONS.items())
        ],
    }
    write_json(data / "SOURCES.json", sources)
    report = {
        "num_countries": _count(choose_split(country.country_id) for country in countries),
        "num_flags": _count(flag.style for flag in flags),
        "dropped_countries": dict(sorted(dropped.items())),
        "dropped_flags": [
            {"country_id": country_id, "style": style, "why": why}
            for (country_id, style), why in sorted(dropped_flags.items())
        ],
        "near_identical": _count_near_identical(flags),
        "content_sha256": {name: hash_rows(table) for name, table in tables.items()},
    }
    write_json(data / "build.json", report)
    return report


def _find_flag_twins(countries: list[CountryFacts], flags: list[Flag]) -> dict[str, str]:
    """Map each country to the more populous country whose knowledge flag is the same, where there is one."""
    pictures = {flag.country_id: make_thumbnail(flag) for flag in flags if flag.style == KNOWLEDGE_STYLE}
    by_population = sorted(countries, key=lambda country: (-country.population, country.country_id))
    ordered = [country.country_id for country in by_population]
    twins: dict[str, str] = {}
    for larger, smaller in combinations(ordered, 2):
        if larger not in twins and _compute_difference(pictures[larger], pictures[smaller]) < SAME_FLAG:
            twins.setdefault(smaller, larger)
    return twins


def _find_useless_flags(flags: list[Flag]) -> dict[tuple[str, str], str]:
    """Find the question pictures that show another flag, or that two countries share."""
    useless = {key: f"shows {what}" for key, what in OTHER_FLAGS.items()}
    owners = defaultdict(list)
    for flag in flags:
        if (flag.country_id, flag.style) not in useless:
            owners[hash_pixels(flag)].append(flag)
    for shared in owners.values():
        for flag in shared if len(shared) > 1 else []:
            if flag.style != KNOWLEDGE_STYLE:
                others = (f"{other.country_id}/{other.style}" for other in shared if other != flag)
                useless[flag.country_id, flag.style] = "the same picture as " + ", ".join(others)
    return useless


def _count_near_identical(flags: list[Flag]) -> dict:
    """Count the question pictures that are close to a knowledge picture of their own country, and of another one."""
    knowledge = {flag.country_id: make_thumbnail(flag) for flag in flags if flag.style == KNOWLEDGE_STYLE}
    own, other = [], []
    for flag in flags:
        if flag.style != KNOWLEDGE_STYLE:
            picture = make_thumbnail(flag)
            near = [code for code, known in knowledge.items() if _compute_difference(picture, known) < NEAR]
            own += [f"{flag.country_id}/{flag.style}" for code in near if code == flag.country_id]
            other += [f"{flag.country_id}/{flag.style} ~ {code}" for code in near if code != flag.country_id]
    threshold = f"mean absolute colour difference below {NEAR} at 24 x 16 pixels"
    return {"threshold": threshold, "num_own": len(own), "num_other": len(other), "own": own, "other": other}


def _compute_difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).mean())


def _make_country_table(countries: list[CountryFacts]) -> pa.Table:
    """Make a table with one row per country, and one column per language: a struct of attribute -> list of values."""
    values = pa.struct([(attribute, pa.list_(pa.string())) for attribute in ATTRIBUTES])
    schema = pa.schema(
        [
            ("country_id", pa.string()),
            ("split", pa.string()),
            ("area_km2", pa.int64()),
            ("currency_code", pa.string()),
            ("language_codes", pa.list_(pa.string())),
            ("region_code", pa.string()),
            ("neighbour_ids", pa.list_(pa.string())),
            *((language, values) for language in LANGUAGES),
        ]
    )
    rows = [
        {key: getattr(country, key) for key in schema.names if key not in (*LANGUAGES, "split")}
        | {"split": choose_split(country.country_id)}
        | country.facts
        for country in countries
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _make_flag_table(flags: list[Flag]) -> pa.Table:
    schema = pa.schema(
        [
            ("country_id", pa.string()),
            ("style", pa.string()),
            ("image", pa.binary()),
            ("width", pa.int32()),
            ("height", pa.int32()),
        ]
    )
    return pa.Table.from_pylist([asdict(flag) for flag in flags], schema=schema)


def _count(keys: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for key in keys:
        counts[key] += 1
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    run_build(build, Path(__file__).parent, shown=("num_countries", "num_flags", "content_sha256"))
