"""A judge behind a real server: asked once an answer, beside the official metric, nothing lost when it goes away."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.knowledge.items import Question
from comem_core.recipes import find_recipe, with_judge
from comem_core.recipes.recipe import JudgeRecipe, Recipe
from comem_core.synthesis.generator import ServerGone
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.plan import start_planning
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.evaluation.compare import Evaluation, compare_with_last, read_official_marks
from tasks.evaluation.contamination import find_contamination
from tasks.evaluation.drift import PAGE, report_evaluations
from tasks.evaluation.judge import NO_JUDGE, judge_predictions
from tasks.evaluation.score import score_predictions
from tasks.rows.tables import make_item_table, make_question_table, read_rows
from tasks.run import Run, open_run
from tasks.sources import NO_BACKBONE, find_served_here
from tests.vllm_stand_in import write_interpreter
from warehouse.connection import open_warehouse
from warehouse.records import record_run
from warehouse.schemas import check_rows, make_blank_row

ASKED = [
    each
    for each in load_benchmark_questions("test")
    if each.language == "en" and each.split == "unseen_entity" and each.question_type == "string"
][:8]
RIGHT = [each.answers[0] for each in ASKED]
SAID = [RIGHT[0], f"It is {RIGHT[1]}", f"{RIGHT[2]} nonsense", "unclear", "broken", "no idea", "no idea", ""]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A recipe for what these tests put into the store."""

    name: str


def judged_recipe(unparsable: Any = "left_out", judge: str = "served:rule") -> Recipe:
    return with_judge(find_recipe("tiny_cpu"), JudgeRecipe(generator=judge, unparsable=unparsable))


@pytest.fixture
def run(context: Context, server: str, small_ray: None) -> Run:
    """A run whose judge is the server's; batches of two, one worker."""
    there = replace(context, judge_url=f"{server}/v1", judge_key="right-key", num_actors=1, batch_size=2)
    set_down(server, False)
    with open_warehouse(context.warehouse) as con:
        facts = {"run_id": "run-1", "flow": "f", "recipe_name": "tiny_cpu", "recipe": None, "flow_run_id": None}
        record_run(con, facts)
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=there, recipe=judged_recipe(), backbone=NO_BACKBONE)


@pytest.fixture
def asked_now(server: str) -> Callable[[], list[str]]:
    """Return what tells the answers that the judge was asked about since it was last asked."""
    known = [len(requests_of(server))]

    def new() -> list[str]:
        found, known[0] = requests_of(server)[known[0] :], len(requests_of(server))
        texts = [str(each["messages"][-1]["content"]) for each in found if each["model"] == "rule"]
        samples = [text[text.index("{") : text.rindex("}") + 1] for text in texts if "{" in text]
        return [json.loads(sample)["answer to judge"] for sample in samples]

    return new


def set_down(server: str, down: bool) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{server}/down/{str(down).lower()}", method="POST"))


def requests_of(server: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{server}/seen") as answer:
        return json.load(answer)["requests"]


def stored(run: Run, stage: str, table: str, rows: Any, **inputs: Reference) -> Reference:
    def make(artefact: Partial) -> None:
        artefact.write_shard("part-00000", rows)

    return run_stage(run, Stage(name=stage, version="1", table=table), Made(name=str(rows.num_rows)), inputs, make)


def benchmark(run: Run, questions: Sequence[Question] = ASKED) -> Reference:
    return stored(run, "benchmark", "question", make_question_table(questions))


def answered(run: Run, answers: Sequence[str] = SAID, conditions: Sequence[str] = ("none", "text")) -> Reference:
    rows = [
        make_blank_row("prediction")
        | {"prediction_id": f"{condition} {place}", "benchmark": "countries-vqa", "question_id": asked.question_id}
        | {"split": asked.split, "condition": condition, "k": 3 if condition == "text" else 0, "item_ids": []}
        | {"prompt_tokens": 9, "answer": answer, "answer_raw": answer, "truncated": False}
        for condition in conditions
        for place, (asked, answer) in enumerate(zip(ASKED, answers, strict=False))
    ]
    return stored(run, "predictions", "prediction", check_rows("prediction", rows))


def scored(run: Run, questions: Reference, predictions: Reference, judgements: Reference) -> Reference:
    knowledge = stored(run, "knowledge", "knowledge_item", make_item_table(load_knowledge_items()[:2]))
    ships = Reference(stage="encoder", fingerprint="ships", uri="/somewhere", num_rows=0)
    contamination = find_contamination.fn(run, questions, knowledge, ships)
    return score_predictions.fn(run, questions, predictions, contamination, judgements)


def judged_under(scores: Reference, condition: str) -> tuple[int, float]:
    """The judge's score under a condition, and of how many answers; there is one split, and slices of it."""
    found = [row for row in read_rows(scores) if (row["metric"], row["condition"]) == ("judge:rule", condition)]
    [row] = [row for row in found if "/" not in row["split"]]
    return row["n"], row["value"]


def sql(run: Run, query: str) -> list[tuple]:
    with duckdb.connect(str(run.context.warehouse), read_only=True) as con:
        return con.execute(query).fetchall()


def test_each_answer_is_judged_once_in_whatever_evaluation_and_what_failed_is_asked_again(
    run: Run, asked_now: Callable[[], list[str]]
) -> None:
    questions = benchmark(run)
    first = judge_predictions.fn(run, questions, answered(run))
    assert sorted(asked_now()) == sorted(each for each in SAID if each != "broken")  # once for both conditions
    rows = {row["answer"]: row for row in read_rows(first) if row["answer"] != "no idea"}
    assert {answer: row["verdict"] for answer, row in rows.items()} == {
        SAID[0]: "correct",
        SAID[1]: "correct",
        SAID[2]: "incorrect",
        "unclear": "unparsable",
        "broken": None,
        "": "incorrect",
    }
    assert rows["unclear"]["reply"] == "That depends." and "out of memory" in rows["broken"]["error"]
    assert rows[SAID[0]]["prediction_ids"] == ["none 0", "text 0"]

    second = judge_predictions.fn(run, questions, answered(run, [*SAID[:7], "something else"], ("memory",)))
    assert asked_now() == ["something else"]  # `broken` was asked for too, and is not counted by the server
    assert {row["verdict"] for row in read_rows(second) if row["answer"] == SAID[0]} == {"correct"}
    record = Store.of(run.context).find("judgements", second.fingerprint)
    assert record and record["recipe"]["judge"] == "served:rule"
    assert {name: record["measured"][name] for name in ("judged_before", "unparsable", "failed")} == {
        "judged_before": 6,
        "unparsable": 1,
        "failed": 1,
    }
    assert "127.0.0.1" not in json.dumps({name: record[name] for name in ("recipe", "inputs")})


def test_the_official_metric_is_the_same_with_a_judge_and_without_and_stays_first(run: Run) -> None:
    questions, predictions = benchmark(run), answered(run)
    plain = replace(run, recipe=find_recipe("tiny_cpu"))
    assert judge_predictions.fn(plain, questions, predictions) == NO_JUDGE
    without = list(read_rows(scored(plain, questions, predictions, NO_JUDGE)))
    judgements = judge_predictions.fn(run, questions, predictions)
    both = scored(run, questions, predictions, judgements)
    with_judge = list(read_rows(both))
    assert [row for row in with_judge if row["metric"] != "judge:rule"] == without
    marks = sql(run, f"SELECT metric, count(*), sum(value) FROM mark WHERE artefact = '{both.fingerprint}' GROUP BY 1")
    assert sorted(marks) == [("infoseek", 16, 2.0), ("judge:rule", 12, 4.0)]
    assert read_official_marks(predictions.folder, both.folder)[0] == "infoseek"
    assert judged_under(both, "text") == (6, pytest.approx(1 / 3, abs=1e-4))

    wrong = replace(run, recipe=judged_recipe("wrong"))
    counted = scored(wrong, questions, predictions, judge_predictions.fn(wrong, questions, predictions))
    assert counted.fingerprint != both.fingerprint
    assert judged_under(counted, "text") == (7, pytest.approx(2 / 7, abs=1e-4))


def test_a_server_that_goes_away_stops_the_work_and_what_it_said_is_not_asked_again(
    run: Run, server: str, asked_now: Callable[[], list[str]]
) -> None:
    one_at_a_time = replace(run, context=replace(run.context, batch_size=1))
    longest_first = [f"{'x' * (1000 - 150 * place)} {place}" for place in range(6)]
    longest_first[2] += " goes down"
    questions, predictions = benchmark(run), answered(run, longest_first, ("none",))
    with pytest.raises(ServerGone, match=r"all requests failed .*out of memory.* and then a check of the server too"):
        judge_predictions.fn(one_at_a_time, questions, predictions)
    assert asked_now() == longest_first[:3]
    set_down(server, False)
    done = judge_predictions.fn(one_at_a_time, questions, predictions)
    assert asked_now() == longest_first[3:]
    assert sorted(row["answer"] for row in read_rows(done)) == sorted(longest_first)


def test_multiple_choice_is_not_judged(run: Run, asked_now: Callable[[], list[str]]) -> None:
    choices = [replace(each, options=("one", "two"), right_option=0) for each in ASKED]
    questions, predictions = benchmark(run, choices), answered(run)
    judgements = judge_predictions.fn(run, questions, predictions)
    assert (judgements.num_rows, asked_now()) == (0, [])
    assert "judge:rule" not in {row["metric"] for row in read_rows(scored(run, questions, predictions, judgements))}
    assert sql(run, "SELECT count(*) FROM agreement") == [(0,)]


def test_the_page_tells_agreement_replies_and_where_the_two_part(run: Run) -> None:
    questions, predictions = benchmark(run), answered(run)
    scores = scored(run, questions, predictions, judge_predictions.fn(run, questions, predictions))
    [row] = sql(run, "SELECT n, share, kappa, second_only, unparsable, failed FROM agreement WHERE condition IS NULL")
    assert row == (12, pytest.approx(10 / 12), pytest.approx(4 / 7), 2, 2, 2)
    evaluation = Evaluation(
        name="latest",
        benchmark="countries-vqa",
        encoder=predictions,
        bank=predictions,
        questions=questions,
        predictions=predictions,
        scores=scores,
    )
    since = compare_with_last.fn(run, evaluation)
    page = (report_evaluations.fn(run, [since], None).folder / PAGE).read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert "What the judge rule says" in text and "0.57" in text
    assert 'unparsable: <q dir="auto">That depends.</q>' in text and "failed: <q" in text
    assert "2 of 2 answers that one of the two marks as right and the other as wrong" in text
    assert f'<bdi lang="en">{SAID[1]}</bdi>' in text and "Correct." in text


@pytest.mark.parametrize(
    ("judge", "variables", "kind", "said"),
    [
        ("served:rule", {}, ValueError, "set COMEM_JUDGE_URL to the address"),
        ("rule", {}, ValueError, "generator 'rule'; expected 'backbone', 'served:<model>', 'vllm' or 'vllm:<model>'"),
        ("served:other", {"JUDGE_URL": "{server}/v1", "JUDGE_KEY": "right-key"}, ValueError, "no model other"),
        ("served:rule", {"JUDGE_URL": "{server}/v1"}, ValueError, "or COMEM_JUDGE_KEY for a judge"),
        ("served:rule", {"JUDGE_URL": "http://127.0.0.1:9/v1"}, ServerGone, "no model answers at http://127.0.0.1:9"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_found_before_anything_is_made(
    tmp_path: Any, server: str, judge: str, variables: dict[str, str], kind: type[Exception], said: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(tmp_path))
        for name, value in ({"MIN_FREE_DISK_MB": "10", "MIN_FREE_MEMORY_MB": "10"} | variables).items():
            patch.setenv(f"COMEM_{name}", value.format(server=server))
        with pytest.raises(kind, match=said), open_run("test", judged_recipe(judge=judge)):
            raise AssertionError("the run began")
    assert not (tmp_path / ".comem").exists()


def test_a_plan_asks_no_judge_and_says_what_it_would_do(run: Run, asked_now: Callable[[], list[str]]) -> None:
    questions, predictions = benchmark(run), answered(run)
    with start_planning() as plan:
        planned = judge_predictions.fn(run, questions, predictions)
    [line] = plan.stages
    assert (line.stage, line.action, line.missing) == ("judgements", "make", 16)
    assert asked_now() == []
    assert judge_predictions.fn(run, questions, predictions).fingerprint == planned.fingerprint


def test_the_reader_itself_can_judge_and_its_weights_name_what_it_said(run: Run) -> None:
    questions, predictions = benchmark(run), answered(run)
    names = []
    for weights in ("one", "other"):
        itself = replace(
            run, recipe=judged_recipe(judge="backbone"), backbone=replace(NO_BACKBONE, fingerprint=weights)
        )
        with start_planning():
            names.append(judge_predictions.fn(itself, questions, predictions).fingerprint)
    assert len(set(names)) == 2


def test_a_judge_that_the_run_serves_says_the_same_and_is_known_by_its_weights(run: Run, tmp_path: Path) -> None:
    questions, predictions = benchmark(run), answered(run)
    elsewhere = judge_predictions.fn(run, questions, predictions)
    model = tmp_path / "rule"
    model.symlink_to(SHIPPED / "tiny")
    recipe, found, here = judged_recipe(judge=f"vllm:{model}"), [], elsewhere
    for version in ("0.0.7", "0.0.8"):
        python = write_interpreter(tmp_path / version, version=version)
        context = replace(run.context, judge_url=None, vllm_python=str(python))
        judge = find_served_here(f"vllm:{model}", recipe, run.backbone, context, plan=False)
        served = replace(run, recipe=recipe, context=context, judge=judge)
        with start_planning() as plan:
            judge_predictions.fn(served, questions, predictions)
        found.append(plan.stages[0])
        if version == "0.0.7":
            assert find_served_here("vllm", recipe, run.backbone, context, plan=False) != judge
            here = judge_predictions.fn(served, questions, predictions)
            assert here.fingerprint == plan.stages[0].fingerprint
    assert len({each.fingerprint for each in found} | {elsewhere.fingerprint}) == 3
    rows, others = ({tuple(row["prediction_ids"]): row for row in read_rows(each)} for each in (here, elsewhere))
    assert {row["judge"] for row in rows.values()} == {"vllm:rule@0.0.7"}
    assert {ids: row["verdict"] for ids, row in rows.items()} == {ids: row["verdict"] for ids, row in others.items()}
    assert len({row["verdict"] for row in rows.values()}) > 1
