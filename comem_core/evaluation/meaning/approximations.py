"""Words and marks that make a number approximate, in many languages.

All of them mean the same, and an approximate number is another answer than the exact one: "about 5" is "~5" and "c. 5",
and none of them is 5. A text that says "about 5 m" still states 5 m.
"""

import regex

APPROXIMATE = "~"

_WORDS = (
    "about", "around", "approximately", "approx", "roughly", "circa", "ca", "zirka", "cirka", "etwa", "ungefähr",
    "rund", "environ", "à peu près", "aproximadamente", "alrededor de", "cerca de", "por volta de", "aprox",
    "ongeveer", "omkring", "ungefär", "noin", "suunnilleen", "körülbelül", "около", "примерно", "приблизительно",
    "близько", "приблизно", "приблизително", "około", "mniej więcej", "asi", "přibližně", "cca", "približne",
    "otprilike", "oko", "yaklaşık", "περίπου", "khoảng", "sekitar", "kira-kira", "kurang lebih", "حوالي", "نحو",
    "تقريبا", "حدود", "تقریبا", "लगभग", "करीब", "প্রায়", "בערך", "aproximativ", "apie", "aptuveni",
)  # fmt: skip
_WITH_POINT = ("c", "env", "ок", "прибл", "ok", "kb")  # without the point they are something else
_UNSPACED = ("大约", "大約", "大概", "约", "約", "およそ", "おおよそ", "약", "대략", "ประมาณ")
_BEHIND = r"circa|ca\.|or so|approximately|approx\.|左右|上下|前後|くらい|ぐらい|程度|정도|쯤"
_FIRST_BEHIND = frozenset("coa左上前くぐ程정쯤")
_LONGEST = 24
_ENDINGS = frozenset(each.split()[-1] for each in (*_WORDS, *_WITH_POINT))

_BEFORE = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}])(?:(?i:{'|'.join(sorted(_WORDS, key=len, reverse=True))})\.?"
    rf"|(?:{'|'.join(_WITH_POINT)})\.)\Z"
)
_AFTER = regex.compile(rf"\s?(?:{_BEHIND})(?![\p{{Latin}}\p{{N}}])(?!\s*\p{{Sc}}?\d)")


def count_letters_before(text: str, place: int) -> int | None:
    """Count the letters of the words before `place` that make a number there approximate: 0 for "~", None without."""
    before = text[max(0, place - _LONGEST) : place].rstrip()
    if not before:
        return None
    if before.endswith(APPROXIMATE):
        return 0
    if before.endswith(_UNSPACED):
        return max(len(each) for each in _UNSPACED if before.endswith(each))
    words = before.split()
    if not words or words[-1].strip("([*_\"'.").lower() not in _ENDINGS:
        return None
    match = _BEFORE.search(before)
    return sum(map(str.isalnum, match[0])) if match else None


def find_end_behind(text: str, place: int) -> int | None:
    """Return the end of words at `place` that make the number before them approximate; None without such words."""
    if text[place : place + 2].lstrip()[:1] not in _FIRST_BEHIND:
        return None
    match = _AFTER.match(text, place)
    return match.end() if match else None
