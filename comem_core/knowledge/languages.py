"""Which language a text is in, and when two codes mean the same language.

Owns the table of codes. Independent of prompts, models or rows. Where a text says too little the answer is `und`, and
what is unknown is never held against a text.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
MIN_CERTAINTY = 0.6
MIN_LETTERS = 16
# A sign of these scripts says as much as a few letters do.
SIGNS_PER_LETTER = {"CJK": 3, "HIRAGANA": 3, "KATAKANA": 3, "HANGUL": 3}
# Scripts that one living language of the identifier is written in: three letters of it decide.
SCRIPT_LANGUAGES = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "THAI": "th", "LAO": "lo", "KHMER": "km", "MYANMAR": "my",
    "GREEK": "el", "GEORGIAN": "ka", "ARMENIAN": "hy", "HEBREW": "he", "TAMIL": "ta", "TELUGU": "te", "KANNADA": "kn",
    "MALAYALAM": "ml", "SINHALA": "si", "GUJARATI": "gu", "GURMUKHI": "pa", "ORIYA": "or", "TIBETAN": "dz",
}  # fmt: skip
MIN_SCRIPT_LETTERS = 3
# Codes that count as the same language, because one is a name of the other or because a question of one line does not
# tell them apart. The first code of a line is what the project writes where the line has `True`.
SAME_LANGUAGE: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("ar", "arz", "ary", "apc", "arb", "acm", "afb"), True),  # Egyptian and other Arabic: identified as Arabic
    (("fil", "tl"), True),  # Filipino is the standard form of Tagalog
    (("zh", "cmn", "yue", "wuu"), True),
    (("he", "iw", "hbo"), True),
    (("no", "nb", "nn", "nno", "nob"), True),
    (("yi", "ji"), True),
    (("fa", "pes", "prs"), True),
    (("sh", "sr", "hr", "bs"), False),
    (("id", "in", "ms", "msa"), False),
)
# Small relatives of large languages: short questions in the large one are taken for them more often than they are met.
LEFT_OUT = frozenset({"an", "ext", "vec", "lij", "gcf", "gcr", "pcm", "wa", "ltg", "fuv"})


@dataclass(frozen=True)
class Identified:
    """A language as BCP-47 primary code, and how certain it is, from 0 to 1."""

    language: str
    certainty: float

    @property
    def known(self) -> bool:
        return self.language != UNKNOWN


@lru_cache(maxsize=8192)  # a benchmark asks the same few hundred questions of many pictures
def identify_language(text: str, *, min_certainty: float = MIN_CERTAINTY) -> Identified:
    """Identify the language of a text; `und` for one that is short, or less than `min_certainty` certain.

    A script that one language is written in decides alone. Else the text needs about sixteen letters (six signs of
    Chinese). Codes of one language (SAME_LANGUAGE) are summed. The first call loads the model, which takes a second.
    """
    scripts = Counter(_script(sign) for sign in text if sign.isalpha())
    by_script = _by_script(scripts)
    if by_script is not None:
        return by_script
    if sum(count * SIGNS_PER_LETTER.get(script, 1) for script, count in scripts.items()) < MIN_LETTERS:
        return Identified(UNKNOWN, 0.0)
    code, certainty = _identifier().classify(text)
    if certainty >= max(min_certainty, 0.5) and code != "zxx":
        return Identified(
            _written(code), certainty
        )  # no sum of others can be larger, and ranking takes ten times as long
    shares: Counter[str] = Counter()
    best: dict[str, str] = {}
    for code, share in _identifier().rank(text):
        best.setdefault(_group(code), code)
        shares[_group(code)] += share
    (group, certainty), *_ = shares.most_common(1)
    if certainty < min_certainty or best[group] == "zxx":
        return Identified(UNKNOWN, certainty)
    return Identified(_written(best[group]), certainty)


def guess_language(text: str) -> str:
    """Name the language that a text is most likely in, for what must have one; of a few words it is a guess.

    Only the first 300 characters are looked at: more makes it slower and hardly surer.
    """
    return _written(_identifier().classify(text[:300])[0])


def identify_language_as_declared(text: str, declared: str | None) -> str:
    """Identify the language of a text, written as `declared` where the two codes mean the same.

    So a query needs no table of codes: what differs from the declared language, and is not `und`, contradicts it.
    """
    found = identify_language(text).language
    return declared if declared is not None and found != UNKNOWN and is_same_language(found, declared) else found


def is_same_language(first: str | None, second: str | None) -> bool:
    """Return whether two codes mean one language, whatever the region or script; `und` and None contradict nothing."""
    if first is None or second is None:
        return True
    groups = {_group(read_primary_code(first)), _group(read_primary_code(second))}
    return UNKNOWN in groups or len(groups) == 1


def check_language(tag: str) -> None:
    """Refuse what is not a language tag of BCP-47's form, such as `en` or `zh-Hans`. Raises ValueError."""
    if not TAG.fullmatch(tag):
        raise ValueError(f"found {tag!r}; expected a language such as en, pt-BR or zh-Hans")


def read_primary_code(code: str) -> str:
    """Return the first part of a BCP-47 code in lower case: `pt` of `pt-BR`, `zh` of `zh_Hant`."""
    return code.replace("_", "-").split("-")[0].strip().lower() or UNKNOWN


def _by_script(scripts: Counter[str]) -> Identified | None:
    """Decide by script alone, where most letters are of scripts with one language; kana stands among Chinese signs."""
    letters = scripts.total()
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana >= MIN_SCRIPT_LETTERS and 2 * (kana + scripts["CJK"]) > letters and 10 * kana > letters:
        return Identified("ja", 1.0)
    script, count = scripts.most_common(1)[0] if scripts else ("", 0)
    if script in SCRIPT_LANGUAGES and count >= MIN_SCRIPT_LETTERS and 2 * count > letters:
        return Identified(SCRIPT_LANGUAGES[script], 1.0)
    return None


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    """The first word of a letter's Unicode name, which is its script."""
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if label not in LEFT_OUT])
    return identifier


@cache
def _group(code: str) -> str:
    return next((codes[0] for codes, _ in SAME_LANGUAGE if code in codes), code)


@cache
def _written(code: str) -> str:
    return next((codes[0] for codes, renamed in SAME_LANGUAGE if renamed and code in codes), code)
