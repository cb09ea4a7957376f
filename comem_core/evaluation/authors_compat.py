"""The metrics of CoMEM's authors, benchmark by benchmark, with the defects of their scripts. Never a default.

They serve one purpose: comparison with the numbers of the paper, which do not follow the benchmarks' own protocols. All
read the whole text that the model wrote. The authors' normalisation keeps only what follows the last "is", "the", "of"
and "by", in that order, even in the middle of words: "Paris", "tennis" and "baby" become empty, "body of water" becomes
"water". Their extraction takes the first box up to its first closing brace, or else what follows the last colon.

Where their scripts ask gpt-4o-mini (MRAG-Bench) or fail with an error (an answer without a letter), the answer is
unparsable and wrong here. Their OVEN script cuts the normalised answer at 50 characters before it looks for a title.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, find_right_option
from comem_core.evaluation.metrics.infoseek import ASCII_PUNCTUATION, drop_articles
from comem_core.evaluation.metrics.infoseek import score_answer as official_infoseek
from comem_core.evaluation.metrics.oven import EntityScorer

NAME = "authors_compat"
MAX_TITLE_CHARACTERS = 50

_CUT_BEHIND = ("is", "the", "of", "by")
_FIRST_BOX = re.compile(r"\\boxed\{(.*?)\}")
_LETTERS = "ABCD"


@lru_cache(maxsize=1 << 16)
def normalise_as_authors(text: str) -> str:
    """Lower the case, drop ASCII punctuation, keep what follows the last "is", "the", "of" and "by", drop articles."""
    kept = text.lower().translate(ASCII_PUNCTUATION)
    for piece in _CUT_BEHIND:
        kept = kept.rsplit(piece, maxsplit=1)[-1]
    return drop_articles(kept)


def extract_answer(text: str) -> str:
    """Return the content of the first box (on one line, up to its first `}`), else what follows the last colon."""
    box = _FIRST_BOX.search(text)
    return box.group(1) if box else _take_after_last_colon(text)


def score_infoseek(response: str, gold: GoldAnswers) -> Scored:
    """Score by type: a number is read without looking for a box; a time may contain the right one or be part of it."""
    cut = _take_after_last_colon(response)
    if gold.question_type == "numerical":
        return official_infoseek(cut, gold)
    _check(gold)
    given = normalise_as_authors(extract_answer(cut))
    wanted = [normalise_as_authors(extract_answer(alias)) for alias in gold.answers]
    if gold.question_type == "time":
        right = bool(given) and any(alias and (given in alias or alias in given) for alias in wanted)
    else:
        right = given in wanted  # also where both became nothing
    return Scored(float(right), unparsable=not given)


def score_any_match(response: str, gold: GoldAnswers, *, references: Callable[[Sequence[str]], list[str]]) -> Scored:
    """Score by whether the normalised answer is one of the references, which are not normalised."""
    _check(gold)
    given = normalise_as_authors(extract_answer(response))
    return Scored(float(given in references(gold.answers)), unparsable=not given)


def score_viquae(response: str, gold: GoldAnswers) -> Scored:
    """Score as `score_any_match`, after cutting everything up to the last colon, which may cut a box apart."""
    return score_any_match(_take_after_last_colon(response), gold, references=strip_answers)


def score_oven(response: str, gold: GoldAnswers, *, scorer: EntityScorer) -> Scored:
    """Score by the title that is found for the first 50 characters of the normalised answer."""
    return scorer(normalise_as_authors(extract_answer(response))[:MAX_TITLE_CHARACTERS], gold)


def score_first_character(response: str, gold: GoldAnswers) -> Scored:
    """Score by whether the first character is the right letter, even where it begins a word."""
    right, first = _LETTERS[find_right_option(gold)], response.strip()[:1]
    return Scored(float(first == right), unparsable=first not in tuple(_LETTERS))


def score_option_number(response: str, gold: GoldAnswers) -> Scored:
    """Score by whether the extracted text is the right option's number, from 1, with nothing around it."""
    right, given = str(find_right_option(gold) + 1), extract_answer(response)
    return Scored(float(given == right), unparsable=not given.strip())


def strip_answers(answers: Sequence[str]) -> list[str]:
    """Return the answers, stripped, without empty ones."""
    return [each.strip() for each in answers if each.strip()]


def split_at_apostrophes(answers: Sequence[str]) -> list[str]:
    """Return OK-VQA's references: the list of answers as Python prints it, without brackets, cut at apostrophes."""
    return strip_answers(str(list(answers)).replace("[", "").replace("]", "").split("'"))


def find_authors_metric(benchmark_name: str, folder: Path | None = None) -> Metric | None:
    """Return the authors' metric of a benchmark; None for a benchmark that they did not score.

    `folder` holds the benchmark's files; OVEN needs it.
    """
    scores: dict[str, Callable[[str, GoldAnswers], Scored]] = {
        "infoseek": score_infoseek,
        "infoseek-multilingual": score_infoseek,
        "oven": partial(score_oven, scorer=EntityScorer(folder)),
        "mrag-bench": score_first_character,
        "okvqa": partial(score_any_match, references=split_at_apostrophes),
        "a-okvqa": partial(score_any_match, references=strip_answers),
        "viquae": score_viquae,
        "cvqa": score_option_number,
    }
    if benchmark_name not in scores:
        return None
    return Metric(name=NAME, score=scores[benchmark_name], reads="raw")


def _check(gold: GoldAnswers) -> None:
    if not gold.answers:
        raise ValueError("a question has no gold answer, so no answer to it can be scored as the authors do")


def _take_after_last_colon(text: str) -> str:
    return text.rsplit(":", maxsplit=1)[-1]
