"""Checks a translation: its numbers, its meaning after translating back, and words that were left untranslated.

Pure functions of texts; no model runs here.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from comem_core.evaluation.meaning import is_agreeing, is_empty, list_meanings
from comem_core.evaluation.metrics.infoseek import normalise_answer

# Digits with a minus, group separators and decimal signs: −5; 1,234.5; 1 234,5; 1'234; ١٬٢٣٤٫٥ (converted to ASCII).
_NUMBER = re.compile(r"(?:(?<![^\s(])[-−–])?\d+(?:[.,'’\u00a0\u202f\u2009]\d+)*")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d])")  # 1 234 567
_SIGNS = str.maketrans({"\u066b": ".", "\u066c": ",", "\uff0c": ",", "\uff0e": "."})
_MONTH = re.compile(r"(?<!\d)(?:1[0-2]|0?[1-9])(?=\s*[月월])")  # "3月" has a number, "March" has none
_GROUP = 3
LARGEST_WRITTEN_OUT = 31  # days and small counts: some languages write digits where others have a word
CASELESS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "ARABIC", "HEBREW", "THAI", "DEVANAGARI", "BENGALI", "TAMIL")
JOINING_WORD = 3  # "of", "de", "del", "the": words of up to this many letters do not show whether a text is a name


def read_numbers(text: str) -> Counter[str]:
    """Return the numbers of a text as plain decimals, whatever their digits and separators: `1.234,50` is `1234.50`.

    A separator is a group separator if three digits follow it each time, as in `1.234`; otherwise the last one is the
    decimal sign. A separator that means different things in two languages is thus read in the same way in both.
    """
    text = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text).translate(_SIGNS)
    text = _SPACED.sub(lambda match: match[0].replace(" ", ""), text)
    return Counter(_write_plainly(found) for found in _NUMBER.findall(text))


def list_changed_numbers(original: str, translated: str) -> list[str]:
    """List the numbers that a translation lost or added; an empty list means that all survived.

    A number up to 31 may appear where the original has words ("March", "two"), and a month's number may become a word.
    """
    before, after = read_numbers(original), read_numbers(translated)
    months = Counter(number.lstrip("0") for number in _MONTH.findall(unicodedata.normalize("NFKC", original)))
    lost = before - after - months
    new = after - before
    if any(sign.isalpha() for sign in original):
        new = Counter({number: count for number, count in new.items() if float(number) > LARGEST_WRITTEN_OUT})
    return sorted(lost + new)


def is_left_untranslated(answer: str, translated: str, *, question: str) -> bool:
    """Tell whether an answer was left as it was although it should be translated; `question` is the translated one.

    Numbers and names may stay. In a script with capitals, a text is a name if each longer word has a capital or a
    digit. In a script without capitals, the answer may stay if the translated question uses the same script.
    """
    if normalise_answer(answer, normalisation="unicode") != normalise_answer(translated, normalisation="unicode"):
        return False
    letters = [sign for sign in translated if sign.isalpha()]
    if not letters:
        return False
    scripts = {_find_script(sign) for sign in letters}
    if any(script in CASELESS for script in scripts):
        return not scripts <= {_find_script(sign) for sign in question if sign.isalpha()}
    words = [word for word in re.findall(r"[^\W_]+", translated) if len(word) > JOINING_WORD]
    return any(word.islower() for word in words or [translated])


def score_round_trip(
    question: str, answer: str, *, back_question: str, back_answer: str, aliases: Sequence[str]
) -> float:
    """Score how well an original survived translating back, from 0 to 1: the word overlap of the questions times that
    of the answers.

    An answer that comes back as another accepted answer counts as the same.
    """
    same = any(is_agreeing(back_answer, each) for each in (answer, *aliases))
    kept_answer = 1.0 if same else compute_word_f1(answer, back_answer)
    return kept_answer * compute_word_f1(question, back_question)


def compute_word_f1(first: str, second: str) -> float:
    """Return the F1 of two texts' words and numbers; in scripts without spaces, each character counts as a word."""
    one, other = Counter(list_meanings(first)), Counter(list_meanings(second))
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else 0.0


def merge_texts(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts in order, without those that say nothing and those that mean the same as an earlier one."""
    found: list[str] = []
    for text in texts:
        if not is_empty(text) and not any(is_agreeing(text, each) for each in found):
            found.append(" ".join(text.split()))
    return tuple(found)


def _write_plainly(number: str) -> str:
    """Write a number as digits with at most one decimal point and a minus."""
    if number[0] in "-−–":
        return f"-{_write_plainly(number[1:])}"
    parts = re.split(r"\D", number)
    signs = re.sub(r"\d", "", number)
    grouped = parts[0].lstrip("0") and len(parts[0]) <= _GROUP and all(len(part) == _GROUP for part in parts[1:])
    if len(parts) == 1 or (grouped and len(set(signs)) == 1):
        digits = "".join(parts)
        return digits[1:] if len(digits) == 2 and digits[0] == "0" else digits  # 03 in a date is 3
    return f"{''.join(parts[:-1])}.{parts[-1]}"


def _find_script(sign: str) -> str:
    return unicodedata.name(sign, "").split(" ")[0].split("-")[0]
