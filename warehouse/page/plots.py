"""Draws the page's plots with matplotlib, as SVG that takes its colours and font from the page.

Placeholder colours are replaced by CSS variables, so that one drawing is readable on light and dark pages. The caller
passes in the numbers; every plot has a sentence that describes it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from warehouse.page.wording import MINUS, write_interval, write_number, write_percent
from warehouse.samples.filtering import Funnel

COLOURS = {  # placeholder: the CSS variable that replaces it
    "#010001": "--ink",
    "#020002": "--muted",
    "#030003": "--line",
    "#040004": "--accent",
    "#050005": "--dropped",
    "#060006": "--paper",
    "#070007": "--text-condition",
    "#080008": "--control",
}
INK, MUTED, LINE, ACCENT, DROPPED, PAPER, TEXT, CONTROL = COLOURS
_STYLE: Any = {  # Any, because matplotlib declares a type for each key
    "svg.fonttype": "none",
    "font.size": 12,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": LINE,
}
STYLE_SHEET = Path(__file__).parent / "templates" / "style.css"
_WIDTH = 6.0  # inches; the page scales the drawing, but text must stay readable on a phone


@dataclass(frozen=True)
class PagePlot:
    """An inline SVG, and a sentence for readers who cannot see it."""

    svg: str
    alt: str


def draw_funnel(funnel: Funnel) -> PagePlot:
    """Draw how many drafts are left after each reason, and how many the reason dropped."""
    bars = [("drafts", funnel.drafts, 0)]
    left = funnel.drafts
    for line in funnel.reasons:
        if line.first:
            left -= line.first
            bars.append((line.reason, left, line.first))
    bars.append(("kept", funnel.kept, 0))
    with rc_context(_STYLE):
        figure, axes = _make_axes(0.62 + 0.36 * len(bars))
        for place, (name, remaining, dropped) in enumerate(bars):
            whole = name in ("drafts", "kept")
            axes.barh(place, remaining, height=0.62, color=ACCENT if whole else CONTROL)
            axes.barh(place, dropped, left=remaining, height=0.62, color=DROPPED)
            label = write_number(remaining) if whole else f"{MINUS}{write_number(dropped)}"
            axes.text(remaining + dropped + 0.012 * funnel.drafts, place, label, va="center", color=INK)
        axes.set_yticks(range(len(bars)), [name.replace("_", " ") for name, *_ in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1 * max(funnel.drafts, 1))
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.tick_params(length=0)
        drops = "; ".join(f"{line.reason.replace('_', ' ')} {line.first}" for line in funnel.reasons if line.first)
        alt = f"Of {funnel.drafts} drafts, {funnel.kept} were kept. Dropped, by first reason: {drops or 'none'}."
        return PagePlot(_write_svg(figure, "funnel"), alt)


def draw_loss(steps: Sequence[dict]) -> PagePlot:
    """Draw the running mean of the loss by step, with the loss itself faint behind it if there are many steps."""
    known = [(row["step"], row["loss"]) for row in steps if row["loss"] is not None]
    places, losses = [step for step, _ in known], [loss for _, loss in known]
    window = max(1, len(known) // 20)
    smooth = [sum(losses[max(0, end - window) : end]) / min(window, end) for end in range(1, len(losses) + 1)]
    with rc_context(_STYLE):
        figure, axes = _make_axes(3.0)
        if window > 1:
            axes.plot(places, losses, color=CONTROL, linewidth=0.9)
        axes.plot(places, smooth, color=ACCENT, linewidth=2, marker="o" if len(known) < 12 else None, markersize=4)
        axes.annotate(
            f"{smooth[-1]:.3g}", (places[-1], smooth[-1]), (5, 0), textcoords="offset points", va="center", color=ACCENT
        )
        axes.set_xlabel("training step")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", linewidth=0.7)
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        alt = f"Loss over {len(known)} steps, from {losses[0]:.3g} to {smooth[-1]:.3g} (mean of the last {window})."
        return PagePlot(_write_svg(figure, "loss"), alt)


def score_plot(scores: Sequence[dict], splits: Sequence[str]) -> PagePlot:
    """Draw each condition's score with its interval, one mark for each split, the first split most prominent.

    `scores` are rows of one benchmark and metric in the order of drawing; values are shares of 1.
    """
    rows = list(dict.fromkeys((row["condition"], row["k"]) for row in scores))
    several = len({condition for condition, _ in rows}) < len(rows)
    gap = 0.8 / max(len(splits), 2)
    with rc_context(_STYLE):
        figure, axes = _make_axes(0.9 + (0.24 * len(splits) + 0.2) * len(rows))
        for row in scores:
            if row["value"] is None:
                continue
            split = splits.index(row["split"])
            place = rows.index((row["condition"], row["k"])) + gap * (split - (len(splits) - 1) / 2)
            _draw_mark(axes, row, place, split)
        axes.set_yticks(range(len(rows)), [f"{name}, k={k}" if several else name for name, k in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        axes.grid(axis="x", linewidth=0.7)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        alt = "; ".join(
            f"{row['condition']}, {row['split']}: {write_percent(row['value'])}, "
            f"{write_interval(row['low'], row['high'])}"
            for row in scores
        )
        return PagePlot(
            _write_svg(figure, f"score-{scores[0]['benchmark']}-{scores[0]['metric']}"),
            f"Scores with 95 % intervals. {alt}.",
        )


def write_standalone(plot: PagePlot) -> str:
    """Return the plot as a self-contained SVG file in the page's light colours, for use outside the page."""
    light = (STYLE_SHEET.read_text(encoding="utf-8")).split("@media", 1)[0]
    values = dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-fA-F]+)", light))
    text = re.sub(r"var\((--[\w-]+)\)", lambda found: values[found[1]], plot.svg)
    root = f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" style="background: {values["--paper"]}"'
    return text.replace("<svg", root, 1)


def _draw_mark(axes: Axes, row: dict, place: float, split: int) -> None:
    """Draw one score: a filled disc for the first split, hollow marks for the others."""
    colour = {"memory": ACCENT, "text": TEXT}.get(row["condition"], MUTED)
    if row["low"] is not None and row["high"] is not None:
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.2 if split else 2.4)
    marker = "osD^v"[min(split, 4)]
    axes.plot(
        row["value"],
        place,
        marker,
        color=PAPER if split else colour,
        markeredgecolor=colour,
        markersize=5 if split else 8,
    )


def _make_axes(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the page's width, and its axes."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _write_svg(figure: Figure, name: str) -> str:
    """Write a figure as inline SVG: no header or metadata, unique ids, colours and font from the page."""
    with io.StringIO() as file:
        figure.savefig(file, format="svg")
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = (
        re.sub(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", text[: text.index(">")])
        + text[text.index(">") :]
    )
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    prefix = re.sub(r"\W", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text).replace("xlink:href", "href")
    text = text.replace("url(#", f"url(#{prefix}-")
    for placeholder, variable in COLOURS.items():
        text = text.replace(placeholder, f"var({variable})")
    return text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
