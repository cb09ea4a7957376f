"""The items from which distractors are drawn."""

from comem_core.knowledge.items import KnowledgeItem
from comem_core.training.pool import ItemPool

ITEMS = [
    KnowledgeItem(text=f"text {number}", language=language, source="s", licence="l", entity_id=entity)
    for number, (language, entity) in enumerate(
        [("en", "a"), ("en", "a"), ("en", "b"), ("en", None), ("en", None), ("es", "a"), ("es", None), ("fr", "c")]
    )
]


def find_texts(pool: ItemPool, place: int) -> list[str]:
    return [pool.read(int(other)).text for other in pool.find_others(ITEMS[place])]


def test_others_are_of_the_language_and_of_no_known_entity_of_the_item() -> None:
    pool = ItemPool.of(ITEMS)
    assert sorted(find_texts(pool, 0)) == ["text 2", "text 3", "text 4"]
    assert sorted(find_texts(pool, 3)) == ["text 0", "text 1", "text 2", "text 4"]
    assert sorted(find_texts(pool, 5)) == ["text 6"]
    assert find_texts(pool, 7) == []


def test_others_are_in_order_of_id_however_the_items_come() -> None:
    in_order = [item.text for item in sorted(ITEMS, key=lambda item: item.item_id)]
    for items in (ITEMS, ITEMS[::-1]):
        pool = ItemPool.of(items)
        found = [pool.read(int(other)).text for other in pool.find_others(ITEMS[4])]
        assert found == [text for text in in_order if text in {"text 0", "text 1", "text 2", "text 3"}]
