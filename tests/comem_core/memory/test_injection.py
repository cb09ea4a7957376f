"""Memory in front of a query: what the reader sees, at which positions, alone and in a batch, at once and in decoding.

Shapes: B questions, L query tokens, P tokens with memory, D width.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.interface import Backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import inject
from comem_core.prompts import read_prompt_set

PROMPTS = read_prompt_set("short")
Questions = tuple[Question, ...]
Items = tuple[KnowledgeItem, ...]


def conversations_of(questions: Sequence[Question]) -> list[Conversation]:
    return [PROMPTS.make_conversation(each.question, each.image, each.language) for each in questions]


def tokens_of(backbone: Backbone, questions: Sequence[Question]) -> Tokens:
    return backbone.tokenize(conversations_of(questions), generation=True)


def different_memories(encoder: MemoryEncoder, items: Items) -> list[Tensor]:
    """The memories of 0, 1, 2 and 3 items."""
    memory_BMD = encoder.encode_batch(items[:3])
    return [memory_BMD[:count].reshape(-1, memory_BMD.shape[-1]) for count in range(4)]


def greedy_without_cache(backbone: QwenVL, embedded: Embedded, *, num_tokens: int, jump: int = 0) -> str:
    """Decode one row greedily, the whole sequence anew at every step.

    `jump` is added to the positions of the new tokens (the authors' released code adds a constant there).
    """
    embeds_BPD, mask_BP, positions_3BP = embedded.embeds_BLD, embedded.mask_BL, embedded.positions_3BL
    ids: list[int] = []
    end = backbone.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for step in range(num_tokens):
        hidden_BPD = backbone.hidden(Embedded(embeds_BPD, mask_BP, positions_3BP))
        ids.append(int(backbone.logits(hidden_BPD[0, -1]).argmax()))
        if ids[-1] == end:
            break
        new_11D = backbone.model.get_input_embeddings()(torch.tensor([[ids[-1]]]))
        embeds_BPD = torch.cat([embeds_BPD, new_11D], dim=1)
        mask_BP = torch.cat([mask_BP, mask_BP.new_ones(1, 1)], dim=1)
        following = int(embedded.positions_3BL.max()) + 1 + step + jump
        positions_3BP = torch.cat([positions_3BP, torch.full((3, 1, 1), following)], dim=2)
    return backbone.tokenizer.decode([each for each in ids if each != end], skip_special_tokens=True).strip()


def test_token_embeddings_in_place_of_a_memory_read_as_the_same_text(backbone: QwenVL, questions: Questions):
    text = "Capital: Paris. Currency: Euro. Nonsense that falls to bytes."
    ids_T = torch.tensor(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
    tokens = tokens_of(backbone, questions[:1])
    types_BL = tokens.images["mm_token_type_ids"]
    as_text = Tokens(
        torch.cat([ids_T[None], tokens.ids_BL], dim=1),
        torch.cat([torch.ones(1, len(ids_T), dtype=torch.bool), tokens.mask_BL], dim=1),
        torch.cat([torch.zeros(1, len(ids_T), dtype=torch.bool), tokens.answer_BL], dim=1),
        tokens.images | {"mm_token_type_ids": torch.cat([torch.zeros(1, len(ids_T)).to(types_BL), types_BL], dim=1)},
    )
    with torch.inference_mode():
        written = backbone.embed(as_text)
        injected = inject(backbone.embed(tokens), [backbone.model.get_input_embeddings()(ids_T)])
        assert torch.equal(injected.positions_3BL, written.positions_3BL)  # text positions run on
        of_text = backbone.logits(backbone.hidden(written))
        of_memory = backbone.logits(backbone.hidden(injected))
        without = backbone.logits(backbone.hidden(backbone.embed(tokens)))
    torch.testing.assert_close(of_memory, of_text, rtol=1e-4, atol=1e-4)
    assert (of_memory[:, -1] - without[:, -1]).abs().max() > 0.1  # the text was read at all


def test_memory_stands_at_0_to_its_length_and_the_query_is_shifted_by_exactly_that(
    encoder: MemoryEncoder, items: Items, questions: Questions
):
    memories = different_memories(encoder, items)
    with torch.inference_mode():
        query = encoder.backbone.embed(tokens_of(encoder.backbone, questions[:4]))
    injected = inject(query, memories)
    assert injected.positions_3BL.dtype == torch.int64
    for row, memory in enumerate(memories):
        length = len(memory)
        seen = injected.mask_BL[row]
        assert seen.tolist() == sorted(seen.tolist())  # left-padded
        assert int(seen.sum()) == length + int(query.mask_BL[row].sum())
        positions_3P = injected.positions_3BL[:, row, seen]
        assert positions_3P[:, :length].tolist() == [list(range(length))] * 3
        assert torch.equal(positions_3P[:, length:], query.positions_3BL[:, row, query.mask_BL[row]] + length)
        assert torch.equal(injected.embeds_BLD[row, seen][:length], memory)
        assert torch.equal(injected.embeds_BLD[row, seen][length:], query.embeds_BLD[row, query.mask_BL[row]])


def test_positions_are_exact_beyond_256_with_a_bfloat16_model(new_backbone: Callable[[], QwenVL], questions: Questions):
    half = new_backbone()
    half.model.bfloat16()
    with torch.inference_mode():
        query = half.embed(tokens_of(half, questions[:2]))
        injected = inject(query, [torch.randn(333, half.width), torch.randn(8, half.width)])
        assert injected.embeds_BLD.dtype == torch.bfloat16
        assert injected.positions_3BL.dtype == torch.int64
        own = injected.positions_3BL[:, 0, injected.mask_BL[0]]
        assert own[:, :333].tolist() == [list(range(333))] * 3
        assert torch.equal(own[:, 333:], query.positions_3BL[:, 0, query.mask_BL[0]] + 333)
        assert half.hidden(injected).isfinite().all()


def test_a_batch_of_questions_with_different_numbers_of_items_answers_as_one_at_a_time(
    encoder: MemoryEncoder, items: Items, questions: Questions
):
    memories, backbone = different_memories(encoder, items), encoder.backbone
    tokens = tokens_of(backbone, questions[:4])
    with torch.inference_mode(), backbone.switch_adapter(False):
        together = inject(backbone.embed(tokens), memories)
        hidden_BPD = backbone.hidden(together)
        for row, memory in enumerate(memories):
            alone = inject(backbone.embed(tokens_of(backbone, questions[row : row + 1])), [memory])
            hidden_PD = backbone.hidden(alone)[0]
            torch.testing.assert_close(hidden_BPD[row, together.mask_BL[row]], hidden_PD, rtol=1e-4, atol=1e-4)
    conversations = conversations_of(questions[:4])
    at_once = encoder.answer_batch(conversations, memories, max_new_tokens=8)
    one_by_one = [
        encoder.answer_batch([conversation], [memory], max_new_tokens=8)[0]
        for conversation, memory in zip(conversations, memories, strict=True)
    ]
    assert at_once == one_by_one
    assert len({each.text for each in at_once}) == 4


@pytest.mark.parametrize("num_vectors", [0, 24, 300])
def test_decoding_with_the_cache_continues_right_behind_the_query(
    backbone: QwenVL, questions: Questions, num_vectors: int
):
    torch.manual_seed(0)
    memory_MD = 0.1 * torch.randn(num_vectors, backbone.width)
    for question in questions[:3]:
        with torch.inference_mode():
            embedded = inject(backbone.embed(tokens_of(backbone, [question])), [memory_MD])
            [(text, _, _)] = backbone.generate(embedded, max_new_tokens=12)
            assert text == greedy_without_cache(backbone, embedded, num_tokens=12)
            jumped = greedy_without_cache(backbone, embedded, num_tokens=12, jump=8000 - num_vectors)
            assert text != jumped  # the authors' shift of 8000 in decoding would be noticed


def test_positions_left_by_an_earlier_answer_do_not_leak_into_the_next(encoder: MemoryEncoder, questions: Questions):
    conversations = conversations_of(questions[:2])
    nothing = torch.zeros(0, encoder.backbone.width)
    first = encoder.answer_batch(conversations[:1], [nothing], max_new_tokens=8)
    encoder.answer_batch(conversations[1:], [torch.randn(40, encoder.backbone.width)], max_new_tokens=8)
    encoder.backbone.answer([[Turn("user", ("Hello",))]], max_new_tokens=4)
    assert encoder.answer_batch(conversations[:1], [nothing], max_new_tokens=8) == first


def test_an_empty_memory_is_no_memory(encoder: MemoryEncoder, questions: Questions):
    backbone, conversations = encoder.backbone, conversations_of(questions[:3])
    nothing = [torch.zeros(0, backbone.width)] * 3
    with torch.inference_mode():
        query = backbone.embed(tokens_of(backbone, questions[:3]))
    injected = inject(query, nothing)
    assert torch.equal(injected.mask_BL, query.mask_BL)
    assert torch.equal(injected.embeds_BLD[query.mask_BL], query.embeds_BLD[query.mask_BL])
    assert torch.equal(injected.positions_3BL[:, query.mask_BL], query.positions_3BL[:, query.mask_BL])
    assert encoder.answer_batch(conversations, nothing, max_new_tokens=6) == backbone.answer(
        conversations, max_new_tokens=6
    )


def test_memory_vectors_are_no_prompt_tokens(encoder: MemoryEncoder, items: Items, questions: Questions):
    conversations = conversations_of(questions[:2])
    memory = encoder.encode_batch(items[:2]).flatten(0, 1)
    with_memory = encoder.answer_batch(conversations, [memory, memory], max_new_tokens=2)
    without = encoder.backbone.answer(conversations, max_new_tokens=2)
    assert [each.prompt_tokens for each in with_memory] == [each.prompt_tokens for each in without]


def test_a_wrong_number_or_width_of_memories_is_refused(backbone: QwenVL, questions: Questions):
    with torch.inference_mode():
        query = backbone.embed(tokens_of(backbone, questions[:2]))
    with pytest.raises(ValueError, match=r"1 memories for 2 questions; expected one per question"):
        inject(query, [torch.zeros(8, 64)])
    with pytest.raises(ValueError, match=r"shape \(8, 32\), but this reader takes \(vectors, 64\)"):
        inject(query, [torch.zeros(8, 64), torch.zeros(8, 32)])
    with pytest.raises(ValueError, match=r"shape \(1, 8, 64\)"):
        inject(query, [torch.zeros(1, 8, 64), torch.zeros(8, 64)])


def test_gradients_flow_through_the_reader_into_the_memory(backbone: QwenVL, questions: Questions):
    memory_MD = torch.randn(16, backbone.width, requires_grad=True)
    embedded = inject(backbone.embed(tokens_of(backbone, questions[:1])), [memory_MD])
    backbone.logits(backbone.hidden(embedded)[0, -1]).logsumexp(dim=-1).backward()
    assert memory_MD.grad is not None
    assert (memory_MD.grad.abs().sum(dim=-1) > 0).all()
    assert all(weight.grad is None for weight in backbone.model.parameters())
