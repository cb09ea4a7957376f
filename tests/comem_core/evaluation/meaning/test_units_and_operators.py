"""The case of prefixes, operators between symbols, and further ways of writing times, years, ratios and ranges."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.meaning import is_agreeing, is_stated
from comem_core.evaluation.meaning.prefixes import list_prefixed_units

PREFIXES = "fpnμmkMGT"
UNITS = sorted({symbol for symbol in list_prefixed_units() if symbol[0] != "K"})


@settings(deadline=None, max_examples=200)
@given(unit=st.sampled_from(UNITS), prefix=st.sampled_from(PREFIXES), number=st.integers(1, 10**6))
def test_another_prefix_is_another_quantity(unit: str, prefix: str, number: int) -> None:
    written, changed = f"{number} {unit}", f"{number} {prefix}{unit[1:]}"
    assert is_agreeing(written, written)
    assert is_agreeing(written, changed) is (unit[0] == prefix)
    assert not is_stated(changed, f"It has {written} then.") or unit[0] == prefix


@pytest.mark.parametrize(
    ("first", "second"),
    [("5 mPa", "5 MPa"), ("5 mHz", "5 MHz"), ("5 мПа", "5 МПа"), ("5 mbar", "5 Mbar"), ("5 mmol/L", "5 Mmol/L")],
)
def test_the_case_of_a_prefix_counts_for_units_with_words_in_some_language(first: str, second: str) -> None:
    assert not is_agreeing(first, second) and not is_agreeing(second, first)
    assert is_agreeing(second, second)


SAME = [
    ("5 kΩ", "5000 Ω", "0.005 MΩ"), ("5 MJ", "5000 kJ"), ("1 kWh", "3.6 MJ"), ("5 keV", "5000 eV"),
    ("5 lb", "5 lbs", "5 pounds"), ("2 h", "2 hrs", "2 hours"), ("5 µm", "5 um", "5 microns"), ("5 cm³", "5 cc"),
    ("5 m/s", "5 m s⁻¹", "5 m·s⁻¹", "5 m s^-1"), ("9.81 m/s²", "9.81 m s⁻²"), ("5 kg/m³", "5 kg m⁻³"),
    ("5 N·m", "5 Nm"), ("14:30", "2.30 pm", "14時30分", "14点30分"), ("2015", "2015 г."),
    ("7 March 2015", "7 марта 2015 г."), ("3–5 km", "3 bis 5 km", "3 to 5 km"), ("1:50,000", "1:50000", "1 : 50 000"),
    ("3:2", "3 : 2"), ("40°26′46″N", "40° 26' 46\" N", "40° 26′ 46″ N"), ("5 PLN", "PLN 5", "5 zł"),
    ("500 RUB", "500 ₽", "₽500", "500 руб."), ("5,000", "5 Tsd."), ("UTC−5", "UTC-5"), ("−x", "-x"), ("±5", "+-5"),
    ("350 BC", "350 avant J.-C."), ("x*y", "x * y", "x × y"), ("m/s", "m / s"), ("−√2", "-√2"),
]  # fmt: skip


@pytest.mark.parametrize("ways", SAME, ids=lambda ways: ways[0])
def test_ways_of_writing_one_quantity_agree(ways: tuple[str, ...]) -> None:
    wrong = [pair for pair in combinations(ways, 2) if not is_agreeing(*pair) or not is_agreeing(*pair[::-1])]
    assert not wrong


@pytest.mark.parametrize("first", range(len(SAME)))
def test_other_quantities_never_agree(first: int) -> None:
    for second in range(len(SAME)):
        if first != second and {SAME[first][0], SAME[second][0]} != {"5 MJ", "1 kWh"}:
            assert not [(a, b) for a in SAME[first] for b in SAME[second] if is_agreeing(a, b)]


@pytest.mark.parametrize("operands", [("a", "b"), ("x", "2"), ("π", "2"), ("m", "s"), ("kg", "m"), ("F = m", "a")])
def test_another_operator_between_symbols_is_another_answer(operands: tuple[str, str]) -> None:
    written = [sign.join(operands) for sign in ("/", "*", "+", "", "^")]
    assert not [pair for pair in combinations(written, 2) if is_agreeing(*pair)]
    assert all(is_agreeing(each, each) for each in written)


@pytest.mark.parametrize("symbol", ["x", "π", "y = {}z", "√2", "2/{}x"])
def test_the_minus_of_a_symbol_is_not_lost(symbol: str) -> None:
    written = symbol if "{}" in symbol else f"{{}}{symbol}"
    assert not is_agreeing(written.format("-"), written.format(""))
    assert is_agreeing(written.format("-"), written.format("−"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [("m", "It moves 5 m/s."), ("kg", "in kg/m here"), ("1:10", "on a map of 1:10,000"), ("26", "at 40° 26′ N")],
)
def test_a_part_of_a_quotient_or_a_ratio_is_no_answer(answer: str, text: str) -> None:
    assert not is_stated(answer, text)


@pytest.mark.parametrize(
    ("first", "second"), [("and/or", "and or"), ("AC/DC", "AC DC"), ("he/she", "he she"), ("T-shirt", "t shirt")]
)
def test_words_with_a_slash_or_a_hyphen_are_words(first: str, second: str) -> None:
    assert is_agreeing(first, second)
