"""Approximate numbers, lost signs, parts of quantities, abbreviated scales, several units in one, ions, eras."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.meaning import is_agreeing, is_stated
from comem_core.synthesis.judging import is_grounded

APPROXIMATE = (
    "~{}", "≈ {}", "about {}", "Approximately {}", "circa {}", "ca. {}", "c. {}", "c.{}", "etwa {}", "ungefähr {}",
    "environ {}", "aproximadamente {}", "cerca de {}", "ongeveer {}", "около {}", "około {}", "přibližně {}",
    "yaklaşık {}", "περίπου {}", "约{}", "大约{}", "約 {}", "약 {}", "लगभग {}", "حوالي {}", "{} circa", "{}左右",
)  # fmt: skip
QUANTITIES = ("5 m", "$5", "US$ 5", "EUR 5", "1900", "-5 °C", "½", "3–5 km", "2 million", "14:30", "1,2,3", "350 BC")


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("written", APPROXIMATE)
def test_an_approximate_number_is_another_one_and_every_word_for_it_means_the_same(written: str, quantity: str):
    assert not is_agreeing(written.format(quantity), quantity)
    if written.startswith("{}") and quantity in ("3–5 km", "1,2,3"):  # a word behind two numbers may be of the second
        return
    assert is_agreeing(written.format(quantity), f"~{quantity}")
    assert is_stated(quantity, f"They say it was {written.format(quantity)} then.")


NEGATABLE = (
    "1,2,3",
    "$5",
    "US$5",
    "EUR 5",
    "5",
    ".5",
    "½",
    "1/2",
    "5 m",
    "5-10",
    "1.2.3",
    "007",
    "5x",
    "2^3",
    "3:1",
    "1 h 30 min",
)


@pytest.mark.parametrize("number", NEGATABLE)
@pytest.mark.parametrize("sign", ["-", "−", "minus ", "<", ">", "≤", "≥", "±", "√"])
def test_no_sign_before_a_number_of_any_form_is_lost(sign: str, number: str):
    assert not is_agreeing(sign + number, number)
    assert is_agreeing(sign + number, sign + number)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("R", "The model has an R² of 0.9."),
        ("sin", "It is sin² here."),
        ("2", "The root √2 is irrational."),
        ("8", "It is ∛8 long."),
        ("10", "About 10⁶ of them"),
        ("350", "It fell in 350 BC."),
        ("350", "Es fiel 350 v. Chr."),
        ("350", "Il tomba en 350 av. J.-C."),
        ("350", "в 350 до н. э."),
        ("350", "公元前350年"),
        ("4th century", "in the 4th century BC"),
        ("1 h", "It lasts 1 h 30 min."),
        ("30 min", "It lasts 1 h 30 min."),
        ("3 ft", "He is 3 ft 6 in tall."),
        ("20 cm", "Es ist 1 m 20 cm lang."),
        ("2.3", "Es kostet 2,3 Mrd. Euro."),
        ("Ca", "It binds Ca²⁺ ions."),
        ("Ca", "It binds Ca2+ ions."),
        ("SO4", "The SO₄²⁻ ion"),
        ("C", "in C♭ major"),
        ("52", "They flew a B-52 there."),
        ("19", "COVID-19 spread."),
        ("24", "Open 24/7."),
        ("14", "at 14:30"),
    ],
)
def test_a_part_of_a_quantity_is_no_answer(answer: str, text: str):
    assert not is_stated(answer, text)


def test_a_root_a_power_or_a_bound_is_no_number_of_a_numerical_answer():
    for text in ("√2", "R²", "x > 2", "2 BC"):
        assert not is_grounded("2", [text], question_type="numerical")
    assert is_grounded("15", ["15 × 20 m"], question_type="numerical")


@pytest.mark.parametrize("answer", ["R² = 0.9", "√2", "350 BC", "90 min", "1.5 h", "Ca²⁺", "R²"])
def test_the_whole_is_an_answer(answer: str):
    assert is_stated(answer, f"It says {answer} there, and 1 h 30 min, R² = 0.9.")


SAME = [
    ("2.3 billion", "2,3 Mrd.", "2.3 Mrd", "2,3 mld", "2,3 mld.", "2,3 млрд", "2,3 млрд.",
     "2,3 Md", "2,3 mlrd", "2.3bn"),
    ("5 million", "5 Mio.", "5 mio", "5 mln", "5 mln.", "5 млн", "5 млн.", "5 milj."),
    ("5,000", "5 tys.", "5 тыс.", "5 тис.", "5 tys", "5 χιλ."),
    ("$2.3 billion", "$2.3B", "$2.3bn", "2.3 billion dollars", "US$ 2.3 billion"),
    ("5 million euros", "5 M€", "5 Mio. €", "€5m", "€5 million", "5 Mio. Euro"),
    ("1 h 30 min", "90 min", "1.5 h", "1h30min", "1 hour 30 minutes", "1 hour and 30 minutes", "1 Stunde 30 Minuten",
     "1 heure et 30 minutes", "1 час 30 минут", "1小时30分钟", "5400 s", "1h 30m"),
    ("3 ft 6 in", "42 in", "3.5 ft", "3'6\"", "3′6″", "3 feet 6 inches", "3 feet, 6 inches", "3ft6in"),
    ("5 lb 4 oz", "5.25 lb", "84 oz", "5 pounds 4 ounces", "5 lb. 4 oz."),
    ("1 m 20 cm", "1.2 m", "120 cm", "1,20 m"),
    ("2 days 6 hours", "54 h", "2.25 days"),
    ("1 kg 200 g", "1.2 kg", "1200 g"),
    ("-1 m 20 cm", "-1.2 m"),
    ("Ca²⁺", "Ca2+", "Ca^2+", "Ca^(2+)", "Ca(2+)"),
    ("SO₄²⁻", "SO4^2-", "SO4 2-", "SO42-", "SO4²⁻"),
    ("NH₄⁺", "NH4+", "NH4^+"),
    ("Na⁺", "Na+", "Na^+"),
    ("350 BC", "350 BCE", "350 B.C.", "350 B.C.E.", "350 v. Chr.", "350 av. J.-C.", "350 a. C.", "350 a.C.",
     "350 до н. э.",
     "350 p.n.e.", "350 př. n. l.", "350 f.Kr.", "MÖ 350", "350 π.Χ.",
     "公元前350年", "紀元前350年", "기원전 350년", "350 ق.م"),
    ("AD 350", "350 AD", "350 CE", "A.D. 350", "350 n. Chr.", "350 ap. J.-C.",
     "350 н. э.", "公元350年"),
    ("350–300 BC", "350 BC – 300 BC", "350-300 BCE"),
    ("4th century BC", "4th century BCE", "4th century B.C."),
    ("15 March 44 BC", "March 15, 44 BCE", "15. März 44 v. Chr."),
]  # fmt: skip


@pytest.mark.parametrize("ways", SAME, ids=lambda ways: ways[0])
def test_ways_of_writing_one_quantity_agree(ways: tuple[str, ...]):
    wrong = [pair for pair in combinations(ways, 2) if not is_agreeing(*pair)]
    assert not wrong


@pytest.mark.parametrize("first", range(len(SAME)))
def test_other_quantities_never_agree(first: int):
    for second in range(len(SAME)):
        if first != second:
            assert not [(a, b) for a in SAME[first] for b in SAME[second] if is_agreeing(a, b)]


@pytest.mark.parametrize(
    "answers",
    [
        ("350 BC", "350 AD", "350", "-350", "350 years"),
        ("4th century BC", "4th century AD", "4th century"),
        ("C²⁺", "C⁺", "C2+", "C²⁻", "C++"),
        ("Ca²⁺", "Ca⁺", "Ca", "Ca²⁻", "Ca³⁺"),
        ("O²⁻", "O₂⁻", "O-"),
        ("Fe2+", "Fe3+", "Fe"),
        ("SO₄²⁻", "SO₃²⁻", "SO₄", "SO4-"),
        ("1 h 30 min", "1 h 30 s", "1 h", "30 min", "130 min", "1 h 3 min"),
        ("3 ft 6 in", "3 ft", "6 in", "3.6 ft"),
        ("1 m 20 cm", "1 m", "120 m", "1 m 20 mm"),
        ("5 m and 20 cm", "5.2 m"),  # may be two lengths
        ("1.5 h 30 min", "2 h"),
        ("2.3 Mrd.", "2.3 Mio.", "2.3", "23 Mrd."),
        ("$5M", "$5", "$5K", "$5B", "5M"),
        ("R²", "R", "R2", "R³"),
        ("√2", "2", "∛2"),
        ("5 mil", "5 bill", "5"),
        ("$1,2,3", "1,2,3"),
    ],
)
def test_quantities_that_look_alike_stay_apart(answers: tuple[str, ...]):
    same = [pair for pair in combinations(answers, 2) if is_agreeing(*pair)]
    assert not same
    assert all(is_agreeing(each, each) for each in answers)


LADDERS = (("h", "min", 60), ("min", "s", 60), ("ft", "in", 12), ("lb", "oz", 16), ("m", "cm", 100), ("km", "m", 1000))


@settings(deadline=None, max_examples=150)
@given(ladder=st.sampled_from(LADDERS), large=st.integers(1, 500), data=st.data())
def test_two_units_are_one_amount(ladder: tuple[str, str, int], large: int, data: st.DataObject) -> None:
    more, less, size = ladder
    small = data.draw(st.integers(1, size - 1))
    other = data.draw(st.integers(1, size - 1).filter(lambda each: each != small))
    written = f"{large} {more} {small} {less}"
    assert is_agreeing(written, f"{large * size + small} {less}")
    assert not is_agreeing(written, f"{large} {more} {other} {less}") and not is_agreeing(written, f"{large} {more}")
    assert not is_stated(f"{small} {less}", f"It was {written} then.")
    assert is_stated(written, f"It was {written} then.")


@settings(deadline=None, max_examples=100)
@given(year=st.integers(1, 3000), other=st.integers(1, 3000))
def test_a_year_before_christ_is_no_other_year(year: int, other: int) -> None:
    assert is_agreeing(f"{year} BC", f"{other} BCE") is (year == other)
    assert not is_agreeing(f"{year} BC", f"{other} AD") and not is_stated(f"{year}", f"Built in {year} BC.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("около 5 км", "~5 km"), ("5 Stunden 15 Minuten", "5,25 Stunden"), ("1 hora y 30 minutos", "90 minutos"),
        ("1 ora e 30 minuti", "90 minuti"), ("2 heures et 15 minutes", "135 min"), ("1時間30分", "90分"),
        ("1시간 30분", "90분"), ("1 uur 30 minuten", "90 minuten"), ("3 Mio. Euro", "3 million euros"),
        ("3 mln zł", "3 million zł"), ("44 av. J.-C.", "44 до н. э."), ("ca. 300 v. Chr.", "about 300 BC"),
        ("Fe³⁺", "Fe3+"), ("2,5 тыс. км", "2500 km"), ("約100万人", "約1,000,000人"), ("5 kg 300 g", "5,3 kg"),
    ],
)  # fmt: skip
def test_the_same_quantity_agrees_in_ten_languages(first: str, second: str):
    assert is_agreeing(first, second) and is_agreeing(second, first)
