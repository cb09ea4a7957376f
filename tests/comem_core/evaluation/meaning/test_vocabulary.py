"""Units, currencies, scale words and months in many languages; a word that is not sure means nothing."""

from fractions import Fraction

import pytest

from comem_core.evaluation.meaning import is_agreeing
from comem_core.evaluation.meaning.vocabulary import load_vocabulary, measure_amount


@pytest.mark.parametrize(
    "written",
    [
        "3.5 meters", "3.5 metres", "3,5 Meter", "3,5 mètres", "3,5 metros", "3,5 metri", "3,5 метра", "3,5 метри",
        "3,5 metra", "3,5 meter", "3,5 metriä", "3,5 μέτρα", "3,5 metre", "3.5 מטר", "3.5 متر", "۳٫۵ متر", "३.५ मीटर",
        "3.5 মিটার", "3.5 மீட்டர்", "3.5 เมตร", "3,5 mét", "3.5米", "3.5公尺", "3.5メートル", "3.5미터", "3.5 м",
    ],
)  # fmt: skip
def test_a_unit_is_the_same_in_every_language(written: str) -> None:
    assert is_agreeing(written, "3.5 m")
    assert not is_agreeing(written, "3.5 km") and not is_agreeing(written, "35 m")
    assert not is_agreeing(written, written.replace("3", "4").replace("३", "४").replace("۳", "۴"))


@pytest.mark.parametrize(
    "written",
    [
        "2 million", "2 Millionen", "2 millions", "2 millones", "2 milhões", "2 milioni", "2 миллиона", "2 мільйони",
        "2 miliony", "2 miljoen", "2 milyon", "2 εκατομμύρια", "2 מיליון", "2 مليون", "20 लाख", "200万", "200만",
    ],
)  # fmt: skip
def test_a_scale_word_is_a_power_of_ten_in_every_language(written: str) -> None:
    assert is_agreeing(written, "2,000,000") and not is_agreeing(written, "200,000")
    assert not is_agreeing(written, "2")


@pytest.mark.parametrize(
    "written",
    [
        "7 May 2015", "7. Mai 2015", "7 mai 2015", "7 de mayo de 2015", "7 de maio de 2015", "7 maggio 2015",
        "7 мая 2015", "7 травня 2015", "7 maja 2015", "7 mei 2015", "7 Mayıs 2015", "7 Μαΐου 2015", "7 مايو 2015",
        "7 मई 2015", "2015年5月7日", "2015년 5월 7일", "7 พฤษภาคม 2015", "7.5.2015", "2015-05-07", "2015/05/07",
    ],
)  # fmt: skip
def test_a_date_is_the_same_in_every_language(written: str) -> None:
    assert is_agreeing(written, "May 7, 2015")
    assert not is_agreeing(written, "June 7, 2015") and not is_agreeing(written, "May 8, 2015")


def test_english_decides_what_a_word_means_and_where_others_disagree_it_means_nothing() -> None:
    vocabulary = load_vocabulary()
    assert vocabulary.scales["billion"] == 10**9 and vocabulary.scales["billionen"] == 10**12
    assert "listopad" not in vocabulary.months  # October in Croatian, November in Czech and Polish
    assert vocabulary.symbols["m"] == "length-meter" and vocabulary.symbols["t"] == "mass-tonne"
    assert "TOP" not in vocabulary.common and is_agreeing("TOP 10", "top 10")
    assert is_agreeing("CHF 10", "10 CHF") and not is_agreeing("CHF 10", "10")


def test_amounts_are_exact_and_kinds_that_share_a_dimension_stay_apart() -> None:
    assert measure_amount(Fraction(1, 10), "length-inch") == measure_amount(Fraction(254, 100), "length-millimeter")
    assert measure_amount(Fraction(68), "temperature-fahrenheit") == measure_amount(Fraction(20), "temperature-celsius")
    assert measure_amount(Fraction(1), "torque-newton-meter") != measure_amount(Fraction(1), "energy-joule")
    assert measure_amount(Fraction(1), "energy-gray") != measure_amount(Fraction(1), "energy-sievert")
    assert measure_amount(Fraction(3), "speed-beaufort") == ("speed-beaufort", 3)  # Pint does not know it
