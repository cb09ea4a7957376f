"""The style of the plots in `docs/plots`: they have a light background, so that they are readable on a dark page too.

Independent of what is measured. The same numbers give the same bytes, whenever and wherever they are drawn.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAPER, INK, MUTED, LINE = "#fcfbf8", "#1c1e22", "#5d626b", "#e4e1d9"
TEXT, TEXT_SOFT = "#a15c07", "#dcb27a"
MEMORY, MEMORY_SOFT = "#0b6e69", "#7dbab3"
CONTROL = "#8b8f97"
SHADES = ("#064b47", "#0b6e69", "#3f9790", "#7dbab3", "#b3d6d2")
"""Of memory, from the darkest: for lines that have an order."""
WIDTH = 7.0  # inches

Row = Mapping[str, Any]
"""A row of a results file; `value`, `low` and `high` are drawn."""

_STYLE: Any = {  # matplotlib types its keys one by one
    "svg.fonttype": "none",
    "svg.hashsalt": "comem",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
}


@contextmanager
def open_drawing(path: Path, title: str, *, drawn_from: str, height: float = 4.0) -> Iterator[Figure]:
    """Yield an empty figure, and write it as SVG afterwards. `drawn_from` is kept in the file."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None, "Title": title, "Description": drawn_from})


def describe_source(topic: str, rows: Iterable[Row]) -> str:
    """Name a topic's file and a hash of the numbers drawn from it; machine and commit are not part of the hash."""
    numbers = [[row[key] for key in ("measure", "value", "low", "high")] for row in rows]
    return f"docs/results/{topic}.json, {hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16]}"


def draw_curve(
    axes: Axes, places: Sequence[float], rows: Sequence[Row], *, colour: str, label: str, marker: str
) -> None:
    """Draw values over places as a line with markers, with the interval of each where there is one."""
    axes.plot(places, [row["value"] for row in rows], marker=marker, color=colour, label=label)
    draw_intervals(axes, places, rows, colour=colour)


def draw_intervals(
    axes: Axes, places: Sequence[float], rows: Sequence[Row], *, colour: str, flat: bool = False
) -> None:
    """Draw only the intervals: vertical at the places on the x axis, or `flat`, horizontal at places on the y axis."""
    known = [
        (place, row["low"], row["high"]) for place, row in zip(places, rows, strict=True) if row["low"] is not None
    ]
    if known:
        draw = axes.hlines if flat else axes.vlines
        draw(*zip(*known, strict=True), color=colour, linewidth=1.6 if flat else 1.2)


def set_percent_axis(axes: Axes, label: str = "exact match (%), 95 % interval") -> None:
    """Let the y axis run from 0 to 100 percent, with room for a marker at either end."""
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def put_legend_below(figure: Figure, axes: Axes, *, columns: int) -> None:
    """Put the legend of one panel below all panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
