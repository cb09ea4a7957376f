"""CVQA (Romero et al. 2024, arXiv 2406.05967): pictures from 30 countries, questions in their languages, four options.

A row has `ID`, `Subset` ("('Chinese', 'China')"), `Question` and `Options` in its language, `Label` (the right option,
from 0), `Category` (the attribute) and its `image`. In hub revisions with hidden labels, `Label` is -1: then every
question is missing, with the reason `no_label`. The subset is the split; the score is over all questions.

CoMEM's authors ask five of the subsets, which are the part `test_comem`. Their overall score is the mean of these five.
"""

import ast
from collections.abc import Iterator

from comem_core.evaluation.annotations.asking import (
    AnnotatedQuestion,
    MissingQuestionError,
    make_questions,
    require_text,
)
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_parquet_rows
from comem_core.evaluation.benchmarks import ANY, Benchmark, MissingQuestion, Wording
from comem_core.evaluation.metrics.choice import CVQA_CHOICE
from comem_core.knowledge.items import Question

NAME = "cvqa"
COLUMNS = ("ID", "Subset", "Question", "Options", "Label", "Category")
LANGUAGES = {
    "Amharic": "am", "Bengali": "bn", "Breton": "br", "Bulgarian": "bg", "Chinese": "zh", "Egyptian Arabic": "arz",
    "Filipino": "fil", "Hindi": "hi", "Igbo": "ig", "Indonesian": "id", "Irish": "ga", "Japanese": "ja",
    "Javanese": "jv", "Kinyarwanda": "rw", "Korean": "ko", "Malay": "ms", "Marathi": "mr", "Minangkabau": "min",
    "Mongolian": "mn", "Norwegian": "no", "Oromo": "om", "Portuguese": "pt", "Romanian": "ro", "Russian": "ru",
    "Sinhala": "si", "Spanish": "es", "Sundanese": "su", "Swahili": "sw", "Tamil": "ta", "Telugu": "te", "Urdu": "ur",
}  # fmt: skip
COMEM_SUBSETS = ("Chinese/China", "Spanish/Spain", "Russian/Russia", "Bulgarian/Bulgaria", "Portuguese/Brazil")


def make_question(row: Row) -> AnnotatedQuestion:
    """Turn a row into a question. Raises ValueError for a row that is not a question."""
    fields, split = row.fields, read_subset(row)
    options, right = tuple(str(each) for each in fields["Options"]), fields["Label"]
    if right is None or not 0 <= int(right) < len(options):
        raise MissingQuestionError("no_label", f"the label is {right!r} of {len(options)} options", split=split)
    question = Question(
        question_id=require_text(fields["ID"], what="ID"),
        question=require_text(fields["Question"]),
        image=b"",
        language=_language(split),
        answers=(options[int(right)],),
        options=options,
        right_option=int(right),
        benchmark=NAME,
        split=split,
        attribute=fields["Category"],
    )
    return AnnotatedQuestion(question, row, (str(fields["picture"]),) if fields.get("picture") else ())


def read_subset(row: Row) -> str:
    """Read "('Chinese', 'China')" as Chinese/China."""
    language, country = ast.literal_eval(row.fields["Subset"])
    return f"{language}/{country}"


def _language(split: str) -> str:
    name = split.split("/")[0].replace("_", " ")
    if name not in LANGUAGES:
        raise ValueError(f"unknown language of a subset: {name!r}; known are {', '.join(LANGUAGES)}")
    return LANGUAGES[name]


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    rows = make_questions(read_parquet_rows(found["questions"], COLUMNS, picture="image"), make_question, id_field="ID")
    for each in rows:
        split = each.split if isinstance(each, MissingQuestion) else each.question.split
        if part == "test" or split is None or split in COMEM_SUBSETS:
            yield each


RELEASE = Release(
    benchmark=NAME,
    files=(
        "the Parquet files of the hub: hf download afaji/cvqa --repo-type dataset --revision 6a38d71 "
        "--local-dir FOLDER."
    ),
    parts={part: {"questions": need("test-*.parquet", "test/*.parquet")} for part in ("test_comem", "test")},
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://huggingface.co/datasets/afaji/cvqa",
    licence="each row its own (column License); some pictures are for research only",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (CVQA_CHOICE,),
    # CVQA prescribes none. As CoMEM's authors do, we ask in the question's language, for the number of the option.
    wording=Wording(
        question={
            "bg": "{question}\n{options}\nОтговори само с номера на верния вариант.",
            "es": "{question}\n{options}\nResponde solo con el número de la opción correcta.",
            "pt": "{question}\n{options}\nResponda apenas com o número da opção correta.",
            "ru": "{question}\n{options}\nОтветь только номером правильного варианта.",
            "zh": "{question}\n{options}\n请只回答正确选项的编号。",
            ANY: "{question}\n{options}\nAnswer with the number of the right option only.",
        },
        labels=("1", "2", "3", "4"),
    ),
    files=RELEASE.files,
)
