"""OK-VQA's annotations as seeds: a JSON file of questions and one of answers, read as the benchmark reads them. The
pictures are those of COCO 2014."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from comem_core.evaluation.annotations.asking import BAD_ROW
from comem_core.evaluation.annotations.rows import read_json_entries
from comem_core.evaluation.benchmarks.okvqa import NAME, join_rows, list_coco_names, make_question
from comem_core.synthesis.seeds.files import BadSeed, SeedFormat, SeedRow


def read_okvqa_rows(files: Sequence[Path]) -> Iterator[SeedRow | BadSeed]:
    """Yield one row per question; a question without ten answers is a bad row.

    `files` are the questions and then the annotations. Raises ValueError if a file has another form.
    """
    asked, annotated = files
    for row in join_rows(read_json_entries(asked, "questions"), read_json_entries(annotated, "annotations")):
        try:
            image_ids = list_coco_names(int(row.fields["image_id"]), "train2014")
            question = make_question(row).question
            question = replace(question, question_id=f"{NAME}/{question.question_id}", split="train")
            yield SeedRow(question=question, image_ids=image_ids, file=row.file, row=row.number)
        except BAD_ROW as error:
            yield BadSeed(row.file, row.number, "bad_row", f"{type(error).__name__}: {error}")


FORMAT = SeedFormat(name=NAME, num_files=2, rows=read_okvqa_rows)
