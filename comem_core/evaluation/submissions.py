"""Writes predictions in each benchmark's own format, so that its official evaluator can be run on them.

Rows are predictions of one condition joined to their questions: every row has the columns of `prediction` and
`question`. The result is names and texts of files; nothing is written to disk.

The official evaluators read:

- `infoseek_eval.py` and `oven_eval.py`: JSON lines with `data_id`;
- `vqaEval.py`: a list of objects with `question_id` (a number) and `answer`;
- `eval_predictions.py` of A-OKVQA: answers by question id, one file per setting;
- `meerqat.train.metrics.squad`: the two lists that it takes as arguments;
- `eval/score.py` of MRAG-Bench: JSON lines with the whole text that the model wrote;
- CVQA's site: rows `ID,Prediction`, the index of an option from 0, or -1 where an answer names no option.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from comem_core.evaluation.metrics import find_right_option
from comem_core.evaluation.metrics.choice import find_option_of_label
from comem_core.evaluation.scores import read_gold

Row = Mapping[str, Any]
Files = dict[str, str]

_LETTERS = "ABCDEFGH"
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet may run."""


def write_submission(benchmark: str, rows: Iterable[Row], *, find_entity: Callable[[str], str] | None = None) -> Files:
    """Return the files (name -> text) that a benchmark's official evaluator reads, in the order of the rows.

    `find_entity` finds the entity that an answer names; only OVEN needs it (see `metrics.oven.open_title_finder`).
    Raises ValueError for a benchmark without an official evaluator, and for two answers to one question.
    """
    writers = {**_WRITERS, "oven": partial(_oven, find_entity=find_entity)}
    if benchmark not in writers:
        raise ValueError(f"no official evaluator is known for {benchmark!r}; known are {', '.join(sorted(writers))}")
    listed = list(rows)
    seen: set[str] = set()
    for row in listed:
        if row["question_id"] in seen:
            raise ValueError(
                f"two answers to question {row['question_id']!r}; give the rows of one condition and one k at a time"
            )
        seen.add(row["question_id"])
    return writers[benchmark](listed)


def _infoseek(rows: Sequence[Row]) -> Files:
    """Write one file per language where the question ids begin with a language (`bg/infoseek_val_00000070`)."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        language, _, data_id = row["question_id"].rpartition("/")
        line = {"data_id": data_id, "prediction": row["answer"] or ""}
        lines.setdefault(f"infoseek_predictions{'_' * bool(language)}{language}.jsonl", []).append(line)
    return {name: _json_lines(each) for name, each in lines.items()}


def _oven(rows: Sequence[Row], *, find_entity: Callable[[str], str] | None) -> Files:
    """Write one file for `query` and one for `entity`, by the data_id (`oven_query_val_00000000`).

    The answer is included, so that the official `run_bm25_query.py` can also look up its entity.
    """
    if find_entity is None:
        raise ValueError(
            "OVEN wants entities, not texts; give find_entity, such as open_title_finder(folder).find_entity"
        )
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        data_id = row["question_id"]
        part = next((part for part in ("query", "entity") if data_id.startswith(f"oven_{part}_")), None)
        if part is None:
            raise ValueError(f"{data_id!r} is not a data_id of OVEN; expected oven_query_... or oven_entity_...")
        answer = row["answer"] or ""
        line = {"data_id": data_id, "prediction": answer, "pred_entity_id": find_entity(answer)}
        lines.setdefault(f"oven_{part}_predictions.jsonl", []).append(line)
    return {name: _json_lines(each) for name, each in lines.items()}


def _okvqa(rows: Sequence[Row]) -> Files:
    results = [{"question_id": int(row["question_id"]), "answer": row["answer"] or ""} for row in rows]
    return {"OpenEnded_mscoco_val2014_comem_results.json": _json(results)}


def _aokvqa(rows: Sequence[Row], *, key: str) -> Files:
    return {f"aokvqa_{key}_predictions.json": _json({row["question_id"]: {key: row["answer"] or ""} for row in rows})}


def _viquae(rows: Sequence[Row]) -> Files:
    lists = {
        "predictions": [row["answer"] or "" for row in rows],
        "references": [list(row["answers"]) for row in rows],
    }
    return {"viquae_predictions.json": _json(lists)}


def _mrag_bench(rows: Sequence[Row]) -> Files:
    lines = []
    for row in rows:
        right = find_right_option(read_gold(row))
        line = {
            "qs_id": row["question_id"],
            "prompt": "\n".join([row["question"], " Choices:", *map("{}: {}".format, _LETTERS, row["options"])]),
            "output": row["answer_raw"] or "",
            "gt_answer": row["options"][right],
            "gt_choice": _LETTERS[right],
            "scenario": row["attribute"],
        }
        lines.append(line)
    return {"mrag_bench_results.jsonl": _json_lines(lines)}


def _cvqa(rows: Sequence[Row]) -> Files:
    places = [find_option_of_label(row["answer"] or "", len(row["options"])) for row in rows]
    chosen = [-1 if place is None else place for place in places]
    table = [("ID", "Prediction"), *zip((row["question_id"] for row in rows), chosen, strict=True)]
    return {"cvqa_submission.csv": _write_csv(table)}


def _write_csv(rows: Iterable[Sequence[str | int]]) -> str:
    """Write a table; a text that a spreadsheet would run as a formula gets an apostrophe, which makes it a text."""
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    for row in rows:
        table.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell for cell in row])
    return written.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _json_lines(lines: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


_WRITERS: Mapping[str, Callable[[Sequence[Row]], Files]] = {
    "infoseek": _infoseek,
    "infoseek-multilingual": _infoseek,
    "okvqa": _okvqa,
    "a-okvqa": partial(_aokvqa, key="direct_answer"),
    "a-okvqa-mc": partial(_aokvqa, key="multiple_choice"),
    "viquae": _viquae,
    "mrag-bench": _mrag_bench,
    "cvqa": _cvqa,
}
