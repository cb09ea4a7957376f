"""The environment of the pages' templates."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from warehouse.page import wording

TEMPLATES = Path(__file__).parent / "templates"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a page may load, written into it for who opens the file: nothing but its own style and pictures."""


@cache
def make_environment() -> Environment:
    """Return the environment of the templates; it escapes everything, and a missing name is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.write_number,
        "percent": wording.write_percent,
        "duration": wording.write_duration,
        "size": wording.write_size,
        "moment": wording.write_moment,
        "direction": wording.find_direction,
        "points": wording.write_points,
        "verdict": wording.write_verdict,
        "interval": lambda row, digits=1: wording.write_interval(
            row["low"], row["high"], lambda share: wording.write_percent(share, digits)
        ),
        "interval_in_points": lambda row: wording.write_interval(row["low"], row["high"], wording.write_points),
        "svg": Markup,  # only for drawings of plots.py
    }
    environment.globals |= {
        "policy": POLICY,
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    }
    return environment
