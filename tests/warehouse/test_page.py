"""The page is whole, self-contained, escaped, honest about what is missing, and says what the numbers say."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from scipy.stats import t
from small_rows import CONDITIONS, draft, flag, items, predict, questions, score
from small_world import RUN_ID, SmallWorld, add, make_samples, start

from comem_core.evaluation.scores import COUNTED
from warehouse.connection import open_warehouse
from warehouse.declared import DeclaredStage, declare_stages
from warehouse.lineage import Edge
from warehouse.page.data import collect
from warehouse.page.drawing import BOX_HEIGHT, BOX_WIDTH, draw_lineage
from warehouse.page.environment import make_environment
from warehouse.page.evaluation import Evaluated, render_evaluation, write_title
from warehouse.page.head import PageHead, read_head
from warehouse.page.headline import compute_headline
from warehouse.page.pictures import make_data_uri
from warehouse.page.render import describe_run, render_page
from warehouse.page.wording import (
    write_duration,
    write_number,
    write_percent,
    write_points,
    write_size,
)
from warehouse.records import finish_run
from warehouse.samples.filtering import FILTERS
from warehouse.schemas import make_blank_row
from warehouse.sql import read_report_rows

RUN = {"run_id": RUN_ID}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collect ids, links, images and text, and see that every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag not in ("script", "iframe", "object") and not any(name.startswith("on") for name in values)
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "id" in dict(attrs):
            self.ids.append(str(dict(attrs)["id"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(world: SmallWorld) -> str:
    with open_warehouse(world.database, read_only=True) as con:
        return render_page(con, RUN_ID, images=flag, machine="2 cores")


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(page: str) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.links and all(link.removeprefix("#") in reader.ids for link in reader.links)
    assert not re.search(r"(?:https?:)?//\w", page)
    assert all(str(image["src"]).startswith("data:image/") and image["alt"] for image in reader.images)
    assert len(reader.images) == 12 * 4
    assert '<html lang="en" dir="ltr">' in page and 'lang="ar" dir="rtl"' in page


def test_what_became_of_each_file_is_on_the_page(tmp_path: Path) -> None:
    world = start(tmp_path)
    blank = {
        "num_files": 1,
        "num_rows": 0,
        "num_items": 0,
        "num_duplicates": 0,
        "num_bad": 0,
        "reason": None,
        "detail": None,
    }
    files = [blank | {"file": f"{n:02}.csv", "num_rows": 10 + n, "num_items": 10, "num_bad": n} for n in range(15)]
    files += [blank | {"file": f"{name}.pdf", "reason": "other_kind", "detail": "not a picture"} for name in "ab"]
    add(world, "ingest", {"knowledge_item": items(), "corpus_file": files})
    with open_warehouse(world.database, read_only=True) as con:
        text = " ".join(Reader(render_page(con, RUN_ID, images=flag, machine="2 cores")).text.split())
        rows = read_report_rows(con, "corpus_files", {"run_id": RUN_ID, "limit": 12})
    assert "14.csv12410014" in text and "other files3333003" in text  # the cells of a row, one after another
    assert "a.pdf and othersother kind: not a picture20000" in text
    assert sum(row["num_files"] for row in rows) == len(files)
    assert all(row["num_rows"] == row["num_items"] + row["num_duplicates"] + row["num_bad"] for row in rows)


def test_every_condition_reason_stage_and_artefact_is_on_the_page(page: str, world: SmallWorld) -> None:
    text = Reader(page).text
    for word in (*CONDITIONS, *(name.replace("_", " ") for name in FILTERS), *world.fingerprints):
        assert word in text
    for fingerprint in world.fingerprints.values():
        assert f'id="artefact-{fingerprint}"' in page
    for word in ("right", "wrong", "holds the answer", "2 cores", "0f3c9a1", "continued", "reused", "unreadable image"):
        assert word in text


def test_the_ranks_at_which_retrieval_has_the_gold_item_are_beside_the_scores(
    con: DuckDBPyConnection, page: str
) -> None:
    gold = {row["question_id"]: row["gold_item_id"] for row in questions("test")}
    retrieved = con.execute("SELECT question_id, item_ids FROM retrieval").fetchall()
    ranks = [ids.index(gold[question_id]) + 1 for question_id, ids in retrieved if question_id in gold]
    [made] = con.execute("SELECT DISTINCT artefact FROM prediction").fetchall()
    found = read_report_rows(con, "found_at_rank", {"predictions": made[0]})
    by_language = {row["language"]: row for row in found if row["rank"] == 1 and row["language"]}
    assert by_language.keys() == {row["language"] for row in questions("test") if row["gold_item_id"]}
    assert sum(row["num_found"] for row in by_language.values()) == ranks.count(1)
    found = [row for row in found if row["language"] is None]
    assert [(row["rank"], row["num_found"]) for row in found] == [(rank, ranks.count(rank)) for rank in (1, 2, 3)]
    assert [row["found_within"] for row in found][::2] == [ranks.count(1) / len(gold), 1.0]
    assert 0 < ranks.count(1) < len(gold)
    text = Reader(page).text
    assert f"Of the {len(gold)} questions" in text and write_percent(ranks.count(1) / len(gold)) in text


@pytest.mark.parametrize(
    ("golds", "expected"), [(("b", "x", None), [(0, 0, 2), (1, 0.5, 2)]), (("x", "x", None), [(0, 0, 2), (0, 0, 2)])]
)
def test_an_item_that_was_not_retrieved_counts_as_not_found_and_one_that_nobody_names_not_at_all(
    tmp_path: Path, golds: tuple[str | None, ...], expected: list[tuple[int, float, int]]
) -> None:
    world = start(tmp_path)
    named = [row | {"gold_item_id": gold} for row, gold in zip(questions("test"), golds, strict=False)]
    add(world, "benchmark", {"question": named})
    ranked = [{"question_id": row["question_id"], "item_ids": list("ab"), "scores": [1.0, 0.5]} for row in named]
    add(world, "retrieve-test", {"retrieval": [row | {"seconds": 0.0} for row in ranked]}, "questions=benchmark")
    answer = predict(named[0], ranked[0], "memory", random.Random(0))
    add(world, "score", {"prediction": [answer]}, "questions=benchmark retrieval=retrieve-test")
    with open_warehouse(world.database, read_only=True) as con:
        found = read_report_rows(con, "found_at_rank", {"predictions": world.fingerprints["score"]})
    whole = [row for row in found if row["language"] is None]
    assert [(row["num_found"], row["found_within"], row["num_questions"]) for row in whole] == expected


def test_questions_that_were_trained_on_are_told_and_scored_apart(page: str) -> None:
    text = " ".join(Reader(page).text.split())
    assert "2 of 12 questions are like known training samples (picture 2); 10 are clean" in text
    assert "all, clean" in text and "all, like a sample" in text


def test_answers_and_recipes_are_escaped(page: str) -> None:
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "crown &amp; co" in page
    assert "<b>bold" not in page


def test_the_sql_on_the_page_runs_as_it_stands(con: DuckDBPyConnection, page: str) -> None:
    from html import unescape

    queries = [unescape(text) for text in re.findall(r"<details><summary><b>.*?<code>(.*?)</code>", page, re.DOTALL)]
    assert len(queries) == 12
    for query in queries:
        assert con.execute(query).fetchall(), query


def test_a_run_that_died_shows_what_it_did_not_reach(tmp_path: Path) -> None:
    world = start(tmp_path)
    with open_warehouse(world.database) as con:
        empty = Reader(render_page(con, RUN_ID, images=flag)).text
    for words in (
        "No score is recorded",
        "No answer is recorded",
        "No funnel",
        "No training step",
        "No stage",
        "no scores yet",
    ):
        assert words in empty
    make_samples(world)
    with open_warehouse(world.database) as con:
        finish_run(con, RUN_ID, status="failed", error="disk <full>")
        half = Reader(render_page(con, RUN_ID, images=lambda image_id: None)).text
    assert "This run has no scores." in half and "disk <full>" in half and "recorded as failed" in half
    assert "became training samples" in half and "No score is recorded" in half


def test_a_run_that_kept_nothing_is_not_told_to_go_on(tmp_path: Path) -> None:
    world = start(tmp_path)
    rows = [draft(row, {"item_ids": [], "scores": []}, random.Random(1)) for row in questions("train")]
    add(world, "synthesise", {"draft": rows})
    drops = [{"sample_id": row["sample_id"], "reason": "failed", "value": None} for row in rows]
    add(world, "filter", {"sample": [], "drop": drops}, "drafts=synthesise")
    with open_warehouse(world.database) as con:
        finish_run(con, RUN_ID, status="failed")
        text = " ".join(Reader(render_page(con, RUN_ID, images=flag)).text.split())
        described = describe_run(collect(con, RUN_ID))
    assert "No draft was kept, so there was nothing to train on" in text and "make smol" in text
    assert "The same command continues it" not in text
    assert described.result == "failed: no draft was kept" and described.has_failed
    assert f"0 of {len(rows)} drafts kept" in described.about


def test_a_page_says_in_its_head_what_its_run_was(page: str, world: SmallWorld, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    described = read_head(path)
    about = "29 of 49 drafts kept; 160 training steps; 12 questions of countries-vqa"
    assert described == PageHead(title=f"tiny-cpu · {RUN_ID[:8]}", about=about, result="completed")
    recipe = {"knowledge": {"corpus": "/a/folder"}, "training": {"encoder": {"seed": 3}}}
    with open_warehouse(world.database, read_only=True) as con:
        again = describe_run(replace(collect(con, RUN_ID), recipe=recipe))
    assert again.about == f"corpus /a/folder; seed 3; {about}"


def test_pages_name_the_backbone_by_its_whole_address_and_by_how_it_is_held(world: SmallWorld) -> None:
    recipe = {"backbone": {"name": "/a/model", "quantization": "nf4"}}
    with open_warehouse(world.database) as con:
        con.begin()
        con.execute("UPDATE run SET recipe = ? WHERE run_id = ?", [json.dumps(recipe), RUN_ID])
        evaluation = render_evaluation(con, RUN_ID, [], images=lambda image_id: None)
        page = render_page(con, RUN_ID, images=lambda image_id: None)
        con.rollback()
    assert "<dt>Backbone</dt><dd>/a/model in nf4</dd>" in evaluation
    assert "<dt>Backbone</dt><dd>/a/model in nf4</dd>" in page


def test_a_narrow_screen_shows_the_scores_on_clean_questions_without_scrolling(world: SmallWorld) -> None:
    row = make_blank_row("score") | {"benchmark": "b", "metric": "accuracy", "condition": "memory", "k": 3, "n": 9}
    clean = [row | {"split": "all/clean=yes", "value": 0.5, "low": None, "high": None}]
    with open_warehouse(world.database, read_only=True) as con:
        data = replace(collect(con, RUN_ID), clean_scores=clean)
    shown = {"data": data, "score_tables": [], "conditions": []}
    table = make_environment().get_template("scores.html.j2").render(shown).partition("Scores on clean questions")[2]
    narrow = str(make_environment().globals["style"]).partition("@media (max-width: 560px)")[2]
    assert '<table class="stack">' in table and '<td class="num"><b>50.0' in table
    assert ".stack .num { grid-area: 1 / 2" in narrow


def test_a_picture_that_is_missing_or_broken_is_said_to_be(world: SmallWorld) -> None:
    with open_warehouse(world.database, read_only=True) as con:
        text = Reader(render_page(con, RUN_ID, images=lambda image_id: b"no picture")).text
    assert text.count("picture not found") == 12 * 4
    assert make_data_uri(b"") is None


def test_an_unknown_run_is_refused_with_the_known_ones(con: DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match=f"no run 'other'; the latest runs are: {RUN_ID}"):
        render_page(con, "other", images=flag)


def test_a_question_whose_items_are_not_registered_is_still_shown(tmp_path: Path) -> None:
    world = start(tmp_path)
    row = make_blank_row("prediction")
    row |= {"prediction_id": "p", "benchmark": "b", "question_id": "gone", "split": None, "condition": "text", "k": 1}
    row |= {"item_ids": ["lost"], "answer_raw": "", "answer": None, "correct": None, "prompt_hash": None}
    row |= {"prompt_tokens": 1, "memory_vectors": 0, "answer_tokens": 0, "truncated": True, "seconds": 0.1}
    add(world, "score", {"prediction": [row]})
    with open_warehouse(world.database, read_only=True) as con:
        text = Reader(render_page(con, RUN_ID, images=flag)).text
    for words in (
        "question gone is not in the warehouse",
        "This item is not in the warehouse",
        "not scored",
        "(no answer)",
    ):
        assert words in text


def pair(first: str, second: str, difference: float, error: float, first_value: float = 0.5) -> list[dict]:
    """Make a row of condition_differences whose interval is Student's of 100 clusters."""
    half = float(t.ppf(0.975, 99)) * error
    ends = {"low": difference - half, "high": difference + half}
    word = "tied" if ends["low"] <= 0 <= ends["high"] else "better" if difference > 0 else "worse"
    row = {"benchmark": "b", "first": first, "second": second, "k": 3, "n": 100, "first_value": first_value}
    return [
        row | ends | {"second_value": first_value - difference, "value": difference, "p_adjusted": 0.2, "word": word}
    ]


def test_the_headline_calls_a_winner_only_when_the_interval_leaves_zero_out() -> None:
    clear = compute_headline([], pair("memory", "text", 0.2, 0.05), {})
    assert clear.title == "Memory wins on b."
    assert "+20 points" in clear.lede and "+10.1 to +29.9" in clear.lede and "beyond chance" in clear.lede
    tied = compute_headline([], pair("memory", "text", 0.05, 0.05), {})
    assert tied.title == "Memory and text are tied on b." and "includes 0" in tied.lede
    behind = compute_headline([], [*pair("memory", "text", -0.2, 0.05), *pair("memory", "none", 0.3, 0.05)], {})
    assert [finding.answer for finding in behind.findings] == ["yes", "it is behind"]


def test_a_headline_takes_its_word_from_scoring_and_gives_the_reason() -> None:
    [row] = pair("memory", "text", 0.2, 0.01)
    few = row | {"low": None, "high": None, "word": "tied"}
    unknown = compute_headline([], [few | {"n": 5}], {})
    assert unknown.title == "Memory and text on b: which is better cannot be told with 5 questions."
    assert [finding.answer for finding in unknown.findings] == ["cannot be told with 5 questions"]
    assert (
        "too few clusters, p = 0.2, so these questions do not tell them apart" in compute_headline([], [few], {}).lede
    )
    assert compute_headline([], [few | {"word": "better"}], {}).title == "Memory wins on b."
    unsure = compute_headline([], [row | {"word": "tied"}], {})
    assert unsure.title == "Memory and text are tied on b." and "+18 to +22, p = 0.2" in unsure.lede
    [finding] = unsure.findings
    assert finding.answer == "tied"


def test_reports_leave_out_what_scoring_counts() -> None:
    """The warehouse does not know the evaluation, so three reports list its counts themselves."""
    reports = [path.read_text() for path in Path("warehouse/reports").glob("*.sql")]
    lists = [found for text in reports for found in re.findall(r"metric NOT IN \(([^)]*)\)", text)]
    assert len(lists) == 3
    assert all(tuple(re.findall(r"'(\w+)'", each)) == COUNTED for each in lists)


def test_the_report_and_the_evaluation_page_say_the_same_of_two_conditions(world: SmallWorld) -> None:
    """One statistic: both read the rows that scoring wrote."""
    with open_warehouse(world.database, read_only=True) as con:
        shown = read_report_rows(con, "condition_differences", RUN)
        told = read_report_rows(con, "evaluation_differences", {"scores": world.fingerprints["score"]})
        scores = read_report_rows(con, "score_table", RUN)
        text = Reader(render_page(con, RUN_ID, images=flag)).text
    whole = {(row["first"], row["second"]): row for row in told if row["split"] == "all"}
    value = {row["condition"]: row["value"] for row in scores if row["split"] == "all"}
    assert len(shown) == len(whole) == 4
    for row in shown:
        same = whole[row["first"], row["second"]]
        named = ("value", "low", "high", "p_adjusted", "word", "n", "k")
        assert [row[name] for name in named] == [same[name] for name in named]
        assert (row["first_value"], row["second_value"]) == (value[row["first"]], value[row["second"]])
        assert row["value"] == pytest.approx(value[row["first"]] - value[row["second"]], abs=1e-4)
    findings = {"Does the memory help?": ("none", "yes"), "Does it keep up with text?": ("text", "it is ahead")}
    for question, (other, better) in findings.items():
        row = whole["memory", other]
        interval = f"{write_points(row['low'])} to {write_points(row['high'])}"
        assert f"{write_points(row['value'])} points against" in text and interval in text
        assert (better in text.split(question)[1][:60]) == (row["word"] == "better")


def test_the_largest_number_of_items_counts_and_a_condition_without_items_has_one_score(tmp_path: Path) -> None:
    world, blank = start(tmp_path), make_blank_row("score") | {"benchmark": "b", "metric": "accuracy", "split": "all"}
    scores = [blank | {"condition": "memory", "k": k, "value": k / 10} for k in (1, 3)]
    scores.append(blank | {"condition": "none", "k": 0, "value": 0.1})
    row = make_blank_row("difference") | {"benchmark": "b", "metric": "accuracy", "first": "memory", "second": "none"}
    rows = [row | {"k": k, "split": split, "value": k / 10 - 0.1} for k in (1, 3) for split in ("all", "all/kind=a")]
    before = row | {"k": 3, "split": "all", "before": "an earlier one", "value": 9.0}
    add(world, "score", {"score": scores, "difference": [*rows, before]})
    with open_warehouse(world.database, read_only=True) as con:
        [found] = read_report_rows(con, "condition_differences", RUN)
    assert (found["k"], found["first_value"], found["second_value"], found["value"]) == (
        3,
        0.3,
        0.1,
        pytest.approx(0.2),
    )


def test_the_headline_without_single_answers_compares_intervals() -> None:
    row = {"benchmark": "b", "split": "all", "metric": "accuracy", "k": 5, "n": 10}
    text = row | {"condition": "text", "value": 0.9, "low": 0.8, "high": 1.0}
    memory = row | {"condition": "memory", "value": 0.5, "low": 0.4, "high": 0.6}
    assert compute_headline([text, memory], [], {}).title == "Text wins on b."
    assert compute_headline([text, memory | {"high": 0.85}], [], {}).title == "Text and memory are tied on b."


def test_the_headline_tells_the_prompts_of_all_questions_and_not_of_a_part() -> None:
    def row(condition: str, split: str, n: int, tokens: float) -> dict:
        of_it = {"benchmark": "b", "split": split, "metric": "accuracy", "condition": condition, "k": 3, "n": n}
        return of_it | {"value": 0.5, "prompt_tokens_mean": tokens, "memory_vectors": 24 * (condition == "memory")}

    scores = [row("text", "all", 10, 209), row("text", "part", 4, 207), row("memory", "all", 10, 39)]
    scores.append(row("memory", "part", 4, 41))
    [finding] = compute_headline(scores, pair("memory", "text", 0.2, 0.05), {}).findings
    assert finding.detail.endswith("with 39 prompt tokens + 24 memory vectors instead of 209.")


def test_the_drawing_keeps_boxes_apart_and_edges_going_down() -> None:
    names = [f"n{number}" for number in range(12)]
    facts = {name: {"stage": name, "num_rows": 1, "action": "made"} for name in names}
    edges = [
        Edge(names[lower], names[lower], "in", names[upper], names[upper])
        for upper in range(12)
        for lower in range(upper + 1, 12, 2 + upper % 3)
    ]
    drawing = draw_lineage(facts, edges)
    places = {box.fingerprint: (box.x, box.y) for box in drawing.boxes}
    for edge in edges:
        assert places[edge.input_fingerprint][1] + BOX_HEIGHT < places[edge.fingerprint][1]
    for first in drawing.boxes:
        assert 0 <= first.x <= drawing.width - BOX_WIDTH and 0 <= first.y <= drawing.height - BOX_HEIGHT
        for second in drawing.boxes:
            assert first is second or first.y != second.y or abs(first.x - second.x) >= BOX_WIDTH
    assert len(drawing.lines) == len(edges)


def test_numbers_are_written_for_a_reader() -> None:
    written = [
        write_number(12345),
        write_number(96.34),
        write_number(None),
        write_percent(0.125),
        write_points(-0.031),
        write_duration(200),
        write_size(8280),
    ]
    assert [text.replace("\N{NARROW NO-BREAK SPACE}", " ") for text in written] == [
        "12 345",
        "96.3",
        "–",
        "12.5 %",
        "\N{MINUS SIGN}3.1",
        "3 min 20 s",
        "8.28 kB",
    ]


def test_the_small_world_is_what_the_tests_believe() -> None:
    assert len(items()) == 24 and len(questions("train")) == 48 and len(questions("test")) == 12


def test_a_page_of_evaluations_compares_encoders_and_says_what_it_leaves_out(world: SmallWorld) -> None:
    row = {"first": "latest", "first_encoder": "e1", "second": "e2", "second_encoder": "e2", "condition": "memory"}
    row |= {"k": 3, "word": "better", "value": 0.143, "low": 0.07, "high": 0.22, "p_adjusted": 0.001, "n": 120}
    tied = row | {"condition": "oracle", "k": 1, "word": "tied", "low": None, "high": None, "needed": 466, "changed": 2}
    pairs = {"benchmark": "okvqa", "metric": "vqa_accuracy", "rows": [row | {"needed": 55, "changed": 23}, tied]}
    left_out = "6 encoders: ten pairs are left out"
    with open_warehouse(world.database, read_only=True) as con:
        page = render_evaluation(con, RUN_ID, [], images=flag, pairs=[pairs | {"left_out": left_out}])
        alone = render_evaluation(con, RUN_ID, [], images=flag, pairs=[])
    text = " ".join(Reader(page).text.split())
    cells = ("latest", "e1", "e2", "memory", "k = 3", "better", "+14.3", "+7 to +22", "0.001", "120", "23", "55")
    assert "".join(cells) in text
    assert (
        "".join(
            (
                "oracle",
                "k = 1",
                "cannot be told with 120 questions",
                "+14.3",
                "too few clusters",
                "0.001",
                "120",
                "2",
                "466",
            )
        )
        in text
    )
    assert "6 encoders: ten pairs are left out." in text
    assert "Encoders, in pairs" not in alone


def read_by_a_language_model(tmp_path: Path) -> SmallWorld:
    """A run whose reader is a text-only model of another width: an encoder's training, and that of a projection."""
    world = start(tmp_path)
    recipe = {"name": "tiny", "backbone": {"name": "vlm"}, "reader": {"name": "llm", "question_picture": True}}
    with open_warehouse(world.database) as con:
        con.execute("UPDATE run SET recipe = ?", [json.dumps(recipe)])
        carried = DeclaredStage(name="transfer", subject="projection", caption="A linear map was trained.")
        declare_stages(con, [vars(carried)])
    losses = {"encoder": (4.0, 3.0, 2.0), "transfer": (9.0, 5.0)}
    for stage, values in losses.items():
        steps = [make_blank_row("training_step") | {"step": at + 1, "loss": loss} for at, loss in enumerate(values)]
        add(world, stage, {"training_step": steps})
    world.fingerprints["llm"] = "weights-of-llm"
    answers = [
        predict(question, {"item_ids": []}, condition, random.Random(1))
        for question in questions("test")
        for condition in CONDITIONS
    ]
    add(world, "predictions", {"prediction": answers}, "reader=llm encoder=encoder transfer=transfer")
    add(world, "scores", {"score": score(answers)})
    return world


def test_a_text_only_reader_is_named_and_what_it_is_shown_is_told_as_it_is(tmp_path: Path) -> None:
    world = read_by_a_language_model(tmp_path)
    with open_warehouse(world.database, read_only=True) as con:
        text = re.sub(r"\s+", " ", Reader(render_page(con, RUN_ID, images=flag)).text)
        [answered] = read_report_rows(con, "reader", {"run_id": RUN_ID})
    assert answered == {"name": "llm", "weights": "weights-of-llm", "text_only": True, "question_picture": True}
    assert "llm answers here, a text-only model that sees no picture" in text
    assert "llm, text only weights-of-llm" in text
    assert "The question alone." in text and "its image alone" not in text
    assert "The memory of the question's own picture follows them." in text


def test_the_losses_of_encoder_and_projection_are_two_curves(tmp_path: Path) -> None:
    world = read_by_a_language_model(tmp_path)
    with open_warehouse(world.database, read_only=True) as con:
        text = Reader(render_page(con, RUN_ID, images=flag)).text
    assert "Loss over 3 steps, from 4 to 2" in text
    assert "Loss over 2 steps, from 9 to 5" in text
    assert "Projection" in text and "A linear map was trained." in text


def test_the_title_of_a_page_of_evaluations_counts_only_those_that_have_one_before() -> None:
    first = Evaluated(row={}, metric="exact_match")
    same = Evaluated(row={}, metric="exact_match", unchanged=True)
    assert write_title([first]) == "1 first evaluation: nothing to compare with yet"
    assert write_title([first, first]) == "2 first evaluations: nothing to compare with yet"
    assert write_title([same]) == "0 of 1 evaluation moved since last time"
    assert write_title([same, same, first]) == "0 of 2 evaluations moved since last time; 1 first evaluation"


def test_a_page_says_how_many_languages_were_guessed_and_shows_some(tmp_path: Path) -> None:
    world = start(tmp_path)
    guessed = {"counts": {"en": 30, "fr": 2}, "shown": ["Valve 12, 25 bar (en)", "Pont <b> (fr)"]}
    add(world, "ingest", {"knowledge_item": items()}, measured={"uncertain-languages": guessed})
    with open_warehouse(world.database, read_only=True) as con:
        text = " ".join(Reader(render_page(con, RUN_ID, images=flag)).text.split())
    assert "32 texts are too short to tell their language alone, and got one of their file's: 30 en, 2 fr." in text
    assert "Valve 12, 25 bar (en)" in text and "Pont <b> (fr)" in text


def test_an_interval_that_includes_zero_is_not_called_an_explanation() -> None:
    tied = compute_headline([], pair("memory", "text", 0.05, 0.05), {})
    assert "these questions do not tell them apart" in tied.lede
    templates = (Path(__file__).parents[2] / "warehouse/page/templates").glob("*.j2")
    assert not [path.name for path in templates if re.search(r"chance\s+explains", path.read_text(encoding="utf-8"))]
