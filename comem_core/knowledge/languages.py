"""Identifies the language of a text, and compares language tags.

Owns the table of equivalent codes. Independent of prompts, models and rows. A text with too little evidence is `und`,
which contradicts no other language.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache

import langcodes
from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
MIN_CERTAINTY = 0.6
MIN_LETTERS = 16
# A character of these scripts carries as much information as several letters.
SIGNS_PER_LETTER = {"CJK": 3, "HIRAGANA": 3, "KATAKANA": 3, "HANGUL": 3}
# Scripts that only one of the identifier's living languages uses: three letters decide.
SCRIPT_LANGUAGES = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "THAI": "th", "LAO": "lo", "KHMER": "km", "MYANMAR": "my",
    "GREEK": "el", "GEORGIAN": "ka", "ARMENIAN": "hy", "HEBREW": "he", "TAMIL": "ta", "TELUGU": "te", "KANNADA": "kn",
    "MALAYALAM": "ml", "SINHALA": "si", "GUJARATI": "gu", "GURMUKHI": "pa", "ORIYA": "or", "TIBETAN": "dz",
}  # fmt: skip
MIN_SCRIPT_LETTERS = 3
# Codes that count as the same language: one is an alias of the other, or a short question does not distinguish them.
# In lines with `True`, the project writes the first code instead of the others.
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
# Small relatives of large languages, left out: short questions in the large language are mistaken for them more often
# than they themselves occur.
LEFT_OUT = frozenset({"an", "ext", "vec", "lij", "gcf", "gcr", "pcm", "wa", "ltg", "fuv"})


@dataclass(frozen=True)
class Identified:
    """A language as its BCP-47 primary code, and the certainty of the identification, from 0 to 1."""

    language: str
    certainty: float

    @property
    def known(self) -> bool:
        return self.language != UNKNOWN


@lru_cache(maxsize=8192)  # a benchmark asks the same few hundred questions about many pictures
def identify_language(text: str, *, min_certainty: float = MIN_CERTAINTY) -> Identified:
    """Identify the language of a text; `und` if the text is short or the certainty is below `min_certainty`.

    A script that only one language uses decides by itself. Otherwise the text needs about sixteen letters (six Chinese
    characters). Codes of one language (SAME_LANGUAGE) are summed. The first call loads the model, which takes a second.
    """
    scripts = Counter(_find_script(sign) for sign in text if sign.isalpha())
    by_script = _identify_by_script(scripts)
    if by_script is not None:
        return by_script
    if sum(count * SIGNS_PER_LETTER.get(script, 1) for script, count in scripts.items()) < MIN_LETTERS:
        return Identified(UNKNOWN, 0.0)
    code, certainty = load_identifier().classify(text)
    # At a half or more, no sum of other codes can be larger; and ranking takes ten times as long.
    if certainty >= max(min_certainty, 0.5) and code != "zxx":
        return Identified(choose_code(code), certainty)
    shares: Counter[str] = Counter()
    best: dict[str, str] = {}
    for code, share in load_identifier().rank(text):
        best.setdefault(_find_group(code), code)
        shares[_find_group(code)] += share
    (group, certainty), *_ = shares.most_common(1)
    if certainty < min_certainty or best[group] == "zxx":
        return Identified(UNKNOWN, certainty)
    return Identified(choose_code(best[group]), certainty)


def identify_language_as_declared(text: str, declared: str | None) -> str:
    """Identify the language of a text; return `declared` itself if both codes mean the same language.

    An SQL query therefore needs no table of codes: a result that differs from `declared` and is not `und` contradicts
    it.
    """
    found = identify_language(text).language
    return declared if declared is not None and found != UNKNOWN and is_same_language(found, declared) else found


def is_same_language(first: str | None, second: str | None) -> bool:
    """Tell whether two codes mean the same language, ignoring region and script; `und` and None match any language."""
    if first is None or second is None:
        return True
    groups = {_find_group(read_primary_code(first)), _find_group(read_primary_code(second))}
    return UNKNOWN in groups or len(groups) == 1


def check_language(tag: str) -> None:
    """Refuse what does not have the form of a BCP-47 language tag, such as `en` or `zh-Hans`. Raises ValueError."""
    if not TAG.fullmatch(tag):
        raise ValueError(f"found {tag!r}; expected a language such as en, pt-BR or zh-Hans")


@lru_cache(maxsize=1024)
def normalise_tag(tag: str) -> str:
    """Write a tag as BCP 47 recommends: `EN` and `eng` as `en`, `pt_br` as `pt-BR`. Raises ValueError for a word."""
    check_language(tag)
    return langcodes.standardize_tag(tag)


@lru_cache(maxsize=1024)
def read_language(tag: str) -> str:
    """Write the tag of a registered language as BCP 47 recommends. Raises ValueError for any other word."""
    written = normalise_tag(tag)
    if not langcodes.tag_is_valid(written):
        raise ValueError(f"found {tag!r}; expected a registered language such as en, pt-BR or zh-Hans")
    return written


@lru_cache(maxsize=1024)
def is_language(word: str) -> bool:
    """Tell whether a word in a file's name is a language tag and not just any word.

    Thousands of short words (`alt`, `raw`, `new`) are codes of small languages. Of the codes with three letters, only
    those count that are another code of a language with two, or that the project knows.
    """
    if not TAG.fullmatch(word) or not langcodes.tag_is_valid(word):
        return False
    code = read_primary_code(langcodes.standardize_tag(word))
    return len(code) == 2 or any(code in codes for codes, _ in SAME_LANGUAGE)


@lru_cache(maxsize=1024)
def read_primary_code(code: str) -> str:
    """Return the first part of a BCP-47 code in lower case: `pt` of `pt-BR`, `zh` of `zh_Hant`."""
    return code.replace("_", "-").split("-")[0].strip().lower() or UNKNOWN


def _identify_by_script(scripts: Counter[str]) -> Identified | None:
    """Identify the language by script alone, if most letters are of a script with one language.

    Japanese mixes kana with Chinese characters, so some kana among them are enough.
    """
    letters = scripts.total()
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana >= MIN_SCRIPT_LETTERS and 2 * (kana + scripts["CJK"]) > letters and 10 * kana > letters:
        return Identified("ja", 1.0)
    script, count = scripts.most_common(1)[0] if scripts else ("", 0)
    if script in SCRIPT_LANGUAGES and count >= MIN_SCRIPT_LETTERS and 2 * count > letters:
        return Identified(SCRIPT_LANGUAGES[script], 1.0)
    return None


@lru_cache(maxsize=65536)
def _find_script(letter: str) -> str:
    """Return the first word of a letter's Unicode name, which is its script."""
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]


@cache
def load_identifier() -> LanguageIdentifier:
    """Load the identifier, without the languages that are left out; takes a second."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if label not in LEFT_OUT])
    return identifier


@cache
def _find_group(code: str) -> str:
    return next((codes[0] for codes, _ in SAME_LANGUAGE if code in codes), code)


@cache
def choose_code(code: str) -> str:
    """Return the code that the project writes for a language: `ar` for `arz`."""
    return next((codes[0] for codes, renamed in SAME_LANGUAGE if renamed and code in codes), code)
