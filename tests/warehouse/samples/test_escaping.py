"""Texts of data are texts on a card: no markup, no link, no picture, no further cell or line."""

import pytest

from comem_core.serving import card
from warehouse.samples.cards import _write_cell

HOSTILE = [
    "[a](javascript:x)",
    "![a](http://127.0.0.1/x.png)",
    "<img src=x>",
    "a | b",
    "`a` **b** __c__",
    "a\n# b",
    "a\\",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("write", [_write_cell, card._escape])
def test_nothing_in_a_text_is_markup(write, text: str) -> None:
    written = write(text)
    assert "\n" not in written and "<" not in written
    place = 0
    while place < len(written):
        assert written[place] not in "|`*_[]", written
        place += 2 if written[place] == "\\" else 1


@pytest.mark.parametrize("write", [_write_cell, card._escape])
def test_a_plain_text_stays(write) -> None:
    assert write("CC-BY-SA-4.0 (Größe 3 m², größer)") == "CC-BY-SA-4.0 (Größe 3 m², größer)"
