"""A-OKVQA (Schwenk et al. 2022), multiple choice: all questions, four choices each; the same files as `aokvqa`."""

from collections.abc import Iterator

from comem_core.evaluation.annotations.asking import AnnotatedQuestion, MissingQuestionError, make_questions
from comem_core.evaluation.annotations.release import Found
from comem_core.evaluation.annotations.rows import Row
from comem_core.evaluation.benchmarks import ANY, Benchmark, MissingQuestion, Wording
from comem_core.evaluation.benchmarks.aokvqa import LICENCE, SOURCE, SPLIT, make_question, make_release, read_rows
from comem_core.evaluation.metrics.aokvqa import MULTIPLE_CHOICE

NAME = "a-okvqa-mc"


def make_choice(row: Row) -> AnnotatedQuestion:
    """Turn a row into a multiple-choice question. Raises ValueError for a row that is not a question."""
    options, right = tuple(str(each) for each in row.fields["choices"]), row.fields["correct_choice_idx"]
    if right is None or not 0 <= int(right) < len(options):
        raise MissingQuestionError("no_gold", f"correct_choice_idx {right!r} of {len(options)} choices", split=SPLIT)
    right = int(right)
    return make_question(row, benchmark=NAME, options=options, right_option=right, answers=(options[right],))


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    yield from make_questions(read_rows(found), make_choice, id_field="question_id")


RELEASE = make_release(benchmark=NAME, asked=read_questions)

BENCHMARK = Benchmark(
    name=NAME,
    source=SOURCE,
    licence=LICENCE,
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (MULTIPLE_CHOICE,),
    # Ours, because A-OKVQA prescribes none. Its metric takes the text of a choice, not its letter.
    wording=Wording(
        question={ANY: "{question}\nChoices:\n{options}\nAnswer with one of the choices, exactly as it is written."},
        option="{text}",
    ),
    files=RELEASE.files,
)
