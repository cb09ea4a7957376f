"""A memory as a folder and as a repository of the Hub: what is written, that it reads back, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import comem_core as comem
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.layout import CORPUS_ADDRESS, KNOWLEDGE_STAGE
from tests.hub_server import TOKEN
from tests.tasks.evaluation.finished_store import ITEMS, QUESTIONS, Finished

pytestmark = pytest.mark.usefixtures("small_ray")
ROOT = Path(__file__).parents[3]
INQUIRIES = [comem.Inquiry(image=each.image, question=each.question) for each in QUESTIONS[:6]]


@pytest.fixture(scope="module")
def saved(memory: comem.Memory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return memory.save(tmp_path_factory.mktemp("saved") / "memory")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copied"))


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """The address of a server of its own that speaks the Hub's API."""
    command = [sys.executable, str(ROOT / "tests" / "hub_server.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait()


def test_nothing_in_the_folder_says_where_the_corpus_was(finished: Finished, tmp_path: Path) -> None:
    memory = comem.open(finished.place)
    record = dict(memory.made_from[KNOWLEDGE_STAGE])
    record["measured"] = {"bad_rows": {}, CORPUS_ADDRESS: "/home/me/photos"}
    memory.made_from = {**memory.made_from, KNOWLEDGE_STAGE: record}
    folder = memory.save(tmp_path / "saved")
    for name in ("memory.json", "README.md", "encoder.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "/home/me" not in text and str(finished.place) not in text
    assert comem.open(folder).made_from[KNOWLEDGE_STAGE]["measured"] == {"bad_rows": {}}


CLIENT = """
import contextlib, io, json, sys
import comem_core as comem
for line in sys.stdin:
    code, arguments = json.loads(line)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {"comem": comem, "arguments": arguments})
    print(json.dumps(printed.getvalue()), flush=True)
"""


@dataclass(frozen=True)
class Client:
    """A process whose Hub is the test's server, with a cache of its own; it runs code and returns what that prints."""

    home: Path
    process: "subprocess.Popen[str]"

    def run(self, code: str, *arguments: object) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([code, [str(each) for each in arguments]]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def run_client(hub: str, home: Path, *, offline: bool) -> Iterator[Client]:
    switches = {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1" if offline else "0"}
    environment = os.environ | switches | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CLIENT]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Client(home, process)


@pytest.fixture(scope="module")
def online(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with run_client(hub, tmp_path_factory.mktemp("home"), offline=False) as client:
        yield client


@pytest.fixture(scope="module")
def offline(hub: str, online: Client) -> Iterator[Client]:
    """A client that may not ask the Hub, with the cache of the one that may."""
    with run_client(hub, online.home, offline=True) as client:
        yield client


def test_a_saved_memory_finds_and_answers_the_same(memory: comem.Memory, saved: Path) -> None:
    opened = comem.Memory.from_pretrained(saved)
    assert opened.ask_many(INQUIRIES) == memory.ask_many(INQUIRIES)
    assert (opened.version, opened.settings, len(opened)) == (memory.version, memory.settings, len(ITEMS))
    assert opened.is_current() and opened.reload() is opened


def test_a_saved_memory_holds_no_picture_no_backbone_and_no_path_of_this_machine(
    memory: comem.Memory, saved: Path, finished: Finished
) -> None:
    files = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    [shard] = {path for path in files if path.startswith("bank/memory-")}
    assert {path for path in files if "/." not in path} == {
        "README.md", "memory.json", "encoder.json", "encoder.safetensors", "items.parquet", shard, "bank/bank.json",
        *(f"bank/state-000001/{name}" for name in ("item_ids.npy", "places.npy", "shards.json")),
        "index/image/index.json", "index/image/item_ids.npy", "index/image/languages.json", "index/image/vectors.npy",
    }  # fmt: skip
    table = pq.read_table(saved / "items.parquet")
    assert table["image"].null_count == len(ITEMS)
    assert table["text"].to_pylist() == [item.text for item in ITEMS]
    assert str(finished.place) not in "".join(
        path.read_text() for path in saved.iterdir() if path.suffix in (".json", ".md")
    )


def test_pictures_are_saved_on_request(memory: comem.Memory, tmp_path: Path) -> None:
    memory.save(tmp_path / "with", pictures=True)
    opened = comem.open(tmp_path / "with")
    assert comem.open(opened.save(tmp_path / "again", pictures=True)).has_pictures
    assert [opened.items[item.item_id].image for item in ITEMS] == [item.image for item in ITEMS]


def test_pictures_that_were_not_saved_cannot_be_saved_again(saved: Path, tmp_path: Path) -> None:
    opened = comem.open(saved)
    with pytest.raises(ValueError, match="pictures were not saved with this memory"):
        opened.save(tmp_path / "with", pictures=True)
    assert not comem.open(opened.save(tmp_path / "without")).has_pictures


def test_the_card_tells_encoder_backbone_items_and_licences_from_the_records(
    memory: comem.Memory, saved: Path, finished: Finished
) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    for told in (
        "60 knowledge items, each as 16 vectors of width 128",
        f"| encoder | `{memory.encoder.encoder_id}` |",
        f"`{memory.encoder.made_for[0]}`",
        f"| {ITEMS[0].licence} | 60 |",
        "| en | 12 |",
        f"| bank | `{finished.bank.fingerprint}` | 60 |",
        'language: ["ar", "en", "es", "ru", "zh"]',
    ):
        assert told in card, told


def test_saving_again_replaces_and_other_folders_are_left_alone(memory: comem.Memory, tmp_path: Path) -> None:
    folder = memory.save(tmp_path / "memory")
    assert comem.open(memory.save(folder, pictures=True)).items[ITEMS[0].item_id].image is not None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.txt\)"):
        memory.save(tmp_path / "mine")
    with pytest.raises(ValueError, match="training set of this memory is not known"):
        memory.save(tmp_path / "samples", training_set=True)
    assert not (tmp_path / "samples").exists()


def test_a_damaged_folder_is_refused_with_the_file(copied: Path) -> None:
    for name in ("items.parquet", "index/image/vectors.npy", "encoder.safetensors"):
        whole = (copied / name).read_bytes()
        (copied / name).write_bytes(whole[:-7])
        with pytest.raises(ValueError, match=f"{name} has .* bytes, expected"):
            comem.open(copied)
        (copied / name).write_bytes(whole)
    [shard] = (copied / "bank").glob("memory-*")
    shard.unlink()
    with pytest.raises(ValueError, match=r"memory-.*\.safetensors is missing"):
        comem.open(copied)


def test_a_saved_bank_of_another_encoder_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "bank")
    other = comem.Bank(encoder_id="f" * 16, num_vectors=16, width=128)
    other.save(copied / "bank")
    forget_sizes(copied)
    with pytest.raises(ValueError, match="this bank holds vectors of encoder f"):
        comem.open(copied)


def forget_sizes(copied: Path) -> None:
    stated = json.loads((copied / "memory.json").read_text())
    stated["sizes"] = {name: size for name, size in stated["sizes"].items() if not name.startswith("bank/")}
    (copied / "memory.json").write_text(json.dumps(stated))


def test_a_folder_that_an_earlier_version_saved_still_opens(memory: comem.Memory, copied: Path) -> None:
    """Its bank is one file of floating numbers, with the ids in the header."""
    item_ids = list(memory.bank)
    shape = (len(item_ids), memory.bank.num_vectors, memory.bank.width)
    header = {"encoder_id": memory.encoder.encoder_id, "item_ids": item_ids, "grid": None}
    tensors = {"memory": memory.bank.of(item_ids).view(shape)}
    save_file(tensors, copied / "bank.safetensors", metadata={"bank": json.dumps(header)})
    shutil.rmtree(copied / "bank")
    forget_sizes(copied)
    stated = json.loads((copied / "memory.json").read_text())
    (copied / "memory.json").write_text(json.dumps(stated | {"format": 1}))
    opened = comem.open(copied)
    assert opened.ask_many(INQUIRIES) == memory.ask_many(INQUIRIES)
    assert opened.bank.dtype == torch.float32


def test_another_format_is_refused(copied: Path) -> None:
    stated = json.loads((copied / "memory.json").read_text())
    (copied / "memory.json").write_text(json.dumps(stated | {"format": 3}))
    with pytest.raises(ValueError, match="has format 3, expected 2"):
        comem.open(copied)
    (copied / "memory.json").write_text(json.dumps(stated))
    with pytest.raises(ValueError, match="holds one encoder and one bank; leave"):
        comem.open(copied, encoder="tiny-encoder")
    with pytest.raises(ValueError, match="is not a repository of the Hub"):
        comem.open(copied, revision="main")


def test_a_memory_is_made_of_items_without_a_run(tmp_path: Path) -> None:
    encoder = MemoryEncoder.from_pretrained("tiny-encoder")
    made = comem.Memory.make(encoder, ITEMS[:10], k=2)
    answers = made.ask_many(INQUIRIES)
    assert {len(each.items) for each in answers} == {2}
    assert comem.open(made.save(tmp_path / "made")).ask_many(INQUIRIES) == answers


PUSH = """
memory = comem.open(arguments[0])
print(memory.push_to_hub("me/memory", token=arguments[1], pictures=True))
"""
PULL = """
memory = comem.open("me/memory", revision=arguments[0] if arguments else None)
print(memory.version, len(memory), memory.is_current())
print(memory.ask(next(iter(memory.items.values())).picture, "Which country is this?").text)
"""
REFUSED = """
memory = comem.open(arguments[0])
for ask in (lambda: memory.push_to_hub("me/memory", token="hf_wrong"), lambda: comem.open("me/nothing")):
    try:
        ask()
    except ValueError as error:
        print(error)
"""


def test_a_memory_goes_to_the_hub_and_comes_back(
    memory: comem.Memory, finished: Finished, hub: str, online: Client, offline: Client
) -> None:
    assert online.run(PUSH, finished.place, TOKEN) == f"{hub}/me/memory\n"
    assert not list(online.home.glob("hub/models--me--memory"))
    expected = memory.ask(ITEMS[0].picture, "Which country is this?").text
    told = f"{memory.version} {len(ITEMS)} True\n{expected}\n"
    assert online.run(PULL) == told
    assert list(online.home.glob("hub/models--me--memory"))
    assert offline.run(PULL) == told
    assert online.run(PULL, "main") == told


def test_what_the_hub_refuses_is_told_with_the_way_out(saved: Path, hub: str, online: Client, offline: Client) -> None:
    unauthorised, missing = online.run(REFUSED, saved).splitlines()
    assert "'me/memory' was not pushed" in unauthorised and "401" in unauthorised
    assert "'me/nothing' is not a folder here" in missing and f"the Hub at {hub} says: 404" in missing
    pushed, opened = offline.run(REFUSED, saved).splitlines()
    assert "HF_HUB_OFFLINE is set" in pushed and "HF_HUB_OFFLINE=0" in opened
