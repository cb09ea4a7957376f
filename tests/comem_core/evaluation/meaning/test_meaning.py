"""Answers that mean the same agree however they are written; a digit, sign, unit or mark that differs parts them."""

from decimal import Decimal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from comem_core.evaluation.meaning import is_agreeing, is_empty, is_stated

DIGITS = ("0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "০১২৩৪৫৬৭৮৯", "๐๑๒๓๔๕๖๗๘๙")
MINUS = ("-", "−", "－", "‒", "–")
UNITS = ("", " m", " km", " kg", " °C", " °F", " %", " s", " €", " people")


def write_grouped(number: Decimal, group: str, mark: str, *, indian: bool = False) -> str:
    whole, _, decimals = f"{abs(number):,}".partition(".")
    if indian:
        digits = whole.replace(",", "")
        pairs = digits[:-3]
        parts = [pairs[max(0, end - 2) : end] for end in range(len(pairs), 0, -2)][::-1] if pairs else []
        whole = ",".join([*parts, digits[-3:]])
    return ("-" if number < 0 else "") + whole.replace(",", group) + (mark + decimals if decimals else "")


def list_ways(number: Decimal) -> list[str]:
    """List ways of writing a number that can be read in one way only."""
    plain = str(number)
    ways = [plain, plain.replace("-", "−"), f"{number:e}" if abs(number) >= 10 else plain]
    ways += [plain.translate(str.maketrans(DIGITS[0], other)) for other in DIGITS[1:]]
    ways += [
        write_grouped(number, "'", "."),
        write_grouped(number, "\u202f", "."),
        write_grouped(number, "\u00a0", "."),
    ]
    ways += [
        write_grouped(number, ",", "."),
        write_grouped(number, ",", ".", indian=True),
        write_grouped(number, " ", "."),
    ]
    if len(plain.partition(".")[2]) != 3 or abs(number) < 1:  # 1,234 is a thousand
        ways += [plain.replace(".", ","), write_grouped(number, " ", ","), write_grouped(number, "’", ",")]
    if abs(number) >= 10**6:
        ways.append(write_grouped(number, ".", ","))
    return ways


# Numbers whose plain writing is not 1.234, which may be a thousand.
NUMBERS = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places),
    st.integers(-(10**9), 10**9).filter(lambda digits: digits % 10 != 0),
    st.sampled_from([0, 0, 1, 2, 4]),
)


@settings(deadline=None, max_examples=100)
@given(number=NUMBERS, unit=st.sampled_from(UNITS), data=st.data())
def test_a_number_written_another_way_is_the_same(number: Decimal, unit: str, data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(list_ways(number))) + unit for _ in range(2))
    assert is_agreeing(one, other), (one, other)
    assert is_stated(one, f"Here it is {other}, as everybody knows."), (one, other)


@settings(deadline=None, max_examples=100)
@given(number=NUMBERS, other=NUMBERS, unit=st.sampled_from(UNITS), data=st.data())
def test_another_number_is_never_the_same(number: Decimal, other: Decimal, unit: str, data: st.DataObject) -> None:
    assume(number != other)
    one, two = (data.draw(st.sampled_from(list_ways(each))) + unit for each in (number, other))
    assert not is_agreeing(one, two), (one, two)
    assert not is_stated(one, f"Here it is {two}, as everybody knows."), (one, two)


@settings(deadline=None, max_examples=100)
@given(number=NUMBERS, unit=st.sampled_from(UNITS), data=st.data())
def test_no_changed_sign_or_digit_leaves_a_number_right(number: Decimal, unit: str, data: st.DataObject) -> None:
    written = data.draw(st.sampled_from(list_ways(number)))
    place = data.draw(
        st.sampled_from([place for place, sign in enumerate(written) if sign.isdecimal() or sign in ".,-−"])
    )
    sign = written[place]
    if sign.isdecimal():
        alphabet = next(each for each in DIGITS if sign in each)
        changed = (
            written[:place]
            + alphabet[(alphabet.index(sign) + data.draw(st.integers(1, 9))) % 10]
            + written[place + 1 :]
        )
    else:
        behind = written[place + 1 :]
        assume(sign in "-−" or ("." in str(number) and len(behind) != 3 and behind.isdecimal()))  # a decimal mark
        changed = written[:place] + written[place + 1 :]
    assert not is_agreeing(written + unit, changed + unit), (written, changed)


@given(first=st.sampled_from(UNITS), second=st.sampled_from(UNITS), number=st.integers(1, 10**6))
@settings(deadline=None)
def test_another_unit_is_another_answer(first: str, second: str, number: int) -> None:
    assert is_agreeing(f"{number}{first}", f"{number}{second}") is (first == second)


OPERATORS = ("", "<", ">", "≤", "≥", "±", "~", "-")


@pytest.mark.parametrize("first", OPERATORS)
@pytest.mark.parametrize("second", OPERATORS)
def test_another_operator_is_another_answer(first: str, second: str) -> None:
    assert is_agreeing(f"{first}5 kg", f"{second}5 kg") is (first == second)
    if first not in ("", "~"):
        assert not is_stated("5 kg", f"It weighs {first}5 kg.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3.5 km", "3500 m"),
        ("5 ft", "60 inches"),
        ("500 g", "0.5 kg"),
        ("20 °C", "68 °F"),
        ("5 °C", "5ºC"),
        ("minus 5 °C", "-5 °C"),
        ("零下5°C", "−5 °C"),
        ("5 km²", "5 square kilometres"),
        ("5 km2", "5,000,000 m²"),
        ("100 km/h", "100 kilometers per hour"),
        ("90 min", "1.5 hours"),
        ("5 MW", "5000 kW"),
        ("3.5m", "3.5-m"),
        ("5.0 m", "5 m"),
        ("35 %", "35 percent"),
        ("%35", "35%"),
        ("$5.50", "5.5 dollars"),
        ("US$ 5", "5 USD"),
        ("€5", "5 EUR"),
        ("10^6", "1,000,000"),
        ("10⁶", "1e6"),
        ("10⁻³ m", "1 mm"),
        ("3×10⁵ km", "3 x 10^5 km"),
        ("1.5 million", "1,500,000"),
        ("1.5 billion", "1500 million"),
        ("15 lakh", "1,500,000"),
        ("150万", "1.5 million"),
        ("1億2000万", "120,000,000"),
        ("$1.5 million", "1,500,000 US dollars"),
        ("½", "0.5"),
        ("2½ cups", "2 1/2 cups"),
        ("¾", "0,75"),
        ("3–5 km", "3 to 5 km"),
        ("3 km - 5 km", "3-5 km"),
        ("1990–95", "1990-1995"),
        ("14:30", "2:30 pm"),
        ("14h30", "14:30:00"),
        ("12 a.m.", "0:00"),
        ("7 March 2015", "2015-03-07"),
        ("March 7th, 2015", "7. März 2015"),
        ("07.03.2015", "7 de marzo de 2015"),
        ("2015年3月7日", "7 марта 2015"),
        ("13/07/2015", "July 13, 2015"),
        ("C++", "c++."),
        ("O−", "O-"),
        ("O⁻", "O–"),
        ("vitamin a", "Vitamin A"),
        ("The A", "A"),
        ("A dog", "the dog"),
        ("**35 m**", "35 m"),
        ("U.S.", "US"),
        ("Guinea-Bissau", "Guinea Bissau"),
        ("COVID-19", "Covid 19"),
        ("RB.183", "RB183"),
    ],
)
def test_the_same_answer_agrees_however_it_is_written(first: str, second: str) -> None:
    assert is_agreeing(first, second) and is_agreeing(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1.500", "1500"),  # a thousand in some languages, a decimal in others: only the same writing agrees
        ("1.500", "1.5"),
        ("1,500", "1.5"),
        ("3.125 m", "3125 m"),
        ("3.10", "3.1"),  # a version
        ("Python 3.10", "Python 3.1"),
        ("v3.10", "v3.1"),
        ("1.2.3", "123"),
        ("PM2.5", "PM25"),
        ("B-52", "B-5.2"),
        ("007", "7"),
        ("1.5 million", "15 million"),
        ("5 million", "5 billion"),
        ("10⁶", "106"),
        ("10^6", "10^5"),
        ("1e6", "16"),
        ("½", "12"),
        ("1/2", "12"),
        ("24/7", "247"),
        ("4/4", "1"),
        ("3–5", "35"),
        ("3-5", "-5"),
        ("3 m", "3 m²"),
        ("5 mW", "5 MW"),
        ("5 Gy", "5 Sv"),
        ("5 cal", "5 Cal"),
        ("5 N·m", "5 J"),
        ("$5", "€5"),
        ("5 USD", "5 CAD"),
        ("35 %", "0.35"),
        ("14:30", "1430"),
        ("2:30 am", "2:30 pm"),
        ("3:1", "31"),
        ("3/7/2015", "7/3/2015"),
        ("2015-03-07", "2015-07-03"),
        ("7 March", "8 March"),
        ("Mars", "March"),
        ("1990s", "1990"),
        ("3D", "3"),
        ("-5x", "5x"),
        ("minus 5 °C", "5 °C"),
        ("5+", "5"),
        ("5±1", "51"),
        ("5'10\"", "510"),
        ("C++", "C#"),
        ("C++", "C"),
        ("F♯", "F"),
        ("O−", "O+"),
        ("O-", "O"),
        ("Vitamin A", "vitamin"),
        ("A+", "A"),
        ("AT&T", "ATT"),
        ("1,2,3", "123"),
    ],
)
def test_different_answers_never_agree(first: str, second: str) -> None:
    assert not is_agreeing(first, second) and not is_agreeing(second, first)
    assert is_agreeing(first, first) and is_agreeing(second, second)


@pytest.mark.parametrize(
    "answer", ["", " ", "the", "An", "a", "a the", "!", "...", "-", "+", "%", "°", "★", "?!", "\u200f", "ª"]
)
def test_an_answer_that_says_nothing_agrees_with_nothing(answer: str) -> None:
    assert is_empty(answer)
    assert not is_agreeing(answer, answer) and not is_agreeing("A", answer) and not is_agreeing(answer, "a dog")
    assert not is_stated(answer, f"A text that has {answer} a the an.")


@pytest.mark.parametrize("answer", ["A", "A.", "**A**", "a dog", "5", "½", "東", "C#"])
def test_a_letter_or_a_number_says_something(answer: str) -> None:
    assert not is_empty(answer) and is_agreeing(answer, answer)


@pytest.mark.parametrize(
    ("answer", "text", "stated"),
    [
        ("35", "The rod is 3.5 m long.", False),
        ("3.5", "Der Stab ist 3,5 m lang.", True),
        ("3500 m", "It is 3.5 km long.", True),
        ("3500 km", "It is 3.5 km long.", False),
        ("35 m", "杆长3.5米。", False),
        ("3.5米", "杆长3.5米。", True),
        ("5 °C", "It is -5 °C today.", False),
        ("-5 °C", "It is −5 °C today.", True),
        ("5 °C", "Es sind minus 5 °C.", False),
        ("15", "1.5 million people", False),
        ("1,500,000", "1.5 million people", True),
        ("3.1", "It runs Python 3.10.", False),
        ("7 March 2015", "Eröffnet am 7. März 2015 in Rom", True),
        ("2015", "Opened on 7 March 2015.", True),
        ("1889", "Otto Maier (1889–1923) lived here.", True),
        ("5 m", "It is 5–10 m long.", False),
        ("A", "It carries the grade A.", True),
        ("A", "This is a machine. A machine hums.", False),
        ("O−", "Its type is O- and rare.", True),
        ("O", "Its type is O- and rare.", False),
        ("C", "It is written in C++.", False),
        ("Ping An", "It is insured by Ping An since then.", True),
        ("2015", "It stood there in 2015 in Rome.", True),
        ("35", "a film of 35mm", True),
        ("5", "a 5G mast", False),
    ],
)
def test_a_text_states_an_answer_as_whole_words_and_numbers(answer: str, text: str, stated: bool) -> None:
    assert is_stated(answer, text) is stated


@pytest.mark.parametrize("written", ["{}", "{}:30", "1e{}", "1/{}", "{},5,{}", "{} million", "3 May {}"])
def test_a_number_of_thousands_of_digits_is_compared_as_it_is_written(written: str) -> None:
    one, other = (written.format(digits, digits) for digits in ("7" * 5000, "7" * 4999 + "8"))
    assert is_agreeing(one, one) and not is_agreeing(one, other)


SIGNS = st.sampled_from("0123456789.,'’  -−–+/×x*^%°′″\"eE:()$€<>~≥±½²⁶aAmkKсм年月日万億ー。hT\n\t#&@_=٣٫ि\u200f")


@settings(deadline=None, max_examples=200)
@given(text=st.one_of(st.text(max_size=20), st.text(SIGNS, max_size=14)))
@example(text="a_")
def test_any_text_is_read_and_agrees_with_itself_unless_it_says_nothing(text: str) -> None:
    assert is_agreeing(text, text) is not is_empty(text)


@pytest.mark.parametrize("prefix", ["", "k", "M", "G", "T"])
def test_bits_and_bytes_a_second_are_told_apart(prefix: str) -> None:
    bits, bytes_ = f"10 {prefix}bps", f"10 {prefix}Bps"
    assert not is_agreeing(bits, bytes_)
    assert is_agreeing(bits, f"10 {prefix}bit/s") and is_agreeing(bytes_, f"10 {prefix}B/s")
