"""The language model inside a Qwen2.5-VL, alone: nothing is lost, and it loads like any text-only model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from comem_core.backbone.conversation import Conversation, without_pictures
from comem_core.backbone.finding import SHIPPED, find_backbone_folder
from comem_core.backbone.loading import load_backbone, load_text_model, read_width
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.reader import Reader
from comem_core.backbone.small.tiny_text import copy_decoder
from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set


def logits(reader: Reader, conversations: Sequence[Conversation]) -> tuple[Tensor, Tensor]:
    tokens = reader.tokenize(conversations, generation=False)
    with torch.inference_mode():
        return tokens.ids_BL, reader.logits(reader.hidden(reader.embed(tokens)))


@pytest.fixture(scope="module")
def conversations(questions: tuple[Question, ...]) -> list[Conversation]:
    """Texts of different lengths in several languages, with their answers."""
    prompts = read_prompt_set("short")
    return [
        without_pictures(prompts.make_conversation(each.question, each.image, each.language, answer=each.answers[0]))
        for each in questions
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shipped model's conversion is kept; made once for these tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_CACHE", str(folder))
        find_backbone_folder("tiny-text")
    return folder


def test_any_vlm_s_decoder_alone_gives_its_very_logits(backbone: QwenVL, conversations: list[Conversation]):
    ids, expected = logits(backbone, conversations)
    alone_ids, found = logits(copy_decoder(backbone), conversations)
    assert torch.equal(ids, alone_ids)
    assert torch.equal(expected, found)


def test_a_copy_is_made_of_the_weights(new_backbone: Callable[[], QwenVL], conversations: list[Conversation]):
    vlm = new_backbone()
    alone = copy_decoder(vlm)
    _, before = logits(alone, conversations)
    with torch.no_grad():
        embeddings: Any = vlm.model.get_input_embeddings()
        embeddings.weight.zero_()
    assert torch.equal(logits(alone, conversations)[1], before)


def test_the_shipped_model_s_decoder_is_found_by_name_and_gives_its_very_logits(
    cache: Path, monkeypatch: pytest.MonkeyPatch, conversations: list[Conversation]
):
    monkeypatch.setenv("COMEM_CACHE", str(cache))
    alone = load_text_model("tiny-text")
    assert (alone.name, type(alone.model)) == ("tiny-text", Qwen2ForCausalLM)
    assert read_width(find_backbone_folder("tiny-text")) == read_width(SHIPPED / "tiny") == alone.width
    ids, expected = logits(load_backbone("tiny"), conversations)
    alone_ids, found = logits(alone, conversations)
    assert torch.equal(ids, alone_ids)
    assert torch.equal(expected, found)


def test_it_is_made_once_and_stays_outside_the_repository(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_CACHE", str(cache))
    folder = find_backbone_folder("tiny-text")
    assert folder.is_relative_to(cache)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half made beside it
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert find_backbone_folder("tiny-text") == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp


def test_a_vlm_is_no_text_only_reader_and_a_text_model_no_backbone(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_CACHE", str(cache))
    with pytest.raises(ValueError, match="is a 'qwen2_5_vl' model; a text-only reader is one of qwen2, llama"):
        load_text_model("tiny")
    with pytest.raises(ValueError, match=r"holds a 'qwen2' model; a backbone is one of .*qwen2_vl, qwen2_5_vl"):
        load_backbone("tiny-text")
