"""A folder in many languages, in words that the shipped model does not know: the run ends with its reasons."""

import json
from pathlib import Path

import duckdb
import pytest
from PIL import Image
from prefect.client.schemas.objects import State

from flows.local.commands import NOTHING_KEPT
from flows.options import Knowledge, Writing
from flows.synth_and_train import synth_and_train
from tests.languages import MANY, list_texts


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, prefect_server: None, small_ray: None) -> tuple[State, Path]:
    root = tmp_path_factory.mktemp("nothing-kept")
    folder = root / "documents"
    folder.mkdir()
    for place, language in enumerate(MANY):
        Image.new("RGB", (32, 32), (7 * place, 90, 200 - 5 * place)).save(folder / f"{language}-{place}.png")
        (folder / f"{language}-{place}.txt").write_text(list_texts(language)[2], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        knowledge = Knowledge(corpus=str(folder))
        state = synth_and_train(knowledge=knowledge, writing=Writing(ask_about=2), limit=2, return_state=True)
    return state, root / ".comem"


def test_the_run_ends_with_the_funnel_the_commonest_reasons_and_a_page(ended: tuple[State, Path]) -> None:
    state, place = ended
    assert state.name == NOTHING_KEPT and state.message is not None
    title, *lines = state.message.splitlines()
    assert "drafts was kept, so there is nothing to train on" in title or "none can be set aside" in title
    assert (
        any(line.startswith("kept ") for line in lines) and "the commonest reasons, with an example of each:" in lines
    )
    examples = [line for line in lines if line.startswith("    asked ") or line.startswith("    the model wrote ")]
    assert 1 <= len(examples) <= 3
    page = Path(state.message.rpartition("page: file://")[2])
    shown = page.read_text(encoding="utf-8")
    assert "Drops by reason" in shown and "Languages that were guessed from the file" in shown
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        [(status, error)] = con.execute("SELECT status, error FROM run").fetchall()
        [(num_items,)] = con.execute("SELECT count(*) FROM knowledge_item").fetchall()
        [(uncertain,)] = con.execute(
            "SELECT measured->'$.uncertain-languages.counts' FROM artefact WHERE stage = 'knowledge'"
        ).fetchall()
    assert status == "failed" and title in error and num_items == len(MANY)
    assert 0 < sum(json.loads(uncertain).values()) < num_items
