"""The measures of a large bank, at a small size: it is whole, and each number type takes the room that it should."""

from pathlib import Path

from comem_core.memory.bank import Bank
from tasks.measures import bank_scale


def test_a_measured_bank_is_whole_and_its_rows_are_named(tmp_path: Path) -> None:
    bank_scale.write_bank(tmp_path / "bank", 50, "int8")
    bank = Bank.load(tmp_path / "bank")
    bank.verify()
    assert len(bank) == 50 and bank.of([bank_scale.name_item(49)]).shape == (bank_scale.M, bank_scale.D)
    found = bank_scale.measure_bank(2000)
    assert [round(found[f"bank_bytes_per_item_{each}"], -2) for each in bank_scale.MEASURED] == [4100, 2100, 1100]
    assert {"bank_open_ms_1m", "bank_open_ms_1k", "bank_read10_ms_1m", "bank_memory_gb_1m"} <= found.keys()
