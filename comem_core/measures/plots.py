"""`python -m comem_core.measures.plots`: draw `docs/plots/*.svg` from `docs/results/countries_vqa.json`.

It measures nothing. A plot with missing rows is left as it is; a message names the rows and the command that measures
them. A plot keeps a hash of the numbers that it was drawn from, so that a test can tell when the results have changed.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comem_core.measures import drawing
from comem_core.measures.countries.capacity import COMMAND as CAPACITY_COMMAND
from comem_core.measures.countries.capacity import NUM_FACTS
from comem_core.measures.countries_vqa import COMMAND, DEPTHS, TOPIC, VARIANT_DEPTHS
from comem_core.measures.drawing import CONTROL, MEMORY, MEMORY_SOFT, TEXT, TEXT_SOFT, Row, draw_curve, set_percent_axis
from comem_core.measures.results import RESULTS, read_results
from comem_core.worlds.countries.world import ATTRIBUTES, LANGUAGES

PLOTS_FOLDER = Path("docs/plots")
VECTORS = (1, 2, 4, 8, 16)
# Samples that the encoder's start had seen after 81, 162, 325, 650, 1300 and 2600 steps of 64.
SAMPLES = (5184, 10368, 20800, 41600, 83200, 166400)
NAMES = {
    "en": "English",
    "es": "Spanish",
    "ru": "Russian",
    "zh": "Chinese",
    "ar": "Arabic",
    "calling_code": "calling\ncode",
}
IN_DETAIL = {
    "em_text_gold": ("text, gold item", TEXT),
    "em_text_k3": ("text, 3 items", TEXT_SOFT),
    "em_memory_gold": ("memory, gold item", MEMORY),
    "em_memory_k3": ("memory, 3 items", MEMORY_SOFT),
}
CONDITIONS = {
    "em_none": ("nothing but the question", CONTROL),
    "em_text_gold": ("text of the gold item", TEXT),
    "em_text_k3": ("text of 3 items", TEXT),
    "em_memory_gold": ("memory of the gold item", MEMORY),
    "em_memory_k3": ("memory of 3 items", MEMORY),
    "em_shuffled": ("memory of others' items", CONTROL),
    "em_foreign": ("memory of a different corpus", CONTROL),
    "em_empty": ("vectors of no item", CONTROL),
}

Rows = Mapping[str, Row]


@dataclass(frozen=True)
class DocsPlot:
    """A picture in docs/plots: its title, the measures that it shows, and how to draw it. `command` measures them."""

    name: str
    title: str
    measures: Sequence[str]
    command: str
    draw: Callable[[Figure, Rows], None]
    height: float = 4.0

    def missing(self, rows: Rows) -> list[str]:
        return [measure for measure in self.measures if measure not in rows]

    def name_numbers(self, rows: Rows) -> str:
        """Name the drawn numbers by a hash; machine and commit are not part of it."""
        return drawing.describe_source(TOPIC, [rows[measure] for measure in self.measures])

    def write(self, rows: Rows, folder: Path) -> Path:
        path = folder / f"{self.name}.svg"
        with drawing.open_drawing(path, self.title, drawn_from=self.name_numbers(rows), height=self.height) as figure:
            self.draw(figure, rows)
        return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every plot that has all its rows."""
    argparse.ArgumentParser(prog="python -m comem_core.measures.plots", description=__doc__).parse_args(arguments)
    for line in draw_all(RESULTS / f"{TOPIC}.json", PLOTS_FOLDER):
        print(line)


def draw_all(results: Path, folder: Path) -> Iterator[str]:
    """Draw into a folder; yield a message per plot: where it is, or why it is not drawn."""
    rows = {row["measure"]: row for row in read_results(results)} if results.is_file() else {}
    for plot in PLOTS:
        if missing := plot.missing(rows):
            more = f" and {len(missing) - 4} others" if len(missing) > 4 else ""
            lacks = f"{results} lacks {', '.join(missing[:4])}{more}"
            yield f"{plot.name}.svg is not drawn: {lacks}; they are measured by `{plot.command}`"
        else:
            yield f"drawn: {plot.write(rows, folder)}"


def draw_items(figure: Figure, rows: Rows) -> None:
    """Draw exact match over the number of items, and the length of text and of memory in front of the answer."""
    score, length = figure.subplots(1, 2, width_ratios=[3, 2])
    for measure, colour, label, marker, shift in (
        ("em_text_items", TEXT, "items as text", "s", -0.12),
        ("em_memory_items", MEMORY, "items as memory", "o", 0.12),
    ):
        of_depth = [rows[f"{measure}_{k}"] for k in DEPTHS]
        draw_curve(score, [k + shift for k in DEPTHS], of_depth, colour=colour, label=label, marker=marker)
    set_percent_axis(score)
    vectors = rows["memory_vectors_k3"]["value"] / 3
    length.plot(DEPTHS, [rows[f"prompt_tokens_items_{k}"]["value"] for k in DEPTHS], marker="s", color=TEXT)
    length.plot(DEPTHS, [vectors * k for k in DEPTHS], marker="o", color=MEMORY)
    length.set_ylim(bottom=-0.03 * length.get_ylim()[1])
    length.set_ylabel("prompt tokens (text), vectors (memory)")
    for axes, ticks in ((score, DEPTHS), (length, (1, 5, 10, 15, 20))):
        axes.set_xticks(ticks)
        axes.set_xlabel("items per question")
    drawing.put_legend_below(figure, score, columns=2)


def draw_vectors(figure: Figure, rows: Rows) -> None:
    """Draw exact match over the number of vectors per item."""
    axes = figure.subplots()
    _draw_depths(axes, rows, "vectors", VECTORS)
    axes.set_xticks(VECTORS, [str(number) for number in VECTORS])
    axes.set_xlabel("memory vectors per item")
    drawing.put_legend_below(figure, axes, columns=2)


def draw_capacity(figure: Figure, rows: Rows) -> None:
    """Draw exact match over the number of facts that an item states, a line for each number of vectors."""
    axes = figure.subplots()
    text = [rows[f"em_text_facts_{number}"] for number in NUM_FACTS]
    draw_curve(axes, [number - 0.1 for number in NUM_FACTS], text, colour=TEXT, label="text", marker="s")
    for turn, (number, colour) in enumerate(zip(reversed(VECTORS), drawing.SHADES, strict=True)):
        measured = [rows[f"em_memory_facts_{facts}_vectors_{number}"] for facts in NUM_FACTS]
        places = [facts - 0.05 + 0.05 * turn for facts in NUM_FACTS]
        label = f"{number} vectors" if number > 1 else "1 vector"
        draw_curve(axes, places, measured, colour=colour, label=label, marker="o")
    set_percent_axis(axes)
    axes.set_xticks(NUM_FACTS)
    axes.set_xlabel("facts that the item states")
    drawing.put_legend_below(figure, axes, columns=6)


def draw_samples(figure: Figure, rows: Rows) -> None:
    """Draw exact match over the number of training samples."""
    axes = figure.subplots()
    _draw_depths(axes, rows, "samples", SAMPLES)
    axes.set_xticks(SAMPLES, [f"{number / 1000:.1f}" for number in SAMPLES])
    axes.set_xlabel("training samples of the encoder's start (thousands)")
    drawing.put_legend_below(figure, axes, columns=2)


def _draw_depths(axes: Axes, rows: Rows, kind: str, places: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    for depth, colour, label, marker, shift in (
        ("gold", MEMORY, "the gold item", "o", 0.985),
        ("k3_drawn", drawing.INK, "the gold item and two drawn ones, any order", "s", 1.0),
        ("k3", MEMORY_SOFT, "three retrieved items, ranked", "D", 1.015),
    ):
        measured = [rows[f"em_memory_{depth}_{kind}_{place}"] for place in places]
        shifted = [place * shift for place in places]
        draw_curve(axes, shifted, measured, colour=colour, label=label, marker=marker)
    axes.minorticks_off()
    set_percent_axis(axes)


def draw_kinds(figure: Figure, rows: Rows) -> None:
    """Draw bars for every language, and below them for every kind of fact."""
    languages, kinds = figure.subplots(2, 1)
    for axes, values in ((languages, LANGUAGES), (kinds, ATTRIBUTES)):
        for turn, (measure, (label, colour)) in enumerate(IN_DETAIL.items()):
            places = [place + 0.2 * (turn - 1.5) for place in range(len(values))]
            measured = [rows[f"{measure}/{value}"] for value in values]
            axes.bar(places, [row["value"] for row in measured], width=0.18, color=colour, label=label)
            drawing.draw_intervals(axes, places, measured, colour=drawing.INK)
        axes.set_xticks(range(len(values)), [NAMES.get(value, value) for value in values])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(values) - 0.4)
        set_percent_axis(axes, "exact match (%)")
        axes.set_ylim(0, 103)
    drawing.put_legend_below(figure, languages, columns=4)


def draw_conditions(figure: Figure, rows: Rows) -> None:
    """Draw a marker with its interval and its number for every condition."""
    axes = figure.subplots()
    for place, (measure, (_, colour)) in enumerate(CONDITIONS.items()):
        row = rows[measure]
        axes.plot(row["value"], place, "o", color=colour)
        drawing.draw_intervals(axes, [place], [row], colour=colour, flat=True)
        end = max(row["value"], row["high"] or 0)
        axes.annotate(f"{row['value']:.1f}", (end, place), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(CONDITIONS)), [label for label, _ in CONDITIONS.values()])
    axes.tick_params(axis="y", labelcolor=drawing.INK)
    axes.set_ylim(len(CONDITIONS) - 0.5, -0.5)
    axes.set_xlim(-2, 110)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="x")
    axes.grid(False, axis="y")
    axes.set_xlabel("exact match (%), with 95 % interval")


_KINDS = [f"{measure}/{value}" for measure in IN_DETAIL for value in (*LANGUAGES, *ATTRIBUTES)]
_DEPTHS = [f"{name}_items_{k}" for name in ("em_text", "em_memory", "prompt_tokens") for k in DEPTHS]
PLOTS = (
    DocsPlot(
        "conditions", "Exact match by what the reader is shown", list(CONDITIONS), f"{COMMAND} table", draw_conditions
    ),
    DocsPlot(
        "kinds",
        "Exact match by language and by kind of fact, with 95 % intervals",
        _KINDS,
        f"{COMMAND} table",
        draw_kinds,
        height=5.0,
    ),
    DocsPlot(
        "items",
        "Exact match by how many items are shown, the gold one among them",
        [*_DEPTHS, "memory_vectors_k3"],
        f"{COMMAND} items` and `{COMMAND} table",
        draw_items,
    ),
    DocsPlot(
        "vectors",
        "Exact match from memory by vectors per item",
        [f"em_memory_{depth}_vectors_{number}" for depth in VARIANT_DEPTHS for number in VECTORS],
        f"{COMMAND} variants vectors_1=FOLDER ...",
        draw_vectors,
    ),
    DocsPlot(
        "capacity",
        "Exact match from one item, by the facts that it states",
        [f"em_text_facts_{number}" for number in NUM_FACTS]
        + [f"em_memory_facts_{facts}_vectors_{number}" for number in VECTORS for facts in NUM_FACTS],
        f"{CAPACITY_COMMAND} FOLDER ...",
        draw_capacity,
    ),
    DocsPlot(
        "samples",
        "Exact match from memory by training samples",
        [f"em_memory_{depth}_samples_{number}" for depth in VARIANT_DEPTHS for number in SAMPLES],
        f"{COMMAND} variants samples_{SAMPLES[0]}=FOLDER ...",
        draw_samples,
    ),
)


if __name__ == "__main__":
    main()
