"""Text-only models as readers: what they load, and what they refuse."""

from pathlib import Path

import pytest
import torch

from comem_core.backbone.conversation import Turn, without_pictures
from comem_core.backbone.text import TextModel

CONVERSATION = [Turn("system", ("Be short.",)), Turn("user", (b"picture", "Which currency?"))]


def test_a_picture_is_refused_and_the_texts_alone_are_read(text_model: TextModel):
    with pytest.raises(ValueError, match="conversation 0 holds a picture, but tiny sees none: leave the picture out"):
        text_model.tokenize([CONVERSATION], generation=True)
    tokens = text_model.tokenize([without_pictures(CONVERSATION)], generation=True)
    assert text_model.tokenizer.decode(tokens.ids_BL[0]) == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nWhich currency?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_saved_folder_is_loaded(text_model: TextModel, tmp_path: Path):
    text_model.model.save_pretrained(tmp_path)
    text_model.tokenizer.save_pretrained(tmp_path)
    loaded = TextModel.load(tmp_path, dtype=torch.bfloat16)
    assert (type(loaded.model), loaded.model.dtype) == (type(text_model.model), torch.bfloat16)
    conversations = [without_pictures(CONVERSATION), [Turn("user", ("Hello",))]]
    ours, theirs = (each.tokenize(conversations, generation=True) for each in (text_model, loaded))
    assert torch.equal(ours.ids_BL, theirs.ids_BL)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_a_model_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="is a 'gpt2' model; a text-only reader is one of qwen2, llama"):
        TextModel.load(tmp_path)


def test_a_tokenizer_without_the_marks_of_turns_is_refused(text_model: TextModel, tmp_path: Path):
    text_model.tokenizer.save_pretrained(tmp_path)
    raw = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(raw.replace("<|im_start|>", "<|im_begin|>"))
    other = type(text_model.tokenizer).from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"this tokenizer has no <\|im_start\|>, which its family's"):
        TextModel(text_model.model, other, "other")


def test_a_template_that_writes_turns_in_another_way_is_refused(text_model: TextModel):
    text_model.tokenizer.chat_template, own = (
        text_model.tokenizer.chat_template.replace("{{ message['role'] }}", "{{ message['role'] | upper }}"),
        text_model.tokenizer.chat_template,
    )
    try:
        with pytest.raises(ValueError, match="found 0 turns of the assistant where a conversation has 1"):
            text_model.tokenize([[Turn("user", ("Hi",)), Turn("assistant", ("Hello",))]], generation=False)
    finally:
        text_model.tokenizer.chat_template = own
