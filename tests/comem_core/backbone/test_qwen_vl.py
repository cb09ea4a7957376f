"""The Qwen-VL family behind the interface: pictures, masks, batches, and a folder that others can open."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from comem_core.backbone.conversation import Turn
from comem_core.backbone.images import MAX_ASPECT, VisualTokens
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import Question
from comem_core.pretraining.tiny_base import save_tiny_base

Questions = tuple[Question, ...]


def png(wide: int, tall: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (wide, tall), (10, 90, 200)).save(stream, format="PNG")
    return stream.getvalue()


def asking(question: Question) -> list[Turn]:
    return [Turn("system", ("You are a helpful assistant.",)), Turn("user", (question.image, question.question))]


def logits_of(backbone: QwenVL, conversations: list[list[Turn]]) -> list[Tensor]:
    """The logits of each conversation's own tokens, padding left out."""
    with torch.inference_mode():
        tokens = backbone.tokenize(conversations, generation=True)
        logits_BLV = backbone.logits(backbone.hidden(backbone.embed(tokens)))
    return [logits_LV[mask_L] for logits_LV, mask_L in zip(logits_BLV, tokens.mask_BL, strict=True)]


@pytest.mark.parametrize("cap", [None, 11, 7, 4, 1])
def test_visual_tokens_never_exceed_the_cap_and_the_aspect_is_kept(backbone: QwenVL, cap: int | None):
    chance, bounds = random.Random(0), None if cap is None else VisualTokens(max=cap)
    for _ in range(40):
        wide, tall = chance.randint(60, 400), chance.randint(60, 400)
        if not 1 / 3 < wide / tall < 3:
            continue
        tokens = backbone.tokenize([[Turn("user", (png(wide, tall),))]], generation=False, visual_tokens=bounds)
        num_visual = int((tokens.ids_BL == backbone.model.config.image_token_id).sum())
        _, down, across = (tokens.images["image_grid_thw"][0] // torch.tensor([1, 2, 2])).tolist()
        assert num_visual == down * across
        assert 1 <= num_visual <= (cap or 14)  # the processor's own bound of 3600 pixels is 14 tokens
        assert abs(across - down * wide / tall) < 1 + wide / tall  # within one visual token on either side


def test_a_cap_beyond_the_processors_own_bound_leaves_that_in_force(backbone: QwenVL):
    conversation = [Turn("user", (png(400, 400),))]
    wide = backbone.tokenize([conversation], generation=False, visual_tokens=VisualTokens(max=500, min=100))
    assert int((wide.ids_BL == backbone.model.config.image_token_id).sum()) == 14


def test_a_small_picture_becomes_at_least_one_visual_token(backbone: QwenVL):
    tokens = backbone.tokenize([[Turn("user", (png(3, 3),))]], generation=False, visual_tokens=VisualTokens(max=1))
    assert int((tokens.ids_BL == backbone.model.config.image_token_id).sum()) == 1


def test_the_mask_marks_exactly_what_the_assistant_writes(backbone: QwenVL):
    short = [Turn("user", ("assistant\n?",)), Turn("assistant", ("Euro",))]
    long = [
        Turn("system", ("You are a helpful assistant.",)),
        Turn("user", (png(40, 30), "the assistant said Paris")),
        Turn("assistant", ("Paris",)),
        Turn("user", ("and? <- assistant",)),
        Turn("assistant", ("two words\nand a line",)),
    ]
    empty = [Turn("user", ("say nothing",)), Turn("assistant", ("",))]
    tokens = backbone.tokenize([short, long, empty], generation=False)
    written = [
        backbone.tokenizer.decode(ids_L[mask_L]) for ids_L, mask_L in zip(tokens.ids_BL, tokens.answer_BL, strict=True)
    ]
    assert written == [
        "Euro<|im_end|>\n",
        "Paris<|im_end|>\ntwo words\nand a line<|im_end|>\n",
        "<|im_end|>\n",
    ]


def test_an_opened_turn_has_nothing_to_supervise(backbone: QwenVL):
    tokens = backbone.tokenize([[Turn("user", ("Hello",))]], generation=True)
    assert not tokens.answer_BL.any()
    assert backbone.tokenizer.decode(tokens.ids_BL[0]).endswith("<|im_start|>assistant\n")


def test_a_left_padded_batch_gives_the_logits_of_one_at_a_time(backbone: QwenVL, questions: Questions):
    conversations = [asking(each) for each in questions[:4]]
    conversations.append([Turn("user", (questions[4].image, questions[5].image, "two pictures"))])
    conversations.append([Turn("user", ("no picture",))])
    together = logits_of(backbone, conversations)
    for conversation, logits_LV in zip(conversations, together, strict=True):
        [alone_LV] = logits_of(backbone, [conversation])
        torch.testing.assert_close(logits_LV, alone_LV, rtol=1e-4, atol=1e-4)
    assert backbone.answer(conversations, max_new_tokens=6) == [
        backbone.answer([conversation], max_new_tokens=6)[0] for conversation in conversations
    ]


def test_our_logits_are_those_of_the_models_own_forward(backbone: QwenVL, questions: Questions):
    tokens = backbone.tokenize([asking(each) for each in questions[:2]], generation=True)
    with torch.inference_mode():
        ours_BLV = backbone.logits(backbone.hidden(backbone.embed(tokens)))
        theirs_BLV = backbone.model(
            input_ids=tokens.ids_BL, attention_mask=tokens.mask_BL.long(), **tokens.images
        ).logits
    torch.testing.assert_close(ours_BLV[tokens.mask_BL], theirs_BLV[tokens.mask_BL], rtol=1e-5, atol=1e-5)


def test_an_answer_says_its_length_and_whether_it_was_cut(new_backbone: Callable[[], QwenVL], questions: Questions):
    backbone = new_backbone()
    [cut] = backbone.answer([asking(questions[0])], max_new_tokens=3)
    assert (cut.answer_tokens, cut.truncated) == (3, True)
    assert cut.prompt_tokens == int(backbone.tokenize([asking(questions[0])], generation=True).mask_BL.sum())
    with torch.no_grad():  # a model that always ends its turn at once
        end = backbone.tokenizer.convert_tokens_to_ids("<|im_end|>")
        backbone.model.lm_head = torch.nn.Linear(64, len(backbone.tokenizer))
        backbone.model.lm_head.weight.zero_()
        backbone.model.lm_head.bias.zero_()[end] = 1
    [silent] = backbone.answer([asking(questions[0])], max_new_tokens=3)
    assert (silent.text, silent.answer_tokens, silent.truncated) == ("", 0, False)


def test_pictures_have_one_embedding_each_whatever_their_neighbours(backbone: QwenVL, questions: Questions):
    pictures = [each.image for each in questions[:4]]
    together_ND = backbone.pool_images(pictures)
    assert (together_ND.shape, together_ND.dtype) == ((4, 64), torch.float32)
    for picture, row_D in zip(pictures, together_ND, strict=True):
        torch.testing.assert_close(backbone.pool_images([picture])[0], row_D, rtol=1e-4, atol=1e-4)


def test_the_limit_on_a_pictures_shape_is_the_processors_own(backbone: QwenVL):
    processor: Any = backbone.processor.image_processor
    processor(images=[Image.new("RGB", (MAX_ASPECT, 1)), Image.new("RGB", (1, MAX_ASPECT))])
    for size in ((MAX_ASPECT + 1, 1), (1, MAX_ASPECT + 1)):
        with pytest.raises(ValueError, match="aspect ratio"):
            processor(images=[Image.new("RGB", size)])


def test_a_saved_folder_gives_the_same_model_up_to_half_precision(
    backbone: QwenVL, new_backbone: Callable[[], QwenVL], questions: Questions, tmp_path: Path
):
    saved = new_backbone()
    save_tiny_base(saved, tmp_path / "base")
    loaded = load_backbone(str(tmp_path / "base"))
    assert isinstance(loaded, QwenVL)
    conversations = [asking(each) for each in questions[:3]]
    for before_LV, after_LV in zip(logits_of(backbone, conversations), logits_of(saved, conversations), strict=True):
        assert torch.equal(before_LV, after_LV)  # saving changes nothing
    for before_LV, after_LV in zip(logits_of(backbone, conversations), logits_of(loaded, conversations), strict=True):
        torch.testing.assert_close(before_LV, after_LV, rtol=0.05, atol=0.05)
    sentence = "País: Malé, España, 2 km² y 中国"
    ids = backbone.tokenizer(sentence)["input_ids"]
    assert loaded.tokenizer(sentence)["input_ids"] == ids
    assert loaded.tokenizer.decode(ids) == backbone.tokenizer.decode(ids)


def test_a_saved_folder_names_the_familys_own_classes(
    backbone: QwenVL, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    save_tiny_base(new_backbone(), tmp_path)
    named = {
        name: json.loads((tmp_path / name).read_text())
        for name in ("config.json", "processor_config.json", "tokenizer_config.json")
    }
    assert named["config.json"]["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert named["config.json"]["model_type"] == "qwen2_5_vl"
    assert named["processor_config.json"]["processor_class"] == "Qwen2_5_VLProcessor"
    assert named["tokenizer_config.json"]["processor_class"] == "Qwen2_5_VLProcessor"
    assert named["processor_config.json"]["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
