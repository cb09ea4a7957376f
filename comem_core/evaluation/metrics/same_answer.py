"""Our own metric: an answer is right if it means the same as a gold answer. It scores what no official metric scores.

Numbers are compared as numbers (`evaluation.meaning`), so that 3,5 m is right for 3.5 m and 35 m is not.
"""

from comem_core.evaluation.meaning import is_agreeing, is_empty, list_numbers
from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored
from comem_core.evaluation.metrics.infoseek import is_number_right


def score_same_answer(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer against the gold answers or, for a numerical question, against the accepted range.

    Raises ValueError for gold answers that no answer can agree with.
    """
    if gold.answer_low is not None and gold.answer_high is not None:
        amounts = [each.amount for each in list_numbers(answer)[:2] if not isinstance(each.amount, str)]
        numbers = [float(amount) for amount in amounts]
        if not numbers:
            return Scored(0.0, unparsable=True)
        number = (numbers[0], numbers[1]) if len(numbers) == 2 and numbers[0] <= numbers[1] else numbers[0]
        return Scored(float(is_number_right(number, low=gold.answer_low, high=gold.answer_high)), unparsable=False)
    if all(map(is_empty, gold.answers)):
        raise ValueError(
            f"the gold answers {list(gold.answers)} say nothing, so no answer agrees with them; expected a word or a "
            "number. Leave the question out"
        )
    return Scored(float(any(is_agreeing(answer, each) for each in gold.answers)), unparsable=is_empty(answer))


SAME_ANSWER = Metric(name="same_answer", score=score_same_answer)
