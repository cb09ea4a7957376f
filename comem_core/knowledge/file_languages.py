"""Guesses the languages of a file's texts, however short: all of its texts together say which languages are at home.

Shapes: N texts, V features in them, U different ones, C columns of the identifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain

import numpy as np
from py3langid.langid import visit_counts
from scipy.sparse import csr_matrix

from comem_core.knowledge.languages import choose_code, load_identifier

# A language that is not at home in a file must be this much more likely (in nats) to be guessed there, and a text is
# certain if its language leads by as much. The identifier prefers a wrong language to English by up to 10 nats for
# captions of one to five words; a sentence wins by 20 or more.
FOREIGN_NATS = 12.0
SHORT, LONG = 48, 300  # characters: most texts are certain after the first few words
# Languages that are rarely written, and need as much evidence again: lists of names and part numbers are taken for
# them (sixty captions like "Valve 12, 25 bar" for Shona). Babel 2.19 has names for fewer than 400 languages in these.
RARE = frozenset({
    "ace", "ba", "bcl", "crh", "dz", "grc", "gug", "guw", "ht", "kik", "la", "lg", "ln", "mg", "nso", "oc", "om", "qu",
    "rw", "sa", "sdh", "se", "sn", "st", "tg", "tt", "uzs", "vo", "xh",
})  # fmt: skip
# What is known before the first text is read (in nats): English is the likeliest.
ENGLISH_NATS = 3.0
# The identifier counts features that belong together as if they were independent, so its evidence is halved.
EVIDENCE = 0.5
ROUNDS = 20
# The share of a file's texts (and, in a small file, half a text) from which a language is at home.
AT_HOME_SHARE, AT_HOME_TEXTS = 0.01, 0.5


@dataclass(frozen=True)
class Guessed:
    """The guessed language of a text, and whether the text alone makes it certain (by FOREIGN_NATS)."""

    language: str
    certain: bool


@dataclass(frozen=True)
class Guesser:
    """Guesses the languages of a file's texts, where a language is required, however short they are.

    The languages at home in the file, those in Latin letters and `others`, are preferred: a foreign one needs clear
    evidence. Where nothing is known of a file, Latin letters are English.
    """

    latin: frozenset[str] = frozenset({"en"})
    others: frozenset[str] = frozenset()

    @cached_property
    def key(self) -> str:
        """What decides the guesses, as a text."""
        return f"{' '.join(sorted(self.latin))}, {' '.join(sorted(self.others))}"

    @classmethod
    def learn(cls, texts: Sequence[str]) -> "Guesser":
        """Learn which languages are at home in a file from some of its texts, all of them together."""
        latin, others = (_learn_home([text for text in texts if _is_latin(text) == each]) for each in (True, False))
        return cls(latin or cls.latin, others)

    def guess(self, texts: Sequence[str], *, length: int = LONG) -> list[str]:
        """Return the most likely language of each text, by at most `length` characters."""
        return [each.language for each in self.guess_each(texts, length=length)]

    def guess_each(self, texts: Sequence[str], *, length: int = LONG) -> list[Guessed]:
        """Return the most likely language of each text, by at most `length` characters, and whether it is certain.

        The texts are scored together, which takes a fifth of the time, and most need only their first words.
        """
        guessed, leads = self._choose([text[:SHORT] for text in texts])
        if unsure := [place for place, text in enumerate(texts) if leads[place] < FOREIGN_NATS and len(text) > SHORT]:
            again, _ = self._choose([texts[place][:length] for place in unsure])
            for place, each in zip(unsure, again, strict=True):
                guessed[place] = each
        return guessed

    def _choose(self, texts: Sequence[str]) -> tuple[list[Guessed], list[float]]:
        """Return the most likely language of each text, and by how many nats it leads among those of the file."""
        codes_C, groups_C = _load_columns()
        alone_NC = _score(texts)
        latin_N = np.fromiter(map(_is_latin, texts), bool, len(texts))
        scores_NC = alone_NC.copy()
        for chosen_N, home in ((latin_N, self.latin), (~latin_N, self.others)):
            if home:
                scores_NC[chosen_N] -= (FOREIGN_NATS + _list_rare_nats()) * ~np.isin(codes_C, [*home])
        best_N, leads_N = _find_best(scores_NC)
        alone_N, certainties_N = _find_best(alone_NC)
        certain_N = (groups_C[best_N] == groups_C[alone_N]) & (certainties_N >= FOREIGN_NATS)
        pairs = zip(codes_C[best_N].tolist(), certain_N.tolist(), strict=True)
        return [Guessed(code, certain) for code, certain in pairs], leads_N.tolist()


def _learn_home(texts: Sequence[str]) -> frozenset[str]:
    """Find the languages that the texts are a mixture of, by expectation maximisation over their first words.

    A text that tells little is shared out by what the others say. Texts that differ only in numbers count once.
    """
    words = [" ".join("".join(sign if sign.isalpha() else " " for sign in text).split())[:SHORT] for text in texts]
    different = sorted({each for each in words if each})
    if not different:
        return frozenset()
    codes_C, groups_C = _load_columns()
    scores_NC = EVIDENCE * _score(different)
    for group in np.unique(groups_C):  # of the codes of a language only the likeliest counts
        columns = np.flatnonzero(groups_C == group)
        scores_NC[:, columns[0]] = scores_NC[:, columns].max(axis=1)
        scores_NC[:, columns[1:]] = -np.inf
    before_C = np.exp(ENGLISH_NATS * (codes_C == "en") - _list_rare_nats())
    before_C /= before_C.sum()
    shares_C = before_C
    for _ in range(ROUNDS):
        parts_NC = scores_NC + np.log(np.maximum(shares_C, 1e-12))
        parts_NC = np.exp(parts_NC - parts_NC.max(axis=1, keepdims=True))
        parts_NC /= parts_NC.sum(axis=1, keepdims=True)
        # One text less for each language: without it, every short text keeps a few languages of its own alive.
        shares_C = np.maximum(parts_NC.sum(axis=0) - 1, 0) + before_C
        shares_C /= shares_C.sum()
    least = max(AT_HOME_SHARE, AT_HOME_TEXTS / len(different))
    return frozenset(codes_C[shares_C >= least].tolist())


def _find_best(scores_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the column with the highest score of each text, and by how many nats it leads over other languages."""
    groups_C, rows = _load_columns()[1], np.arange(len(scores_NC))
    best_N = scores_NC.argmax(axis=1)
    others_NC = np.where(groups_C == groups_C[best_N][:, None], -np.inf, scores_NC)
    return best_N, scores_NC[rows, best_N] - others_NC.max(axis=1)


def _score(texts: Sequence[str]) -> np.ndarray:
    """Score texts as the identifier does, in one product: log-likelihoods (N, C); never `zxx`, no language."""
    identifier = load_identifier()
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
    codes_C = np.array([choose_code(code) for code in load_identifier().nb_classes])
    return codes_C, np.unique(codes_C, return_inverse=True)[1]


@cache
def _list_rare_nats() -> np.ndarray:
    """Return how much more evidence each of the identifier's columns needs (C)."""
    return FOREIGN_NATS * np.isin(_load_columns()[0], [*RARE])


def _is_latin(text: str) -> bool:
    """Tell whether most letters of a text are Latin: those of other scripts take two bytes or more."""
    return len(text.encode("utf-8", "replace")) <= 1.5 * len(text)
