"""Every measured number that the README or docs/ shows is the one in the file that a command wrote, and is shown.

A page's fault is a string; each kind of fault is made once below, on the real pages, and has to be found.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from comem_core.measures import smol
from comem_core.measures.countries_vqa import TOPIC
from comem_core.measures.plots import PLOTS
from comem_core.measures.results import STATISTICS, find_statistic, read_results

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = sorted((ROOT / "docs" / "results").glob("*.json"))
MEASURED = {path.stem: {row["measure"]: row for row in read_results(path)} for path in FILES}
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
DRAWN = {f"{plot.name}.svg": (TOPIC, plot.measures) for plot in PLOTS}
DRAWN |= {smol.PLOT.name: (smol.TOPIC, smol.curve_measures(MEASURED[smol.TOPIC]))}
DESCRIBED = {f"{plot.name}.svg": plot.name_numbers for plot in PLOTS} | {smol.PLOT.name: smol.name_numbers}

# Measured and neither in a table nor in a plot: the topic, the measures, and why no page shows them.
NOT_SHOWN = [
    ("countries_vqa", r"em_\w+/unseen_question", "the tables show the harder part, countries of the test split"),
    ("countries_vqa", r"em_none_stated|em_\w+_as_retrieved", "controls of a table's row, told in docs/log.md"),
    ("countries_vqa", r"prompt_tokens_text_k3", "in the prose of docs/countries.md, which test_prose.py checks"),
    ("countries_vqa", r"em_\w+_without_\w+", "told in docs/log.md: what each part of the training is worth"),
    ("countries_vqa", r"em_memory_\w+_seed_\d", "in the prose of docs/countries.md, as seeds and means"),
    ("countries_vqa", r"em_memory_unstated_vectors_[1248]", "as with sixteen vectors, which a table has"),
    ("demo", r"infoseek_\w+_seed_\d", "the seeds of a mean, which its interval holds"),
    ("demo", r"demo_(seconds|peak_memory_gb)", "how the run went, for comparing machines; no page promises it"),
    ("scale", r"(index|exact)_queries_per_s|index_write_seconds|filter_pandas_peak_memory_gb", "the ratio is shown"),
    ("scale", r"ingest_text_peak_memory_gb|load_seconds|warehouse_gb", "parts of what is shown"),
    ("scale", r"lineage_lookup_ms_of_\w+", "kinds of look-up; the slowest is shown"),
    ("side_tables", r"infoseek_(none|text)\+reader=tiny-text,blind", "without memory there is no picture to leave out"),
    ("smol", r"(accuracy|contains)_(none|shuffled|empty)_invented_(number|word)", "as in the row of both kinds"),
    ("speed", r"encode_items_per_s|score_100k_seconds", "rates of one machine; no page promises them"),
    ("speed", r"(suite|demo)_ratio", "times of this project's own work against one commit; docs/log.md tells them"),
]
MORE = "| `prompt_tokens_text_k3` | 209.6 |  |  | 2350 | |\n"
KEYS = {"measure", "recipe", "value", "low", "high", "unit", "n", "seeds", "command", "commit", "machine"}
NUMBERS = ("value", "low", "high", "n")
MARK = re.compile(r"<!-- results: (\w+) -->")
LINK = re.compile(r"!\[[^]]+\]\(plots/([^)]+)\)")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables_of(text: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield the line above each table and its rows, which map column headings to cells."""
    lines = ["", *text.splitlines(), ""]
    for place in range(1, len(lines)):
        if lines[place].startswith("|") and not lines[place - 1].startswith("|"):
            end = next(each for each in range(place, len(lines)) if not lines[each].startswith("|"))
            heading, _, *rows = map(_cells, lines[place:end])
            yield lines[place - 1], [dict(zip(heading, row, strict=True)) for row in rows]


def shown_in(text: str) -> list[tuple[str, dict[str, str]]]:
    """List (topic, row) of every row below a results mark."""
    return [
        (found.group(1), row) for above, rows in tables_of(text) if (found := MARK.fullmatch(above)) for row in rows
    ]


def faults_of_a_row(topic: str, row: Mapping[str, str]) -> Iterator[str]:
    name = row.get("measure", "").strip("`")
    measured = MEASURED.get(topic, {}).get(name)
    if measured is None:
        yield f"{name!r} is not in docs/results/{topic}.json"
        return
    if "value" not in row:
        yield f"{name} has no value"
    for column in NUMBERS:
        if column in row and (float(row[column]) if row[column] else None) != measured[column]:
            yield f"{name}: {column} is {row[column] or 'empty'}, measured {measured[column]}"
    for column in row.keys() - {*NUMBERS, "measure", "unit"}:
        if re.fullmatch(r"[+-]?[\d.,]+", row[column]):
            yield f"{name}: the column {column!r} has the number {row[column]}; only {', '.join(NUMBERS)} are compared"
    if "unit" in row and row["unit"] != measured["unit"]:
        yield f"{name}: unit is {row['unit']}, measured {measured['unit']}"


def faults_of_a_page(text: str) -> list[str]:
    """Say what is wrong with the results tables of a page."""
    tables = list(tables_of(text))
    faults = [fault for topic, row in shown_in(text) for fault in faults_of_a_row(topic, row)]
    for above, rows in tables:
        if not rows:
            faults.append(f"a table below {above!r} without a row")
        elif "measure" in rows[0] and not MARK.fullmatch(above):
            faults.append(f"the table that begins with {rows[0]['measure']} has no results mark above it")
    num_marks = sum("results:" in line for line in re.findall(r"<!--.*?-->", text))
    if num_marks != sum(MARK.fullmatch(above) is not None for above, _ in tables):
        faults.append("a results mark without a table right below it")
    return faults


def faults_of_what_is_shown(texts: Mapping[str, str]) -> list[str]:
    """Say of each measure that it is shown nowhere, and of each reason in `NOT_SHOWN` that it is needed no more."""
    shown = {(topic, row["measure"].strip("`")) for text in texts.values() for topic, row in shown_in(text)}
    linked = {name for text in texts.values() for name in LINK.findall(text)}
    drawn = {(topic, name) for plot, (topic, measures) in DRAWN.items() if plot in linked for name in measures}
    left = {(topic, name) for topic, rows in MEASURED.items() for name in rows} - shown - drawn
    told = {
        (topic, pattern): {each for each in left if each[0] == topic and re.fullmatch(pattern, each[1])}
        for topic, pattern, _ in NOT_SHOWN
    }
    faults = [
        f"{name} of docs/results/{topic}.json is in no table and no plot"
        for topic, name in sorted(left - set().union(*told.values()))
    ]
    faults += [
        f"NOT_SHOWN explains {pattern} of {topic}; all of that is shown"
        for (topic, pattern), found in told.items()
        if not found
    ]
    faults += [
        f"no page has a table of docs/results/{topic}.json"
        for topic in MEASURED
        if topic not in {each for each, _ in shown}
    ]
    return faults


def faults_of_plots(texts: Mapping[str, str], drawings: Mapping[str, str], measured: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the plots: not drawn, not linked, unknown, or drawn from other numbers."""
    linked = {name for text in texts.values() for name in LINK.findall(text)}
    faults = [f"a page shows plots/{name}, which is not there" for name in sorted(linked - set(drawings))]
    faults += [f"no page shows plots/{name}" for name in sorted((set(DRAWN) | set(drawings)) - linked)]
    faults += [f"no command draws plots/{name}" for name in sorted(set(drawings) - set(DRAWN))]
    for name in sorted(set(drawings) & set(DRAWN)):
        topic, measures = DRAWN[name]
        if absent := [measure for measure in measures if measure not in measured[topic]]:
            faults.append(f"plots/{name} needs {', '.join(absent[:3])}, which docs/results/{topic}.json lacks")
        elif f"<dc:description>{DESCRIBED[name](measured[topic])}</dc:description>" not in drawings[name]:
            faults.append(f"plots/{name} shows other numbers than docs/results/{topic}.json; draw it again")
    return faults


def faults_of_statistics(texts: Mapping[str, str]) -> list[str]:
    """Say of each page which shares it shows without saying of what, in the words that all pages have for them."""
    faults = []
    for page, text in texts.items():
        words = " ".join(text.split())
        names = [(topic, row["measure"].strip("`")) for topic, row in shown_in(text)]
        shares = {find_statistic(name) for topic, name in names if MEASURED[topic].get(name, {}).get("unit") == "%"}
        faults += [
            f"{page} does not say {STATISTICS[each]!r}" for each in sorted(shares) if STATISTICS[each] not in words
        ]
    return faults


def drawings() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "plots").iterdir())}


@pytest.mark.parametrize("page", TEXTS)
def test_tables_of_a_page_are_what_was_measured(page: str) -> None:
    assert faults_of_a_page(TEXTS[page]) == []


def test_every_measure_is_shown_or_it_is_said_why_not() -> None:
    assert len(MEASURED) >= 6
    assert faults_of_what_is_shown(TEXTS) == []


def test_every_page_says_what_its_shares_are_and_one_name_is_one_statistic() -> None:
    assert faults_of_statistics(TEXTS) == []
    shares = {name for rows in MEASURED.values() for name, row in rows.items() if row["unit"] == "%"}
    assert {"em", "accuracy", "infoseek"} <= {find_statistic(name) for name in shares} <= set(STATISTICS)


@pytest.mark.parametrize("page", ["README.md", "docs/smol.md", "docs/countries.md"])
def test_a_page_that_does_not_say_what_its_shares_are_is_found(page: str) -> None:
    patterns = {words: r"\s+".join(map(re.escape, words.split())) for words in STATISTICS.values()}
    said = {words: pattern for words, pattern in patterns.items() if re.search(pattern, TEXTS[page])}
    assert said
    for words, pattern in said.items():
        other = {page: re.sub(pattern, "exact match", TEXTS[page])}
        assert f"{page} does not say {words!r}" in faults_of_statistics(other)


def test_every_plot_is_shown_and_drawn_from_what_was_measured() -> None:
    assert faults_of_plots(TEXTS, drawings(), MEASURED) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_says_how_it_was_measured(path: Path) -> None:
    rows = read_results(path)
    assert rows and len({row["measure"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == KEYS
        assert row["command"] and row["machine"]
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]


def faults_of_means(measured: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Name the means over seeds whose interval leaves out one of their seeds by a question or more, where these are on
    record. (A mean above 0 has an interval above 0, because it is made of log-odds; a seed may still have 0.)"""
    return [
        f"{name} of docs/results/{topic}.json has {rows[own]['value']} in {own}, outside {row['low']} to {row['high']}"
        for topic, rows in measured.items()
        for name, row in rows.items()
        for own in (f"{name}_seed_{seed}" for seed in row["seeds"])
        if len(row["seeds"]) > 1 and own in rows
        if not row["low"] - 100 / row["n"] < rows[own]["value"] < row["high"] + 100 / row["n"]
    ]


def test_the_interval_of_a_mean_over_seeds_holds_each_of_them() -> None:
    assert faults_of_means(MEASURED) == []
    narrow = {name: row | {"high": row["value"]} for name, row in MEASURED["countries_vqa"].items()}
    assert any("em_memory_k3_seed_1" in fault for fault in faults_of_means({"countries_vqa": narrow}))


@pytest.mark.parametrize(
    ("page", "before", "after", "fault"),
    [
        ("docs/scale.md", "<!-- results: scale -->\n", "", "has no results mark above it"),
        ("docs/scale.md", "<!-- results: scale -->", "<!-- results: nothing -->", "is not in docs/results/nothing"),
        ("docs/scale.md", "<!-- results: scale -->", "<!--results: scale-->", "has no results mark above it"),
        ("docs/scale.md", "<!-- results: scale -->\n", "<!-- results: scale -->\n\n", "without a table right below"),
        ("docs/scale.md", "| 69.91 |", "| 69.92 |", "value is 69.92, measured 69.91"),
        ("docs/scale.md", "| GB |", "| MB |", "unit is MB"),
        ("README.md", "| 78.16 |", "|  |", "low is empty, measured 78.16"),
        ("README.md", "| 0.45 | 0.02 | 11.07 | 400 |", "| 0.45 | 0.02 | 11.07 | 399 |", "n is 399"),
        ("README.md", "| low | high | n |", "| lower | high | n |", "the column 'lower' has the number"),
        ("README.md", "`infoseek_text`", "`infoseek_texts`", "'infoseek_texts' is not in docs/results/demo.json"),
        ("docs/memory.md", "| `peak_memory_one_copy_gb` | 1.13 |", "| `peak_memory_one_copy_gb` | 1.1 |", "is 1.1,"),
    ],
)
def test_a_fault_of_a_table_is_found(page: str, before: str, after: str, fault: str) -> None:
    assert before in TEXTS[page]
    assert fault in "\n".join(faults_of_a_page(TEXTS[page].replace(before, after, 1)))


@pytest.mark.parametrize(
    ("page", "before", "after", "fault"),
    [
        ("docs/scale.md", r"<!-- results: scale -->\n(\|.*\n)+", "", "no page has a table of docs/results/scale.json"),
        ("docs/scale.md", r"\| `index_bytes` .*\n", "", "index_bytes of docs/results/scale.json is in no table"),
        (
            "docs/smol.md",
            r"!\[.*\]\(plots/smol_curve.svg\)",
            "",
            "accuracy_memory_gold_invented_dev_after_1600 of docs/results/",
        ),
        ("docs/countries.md", r"\| `em_none` ", f"{MORE}| `em_none` ", "NOT_SHOWN explains prompt_tokens_text_k3"),
    ],
)
def test_a_measure_that_no_page_shows_is_found(page: str, before: str, after: str, fault: str) -> None:
    changed, num = re.subn(before, after, TEXTS[page], count=1)
    assert num == 1
    assert fault in "\n".join(faults_of_what_is_shown(TEXTS | {page: changed}))


def test_a_plot_that_is_gone_not_shown_or_unknown_is_found() -> None:
    drawn = drawings()
    for name in DRAWN:
        without = {each: text for each, text in drawn.items() if each != name}
        assert faults_of_plots(TEXTS, without, MEASURED) == [f"a page shows plots/{name}, which is not there"]
    faults = faults_of_plots(TEXTS, drawn | {"own.svg": "<svg/>"}, MEASURED)
    assert faults == ["no page shows plots/own.svg", "no command draws plots/own.svg"]
    assert "no page shows plots/items.svg" in faults_of_plots(TEXTS | {"docs/countries.md": ""}, drawn, MEASURED)


@pytest.mark.parametrize("key", ["value", "high"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_of_other_numbers_is_found(name: str, key: str) -> None:
    topic, measures = DRAWN[name]
    for measure in (measures[0], measures[-1]):
        row = MEASURED[topic][measure] | {key: 12.34}
        changed: dict[str, Any] = MEASURED | {topic: MEASURED[topic] | {measure: row}}
        found = "\n".join(faults_of_plots(TEXTS, drawings(), changed))
        assert f"plots/{name} shows other numbers than docs/results/{topic}.json" in found
    lacking: dict[str, Any] = MEASURED | {topic: {}}
    assert f"plots/{name} needs" in "\n".join(faults_of_plots(TEXTS, drawings(), lacking))
