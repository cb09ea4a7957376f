"""Plots of countries-vqa: drawn from a results file alone, the same bytes each time, never from half of the rows."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import pytest

from comem_core.measures import plots
from comem_core.measures.countries_vqa import COMMAND
from comem_core.measures.plots import PLOTS, DocsPlot, draw_all
from comem_core.measures.results import Measured, read_results, write_results

NAMES = ["conditions", "kinds", "items", "vectors", "capacity", "samples"]


def results(folder: Path, *, without: Sequence[str] = (), **values: float) -> Path:
    """Write a row for everything that is drawn, the values between 30 and 90; some have no interval."""
    measures = sorted({measure for plot in PLOTS for measure in plot.measures} - set(without))
    rows = []
    for place, measure in enumerate(measures):
        value = values.get(measure, 30.0 + place % 61)
        low, high = (value - 2, value + 3) if place % 5 else (None, None)
        rows.append(
            Measured(
                measure=measure, recipe="r", value=value, low=low, high=high, unit="%", n=9, command="c", commit="a"
            )
        )
    return write_results("countries_vqa", rows, folder=folder)


def plot_named(name: str) -> DocsPlot:
    [plot] = [plot for plot in PLOTS if plot.name == name]
    return plot


def texts_of(path: Path) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.parse(path).iter() if each.tag.endswith("}text")]


def test_every_plot_is_drawn_with_its_title_and_the_units_of_its_axes(tmp_path: Path):
    said = list(draw_all(results(tmp_path), tmp_path / "plots"))
    assert said == [f"drawn: {tmp_path / 'plots' / name}.svg" for name in NAMES]
    for plot in PLOTS:
        texts = texts_of(tmp_path / "plots" / f"{plot.name}.svg")
        assert plot.title in texts
        assert any("exact match (%)" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conditions", ["nothing but the question", "memory of 3 items", "vectors of no item", "43.2"]),
        ("kinds", ["Arabic", "neighbour", "text, gold item", "memory, 3 items"]),
        ("items", ["15", "20", "items per question", "prompt tokens (text), vectors (memory)"]),
        ("vectors", ["1", "2", "4", "8", "16", "memory vectors per item"]),
        ("capacity", ["text", "1 vector", "16 vectors", "8", "facts that the item states"]),
        ("samples", ["5.2", "20.8", "166.4", "the gold item", "three retrieved items, ranked"]),
    ],
)
def test_a_plot_shows_what_was_measured(tmp_path: Path, name: str, shown: list[str]):
    rows = {row["measure"]: row for row in read_results(results(tmp_path, em_empty=43.2))}
    assert set(shown) <= set(texts_of(plot_named(name).write(rows, tmp_path)))


def test_the_same_numbers_give_the_same_bytes_and_others_do_not(tmp_path: Path):
    for folder, value in (("one", 40.0), ("two", 40.0), ("three", 41.0)):
        list(draw_all(results(tmp_path / folder, em_memory_k3=value), tmp_path / folder))
    for name in NAMES:
        one, two, three = ((tmp_path / each / f"{name}.svg").read_bytes() for each in ("one", "two", "three"))
        assert one == two
        assert (one == three) == (name != "conditions")


def test_a_drawing_says_which_numbers_it_was_drawn_from_and_nothing_of_when(tmp_path: Path):
    """Measured again with the same outcome, at another commit, it is still right."""
    plot = plot_named("vectors")
    rows = {name: {"measure": name, "value": 50.0, "low": None, "high": 60.0} for name in plot.measures}
    drawn = plot.write(rows, tmp_path).read_text()
    assert plot.name_numbers(rows) in drawn
    assert not re.search(r"dc:date|20\d\d-\d\d|[Mm]atplotlib v", drawn)
    assert plot.name_numbers({name: row | {"commit": "b"} for name, row in rows.items()}) == plot.name_numbers(rows)
    for key in ("value", "high"):
        changed = rows | {plot.measures[0]: rows[plot.measures[0]] | {key: 55.0}}
        assert plot.name_numbers(changed) != plot.name_numbers(rows)


def test_a_plot_without_all_of_its_rows_is_left_as_it_is_and_they_are_named(tmp_path: Path):
    folder = tmp_path / "plots"
    list(draw_all(results(tmp_path), folder))
    before = (folder / "vectors.svg").read_bytes()
    (folder / "samples.svg").unlink()
    missing = ["em_memory_k3_vectors_16", *plot_named("samples").measures]
    said = dict(zip(NAMES, draw_all(results(tmp_path / "less", without=missing), folder), strict=True))
    assert said["conditions"].startswith("drawn")
    assert "lacks em_memory_k3_vectors_16;" in said["vectors"] and f"{COMMAND} variants" in said["vectors"]
    assert "em_memory_gold_samples_5184" in said["samples"] and "and 14 others" in said["samples"]
    assert (folder / "vectors.svg").read_bytes() == before
    assert not (folder / "samples.svg").exists()


def test_without_results_nothing_is_drawn_and_the_command_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    plots.main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES) and all("is not drawn" in line for line in lines)
    assert all(f"they are measured by `{plot.command}`" in line for plot, line in zip(PLOTS, lines, strict=True))
    assert not (tmp_path / "docs").exists()


def test_a_drawing_has_a_light_ground_of_its_own(tmp_path: Path):
    list(draw_all(results(tmp_path), tmp_path))
    for name in NAMES:
        text = (tmp_path / f"{name}.svg").read_text()
        assert "fill: #fcfbf8" in text[: text.index("axes_1")]
