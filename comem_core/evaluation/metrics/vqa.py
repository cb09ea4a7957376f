"""VQA accuracy, the official metric of OK-VQA: an answer compared with the answers of ten people.

Equal to GT-Vision-Lab/VQA (Antol et al. 2015), including its quirks. The score is the mean over people of min(1,
matches among the other nine / 3). Where all people wrote exactly the same text, nothing is processed: the answer must
be that text, in the same case. Otherwise both sides are processed:

- a punctuation sign is removed if it is next to a space anywhere in the text, or if the text has a comma between digits
  ("1,000"); otherwise it becomes a space. Periods are removed except before a digit, and only the first 32 of a text;
- number words become digits, articles are dropped, and contractions without their apostrophe get it back. Of two
  apostrophes exactly one may be missing ("couldntve" stays as it is), and "somebody'd" loses its apostrophe.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, average_hundreds

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_VQA_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD, _COMMA = re.compile(r"\.(?!\d)"), re.compile(r"\d,\d")
# The official code passes `re.UNICODE` to `sub` as the count.
_NUM_PERIODS = int(re.UNICODE)
# A word written without one of its apostrophes becomes one of these again. (The official list also has words that begin
# with "I"; they never match, because the text is in lower case by then.)
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _spellings(word: str) -> list[str]:
    """List the ways to write a contraction with one of its apostrophes left out."""
    return [word[:place] + word[place + 1 :] for place, sign in enumerate(word) if sign == "'"]


_CONTRACTIONS = {spelling: word for word in _CONTRACTED.split() for spelling in _spellings(word)}
_CONTRACTIONS["somebody'd"] = "somebodyd"


@lru_cache(maxsize=1 << 16)
def process_vqa_answer(text: str) -> str:
    """Normalise an answer as VQA accuracy does: punctuation, numbers as digits, contractions, no articles."""
    text = put_on_one_line(text)
    sparse = bool(_COMMA.search(text))
    processed = text
    for sign in _VQA_PUNCTUATION:
        if sign in text:
            glued = sparse or f"{sign} " in text or f" {sign}" in text
            processed = processed.replace(sign, "" if glued else " ")
    words = (DIGITS.get(word, word) for word in _PERIOD.sub("", processed, count=_NUM_PERIODS).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def put_on_one_line(text: str) -> str:
    """Replace each line break and tab by a space, and strip the text."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def score_vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """Score an answer against the answers of (ten) people, from 0 to 1.

    Raises ValueError for fewer than two people, because each one is left out in turn.
    """
    if len(people) < 2:
        raise ValueError(f"VQA accuracy compares with the answers of ten people; found {len(people)}")
    given, wanted = put_on_one_line(answer), [put_on_one_line(each) for each in people]
    if len(set(wanted)) > 1:
        given, wanted = process_vqa_answer(given), [process_vqa_answer(each) for each in wanted]
    matches = [each == given for each in wanted]
    return sum(min(1.0, (sum(matches) - match) / 3) for match in matches) / len(people)


def score_vqa(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by VQA accuracy; `gold.answers` holds one answer per person, in any order."""
    return Scored(score_vqa_accuracy(answer, gold.answers), unparsable=not process_vqa_answer(answer))


VQA_ACCURACY = Metric(name="vqa_accuracy", score=score_vqa, percent=average_hundreds)
