"""Makes the data files of the emoji world from the pinned packages: `python -m comem_core.worlds.emoji.build`.

Needs npm and the `world` extra. Builds from the same packages write files with the same content; `--check` builds into
a temporary folder and compares with the shipped data. `templates.json` and `LICENCES.md` are written by hand.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.worlds.drawing import IconSet, draw_svg
from comem_core.worlds.emoji.sources import SOURCES
from comem_core.worlds.emoji.splits import choose_one, choose_split, hash_to_unit
from comem_core.worlds.emoji.world import ASKED_IN, EMOJI_FILE, LANGUAGES_FILE, SCHEMA, STYLES
from comem_core.worlds.packages import check_installed, hash_rows, run_build, write_json

BOX = 96  # pixels; the longer side of a picture
THINGS = ("Activities", "Animals & Nature", "Food & Drink", "Objects", "Travel & Places")
"""The categories of Twemoji whose pictures are of things: neither faces, people, signs nor flags."""
MOST_KEYWORDS = 8
LEAST_KNOWN = 0.9  # of the emoji, a language must name so many to be one of the items' languages
ASKED_IN_SHARE = 0.5  # of the items are in a language that questions are asked in, so that one language suffices


def build(modules: Path, data: Path) -> dict[str, Any]:
    """Write the data files; return the content of `build.json`: counts, what was left out, and content hashes."""
    check_installed(SOURCES, modules)
    sets = {style: IconSet(modules / "@iconify-json" / style) for style in STYLES}
    english = _read_annotations(modules, "en")
    things, seen = _list_things(modules, sets["twemoji"]), {}
    for character in english:
        if (points := _write_points(character)) in things:
            svgs = {style: icons.find_emoji(points) for style, icons in sets.items()}
            if all(svgs.values()):
                seen[points] = character, svgs
    words = {language: _read_annotations(modules, language) for language in _list_languages(modules)}
    characters = [character for character, _ in seen.values()]
    known = {each: words[each] for each in words if _is_known(words[each], characters)}
    names = {asked: _read_language_names(modules, asked) for asked in ASKED_IN}
    known = {each: found for each, found in known.items() if all(each in named for named in names.values())}
    rows = [
        _make_row(points, character, svgs, things[points], known) for points, (character, svgs) in sorted(seen.items())
    ]

    data.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, data / EMOJI_FILE, compression="zstd")
    write_json(data / LANGUAGES_FILE, {asked: {each: names[asked][each] for each in known} for asked in ASKED_IN})
    write_json(data / "SOURCES.json", {"sources": [asdict(source) for source in SOURCES]})
    report = {
        "num_emoji": dict(sorted(Counter(row["split"] for row in rows).items())),
        "num_categories": dict(sorted(Counter(row["category"] for row in rows).items())),
        "num_languages": len(known),
        "num_items": dict(sorted(Counter(row["language"] for row in rows).items())),
        "content_sha256": {EMOJI_FILE: hash_rows(table)},
    }
    write_json(data / "build.json", report)
    return report


def _make_row(
    points: str, character: str, svgs: dict[str, str | None], category: str, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    language = _choose_language(points, [each for each in known if _is_named(known[each].get(character))])
    words = known[language][character]
    name = words["tts"][0]
    keywords = [each for each in words["default"] if each != name][:MOST_KEYWORDS]
    pictures = {style: draw_svg(svg or "", box=BOX).image for style, svg in svgs.items()}
    row = {"emoji_id": points, "split": choose_split(points), "category": category, "language": language}
    return row | {"name": name, "keywords": keywords, "pictures": list(pictures.items())}


def _choose_language(points: str, languages: list[str]) -> str:
    """Choose the language of an emoji's item by a hash: half of them are in a language that questions are asked in."""
    asked = [each for each in languages if each in ASKED_IN]
    others = [each for each in languages if each not in ASKED_IN]
    among = asked if hash_to_unit("asked in", points) < ASKED_IN_SHARE else others
    return choose_one(sorted(among), "language", points)


def _write_points(character: str) -> str:
    return "-".join(f"{ord(each):x}" for each in character)


def _list_things(modules: Path, twemoji: IconSet) -> dict[str, str]:
    """Map the code points of emoji that show things to their category."""
    metadata = json.loads((modules / "@iconify-json" / "twemoji" / "metadata.json").read_text())["categories"]
    category = {name: each for each in THINGS for name in metadata[each]}
    return {points: category[name] for points, name in twemoji.names.items() if name in category}


def _list_languages(modules: Path) -> list[str]:
    """List the languages that CLDR annotates emoji in, without regional forms of them (`de-CH`, `es-419`)."""
    found = sorted(path.name for path in (modules / "cldr-annotations-full" / "annotations").iterdir())
    return [each for each in found if all(len(part) == 4 for part in each.split("-")[1:])]


def _read_annotations(modules: Path, language: str) -> dict[str, Any]:
    path = modules / "cldr-annotations-full" / "annotations" / language / "annotations.json"
    return json.loads(path.read_text(encoding="utf-8"))["annotations"].get("annotations", {})


def _read_language_names(modules: Path, language: str) -> dict[str, str]:
    path = modules / "cldr-localenames-full" / "main" / language / "languages.json"
    return json.loads(path.read_text(encoding="utf-8"))["main"][language]["localeDisplayNames"]["languages"]


def _is_named(words: dict[str, Any] | None) -> bool:
    """Tell whether a language has a name of an emoji, and a keyword that is not its name."""
    return bool(words and words.get("tts") and set(words.get("default", ())) - set(words["tts"]))


def _is_known(words: dict[str, Any], characters: list[str]) -> bool:
    return sum(_is_named(words.get(each)) for each in characters) >= LEAST_KNOWN * len(characters)


if __name__ == "__main__":
    run_build(build, Path(__file__).parent, shown=("num_emoji", "num_languages", "content_sha256"))
