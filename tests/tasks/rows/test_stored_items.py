"""Items that are read when they are asked for: as a dictionary would give them, holding little."""

from pathlib import Path

import pytest

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.stored_items import StoredItems
from comem_core.worlds.countries.world import load_knowledge_items
from tasks.engine.partial import Partial
from tasks.rows.tables import make_item_table

ITEMS = [
    *load_knowledge_items()[:40],
    *(KnowledgeItem(text=f"text {n}", language="en", source="s", licence="l") for n in range(10)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, start in enumerate(range(0, 50, 7)):
        Partial(tmp_path).write_shard(f"part-{number:05d}", make_item_table(ITEMS[start : start + 7]))
    return tmp_path


@pytest.mark.parametrize("held_bytes", [0, 256_000_000])
def test_stored_items_are_the_mapping_that_was_written(folder: Path, held_bytes: int) -> None:
    stored = StoredItems(folder, held_bytes=held_bytes)
    assert list(stored) == [item.item_id for item in ITEMS]
    assert list(stored.values()) == ITEMS
    assert [stored[item.item_id] for item in ITEMS[::-1]] == ITEMS[::-1]
    assert dict(stored) == {item.item_id: item for item in ITEMS}
    assert len(stored) == 50


def test_an_id_that_is_not_there_is_a_key_error(folder: Path) -> None:
    stored = StoredItems(folder)
    for wrong in ("0" * 16, "f" * 16, "no id", "f" * 40):
        assert wrong not in stored
        with pytest.raises(KeyError):
            stored[wrong]
    assert list(StoredItems(folder / "nothing")) == []


def test_no_more_is_held_than_allowed(folder: Path) -> None:
    stored = StoredItems(folder, held_bytes=1)
    for item in ITEMS:
        assert stored[item.item_id] == item
        assert len(stored.rows.held) == 1


def test_facts_cost_no_text_and_no_picture(folder: Path) -> None:
    stored = StoredItems(folder)
    assert stored.read_column("language") == [item.language for item in ITEMS]
    assert stored.map_entities() == {item.item_id: item.entity_id for item in ITEMS}
    assert len(stored.rows.held) == 0
    pictures = stored.open_pictures()
    assert set(pictures) == {item.image_id for item in ITEMS if item.image is not None}
    assert pictures[str(ITEMS[3].image_id)] == ITEMS[3].image
    assert pictures.get("gone") is None
