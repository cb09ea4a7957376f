"""Memory read by a server that works as vLLM does: the same answers, and no trust in one that reads otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from comem_core.backbone.decoding import Decoding
from comem_core.backbone.finding import SHIPPED
from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.vllm.__main__ import main
from comem_core.serving.vllm.control import check_placement
from comem_core.serving.vllm.reader import VllmReader
from comem_core.serving.vllm.server import VllmServer
from comem_core.serving.vllm.template import MEMORY_FIRST, make_memory_template
from comem_core.synthesis.generator import ServerGone
from tests.splicing_server import SplicingServer, run_server

Items = tuple[KnowledgeItem, ...]
Questions = tuple[Question, ...]


@pytest.fixture(scope="module")
def bank(encoder: MemoryEncoder, items: Items) -> Bank:
    return encoder.encode(items)


@pytest.fixture(scope="module")
def right(encoder: MemoryEncoder) -> SplicingServer:
    return SplicingServer(encoder.backbone, MEMORY_FIRST + str(encoder.backbone.tokenizer.chat_template))


@pytest.fixture(scope="module")
def reader(encoder: MemoryEncoder, right: SplicingServer):
    with run_server(right) as url:
        yield VllmReader(encoder, VllmServer(url))


def test_all_answers_are_those_of_the_library(
    encoder: MemoryEncoder, reader: VllmReader, bank: Bank, questions: Questions
):
    asked = [*questions] * 2
    here = encoder.answer(asked, bank, k=2, same_language=False, max_new_tokens=8)
    there = reader.answer(asked, bank, k=2, same_language=False, max_new_tokens=8)
    assert there == here  # texts, token counts, and whether they are cut off
    assert len({answer.text for answer in there}) > 1
    assert {answer.memory_vectors for answer in there} == {16}


def test_an_answer_ends_there_too_where_it_is_told_to(
    encoder: MemoryEncoder, reader: VllmReader, bank: Bank, questions: Questions
):
    [whole] = encoder.answer(questions[:1], bank, k=2, same_language=False, max_new_tokens=8)
    options: dict[str, Any] = {"decoding": Decoding(stop=(whole.text[len(whole.text) // 2 :][:2],))}
    here = encoder.answer(questions, bank, k=2, same_language=False, max_new_tokens=8, **options)
    assert reader.answer(questions, bank, k=2, same_language=False, max_new_tokens=8, **options) == here
    assert here[0].answer_tokens < whole.answer_tokens


def test_without_memory_and_with_any_number_of_items(
    encoder: MemoryEncoder, reader: VllmReader, bank: Bank, questions: Questions
):
    a, b, c = list(bank)[:3]
    shown = [(a, b, c), (b,), (), (c, a)]
    asked = [questions[0]] * 4
    assert reader.answer(asked, bank, item_ids=shown, max_new_tokens=6) == encoder.answer(
        asked, bank, item_ids=shown, max_new_tokens=6
    )


def test_everything_that_decides_an_answer_is_said_in_each_request(
    reader: VllmReader, right: SplicingServer, bank: Bank, questions: Questions
):
    right.seen.clear()
    reader.answer(questions[:2], bank, item_ids=[[next(iter(bank))], []], max_new_tokens=3)
    with_memory, without = sorted(right.seen, key=lambda request: "cache_salt" not in request)
    said = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 3}
    assert {name: with_memory[name] for name in said} == said
    assert [message["role"] for message in with_memory["messages"]][:2] == ["memory", "system"]
    assert "memory" not in [message["role"] for message in without["messages"]]
    assert len(with_memory["cache_salt"]) == 64 and "cache_salt" not in without


@pytest.mark.parametrize("kind", ["without the template", "other weights"])
def test_a_server_that_reads_memory_otherwise_is_refused(
    kind: str, encoder: MemoryEncoder, new_backbone: Callable[..., Any]
):
    if kind == "other weights":
        other = new_backbone()
        with torch.no_grad():
            other.model.model.language_model.layers[0].self_attn.q_proj.weight.mul_(0.5)
        wrong = SplicingServer(other, MEMORY_FIRST + str(encoder.backbone.tokenizer.chat_template))
    else:
        own = str(encoder.backbone.tokenizer.chat_template)
        wrong = SplicingServer(encoder.backbone, own)
    with run_server(wrong) as url, pytest.raises(ValueError, match=r"does not read memory.*comem_core\.serving\.vllm"):
        VllmReader(encoder, VllmServer(url))


def test_the_right_server_differs_by_rounding_only(encoder: MemoryEncoder, reader: VllmReader):
    assert check_placement(encoder, reader.server) < 1e-4
    assert (reader.server.engine.version, reader.server.engine.max_tokens) == ("0.0.7", 512)


def test_a_memory_that_is_not_finite_never_leaves(
    reader: VllmReader, right: SplicingServer, encoder: MemoryEncoder, questions: Questions
):
    memory = torch.zeros(8, encoder.backbone.width)
    memory[3, 5] = torch.inf
    right.seen.clear()
    with pytest.raises(ValueError, match="not finite"):
        reader.answer_batch([encoder.conversation(questions[0])], [memory], max_new_tokens=2)
    with pytest.raises(ValueError, match=r"\(8, 7\).*this reader takes"):
        reader.answer_batch([encoder.conversation(questions[0])], [torch.zeros(8, 7)], max_new_tokens=2)
    assert right.seen == []


def test_a_penalty_that_vllm_counts_otherwise_is_refused(reader: VllmReader, questions: Questions):
    penalty = Decoding(repetition_penalty=1.05)
    with pytest.raises(ValueError, match=r"repetition_penalty is 1\.05"):
        reader.answer_batch(
            [reader.conversation(questions[0])], [torch.zeros(0, 64)], max_new_tokens=2, decoding=penalty
        )


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [("/version", 404, "not as vLLM does"), ("/v1/chat/completions", 400, r"refuses the control question.*too long")],
)
def test_a_server_that_refuses_is_told_with_its_reason(path: str, status: int, message: str, encoder: MemoryEncoder):
    faulty = SplicingServer(encoder.backbone, "", faults={path: (status, "too long")})
    with run_server(faulty) as url, pytest.raises(ValueError, match=message):
        VllmReader(encoder, VllmServer(url, max_retries=0))


def test_nobody_at_the_address_and_an_address_that_is_none(encoder: MemoryEncoder):
    with pytest.raises(ServerGone, match=r"no vLLM server answers at http://127\.0\.0\.1:9"):
        VllmReader(encoder, VllmServer("http://127.0.0.1:9/v1", max_retries=0))
    with pytest.raises(ValueError, match=r"found 'tiny'; expected the address of a vLLM server"):
        VllmServer("tiny")


def test_the_template_changes_nothing_but_the_memory(encoder: MemoryEncoder, questions: Questions):
    tokenizer: Any = encoder.backbone.tokenizer
    own = str(tokenizer.chat_template)
    turns, _ = encoder.backbone.markup.make_messages(encoder.conversation(questions[0]))
    memory = {"role": "memory", "content": [{"type": "text", "text": "HERE"}]}

    def render(messages: Any, template: str) -> str:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )

    assert render(turns, MEMORY_FIRST + own) == render(turns, own)
    assert render([memory, *turns], MEMORY_FIRST + own) == "HERE" + render(turns, own)


def test_the_command_writes_the_template_and_says_how_to_start_vllm(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["tiny", "--output", str(tmp_path), "--port", "8123", "--images", "2"]) == 0
    printed = capsys.readouterr().out
    [template] = tmp_path.rglob("*.jinja")
    assert template.read_text(encoding="utf-8").startswith(MEMORY_FIRST)
    for said in (
        str(template),
        "--port 8123",
        "--enable-prompt-embeds",
        '{"image": 2, "video": 0}',
        "--host 127.0.0.1",
    ):
        assert said in printed
    assert main(["nowhere", "--output", str(tmp_path)]) == 2
    assert "no backbone 'nowhere'" in capsys.readouterr().err


def test_a_shipped_model_has_a_place_for_vllms_mark():
    tokenizer: Any = load_backbone("tiny").tokenizer
    size = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<prompt_embeds>"]})
    assert len(tokenizer) == size
    [mark] = tokenizer.encode("<prompt_embeds>", add_special_tokens=False)
    assert mark < size
    assert make_memory_template(SHIPPED / "tiny").startswith(MEMORY_FIRST)
    texts = ["ÿ", "naïve façade", "Zürich", "\x00\x01", "日本", "😀", "".join(map(chr, range(0x80, 0x250)))]
    for text in texts:
        assert mark not in tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
