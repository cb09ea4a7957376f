"""A bank of memories: what is put in comes out in the order asked, and nothing else does."""

import pytest
import torch

from comem_core.memory.bank import Bank, from_bytes, to_bytes


def small_bank() -> Bank:
    bank = Bank(encoder_id="encoder", num_vectors=2, width=4)
    bank.put(["a", "b", "c"], torch.arange(24.0).view(3, 2, 4))
    return bank


def test_memories_come_in_the_order_asked_one_behind_the_other():
    bank = small_bank()
    assert bank.of(["c", "a"]).tolist() == torch.cat([torch.arange(16.0, 24), torch.arange(8.0)]).view(4, 4).tolist()
    assert bank.of(["b", "b"]).shape == (4, 4)
    assert bank.of([]).shape == (0, 4)


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
    with pytest.raises(KeyError, match="1 of 2 items are not in this bank, first b"):
        bank.of(["a", "b"])
    with pytest.raises(KeyError, match="b"):
        bank.remove(["b"])


def test_a_bank_keeps_its_own_copy_of_what_it_was_given():
    bank, memory = Bank(encoder_id="encoder", num_vectors=2, width=4), torch.zeros(1, 2, 4)
    bank.put(["a"], memory)
    memory += 1
    assert bank.of(["a"]).abs().sum() == 0


@pytest.mark.parametrize("shape", [(2, 2, 4), (1, 3, 4), (1, 2, 5), (2, 4)])
def test_memory_of_another_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected \(1, 2, 4\)"):
        small_bank().put(["d"], torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_memory_survives_the_way_through_bytes(dtype: torch.dtype):
    memory_MD = torch.randn(8, 64, requires_grad=True).to(dtype)
    raw = to_bytes(memory_MD)
    assert len(raw) == 8 * 64 * 4
    assert torch.equal(from_bytes(raw, num_vectors=8), memory_MD.detach().float())
    assert to_bytes(from_bytes(raw, num_vectors=8)) == raw


def test_memory_in_half_precision_is_kept_in_full():
    bank = Bank(encoder_id="encoder", num_vectors=2, width=4)
    bank.put(["a"], torch.ones(1, 2, 4, dtype=torch.bfloat16))
    assert bank.of(["a"]).dtype == torch.float32
