"""A bank of memories: what is put in comes out in the order asked, is found by its picture, and survives a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comem_core.memory.bank import Bank
from comem_core.memory.bank_files.pictures import Picture

PICTURES = [
    Picture(np.array([1, 0], dtype=np.float32), "en"),
    Picture(np.array([0, 1], dtype=np.float32), "en"),
    Picture(np.array([0, 1], dtype=np.float32), "es"),
]


def small_bank(encoder_id: str = "encoder") -> Bank:
    bank = Bank(encoder_id=encoder_id, num_vectors=2, width=4)
    bank.put(["a", "b", "c"], torch.arange(24.0).view(3, 2, 4))
    return bank


def searched_bank(encoder_id: str = "encoder") -> Bank:
    bank = Bank(encoder_id=encoder_id, num_vectors=2, width=4, dtype=torch.bfloat16, grid=(1, 2))
    bank.put(["a", "b", "c"], torch.arange(24.0).view(3, 2, 4), pictures=PICTURES)
    return bank


def found(bank: Bank, *query: float, k: int = 3, language: str | None = None) -> tuple[str, ...]:
    [hits] = bank.search(np.array([query], dtype=np.float32), k=k, languages=None if language is None else [language])
    return hits.item_ids


def test_memories_come_in_the_order_asked_one_behind_the_other():
    bank = small_bank()
    assert bank.of(["c", "a"]).tolist() == torch.cat([torch.arange(16.0, 24), torch.arange(8.0)]).view(4, 4).tolist()
    assert bank.of(["b", "b"]).shape == (4, 4)
    assert bank.of([]).shape == (0, 4)


def test_a_shortened_bank_has_the_first_vectors_of_each_item_and_is_searched_as_before(tmp_path: Path):
    bank = searched_bank()
    short = bank.shorten(1)
    assert short.of(["c", "a"]).tolist() == [bank.of(["c"])[0].tolist(), bank.of(["a"])[0].tolist()]
    assert found(short, 0.1, 1) == found(bank, 0.1, 1) == ("b", "c", "a")
    short.remove(["a"])
    assert "a" in bank and found(bank, 1, 0.1)[0] == "a" and bank.of(["a"]).shape == (2, 4)
    short.save(tmp_path / "short")
    assert Bank.load(tmp_path / "short").of(["b"]).tolist() == short.of(["b"]).tolist()
    assert bank.shorten(2).of(["b"]).tolist() == bank.of(["b"]).tolist()
    for wrong in (0, 3, -1):
        with pytest.raises(ValueError, match=f"{wrong} vectors of an item of this bank; expected 1 to 2"):
            bank.shorten(wrong)


def test_an_item_is_replaced_and_the_others_stay():
    bank = small_bank()
    bank.put(["b"], -torch.ones(1, 2, 4))
    assert len(bank) == 3
    assert bank.of(["b"]).tolist() == [[-1.0] * 4] * 2
    assert bank.of(["a"]).flatten().tolist() == list(range(8))


def test_a_removed_item_is_gone_and_named_when_asked_for():
    bank = small_bank()
    bank.remove(["b"])
    assert len(bank) == 2
    assert "b" not in bank
    with pytest.raises(KeyError, match="1 of 2 items are not in this bank, first b"):
        bank.of(["a", "b"])
    with pytest.raises(KeyError, match="b"):
        bank.remove(["a", "b"])
    assert "a" in bank


def test_a_bank_keeps_its_own_copy_of_what_it_was_given():
    bank, memory = Bank(encoder_id="encoder", num_vectors=2, width=4), torch.zeros(1, 2, 4)
    bank.put(["a"], memory)
    memory += 1
    assert bank.of(["a"]).abs().sum() == 0


@pytest.mark.parametrize("shape", [(2, 2, 4), (1, 3, 4), (1, 2, 5), (2, 4)])
def test_memory_of_another_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected \(1, 2, 4\)"):
        small_bank().put(["d"], torch.zeros(shape))


@pytest.mark.parametrize(
    ("item_ids", "memory", "said"),
    [
        (["d"], np.zeros((1, 2, 4), np.float32), r"memory is a numpy.ndarray; expected a torch.Tensor of floating"),
        (["d"], [[[0.0] * 4] * 2], "memory is a list; expected a torch.Tensor"),
        (["d"], torch.zeros(1, 2, 4, dtype=torch.int64), r"number type torch.int64 for this bank; expected a torch"),
        ("d", torch.zeros(1, 2, 4), "item_ids is the text 'd'; expected a list"),
    ],
)
def test_memory_of_another_type_is_refused_with_what_was_expected(item_ids: Any, memory: Any, said: str):
    bank = small_bank()
    with pytest.raises(ValueError, match=said):
        bank.put(item_ids, memory)
    assert "d" not in bank


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_memory_with_a_number_that_is_not_finite_is_refused_with_the_item(number: float):
    """1e300 is finite until it is rounded to the bank's number type."""
    bank, memory_NMD = small_bank(), torch.zeros(3, 2, 4, dtype=torch.float64)
    memory_NMD[1, 1, 2] = number
    with pytest.raises(ValueError, match=r"of 1 of 3 items hold numbers that are not finite \(e\)"):
        bank.put(["d", "e", "f"], memory_NMD)
    assert not {"d", "e", "f"} & set(bank)


def test_the_nearest_pictures_are_found_best_first_in_one_language_or_in_all():
    bank = searched_bank()
    assert found(bank, 0.2, 1.0) == ("b", "c", "a")
    assert found(bank, 0.2, 1.0, language="en") == ("b", "a")
    assert found(bank, 0.2, 1.0, k=1, language="es") == ("c",)


def test_a_search_sees_what_was_put_replaced_and_removed_since_the_last_one():
    bank = searched_bank()
    assert found(bank, 1, 0, k=1) == ("a",)
    bank.put(["d"], torch.zeros(1, 2, 4), pictures=[Picture(np.array([9, 0.1], dtype=np.float32), "en")])
    bank.put(["a"], torch.zeros(1, 2, 4), pictures=[PICTURES[1]])
    assert found(bank, 1, 0, k=1) == ("d",)
    bank.remove(["d", "c"])
    assert found(bank, 1, 0) == ("a", "b")


def test_a_bank_takes_pictures_exactly_where_it_is_searched():
    with pytest.raises(ValueError, match="is searched by pictures, but none were given"):
        searched_bank().put(["d"], torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match=r"is not searchable \(its grid is None\), but pictures were given"):
        small_bank().put(["d"], torch.zeros(1, 2, 4), pictures=PICTURES[:1])
    with pytest.raises(ValueError, match="2 pictures for 1 items"):
        searched_bank().put(["d"], torch.zeros(1, 2, 4), pictures=PICTURES[:2])
    with pytest.raises(ValueError, match="holds no pictures to search; name the items to show"):
        found(small_bank(), 1, 0)
    with pytest.raises(ValueError, match="this bank is empty"):
        found(Bank(encoder_id="encoder", num_vectors=2, width=4, grid=(1, 2)), 1, 0)


def test_a_bank_takes_in_another_of_its_encoder_and_refuses_vectors_of_a_different_one():
    bank, other = searched_bank(), searched_bank()
    bank.remove(["b", "c"])
    other.put(["a"], -torch.ones(1, 2, 4), pictures=[PICTURES[2]])
    bank.merge(other)
    assert len(bank) == 3
    assert bank.of(["a"]).tolist() == [[-1.0] * 4] * 2
    assert found(bank, 0, 1, language="es") == ("a", "c")
    with pytest.raises(ValueError, match="holds vectors of encoder encoder, but encoder stranger was given"):
        bank.merge(searched_bank("stranger"))
    with pytest.raises(ValueError, match=r"in a grid \(1, 2\) here, but in None in the other"):
        bank.merge(small_bank())


@pytest.mark.parametrize("make", [small_bank, searched_bank])
def test_a_saved_bank_comes_back_whole(make: Callable[[], Bank], tmp_path: Path):
    bank = make()
    bank.save(tmp_path / "new" / "bank")
    loaded = Bank.load(tmp_path / "new" / "bank")
    assert repr(loaded) == repr(bank)
    assert list(loaded) == ["a", "b", "c"]
    assert torch.equal(loaded.of(["c", "a"]), bank.of(["c", "a"]))
    assert loaded.of(["a"]).dtype == bank.dtype
    if bank.grid is not None:
        assert found(loaded, 0.2, 1.0, language="en") == ("b", "a")
    loaded.remove(["a"])
    loaded.merge(bank)
    assert len(loaded) == 3


def test_an_empty_bank_can_be_saved(tmp_path: Path):
    Bank(encoder_id="encoder", num_vectors=2, width=4, grid=(3, 4)).save(tmp_path / "bank")
    loaded = Bank.load(tmp_path / "bank")
    assert (len(loaded), loaded.grid, loaded.num_vectors, loaded.width) == (0, (3, 4), 2, 4)


def test_saving_replaces_a_bank_and_leaves_nothing_beside_it(tmp_path: Path):
    small_bank().save(tmp_path / "bank")
    searched_bank().save(tmp_path / "bank")
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]
    assert Bank.load(tmp_path / "bank").grid == (1, 2)


def test_memory_is_kept_in_the_banks_number_type():
    bank = Bank(encoder_id="encoder", num_vectors=2, width=4)
    bank.put(["a"], torch.ones(1, 2, 4, dtype=torch.bfloat16))
    assert bank.of(["a"]).dtype == bank.of([]).dtype == torch.float32
    assert searched_bank().of(["a"]).dtype == searched_bank().of([]).dtype == torch.bfloat16
