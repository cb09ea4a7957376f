"""Real words and sentences in many languages, from Unicode's CLDR as Babel ships it."""

from datetime import datetime

from babel import Locale
from babel.dates import format_datetime, get_day_names, get_month_names
from babel.lists import format_list

MANY = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "he", "hi", "hu", "is", "it", "ja", "ka",
    "ko", "lt", "nl", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip


def list_texts(language: str) -> list[str]:
    """Return a list of the days, one of the months, and a date in full, as they are written in a language."""
    days, months = get_day_names(locale=language), get_month_names(locale=language)
    dated = format_datetime(datetime(2024, 5, 17, 14, 5), "full", locale=language, tzinfo=None)
    return [
        format_list(list(days.values()), locale=language),
        format_list(list(months.values()), locale=language),
        dated,
    ]


def list_words(language: str) -> list[str]:
    """Return captions of one word: the months and the continents."""
    territories = Locale.parse(language).territories
    return [*get_month_names(locale=language).values(), *(territories[code] for code in ("002", "009", "019", "150"))]
