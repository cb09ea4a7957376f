"""Guidance: which places attention is shown, and that a loss on it says how much falls there.

Shapes as in `training.guidance`.
"""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.injection import inject
from comem_core.pretraining.encoder_recipe import GuidanceRecipe
from comem_core.pretraining.guidance import (
    compute_finding_loss,
    compute_gathered,
    compute_gathering_loss,
    compute_guided_heads,
    find_places_of_answers,
    find_places_of_memories,
    number_pictures_before,
    start_matching,
    watch,
)
from comem_core.prompts import read_prompt_set

PROMPTS = read_prompt_set("short")
GUIDANCE = GuidanceRecipe(gathering_layer=0, finding_layer=1)


def asked(items: Sequence[KnowledgeItem], questions: Sequence[Question], answers: Sequence[str]) -> Conversation:
    """A conversation with several questions about its items."""
    turns = [PROMPTS.make_system_turn(), *(PROMPTS.make_item_turn(item) for item in items)]
    for question, answer in zip(questions, answers, strict=True):
        turns += [PROMPTS.make_question_turn(question.question, question.image, question.language)]
        turns += [Turn("assistant", (answer,))]
    return turns


@pytest.fixture
def tokens(backbone: QwenVL, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> Tokens:
    """Two rows of different lengths: three items with two questions, and one item with two."""
    titles = [item.title or "" for item in items]
    rows = [
        asked(items[:3], questions[:2], [titles[2], titles[0]]),
        asked(items[3:4], questions[:2], ["no such value", titles[3]]),
    ]
    return backbone.tokenize(rows, generation=False)


def words(backbone: QwenVL, ids: Tensor) -> str:
    return backbone.tokenizer.decode(ids)


def test_each_token_knows_the_picture_that_stands_before_it(backbone: QwenVL, tokens: Tokens):
    picture_BL = number_pictures_before(backbone, tokens)
    assert picture_BL.max(dim=1).values.tolist() == [5, 3]
    assert (picture_BL.diff(dim=1) >= 0).all()
    assert (picture_BL[~tokens.mask_BL] == 0).all()
    features = [len(each) for each in backbone.compute_image_features(tokens)]
    visual_BL = backbone.mark_pictures(tokens)
    held = [int((visual_BL[row] & (picture_BL[row] == number)).sum()) for row in (0, 1) for number in (1, 2, 3, 4, 5)]
    assert [count for count in held if count] == features


def test_an_answer_is_found_in_the_item_that_it_is_about_and_nowhere_else(
    backbone: QwenVL, tokens: Tokens, items: tuple[KnowledgeItem, ...]
):
    places = find_places_of_answers(backbone, tokens, [2, 0, 0, 0])
    assert places.row_N.tolist() == [0, 0, 1]  # "no such value" does not stand in its item
    picture_BL = number_pictures_before(backbone, tokens)
    for row, place, target_L, item in zip(
        places.row_N, places.place_N, places.target_NL, (items[2], items[0], items[3]), strict=True
    ):
        assert words(backbone, tokens.ids_BL[row, place + 1 : place + 2]).strip() == item.title
        assert {words(backbone, each).strip() for each in tokens.ids_BL[row, target_L]} == {item.title}
        assert len(set(picture_BL[row, target_L].tolist())) == 1
    wrong = find_places_of_answers(backbone, tokens, [1, 1, 0, 0])
    assert wrong.row_N.tolist() == [1]


def test_the_memory_of_the_item_that_answers_is_found_in_front_of_the_question(
    backbone: QwenVL, questions: tuple[Question, ...]
):
    rows = [PROMPTS.make_conversation(q.question, q.image, q.language, answer="Euro") for q in questions[:3]]
    tokens = backbone.tokenize(rows, generation=False)
    memories = [torch.full((4 * count, backbone.width), float(count)) for count in (3, 1, 2)]
    for memory_KMD in memories:
        memory_KMD += torch.arange(len(memory_KMD))[:, None] // 4 / 10
    embedded = inject(backbone.embed(tokens), memories)
    places = find_places_of_memories(tokens, embedded, [2, None, 0], num_vectors=4)
    assert places.row_N.tolist() == [0, 2]
    for row, place, target_P, mark in zip(places.row_N, places.place_N, places.target_NL, (3.2, 2.0), strict=True):
        torch.testing.assert_close(embedded.embeds_BLD[row, target_P], torch.full((4, backbone.width), mark))
        shift = embedded.mask_BL.shape[1] - tokens.mask_BL.shape[1]
        assert not tokens.answer_BL[row, place - shift]
        assert tokens.answer_BL[row, place - shift + 1]


def test_the_losses_are_the_missing_attention(backbone: QwenVL, tokens: Tokens):
    length = tokens.ids_BL.shape[1]
    places = find_places_of_answers(backbone, tokens, [2, 0, 0, 0])
    looking_BHLL = torch.zeros(2, 2, length, length)
    for row, place, target_L in zip(places.row_N, places.place_N, places.target_NL, strict=True):
        looking_BHLL[row, 0, place, target_L.nonzero()[0]] = 1.0  # one head of two looks right
    assert compute_finding_loss(looking_BHLL, places) == pytest.approx(0.6931, abs=1e-3)
    uniform_BHLL = torch.full((2, 2, length, length), 1 / length)
    sizes = [len(each) for each in backbone.compute_image_features(tokens)]
    least, most = (-math.log(size / length) for size in (max(sizes), min(sizes)))
    assert least - 0.01 <= float(compute_gathering_loss(uniform_BHLL, backbone, tokens)) <= most
    assert compute_gathering_loss(torch.zeros_like(uniform_BHLL), backbone, tokens) > most + 3


def test_attention_comes_with_the_same_hidden_states(new_backbone: Callable[[], QwenVL], tokens: Tokens):
    backbone = new_backbone()
    with torch.inference_mode():
        embedded = backbone.embed(tokens)
        plain_BLD = backbone.hidden(embedded)
        watched = watch(backbone, embedded)
    torch.testing.assert_close(watched.hidden_BLD[tokens.mask_BL], plain_BLD[tokens.mask_BL], rtol=1e-3, atol=1e-4)
    attentions = watched.attentions
    assert len(attentions) == 2
    shares_BL = compute_guided_heads(attentions, 1, GUIDANCE).sum(dim=-1).mean(dim=1)
    torch.testing.assert_close(shares_BL[tokens.mask_BL], torch.ones(int(tokens.mask_BL.sum())))
    with pytest.raises(ValueError, match="guidance names layer 3, counted from 0, but this model has 2 layers"):
        compute_guided_heads(attentions, 3, GUIDANCE)


def test_matching_heads_start_by_preferring_what_is_like_themselves(new_backbone: Callable[[], QwenVL]):
    def likeness(backbone: QwenVL) -> float:
        """How often a vector's own key is its best among 40."""
        attention = backbone.model.model.language_model.layers[1].self_attn  # pyright: ignore
        own_ND = torch.randn(40, backbone.width, generator=torch.Generator().manual_seed(3))
        query, key = (layer(own_ND)[:, : attention.head_dim] for layer in (attention.q_proj, attention.k_proj))
        return float(((query @ key.T).argmax(dim=1) == torch.arange(40)).float().mean())

    backbone = new_backbone()
    before = likeness(backbone)
    start_matching(backbone, GUIDANCE)
    assert before < 0.3
    assert likeness(backbone) > 0.6


def test_what_is_gathered_is_the_pictures_alone(new_backbone: Callable[[], QwenVL], questions: tuple[Question, ...]):
    backbone = new_backbone()  # watching it changes its kind of attention
    asked_before, asked_after, other = (
        PROMPTS.make_conversation(text, picture, "en")
        for text, picture in (
            ("Name this country.", questions[0].image),
            ("What is the capital of this country?", questions[0].image),
            ("Name this country.", questions[1].image),
        )
    )
    tokens = backbone.tokenize([asked_before, asked_after, other], generation=False)
    with torch.inference_mode():
        found_BD = compute_gathered(backbone, tokens, watch(backbone, backbone.embed(tokens)), GUIDANCE)
    torch.testing.assert_close(found_BD[0], found_BD[1], rtol=1e-4, atol=1e-5)
    assert (found_BD[0] - found_BD[2]).norm() > 0.01 * found_BD[0].norm()
