"""A bank in a folder: it grows without being rewritten, a reader never sees half of it, and damage is named."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from comem_core.memory.bank import Bank
from comem_core.memory.bank_files import writing
from comem_core.memory.bank_files.layout import read_description, read_shards
from comem_core.memory.bank_files.pictures import Picture
from tests.written import stamp_files

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int8]


def make_bank(item_ids: Sequence[str] = (), *, dtype: torch.dtype = torch.float32, encoder_id: str = "encoder") -> Bank:
    bank = Bank(encoder_id=encoder_id, num_vectors=2, width=8, dtype=dtype)
    if item_ids:
        bank.put(item_ids, torch.stack([memory(each) for each in item_ids]))
    return bank


def memory(item_id: str) -> torch.Tensor:
    """Return what the encoder of these tests makes of an item: numbers that depend on its id."""
    return torch.randn(2, 8, generator=torch.Generator().manual_seed(sum(item_id.encode())))


def check_whole(bank: Bank, item_ids: Sequence[str]) -> None:
    assert sorted(bank) == sorted(item_ids) and len(bank) == len(item_ids)
    expected = make_bank(item_ids, dtype=bank.dtype)
    assert torch.equal(bank.of(item_ids), expected.of(item_ids))
    bank.verify()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three items of 64 bytes fill a shard."""
    monkeypatch.setattr(writing, "SHARD_BYTES", 190)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bank_in_each_number_type_gives_the_same_before_and_after_it_was_saved(dtype: torch.dtype, tmp_path: Path):
    item_ids = ["a", "longer id", "ü", "d"]
    bank = make_bank(item_ids, dtype=dtype)
    bank.save(tmp_path / "bank")
    loaded = Bank.load(tmp_path / "bank")
    check_whole(loaded, item_ids)
    assert torch.equal(loaded.of(["ü", "a"]), bank.of(["ü", "a"]))
    assert loaded.of([]).dtype == loaded.of(["a"]).dtype == (torch.float32 if dtype == torch.int8 else dtype)
    assert list(loaded) == item_ids and "longer id" in loaded and "longer id!" not in loaded and 5 not in loaded
    with pytest.raises(KeyError, match="1 of 2 items are not in this bank, first nobody"):
        loaded.of(["a", "nobody"])


def test_eight_bit_is_within_half_a_step_of_each_vectors_largest_number_and_takes_a_quarter():
    memory_NMD = torch.randn(50, 8, 128) * torch.logspace(-6, 6, 50)[:, None, None]
    memory_NMD[0] = 0
    item_ids = [f"{number}" for number in range(50)]
    eight, whole = (
        Bank(encoder_id="e", num_vectors=8, width=128, dtype=dtype) for dtype in (torch.int8, torch.float32)
    )
    for bank in (eight, whole):
        bank.put(item_ids, memory_NMD)
    difference_NMD = (eight.of(item_ids) - whole.of(item_ids)).view(50, 8, 128).abs()
    step_NM1 = memory_NMD.abs().amax(-1, keepdim=True) / 127
    assert (difference_NMD <= step_NM1 * 0.5001).all() and difference_NMD.max() > 0
    assert eight.of(["0"]).abs().sum() == 0
    assert eight.description.item_bytes == 8 * (128 + 4) == sum(each.num_bytes for each in eight._fresh.values()) / 50


@pytest.mark.parametrize("number", [torch.nan, torch.inf, 1e300])
def test_eight_bit_refuses_what_is_not_finite_too(number: float):
    bank, memory_NMD = make_bank(["a"], dtype=torch.int8), torch.zeros(2, 2, 8, dtype=torch.float64)
    memory_NMD[1, 0, 3] = number
    with pytest.raises(ValueError, match=r"of 1 of 2 items hold numbers that are not finite \(c\)"):
        bank.put(["b", "c"], memory_NMD)
    assert list(bank) == ["a"]


def test_a_number_type_that_is_not_for_memories_is_refused():
    with pytest.raises(ValueError, match=r"cannot be stored as torch.int64; expected one of float32, .*int8"):
        make_bank(dtype=torch.int64)


@pytest.mark.usefixtures("small_shards")
def test_a_bank_grows_and_shrinks_without_touching_shards_that_did_not_change(tmp_path: Path):
    folder, item_ids = tmp_path / "bank", list("abcdefghi")
    make_bank(item_ids).save(folder)
    first = stamp_files(folder, "memory-*")
    assert len(first) == 3
    bank = Bank.load(folder)
    bank.put(["j"], memory("j")[None])
    bank.put(["a"], memory("a")[None] * 2)
    bank.remove(["e"])
    assert torch.equal(bank.of(["a"]), memory("a") * 2) and "e" not in bank
    bank.save(folder)
    bank.put(["a"], memory("a")[None])
    bank.save(folder)
    left = [each for each in item_ids if each != "e"] + ["j"]
    check_whole(Bank.load(folder), left)
    check_whole(bank, left)
    stayed = first.items() & stamp_files(folder, "memory-*").items()
    assert len(stayed) == 1, "of three shards, one had an item replaced and one an item removed"
    gone = memory("e").numpy().tobytes()
    assert (
        any(gone in (folder / name).read_bytes() for name in first.keys() & stamp_files(folder, "memory-*").keys())
        is False
    )


@pytest.mark.usefixtures("small_shards")
def test_many_small_shards_become_full_ones(tmp_path: Path):
    folder, added = tmp_path / "bank", [f"item{number}" for number in range(20)]
    make_bank(["start"]).save(folder)
    most = 0
    for item_id in added:
        bank = Bank.load(folder)
        bank.put([item_id], memory(item_id)[None])
        bank.save(folder)
        described = read_description(folder)
        assert described is not None
        most = max(most, len(read_shards(folder, described.state)))
    check_whole(Bank.load(folder), ["start", *added])
    assert most <= writing.FEW_SMALL_SHARDS + 2


def test_a_reader_keeps_what_it_opened_while_the_bank_changes(tmp_path: Path):
    folder = tmp_path / "bank"
    make_bank(["a", "b", "c"]).save(folder)
    reader, writer = Bank.load(folder), Bank.load(folder)
    writer.remove(["a"])
    writer.put(["d"], memory("d")[None])
    writer.save(folder)
    check_whole(reader, ["a", "b", "c"])
    check_whole(Bank.load(folder), ["b", "c", "d"])
    late = Bank.load(folder)
    for item_id in ("e", "f"):
        writer.put([item_id], memory(item_id)[None])
        writer.remove([next(iter(writer))])
        writer.save(folder)
    with pytest.raises(ValueError, match="was changed since it was opened; open it again"):
        late.of(["b"])


def test_of_two_writers_the_second_is_told_and_loses_nothing(tmp_path: Path):
    folder = tmp_path / "bank"
    make_bank(["a"]).save(folder)
    first, second = Bank.load(folder), Bank.load(folder)
    for bank, item_id in ((first, "b"), (second, "c")):
        bank.put([item_id], memory(item_id)[None])
    first.save(folder)
    with pytest.raises(ValueError, match=r"another process has changed the bank in .* since it was loaded"):
        second.save(folder)
    check_whole(Bank.load(folder), ["a", "b"])
    check_whole(second, ["a", "c"])
    again = Bank.load(folder)
    again.merge(second)
    again.save(folder)
    check_whole(Bank.load(folder), ["a", "b", "c"])


@pytest.mark.usefixtures("small_shards")
def test_banks_are_merged_by_linking_their_shards(tmp_path: Path):
    make_bank(list("abcdef")).save(tmp_path / "one")
    make_bank(list("efghij")).save(tmp_path / "other")
    bank = Bank.load(tmp_path / "one")
    bank.merge(Bank.load(tmp_path / "other"))
    assert len(bank) == 10
    bank.save(tmp_path / "both")
    shutil.rmtree(tmp_path / "one")
    shutil.rmtree(tmp_path / "other")
    check_whole(Bank.load(tmp_path / "both"), list("abcdefghij"))


def test_a_bank_in_another_number_type_is_merged_in_ones_own(tmp_path: Path):
    make_bank(["a"], dtype=torch.bfloat16).save(tmp_path / "half")
    bank = make_bank(["b"])
    bank.merge(Bank.load(tmp_path / "half"))
    assert bank.of(["a"]).dtype == torch.float32
    assert torch.equal(bank.of(["a"]), memory("a").bfloat16().float())


def test_a_loaded_bank_is_shortened_and_saved_elsewhere(tmp_path: Path):
    make_bank(["a", "b"], dtype=torch.int8).save(tmp_path / "bank")
    bank = Bank.load(tmp_path / "bank")
    bank.shorten(1).save(tmp_path / "short")
    short = Bank.load(tmp_path / "short")
    assert torch.equal(short.of(["b"]), bank.of(["b"])[:1])
    check_whole(bank, ["a", "b"])


def test_pictures_are_found_after_saving_growing_and_merging(tmp_path: Path):
    def make(item_ids: Sequence[str], angles: Sequence[float]) -> Bank:
        bank = Bank(encoder_id="encoder", num_vectors=2, width=8, grid=(1, 1))
        pictures = [Picture(np.array([np.cos(each), np.sin(each)], np.float32), "en") for each in angles]
        bank.put(item_ids, torch.stack([memory(each) for each in item_ids]), pictures=pictures)
        return bank

    def find(bank: Bank, angle: float) -> tuple[str, ...]:
        query = np.array([[np.cos(angle), np.sin(angle)]], np.float32)
        return bank.search(query, k=2)[0].item_ids

    make(["a", "b", "c"], [0.0, 0.5, 1.0]).save(tmp_path / "bank")
    bank = Bank.load(tmp_path / "bank")
    assert find(bank, 0.1) == ("a", "b")
    bank.merge(make(["d", "c"], [0.1, 0.2]))
    bank.remove(["a"])
    assert find(bank, 0.1) == ("d", "c")
    bank.save(tmp_path / "bank")
    for again in (bank, Bank.load(tmp_path / "bank")):
        assert find(again, 0.1) == ("d", "c") and find(again, 0.5) == ("b", "c")


def test_a_searchable_bank_that_was_saved_empty_is_filled_later_and_needs_its_index(tmp_path: Path):
    query = np.array([[1, 0]], np.float32)
    Bank(encoder_id="encoder", num_vectors=2, width=8, grid=(1, 1)).save(tmp_path / "bank")
    bank = Bank.load(tmp_path / "bank")
    bank.put(["a"], memory("a")[None], pictures=[Picture(query[0], "en")])
    assert bank.search(query, k=1)[0].item_ids == ("a",)
    bank.save(tmp_path / "bank")
    assert Bank.load(tmp_path / "bank").search(query, k=1)[0].item_ids == ("a",)
    [index] = (tmp_path / "bank").glob("state-*/pictures")
    shutil.rmtree(index)
    with pytest.raises(ValueError, match="has no index of its items' pictures"):
        Bank.load(tmp_path / "bank").search(query, k=1)


def break_shard(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        [path] = folder.glob("memory-*")
        change(path)

    return damage


def plant_nan(path: Path) -> None:
    tensors = load_file(path)
    tensors["memory"][1, 0, 0] = torch.nan
    save_file(tensors, path, metadata={"encoder_id": "encoder"})


def plant_rows_of_another_encoder(path: Path) -> None:
    save_file(load_file(path), path, metadata={"encoder_id": "strange"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_shard(lambda path: path.write_bytes(path.read_bytes()[:-1])), r"memory-.* has \d+ bytes, and \d+ in"),
        (break_shard(lambda path: path.unlink()), r"memory-.* is missing"),
        (break_shard(lambda path: path.write_bytes(b"\xff" * path.stat().st_size)), r"memory-.* is damaged"),
        (break_shard(plant_nan), r"1 of 3 items hold numbers that are not finite \(b\)"),
        (break_shard(plant_rows_of_another_encoder), "this bank holds vectors of encoder encoder, but encoder strange"),
        (lambda folder: (folder / "bank.json").write_text("{"), r"bank.json is damaged"),
        (lambda folder: (folder / "bank.json").unlink(), r"holds no bank: bank.json is missing"),
        (lambda folder: shutil.rmtree(folder / "state-000001"), "is not a complete bank"),
        (lambda folder: (folder / "state-000001" / "shards.json").unlink(), "is not a complete bank"),
        (lambda folder: (folder / "state-000001" / "item_ids.npy").write_bytes(b""), "is not a complete bank"),
    ],
)  # fmt: skip
def test_a_damaged_bank_is_refused_by_name_before_its_memories_are_used(
    damage: Callable[[Path], None], said: str, tmp_path: Path
):
    folder = tmp_path / "bank"
    make_bank(["a", "b", "c"]).save(folder)
    damage(folder)
    with pytest.raises(ValueError, match=said):
        Bank.load(folder).of(["a", "b", "c"])


def test_a_flipped_byte_is_found_when_everything_is_verified(tmp_path: Path):
    make_bank(["a", "b"]).save(tmp_path / "bank")
    [path] = (tmp_path / "bank").glob("memory-*")
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    bank = Bank.load(tmp_path / "bank")
    with pytest.raises(ValueError, match=r"memory-.*differs from what was stored \(sha256 "):
        bank.verify()


def test_a_bank_of_another_format_or_number_type_says_what_to_do(tmp_path: Path):
    make_bank(["a"]).save(tmp_path / "bank")
    path = tmp_path / "bank" / "bank.json"
    stated = json.loads(path.read_text())
    for change, said in (
        ({"format": 3}, "has format 3, expected 2; install the version"),
        ({"number_type": "int4"}, "names the number type 'int4', expected one of float32"),
        ({"colour": 1}, "has 'colour', which BankDescription does not know"),
    ):
        path.write_text(json.dumps(stated | change))
        with pytest.raises(ValueError, match=said):
            Bank.load(tmp_path / "bank")


def test_a_folder_of_other_files_and_a_file_are_not_written_over(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.txt\) and no bank.json"):
        make_bank(["a"]).save(tmp_path)
    with pytest.raises(ValueError, match=r"thesis.txt is a file; a bank is saved into a folder"):
        make_bank(["a"]).save(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="there is no bank"):
        Bank.load(tmp_path / "nothing")


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import torch
from comem_core.memory.bank_files import layout, reading, writing
from tests.comem_core.memory.bank_files.test_saved_banks import Bank, memory

def count(call):
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counted

def change(folder):
    writing.SHARD_BYTES = 190
    os.replace, os.fsync, os.link = map(count, (os.replace, os.fsync, os.link))
    Path.unlink, layout.shutil.rmtree = map(count, (Path.unlink, layout.shutil.rmtree))
    reading.save_file = count(reading.save_file)
    bank = Bank.load(folder)
    bank.put(["j", "a"], torch.stack([memory("j"), memory("a")]))
    bank.remove(["e"])
    bank.save(folder)

torch.set_num_threads(1)
start = Path(sys.argv[1])
for left in range(100):
    folder = start.with_name(f"killed{left:02}")
    shutil.copytree(start, folder)
    if (child := os.fork()) == 0:
        change(folder)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        break
"""


@pytest.mark.usefixtures("small_shards")
def test_a_bank_killed_at_every_write_is_the_one_before_or_after_and_can_be_saved_again(tmp_path: Path):
    before = list("abcdefghi")
    after = [each for each in before if each != "e"] + ["j"]
    make_bank(before).save(tmp_path / "start")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "start")], check=True)
    folders = sorted(tmp_path.glob("killed*"))
    assert len(folders) > 10
    found = []
    for folder in folders:
        bank = Bank.load(folder)
        found.append("j" in bank)
        now = after if found[-1] else before
        check_whole(bank, now)
        bank.put(["k"], memory("k")[None])
        bank.save(folder)
        check_whole(Bank.load(folder), [*now, "k"])
        assert len(list(folder.glob("state-*"))) <= 2 and not list(folder.glob(".*.tmp"))
    assert found == sorted(found) and set(found) == {False, True}
