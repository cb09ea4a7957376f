"""Identifies the language of a text, guesses those of a whole file, and compares language tags.

Owns the table of equivalent codes. Independent of prompts, models and rows. A text with too little evidence is `und`,
which contradicts no other language.

Shapes: N texts, V features in them, U different ones, C columns of the identifier.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain

import langcodes
import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier, visit_counts
from scipy.sparse import csr_matrix

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
# A language that is not at home in a file must be this much more likely (in nats) to be guessed there. The identifier
# prefers a wrong language to English by up to 10 nats for captions of one to five words; a sentence wins by 20 or more.
FOREIGN_NATS = 12.0
AT_HOME_SHARE = 0.1  # of a file's texts
SHORT, LONG = 48, 300  # characters: most texts are certain after the first few words


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
    code, certainty = _load_identifier().classify(text)
    # At a half or more, no sum of other codes can be larger; and ranking takes ten times as long.
    if certainty >= max(min_certainty, 0.5) and code != "zxx":
        return Identified(_choose_code(code), certainty)
    shares: Counter[str] = Counter()
    best: dict[str, str] = {}
    for code, share in _load_identifier().rank(text):
        best.setdefault(_find_group(code), code)
        shares[_find_group(code)] += share
    (group, certainty), *_ = shares.most_common(1)
    if certainty < min_certainty or best[group] == "zxx":
        return Identified(UNKNOWN, certainty)
    return Identified(_choose_code(best[group]), certainty)


@dataclass(frozen=True)
class Guesser:
    """Guesses the languages of a file's texts, where a language is required, however short they are.

    The languages at home in the file, those in Latin letters and `others`, are preferred: a foreign one needs clear
    evidence. Where nothing is known of a file, Latin letters are English.
    """

    latin: frozenset[str] = frozenset({"en"})
    others: frozenset[str] = frozenset()

    @classmethod
    def learn(cls, texts: Sequence[str]) -> "Guesser":
        """Learn which languages are at home in a file from some of its texts: read as one document, then one by one."""
        latin, others = (cls._learn_home([text for text in texts if _is_latin(text) == each]) for each in (True, False))
        return cls(latin or cls.latin, others)

    @classmethod
    def _learn_home(cls, texts: Sequence[str]) -> frozenset[str]:
        if not texts:
            return frozenset()
        home = frozenset(cls().guess(["\n".join(text[:SHORT] for text in texts)], length=SHORT * len(texts)))
        counts = Counter(cls(home, home).guess(texts))
        return home.union(code for code, count in counts.items() if count >= AT_HOME_SHARE * len(texts))

    def guess(self, texts: Sequence[str], *, length: int = LONG) -> list[str]:
        """Return the most likely language of each text, by at most `length` characters.

        The texts are scored together, which takes a fifth of the time, and most need only their first words.
        """
        codes, leads = self._choose([text[:SHORT] for text in texts])
        if unsure := [place for place, text in enumerate(texts) if leads[place] < FOREIGN_NATS and len(text) > SHORT]:
            again, _ = self._choose([texts[place][:length] for place in unsure])
            for place, code in zip(unsure, again, strict=True):
                codes[place] = code
        return codes

    def _choose(self, texts: Sequence[str]) -> tuple[list[str], list[float]]:
        """Return the most likely code of each text, and by how many nats it leads."""
        codes_C, groups_C = _load_columns()
        scores_NC, rows = _score(texts), np.arange(len(texts))
        latin_N = np.fromiter(map(_is_latin, texts), bool, len(texts))
        for chosen_N, home in ((latin_N, self.latin), (~latin_N, self.others)):
            if home:
                scores_NC[chosen_N] -= FOREIGN_NATS * ~np.isin(codes_C, [*home])
        best_N = scores_NC.argmax(axis=1)
        leads_N = scores_NC[rows, best_N]
        scores_NC[groups_C == groups_C[best_N][:, None]] = -np.inf
        return codes_C[best_N].tolist(), (leads_N - scores_NC.max(axis=1)).tolist()


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


def _score(texts: Sequence[str]) -> np.ndarray:
    """Score texts as the identifier does, in one product: log-likelihoods (N, C); never `zxx`, no language."""
    identifier = _load_identifier()
    walk = (identifier.tk_nextmove, identifier._rowbase, identifier.tk_output)
    visits = [visit_counts(*walk, identifier._encode(text)) or {} for text in texts]
    ends_N = np.cumsum([0, *map(len, visits)])
    features_V = np.fromiter(chain.from_iterable(visits), np.intp, ends_N[-1])
    counts_V = np.fromiter(chain.from_iterable(each.values() for each in visits), np.float32, ends_N[-1])
    used_U, features_V = np.unique(features_V, return_inverse=True)
    counts_NU = csr_matrix((np.log1p(counts_V), features_V, ends_N), shape=(len(texts), len(used_U)))
    scores_NC = counts_NU @ identifier.nb_ptc[used_U].astype(np.float32) + identifier.nb_pc.astype(np.float32)
    scores_NC[:, identifier.nb_classes.index("zxx")] = -np.inf
    return scores_NC


@cache
def _load_columns() -> tuple[np.ndarray, np.ndarray]:
    """Return the code that each of the identifier's columns stands for, and a number of it."""
    codes_C = np.array([_choose_code(code) for code in _load_identifier().nb_classes])
    return codes_C, np.unique(codes_C, return_inverse=True)[1]


def _is_latin(text: str) -> bool:
    """Tell whether most letters of a text are Latin: those of other scripts take two bytes or more."""
    return len(text.encode("utf-8", "replace")) <= 1.5 * len(text)


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
def _load_identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if label not in LEFT_OUT])
    return identifier


@cache
def _find_group(code: str) -> str:
    return next((codes[0] for codes, _ in SAME_LANGUAGE if code in codes), code)


@cache
def _choose_code(code: str) -> str:
    return next((codes[0] for codes, renamed in SAME_LANGUAGE if renamed and code in codes), code)
