"""A-OKVQA's two official metrics: direct answer (against the answers of ten people) and multiple choice.

Equal to allenai/aokvqa (Schwenk et al. 2022), which compares texts exactly: case, articles and punctuation matter. It
does not round percentages; here they have 2 decimals. The benchmark decides which questions count: for direct answers
it leaves out those flagged `difficult_direct_answer`.
"""

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, find_right_option

MATCHES_FOR_ALL = 3


def score_direct_answer(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by min(1, number of people who gave it / 3).

    Raises ValueError for a question without gold answers.
    """
    if not gold.answers:
        raise ValueError("a question of A-OKVQA has no direct answers, so no answer to it can be scored")
    matches = sum(answer == each for each in gold.answers)
    return Scored(min(1.0, matches / MATCHES_FOR_ALL), unparsable=not answer.strip())


def score_option_text(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by whether it is the right option's text; one that matches no option is unparsable."""
    right = gold.options[find_right_option(gold)]
    return Scored(float(answer == right), unparsable=answer not in gold.options)


DIRECT_ANSWER = Metric(name="direct_answer", score=score_direct_answer)
MULTIPLE_CHOICE = Metric(name="multiple_choice", score=score_option_text)
