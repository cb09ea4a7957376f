"""What a run stores opens in the library: the stages' own index, bank and items, on the shipped encoder."""

import base64
import io
import json
import shutil
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import comem_core as comem
from comem_core.knowledge.downloads import Downloads
from comem_core.memory.description import find_encoder_folder
from comem_core.serving.layout import Record
from tasks.data.index import build_index
from tasks.data.ingest import KNOWLEDGE
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.evaluation.exam import PREDICTIONS, Exam
from tasks.evaluation.opening import describe_opening
from tasks.memory.encode import encode_memory
from tasks.rows.tables import make_item_table, read_rows
from tests.tasks.evaluation.finished_store import ITEMS, QUESTIONS, Finished, Made, make_run, put, put_encoder
from warehouse.schemas import check_rows

pytestmark = pytest.mark.usefixtures("small_ray")


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """A store of its own to change."""
    return Path(shutil.copytree(finished.place / "store", tmp_path / "copied"))


def edit_record(store: Path, stage: str, **changes: Any) -> None:
    for path in store.glob(f"{stage}/*/record.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_finds_what_the_runs_own_retrieval_found_and_answers_as_the_encoder_does(
    finished: Finished, memory: comem.Memory
) -> None:
    inquiries = [comem.Inquiry(image=each.image, question=each.question, language=each.language) for each in QUESTIONS]
    answers = memory.ask_many(inquiries)
    retrieved = list(read_rows(finished.retrieved))
    assert [[item.item_id for item in each.items] for each in answers] == [row["item_ids"] for row in retrieved]
    assert [[item.score for item in each.items] for each in answers] == [row["scores"] for row in retrieved]
    expected = memory.encoder.answer(QUESTIONS, memory.bank, item_ids=[row["item_ids"] for row in retrieved])
    assert [(each.text, each.prompt_tokens, each.memory_vectors) for each in answers] == [
        (each.text, each.prompt_tokens, each.memory_vectors) for each in expected
    ]
    assert [each.searched for each in answers] == [each.language for each in QUESTIONS]


def test_what_was_shown_is_told_with_rank_text_source_and_licence(memory: comem.Memory) -> None:
    by_id = {item.item_id: item for item in ITEMS}
    answer = memory.ask(ITEMS[0].picture, "Which country is this?", language="en", k=2)
    assert [item.rank for item in answer.items] == [1, 2]
    for shown in answer.items:
        item = by_id[shown.item_id]
        assert (shown.text, shown.source, shown.licence, shown.language, shown.title) == (
            item.text,
            item.source,
            item.licence,
            "en",
            item.title,
        )
    assert answer.items[0].score == pytest.approx(1.0) and answer.memory_vectors == 32


def test_a_picture_may_be_a_path_bytes_a_pil_image_or_an_address(memory: comem.Memory, tmp_path: Path) -> None:
    raw = ITEMS[0].picture
    (tmp_path / "a flag.png").write_bytes(raw)
    data = f"data:image/png;base64,{base64.b64encode(raw).decode()}"
    path = tmp_path / "a flag.png"
    given = [raw, bytearray(raw), path, str(path), path.as_uri(), data, Image.open(io.BytesIO(raw))]
    answers = [memory.ask(each, "Which country is this?", language="en") for each in given]
    assert len({(each.text, each.items) for each in answers}) == 1


@pytest.mark.parametrize(
    ("image", "question", "said"),
    [
        ("no such.png", "Which country is this?", "found no picture 'no such.png'"),
        (b"text", "Which country is this?", "the picture in bytes is not a readable picture"),
        (None, "Which country is this?", "the picture is a NoneType; expected a path, encoded bytes, a PIL image"),
        (12, "Which country is this?", "the picture is a int; expected a path, encoded bytes, a PIL image"),
        (ITEMS[0].image, "  ", "the question is empty"),
        (ITEMS[0].image, ["Which?"], "the question is a list; expected a text"),
        ("https://example.com/a.png", "Which country is this?", "fetched only if asked for"),
        ("ftp://example.com/a.png", "Which country is this?", "cannot be read; expected a path"),
        ("data:image/png;base64,@@", "Which country is this?", "is not base64"),
    ],
)
def test_what_is_not_a_picture_or_a_question_is_refused_with_what_was_expected(
    memory: comem.Memory, image: Any, question: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        memory.ask(image, question, language="en")


def test_a_picture_beyond_the_limits_is_refused(finished: Finished) -> None:
    strict = comem.open(finished.place, limits=comem.PictureLimits(max_pixels=100, allow_files=False))
    with pytest.raises(ValueError, match=r"pixels; at most 100 are decoded"):
        strict.ask(ITEMS[0].picture, "Which country is this?")
    with pytest.raises(ValueError, match=r"which is not read here; send its bytes"):
        strict.ask("photo.png", "Which country is this?")


class OneFlag(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ITEMS[0].picture)


def test_an_address_on_the_network_is_fetched_only_where_asked_for_and_never_from_inside(finished: Finished) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OneFlag)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/flag.png"
    try:
        here = Downloads(inside_allowed=("127.0.0.0/8",))
        asked = comem.open(finished.place, limits=comem.PictureLimits(allow_urls=True, downloads=here))
        answer = asked.ask(address, "Which country is this?")
        assert answer == asked.ask(ITEMS[0].picture, "Which country is this?")
        public = comem.open(finished.place, limits=comem.PictureLimits(allow_urls=True))
        with pytest.raises(ValueError, match=r"address_refused: 127\.0\.0\.1 is .* not a public address"):
            public.ask(address, "Which country is this?")
    finally:
        server.shutdown()
        server.server_close()


def test_the_language_is_recognised_among_the_items_and_without_one_every_language_is_searched(
    memory: comem.Memory,
) -> None:
    answers = [memory.find(each.image, each.question) for each in QUESTIONS]
    assert [each.searched for each in answers] == [each.language for each in QUESTIONS]
    unsure = memory.ask(ITEMS[0].picture, "?")
    assert unsure.searched == "every language" and len({item.language for item in unsure.items}) == 3
    foreign = memory.find(ITEMS[0].picture, "Wer hat das entworfen?")
    assert foreign.searched == "every language"


def test_without_memory_nothing_is_shown(memory: comem.Memory) -> None:
    question = QUESTIONS[1]
    answer = memory.ask(question.image, question.question, language=question.language, with_memory=False)
    assert (answer.items, answer.memory_vectors, answer.searched) == ((), 0, None)
    [alone] = memory.encoder.answer([question], memory.bank, item_ids=[[]])
    assert answer.text == alone.text


def test_inquiries_of_all_kinds_in_one_batch_get_what_each_gets_alone(memory: comem.Memory) -> None:
    flag, words = ITEMS[0].picture, "Which country is this?"
    inquiries = [
        comem.Inquiry(image=flag, question=words, language="en"),
        comem.Inquiry(image=flag, question=words, language="en", k=1),
        comem.Inquiry(image=flag, question=words, language="en", with_memory=False),
        comem.Inquiry(image=flag, question=words, language="en", item_ids=(ITEMS[7].item_id,)),
        comem.Inquiry(image=flag, question="?"),
    ]
    together = memory.answer(memory.find_many(inquiries))
    assert together == [memory.answer([memory.find_many([each])[0]])[0] for each in inquiries]
    assert [len(each.items) for each in together] == [3, 1, 0, 1, 3]
    assert together[3].items[0].score is None and together[3].searched is None


def test_a_store_opens_by_comem_by_store_and_by_address(finished: Finished, memory: comem.Memory) -> None:
    question = QUESTIONS[0]
    expected = memory.find(question.image, question.question).items
    for where in (str(finished.place), finished.place / "store", (finished.place / "store").as_uri()):
        assert comem.open(where).find(question.image, question.question).items == expected


def test_a_store_at_an_address_is_copied_once(
    finished: Finished, memory: comem.Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    files.put(str(finished.place / "store"), "/bucket/store", recursive=True)
    try:
        opened = comem.open("memory://bucket")
        question = QUESTIONS[0]
        assert opened.ask(question.image, question.question) == memory.ask(question.image, question.question)
        copies = sorted(path.parent.name for path in (tmp_path / "cache").rglob("record.json"))
        assert len(copies) == 4
        files.rm("/bucket/store/bank", recursive=True)
        assert opened.source is not None
        with pytest.raises(ValueError, match="has no bank"):
            comem.open("memory://bucket")
    finally:
        files.rm("/bucket", recursive=True)


def test_the_latest_encoder_with_a_bank_is_opened_and_any_other_by_name(
    finished: Finished, context: Context, memory: comem.Memory
) -> None:
    shutil.copytree(finished.place / "store", context.store)
    run = make_run(context)
    other = memory.encoder.save(context.root / "other")
    assert other.backbone == "tiny"
    newer = put_encoder(run, "newer", context.root / "other")
    opened = comem.open(context.root)
    assert opened.version.startswith(finished.encoder.fingerprint)  # the newer one has no bank yet
    knowledge = Reference(
        stage="knowledge", fingerprint=opened.made_from["knowledge"]["fingerprint"],
        uri=str(context.store / "knowledge" / opened.made_from["knowledge"]["fingerprint"]), num_rows=len(ITEMS),
    )  # fmt: skip
    assert opened.is_current() and opened.reload() is opened
    bank = encode_memory.fn(run, knowledge, newer)
    assert not opened.is_current()
    again = opened.reload()
    assert again.version.startswith(f"{newer.fingerprint}-{bank.fingerprint}")
    assert comem.open(context.root, encoder=finished.encoder.fingerprint[:8]).version == opened.version
    assert comem.open(context.root, bank=finished.bank.fingerprint).version == opened.version
    with pytest.raises(ValueError, match="no encoder 'another'; trained here: "):
        comem.open(context.root, encoder="another")
    with pytest.raises(ValueError, match="was made by encoder 'tiny-encoder'"):
        comem.open(context.root, encoder="tiny-encoder")
    with pytest.raises(ValueError, match="no bank 'ffffffff'"):
        comem.open(context.root, bank="ffffffff")


@dataclass(frozen=True)
class AnswersKey:
    """What of answers' key says how they were asked for."""

    conditions: tuple[str, ...]
    k: tuple[int, ...]


def put_answers(
    context: Context,
    finished: Finished,
    *,
    k: tuple[int, ...],
    conditions: tuple[str, ...] = ("none", "memory"),
    encoder: Reference | None = None,
    decides: str | None = None,
) -> None:
    """Put answers into the store as an evaluation leaves them, or only `decides` something by them."""
    run, table = make_run(context), check_rows("prediction", [])
    inputs = {"encoder": encoder or finished.encoder, "bank": finished.bank}
    key = AnswersKey(conditions=conditions, k=k)
    answers = run_stage(run, PREDICTIONS, key, inputs, lambda artefact: write(artefact, table))
    if decides is not None:
        tried = {"encoder": finished.encoder, "predictions": answers}
        run_stage(run, Stage(name=decides, version="1"), key, tried, lambda artefact: write(artefact, table))


def test_as_many_items_are_shown_as_the_latest_evaluation_showed_first(finished: Finished, context: Context) -> None:
    shutil.copytree(finished.place / "store", context.store)
    assert comem.open(context.root).settings.k == 3  # as its questions were searched for
    put_answers(context, finished, k=(1, 5))
    opened = comem.open(context.root)
    assert (opened.settings.k, opened.version.split("-")[-1]) == (1, "k1")
    put_answers(context, finished, k=(2,))
    assert not opened.is_current() and opened.reload().settings.k == 2
    put_answers(context, finished, k=(4,), conditions=("none", "text"))  # tells nothing about memory
    another = put_encoder(make_run(context), "another", find_encoder_folder("tiny-encoder"))
    put_answers(context, finished, k=(5,), encoder=another)
    put_answers(context, finished, k=(1, 4), decides="tried-k")  # the number was chosen on them, for others
    assert comem.open(context.root).settings.k == 2
    assert len(opened.ask(QUESTIONS[0].image, QUESTIONS[0].question, language="en", k=3).items) == 3


def test_the_bank_of_the_condition_foreign_is_opened_only_by_its_name(finished: Finished, context: Context) -> None:
    shutil.copytree(finished.place / "store", context.store)
    run = make_run(context)
    knowledge = put(run, KNOWLEDGE, "of another corpus", make_item_table(ITEMS[:5]))
    build_index.fn(run, knowledge)
    bank = encode_memory.fn(run, knowledge, finished.encoder)
    assert len(comem.open(context.root)) == 5  # the latest
    exam = Exam(
        knowledge=knowledge,
        encoder=finished.encoder,
        bank=finished.bank,
        questions=knowledge,
        retrieved=finished.retrieved,
        foreign_bank=bank,
    )
    table = check_rows("prediction", [])
    run_stage(run, PREDICTIONS, Made("asked"), exam.name_inputs(), lambda artefact: write(artefact, table))
    assert len(comem.open(context.root)) == len(ITEMS)
    assert len(comem.open(context.root, bank=bank.fingerprint)) == 5


def write(artefact: Partial, table: pa.Table) -> None:
    artefact.write_shard("part-00000", table)


def test_a_reload_keeps_an_encoder_that_is_the_same(copied: Path) -> None:
    opened = comem.open(copied)
    edit_record(copied, "index", fingerprint="0" * 16)
    assert not opened.is_current()
    assert opened.reload().encoder is opened.encoder


def test_a_place_without_a_memory_says_what_it_is_and_what_to_do(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no store .*Run synth-and-train first"):
        comem.open(tmp_path / "nowhere")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"holds no memory: expected the folder `.comem` of a run.*found a.txt"):
        comem.open(tmp_path / "notes")
    for stage, said in (
        ("retrieval", None),
        ("index", "have no index of their items"),
        ("knowledge", "have no index|are not in"),
        ("bank", "has no bank .*run rebuild-memory"),
        ("encoder", "has no bank .*run synth-and-train"),
    ):
        shutil.rmtree(copied / stage)
        if said is None:
            assert comem.open(copied).settings.k == 3
            continue
        with pytest.raises(ValueError, match=said):
            comem.open(copied)


def test_a_backbone_that_is_not_here_is_named_with_the_way_out(copied: Path) -> None:
    [path] = copied.glob("encoder/*/encoder.json")
    stated = json.loads(path.read_text()) | {"backbone": "somebody/elses-vlm"}
    path.write_text(json.dumps(stated))
    [record] = copied.glob("encoder/*/record.json")
    changed: Record = json.loads(record.read_text())
    for shard in changed["shards"]:
        shard["bytes"] = (record.parent / shard["file"]).stat().st_size
    record.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"'somebody/elses-vlm' of this memory is not on this machine.*backbone="):
        comem.open(copied)
    assert len(comem.open(copied, backbone="tiny")) == len(ITEMS)


def test_a_bank_with_a_number_that_is_not_finite_is_refused_with_the_item_before_it_is_shown(copied: Path) -> None:
    [path] = copied.glob("bank/*/memory-*.safetensors")
    with safe_open(path, framework="pt") as stored:
        tensors, stated = {name: stored.get_tensor(name) for name in ("memory", "scale")}, stored.metadata()
    tensors["scale"][3, 5] = torch.nan
    save_file(tensors, path, metadata=stated)
    opened = comem.open(copied)
    item_id = list(opened.bank)[3]
    with pytest.raises(ValueError, match=f"not finite .{item_id}"):
        opened.bank.of([item_id])
    with pytest.raises(ValueError, match=r"memory-.* differs from what was stored"):
        opened.bank.verify()


def test_a_bank_that_an_earlier_version_made_says_what_to_do(copied: Path) -> None:
    [record] = copied.glob("bank/*/record.json")
    stated: Record = json.loads(record.read_text())
    stated["shards"] = [each for each in stated["shards"] if each["file"].endswith(".parquet")]
    record.write_text(json.dumps(stated))
    (record.parent / "bank.json").unlink()
    with pytest.raises(ValueError, match="as an earlier version stored them; run rebuild-memory"):
        comem.open(copied)


def test_a_file_that_is_cut_off_is_named(copied: Path) -> None:
    [path] = copied.glob("index/*/image/vectors.npy")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"index .* is damaged: image/vectors.npy has"):
        comem.open(copied)


def test_the_bank_of_a_run_is_opened_by_its_folder(finished: Finished, memory: comem.Memory) -> None:
    bank = comem.Bank.load(finished.bank.folder)
    assert (len(bank), bank.encoder_id, bank.dtype) == (len(ITEMS), memory.encoder.encoder_id, torch.int8)
    bank.verify()
    bank.remove([ITEMS[0].item_id])
    with pytest.raises(ValueError, match="belongs to the store of a run, where nothing changes"):
        bank.save(finished.bank.folder)


def test_the_run_says_how_its_bank_is_opened(finished: Finished) -> None:
    record = Store.of(finished.run.context).find("bank", finished.bank.fingerprint)
    assert record is not None
    opening = describe_opening(finished.run.context, record)
    assert opening is not None
    assert opening.places == (f"encoder: {finished.encoder.uri}", f"bank:    {finished.bank.uri}")
    assert opening.lines[:2] == list(opening.places) and opening.lines[3:] == [f"    {line}" for line in opening.code]
    names: dict[str, Any] = {}
    exec("\n".join(opening.code), names)
    assert names["memory"].made_from["bank"]["fingerprint"] == finished.bank.fingerprint
