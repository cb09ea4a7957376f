"""A-OKVQA's two official metrics: a direct answer against those of ten people, and the choice among the options.

Equal to allenai/aokvqa (Schwenk et al. 2022), which compares to the letter: no case, article or sign is forgiven. It
prints percentages as they come; here they have 2 decimals. Which questions count (direct answers leave those out that
are flagged `difficult_direct_answer`) is the benchmark's matter.
"""

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, find_right_option

MATCHES_FOR_ALL = 3


def score_direct_answer(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by min(1, how many of the people gave it / 3).

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
