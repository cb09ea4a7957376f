"""Evaluations in a series on the shipped encoder: asked once, asked a little more, asked in other words."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.local.comparing import compare_runs
from flows.re_evaluate import re_evaluate
from tasks.engine.context import Context
from tasks.engine.rebuild import mend_warehouse
from tasks.engine.telling import DRIFT_EVENT
from tasks.evaluation.drift import DRIFTED

EVERY = ["none", "text", "memory", "gated", "oracle", "shuffled", "foreign", "empty"]
ENCODER, FEW, MORE, MANY, AMONG = "tiny-encoder", 6, 24, 60, [3, 1]
ON_DEV = {"base": "tiny_cpu", "name": "on_dev", "evaluation": {"part": "dev"}}


@pytest.fixture(scope="module")
def ends(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: None, small_ray: None
) -> dict[str, tuple[Path, State]]:
    """Evaluations after each other, each with its folder and its final state."""
    root = tmp_path_factory.mktemp("evaluations")
    asked: dict[str, dict[str, Any]] = {
        "first": {"limit": FEW, "conditions": {"names": EVERY, "k": [2, 3]}},
        "more": {"limit": MORE, "conditions": ["none", "memory"]},
        "other words": {"limit": MORE, "conditions": ["none", "memory"], "benchmarks": {"prompts": "smol"}},
        "the same": {"limit": MORE, "conditions": ["none", "memory"], "benchmarks": {"prompts": "smol"}},
        "chosen": {"limit": MORE, "conditions": {"names": ["none", "memory"], "k_among": AMONG}},
        "chosen on a fold": {
            "recipe": ON_DEV,
            "limit": MANY,
            "conditions": {"names": ["none", "memory"], "k_among": AMONG},
        },
    }
    found: dict[str, tuple[Path, State]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        patch.setenv("COMEM_ROWS_PER_SHARD", "32")
        for name, parameters in asked.items():
            found[name] = (root / ".comem", re_evaluate(encoders=[ENCODER], return_state=True, **parameters))
    return found


def drift_events() -> list[dict[str, Any]]:
    """The events of drift that Prefect's server has; they reach it a moment after they are raised."""
    until = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while True:
            answer = client.request("POST", "/events/filter", json={"filter": {"event": {"name": [DRIFT_EVENT]}}})
            events = answer.json()["events"]
            if events or time.monotonic() > until:
                return events
            time.sleep(0.5)


def rows(place: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_every_condition_is_asked_and_scored_at_every_number_of_items(ends) -> None:
    place, state = ends["first"]
    assert state.is_completed()
    first = rows(place, "SELECT predictions FROM evaluation ORDER BY made LIMIT 1")[0][0]
    found = rows(
        place,
        f"""SELECT condition, list(DISTINCT k ORDER BY k), count(*) FROM prediction
            WHERE artefact = '{first}' GROUP BY 1 ORDER BY 1""",
    )
    expected = {name: ([2, 3], 2 * FEW) for name in EVERY} | {"none": ([0], FEW), "oracle": ([1], FEW)}
    assert {condition: (ks, num) for condition, ks, num in found} == expected


def test_controls_are_shown_what_they_should_be(ends) -> None:
    place, _ = ends["first"]
    foreign = rows(
        place,
        """SELECT count(*), count(DISTINCT item.source) FROM prediction
           JOIN prediction_item USING (artefact, prediction_id) JOIN knowledge_item AS item USING (item_id)
           WHERE condition = 'foreign' AND item.source LIKE 'imaginary%'""",
    )[0]
    assert foreign[0] > 0 and foreign[1] == 1
    [(asked, wrong)] = rows(
        place,
        """SELECT count(*), count_if(item_ids IS DISTINCT FROM [gold_item_id])
           FROM prediction JOIN question USING (question_id) WHERE condition = 'oracle'""",
    )
    assert asked >= FEW and wrong == 0


def test_an_answer_says_what_it_took(ends) -> None:
    place, _ = ends["first"]
    found = dict(
        rows(
            place,
            """SELECT condition, (min(prefill_seconds) > 0 AND min(decode_seconds) >= 0, min(encode_seconds) > 0,
                                  min(retrieve_seconds) > 0)
               FROM prediction GROUP BY 1""",
        )
    )
    assert found["memory"] == (True, True, True)
    assert found["text"] == (True, False, True)  # items as text are not encoded
    assert found["none"] == (True, False, False)


def test_what_was_answered_before_is_not_asked_again(ends) -> None:
    place, state = ends["more"]
    assert state.is_completed() and state.name != DRIFTED
    records = [json.loads(path.read_text()) for path in (place / "store" / "predictions").glob("*/record.json")]
    more = rows(place, "SELECT predictions FROM evaluation ORDER BY made LIMIT 1 OFFSET 1")[0][0]
    [record] = [record for record in records if record["fingerprint"] == more]
    assert (record["num_rows"], record["measured"]["answered_before"]) == (2 * MORE, 2 * FEW)
    doubled = rows(
        place,
        """SELECT answer_key FROM (SELECT DISTINCT answer_key, seconds FROM prediction)
           GROUP BY 1 HAVING count(*) > 1""",
    )
    assert doubled == []  # one answer, one time that it took


def test_another_prompt_is_named_as_the_reason_and_the_run_is_called_drifted(ends) -> None:
    _, state = ends["other words"]
    assert state.is_completed() and state.name == DRIFTED
    assert "memory k=3 worse" in (state.message or "") and (state.message or "").endswith("changed: prompt")
    [event] = drift_events()  # the only one: no other evaluation moved
    assert event["resource"]["prefect.resource.id"] == "comem.evaluation.tiny_cpu.countries-vqa"
    assert event["payload"]["moved"][0]["word"] == "worse"
    assert [cause.split(" (")[0] for cause in event["payload"]["causes"]] == ["prompt"]
    page = Path(event["payload"]["page"].removeprefix("file://")).read_text(encoding="utf-8")
    assert "Answers that changed" in page and "data:image" in page


def test_the_same_again_asks_nothing_and_tells_no_drift(ends) -> None:
    place, state = ends["the same"]
    assert state.is_completed() and state.name != DRIFTED
    last = rows(place, "SELECT run_id FROM run ORDER BY started LIMIT 1 OFFSET 3")[0][0]
    actions = dict(rows(place, f"SELECT stage, action FROM run_stage WHERE run_id = '{last}'"))
    assert actions.pop("evaluation-report") == "made"
    assert set(actions.values()) == {"reused"}


@pytest.mark.parametrize(("number", "is_apart"), [(4, True), (5, False)])
def test_a_number_of_items_is_chosen_on_questions_that_are_not_scored(ends, number: int, is_apart: bool) -> None:
    place, _ = ends["chosen"]
    made = f"SELECT run_id, predictions, questions FROM evaluation ORDER BY made LIMIT 1 OFFSET {number}"
    [(run_id, predictions, questions)] = rows(place, made)
    [(tried,)] = rows(place, f"SELECT fingerprint FROM run_stage WHERE run_id = '{run_id}' AND stage = 'tried-k'")
    marks = rows(place, f"SELECT k, n, score, is_chosen FROM tried_k WHERE artefact = '{tried}' ORDER BY k")
    best = max(score for _, _, score, _ in marks)
    [chosen] = [k for k, _, _, is_chosen in marks if is_chosen]
    assert chosen == min(k for k, _, score, _ in marks if score >= best - 0.005)
    shown = f"SELECT DISTINCT k FROM prediction WHERE condition = 'memory' AND artefact = '{predictions}'"
    assert rows(place, shown) == [(chosen,)]
    roles = dict(rows(place, f"SELECT role, input_fingerprint FROM artefact_input WHERE fingerprint = '{tried}'"))
    right = f"SELECT k, avg(correct) FROM prediction WHERE artefact = '{roles['predictions']}' GROUP BY 1 ORDER BY 1"
    assert rows(place, right) == [(k, pytest.approx(score)) for k, _, score, _ in marks]
    asked = "SELECT question_id, image_id FROM question WHERE artefact = "
    on, scored = rows(place, f"{asked}'{roles['questions']}'"), rows(place, f"{asked}'{questions}'")
    assert on and scored and not {each[1] for each in on} & {each[1] for each in scored}
    assert {n for _, n, _, _ in marks} == {len(on)}
    assert (len(on), len(scored)) == ((MORE, MORE) if is_apart else (len(on), MANY - len(on)))


def test_what_a_number_of_items_was_chosen_by_stands_behind_the_answers_and_on_the_page(ends) -> None:
    place, _ = ends["chosen"]
    [(run_id, predictions)] = rows(place, "SELECT run_id, predictions FROM evaluation ORDER BY made LIMIT 1 OFFSET 4")
    roles = rows(place, f"SELECT role FROM artefact_input WHERE fingerprint = '{predictions}'")
    assert ("tried_k",) in roles
    own = "SELECT fingerprint FROM run_answers SEMI JOIN prediction ON artefact = fingerprint WHERE run_id = "
    assert rows(place, f"{own}'{run_id}'") == [(predictions,)]  # those that were only tried are not the run's own
    pages = [path.read_text(encoding="utf-8") for path in (place / "store").glob("evaluation-report/*/evaluation.html")]
    [page] = [page for page in pages if run_id in page]
    assert "How many items are shown" in page and f"was chosen on {MORE} held-out questions" in page


def test_every_run_has_a_page_with_both_verdicts_and_scores(ends) -> None:
    place, _ = ends["first"]
    pages = [path.read_text(encoding="utf-8") for path in (place / "store").glob("evaluation-report/*/evaluation.html")]
    assert len(pages) == 6
    assert sum("first evaluation of its series" in page for page in pages) == 2
    assert sum("The same answers as last time" in page for page in pages) == 1
    assert all("Which condition is better" in page and "countries-vqa" in page for page in pages)


def test_a_warehouse_that_was_cut_off_comes_back_from_the_store_with_every_row(ends, tmp_path: Path) -> None:
    place, _ = ends["first"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(place.parent))
        context = replace(Context.from_environment(), warehouse=tmp_path / "warehouse.duckdb")
    whole = (place / "warehouse.duckdb").read_bytes()
    context.warehouse.write_bytes(whole[: len(whole) // 3])
    assert "the history of 6 runs. " in str(mend_warehouse(context))
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        con.execute(f"ATTACH '{context.warehouse}' AS again (READ_ONLY)")
        tables = [
            name
            for (name,) in con.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = 'again'"
            ).fetchall()
        ]
        differing = [
            name
            for name in tables
            for before, now in [(name, f"again.{name}"), (f"again.{name}", name)]
            if con.execute(f"SELECT * FROM {before} EXCEPT ALL SELECT * FROM {now} LIMIT 1").fetchall()
        ]
    assert {"prediction", "knowledge_item", "run_stage", "evaluation"} <= set(tables)
    assert set(differing) <= {"migration", "condition", "stage"}


def test_any_two_runs_can_be_compared(ends, tmp_path: Path) -> None:
    place, _ = ends["first"]
    runs = [row[0] for row in rows(place, "SELECT run_id FROM evaluation ORDER BY made")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(place.parent))
        context = Context.from_environment()
    [(page, verdict)] = compare_runs(context, runs[1], runs[3], tmp_path)
    assert "Worse: memory" in verdict
    text = page.read_text(encoding="utf-8")
    assert "evaluation.prompts" in text and "short" in text and "smol" in text
    with pytest.raises(ValueError, match="'nothing' has no evaluation; runs with evaluations"):
        compare_runs(context, runs[0], "nothing", tmp_path)
