"""InfoSeek's annotations as seeds, read as the benchmark reads them, except that `answer_eval` may be absent.

Aliases that say nothing are left out; otherwise an empty draft would be right.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from comem_core.evaluation.annotations.asking import BAD_ROW, require_text
from comem_core.evaluation.annotations.rows import Row, read_json_lines
from comem_core.evaluation.benchmarks.infoseek import NAME, make_gold
from comem_core.evaluation.meaning import is_empty
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds.files import BadSeed, SeedFormat, SeedRow


def read_infoseek_rows(files: Sequence[Path]) -> Iterator[SeedRow | BadSeed]:
    """Yield the rows of one JSONL file; a row that lacks a field is a bad row."""
    [path] = files
    for row in read_json_lines(path):
        try:
            if row.fault:
                raise ValueError(row.fault)
            image_ids = (str(row.fields["image_id"]),)
            yield SeedRow(question=_make_question(row), image_ids=image_ids, file=row.file, row=row.number)
        except BAD_ROW as error:
            yield BadSeed(row.file, row.number, "bad_row", f"{type(error).__name__}: {error}")


def _make_question(row: Row) -> Question:
    gold = make_gold(row.fields)
    gold["answers"] = tuple(alias for alias in gold["answers"] if not is_empty(alias))
    return Question(
        question_id=f"{NAME}/{row.fields['data_id']}",
        question=require_text(row.fields["question"]),
        image=b"",
        language="en",
        **gold,
        benchmark=NAME,
        split="train",
        entity_id=row.fields.get("entity_id"),
    )


FORMAT = SeedFormat(name=NAME, num_files=1, rows=read_infoseek_rows)
