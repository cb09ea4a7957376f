"""Answers through an engine: the same as without it, named by its version, and asked again where that changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from comem_core.backbone.loading import load_backbone
from comem_core.recipes import with_reader
from comem_core.recipes.recipe import ReaderRecipe
from comem_core.serving.vllm.template import MEMORY_FIRST
from comem_core.synthesis.generator import ServerGone
from tasks.evaluation.answer import answer_benchmark
from tasks.rows.tables import read_rows
from tasks.run import Run
from tasks.sources import name_engine
from tests.splicing_server import SplicingServer, run_server
from tests.tasks.evaluation.finished_store import Finished

pytestmark = pytest.mark.usefixtures("small_ray")
CONDITIONS = ("none", "memory", "empty")
SAID = ("question_id", "condition", "answer_raw", "correct", "prompt_tokens", "memory_vectors", "answer_tokens")


@pytest.fixture(scope="module")
def server() -> SplicingServer:
    backbone = load_backbone("tiny")
    return SplicingServer(backbone, MEMORY_FIRST + str(backbone.tokenizer.chat_template))


@pytest.fixture(scope="module")
def address(server: SplicingServer) -> Iterator[str]:
    with run_server(server) as found:
        yield found


def answer(finished: Finished, reader: str | None) -> tuple[Run, list[dict[str, Any]]]:
    recipe = finished.run.recipe
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, conditions=CONDITIONS))
    run = replace(finished.run, recipe=with_reader(recipe, reader))
    run = replace(run, engine=name_engine(run.recipe, run.backbone, run.context))
    exam = finished.make_exam()
    rows = read_rows(answer_benchmark.fn(run, exam))
    return run, sorted(rows, key=lambda row: (row["condition"], row["question_id"]))


def test_an_engine_gives_the_answers_of_the_library_under_names_of_its_own(
    finished: Finished, server: SplicingServer, address: str
) -> None:
    _, here = answer(finished, None)
    run, there = answer(finished, f"vllm:{address}")
    assert run.recipe.name.endswith("+reader=vllm") and run.recipe.read_by == "vllm"
    assert [{name: row[name] for name in SAID} for row in there] == [{name: row[name] for name in SAID} for row in here]
    assert len(there) == 60 and len({row["answer_raw"] for row in there}) > 10
    assert not {row["answer_key"] for row in there} & {row["answer_key"] for row in here}
    assert all(row["prefill_seconds"] is None for row in there)

    asked = len(server.seen)
    answer(finished, f"vllm:{address}/v1")
    assert len(server.seen) == asked  # another address of the same engine is the same reader

    server.version = "0.0.8"
    _, again = answer(finished, f"vllm:{address}")
    assert len(server.seen) > asked + 60
    assert not {row["answer_key"] for row in again} & {row["answer_key"] for row in there}


@pytest.mark.parametrize("given", ["vllm:", "vllm:127.0.0.1:8000", "vllm:tiny"])
def test_an_engine_without_an_address_is_refused(finished: Finished, given: str) -> None:
    with pytest.raises(ValueError, match=r"expected vllm:<address>, such as vllm:http"):
        with_reader(finished.run.recipe, given)


def test_settings_of_a_text_only_reader_and_a_silent_address_are_refused(finished: Finished) -> None:
    with pytest.raises(ValueError, match="settings of a text-only reader have no effect"):
        with_reader(finished.run.recipe, ReaderRecipe(name="vllm:http://127.0.0.1:9", projection=True))
    with pytest.raises(ServerGone, match=r"no vLLM server answers at http://127\.0\.0\.1:9"):
        answer(finished, "vllm:http://127.0.0.1:9")
