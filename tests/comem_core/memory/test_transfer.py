"""A text-only reader of a VLM's memories: what stands in its input, what is kept on disk, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from comem_core.backbone.conversation import without_pictures
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.text import TextModel
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import inject
from comem_core.memory.transfer import TextTransfer
from comem_core.memory.transfer_recipe import DESCRIPTION, WEIGHTS, TransferRecipe

Items = tuple[KnowledgeItem, ...]
Questions = tuple[Question, ...]
NewTextModel = Callable[..., TextModel]
PROJECTED, BLIND = TransferRecipe(projection=True), TransferRecipe(question_picture=False)


@pytest.fixture
def wide(encoder: MemoryEncoder, new_text_model: NewTextModel) -> TextTransfer:
    """From width 64 to a reader of width 96."""
    return TextTransfer(encoder, new_text_model(96), PROJECTED)


def shown(items: Items, questions: Questions) -> list[list[str]]:
    """Another number of items for each question."""
    return [[item.item_id for item in items[: place % 3]] for place in range(len(questions))]


def test_a_reader_of_the_same_width_answers_as_with_tensors_put_in_by_hand(
    encoder: MemoryEncoder, new_text_model: NewTextModel, items: Items, questions: Questions
):
    reader = new_text_model(64)
    bank, item_ids = encoder.encode(items), shown(items, questions)
    answers = TextTransfer(encoder, reader, BLIND).answer(questions, bank, item_ids=item_ids, max_new_tokens=5)
    for question, ids, said in zip(questions, item_ids, answers, strict=True):
        prompt = without_pictures(encoder.prompts.make_conversation(question.question, b"", question.language))
        tokens = reader.tokenize([prompt], generation=True)
        memory = bank.of(ids)
        embeddings: Any = reader.model.get_input_embeddings()
        embeds_BLD = torch.cat([memory, embeddings(tokens.ids_BL)[0]])[None]
        ids_BT = reader.model.generate(  # pyright: ignore[reportCallIssue]
            inputs_embeds=embeds_BLD, max_new_tokens=5, do_sample=False, eos_token_id=reader.markup.end
        )
        assert said.text == reader.tokenizer.decode(ids_BT[0], skip_special_tokens=True).strip()
        assert (said.item_ids, said.memory_vectors) == (tuple(ids), len(memory))
        assert said.prompt_tokens == tokens.ids_BL.shape[1]
    assert len({said.text for said in answers}) > 3  # the answers are not all one thing


def test_a_questions_picture_stands_behind_the_items_as_an_item_without_text(
    encoder: MemoryEncoder, new_text_model: NewTextModel, items: Items, questions: Questions
):
    transfer, question = TextTransfer(encoder, new_text_model(64)), questions[0]
    bank = encoder.encode(items)
    picture = KnowledgeItem(image=question.image, text="", language=question.language, source="any", licence="any")
    [in_front] = transfer.put_in_front([question], [bank.of([items[1].item_id])])
    expected = torch.cat([bank.of([items[1].item_id]), encoder.encode_batch([picture])[0]])
    torch.testing.assert_close(in_front, expected, rtol=1e-5, atol=1e-5)
    ids = [[items[1].item_id]]
    [seeing] = transfer.answer([question], bank, item_ids=ids, max_new_tokens=5)
    other = replace(question, image=questions[1].image)
    [elsewhere] = transfer.answer([other], bank, item_ids=ids, max_new_tokens=5)
    assert seeing.memory_vectors == 16
    assert seeing.text != elsewhere.text
    blind = TextTransfer(encoder, transfer.reader, BLIND)
    answers = [blind.answer([each], bank, item_ids=ids, max_new_tokens=5)[0].text for each in (question, other)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(temperature=1.0, top_p=0.9, seed=3)])
def test_a_batch_of_questions_is_answered_as_one_at_a_time(
    wide: TextTransfer, items: Items, questions: Questions, decoding: Decoding
):
    bank = wide.encoder.encode(items)

    def answers(batch_size: int) -> list[str]:
        said = wide.answer(
            questions,
            bank,
            item_ids=shown(items, questions),
            max_new_tokens=5,
            batch_size=batch_size,
            decoding=decoding,
        )
        return [each.text for each in said]

    assert answers(6) == answers(1)


def test_search_shows_what_the_encoders_own_backbone_finds(wide: TextTransfer, items: Items, questions: Questions):
    bank = wide.encoder.encode(items)
    found = [hits.item_ids for hits in wide.encoder.search(questions, bank, k=2, same_language=False)]
    answers = wide.answer(questions, bank, k=2, same_language=False, max_new_tokens=2)
    assert [said.item_ids for said in answers] == found


@pytest.mark.parametrize("width", [32, 64, 96])
def test_a_projection_starts_at_the_norm_of_the_readers_token_embeddings(
    new_encoder: Callable[..., MemoryEncoder], new_text_model: NewTextModel, items: Items, width: int
):
    reader = new_text_model(width)
    transfer = TextTransfer(new_encoder(), reader, PROJECTED)
    embeddings: Any = reader.model.get_input_embeddings()
    expected = float(embeddings.weight.pow(2).sum(dim=1).mean().sqrt())
    with torch.inference_mode():
        memory_NR = transfer.project(transfer.encoder.encode_batch(items)).flatten(end_dim=1)
    assert float(memory_NR.norm(dim=1).mean()) == pytest.approx(expected, rel=0.2)
    assert transfer.num_parameters == 64 * width + width


def test_angles_between_memories_survive_a_new_projection_to_a_wider_reader(wide: TextTransfer, items: Items):
    with torch.inference_mode():
        memory_ND = wide.encoder.encode_batch(items).flatten(end_dim=1)
        one_ND, other_NR = normalize(memory_ND, dim=1), normalize(wide.project(memory_ND), dim=1)
    torch.testing.assert_close(one_ND @ one_ND.T, other_NR @ other_NR.T, rtol=1e-4, atol=1e-4)


def test_another_width_without_a_projection_is_refused_with_both_widths(
    encoder: MemoryEncoder, new_text_model: NewTextModel
):
    expected = r"on 'tiny' makes memories of width 64, but 'text' reads width 96; train a projection between them"
    with pytest.raises(ValueError, match=expected):
        TextTransfer(encoder, new_text_model(96))


def test_a_saved_transfer_answers_the_same(
    wide: TextTransfer, new_text_model: NewTextModel, items: Items, questions: Questions, tmp_path: Path
):
    with torch.no_grad():
        for weight in wide.parameters().values():
            weight.add_(0.1 * torch.randn_like(weight))
    wide.save(tmp_path)
    loaded = TextTransfer.load(tmp_path, wide.encoder, new_text_model(96))
    assert (loaded.recipe, loaded.encoder_id) == (wide.recipe, wide.encoder_id)
    bank, ids = wide.encoder.encode(items), shown(items, questions)
    assert loaded.answer(questions, bank, item_ids=ids, max_new_tokens=5) == wide.answer(
        questions, bank, item_ids=ids, max_new_tokens=5
    )


def test_a_transfer_without_a_projection_is_saved_and_loaded_too(
    encoder: MemoryEncoder, new_text_model: NewTextModel, tmp_path: Path
):
    assert TextTransfer(encoder, new_text_model(64), BLIND).save(tmp_path).parameters == 0
    loaded = TextTransfer.load(tmp_path, encoder, new_text_model(64))
    assert (loaded.recipe, loaded.projection) == (BLIND, None)


def test_the_file_holds_the_projection_alone_and_names_both_sides(wide: TextTransfer, tmp_path: Path):
    stated = wide.save(tmp_path)
    assert set(load_file(tmp_path / WEIGHTS)) == {"projection.weight", "projection.bias"}
    assert json.loads((tmp_path / DESCRIPTION).read_text())["reader_sha256"] == wide.reader.hash_base_weights()
    assert (stated.reader, stated.reader_dtype, stated.parameters) == ("text", "float32", 64 * 96 + 96)


def test_another_reader_or_encoder_is_refused(
    wide: TextTransfer, new_text_model: NewTextModel, new_encoder: Callable[..., MemoryEncoder], tmp_path: Path
):
    wide.save(tmp_path)
    other = new_text_model(96)
    with torch.no_grad():
        other.model.lm_head.weight[0, 0] += 1e-3  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
    with pytest.raises(ValueError, match=r"for reader 'text' \(weights [0-9a-f]{12}\), but 'text' has weights"):
        TextTransfer.load(tmp_path, wide.encoder, other)
    half = new_text_model(96)
    half.model.bfloat16()
    with pytest.raises(ValueError, match="for reader 'text' in float32, but 'text' is loaded in bfloat16; load it in"):
        TextTransfer.load(tmp_path, wide.encoder, half)
    with pytest.raises(
        ValueError, match=r"was made for memories of encoder [0-9a-f]{16}, but encoder [0-9a-f]{16} was"
    ):
        TextTransfer.load(tmp_path, new_encoder(), new_text_model(96))


def test_missing_unknown_and_misshapen_weights_are_refused_by_name(
    wide: TextTransfer, new_text_model: NewTextModel, tmp_path: Path
):
    wide.save(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    for broken, message in (
        ({"projection.weight": weights["projection.weight"]}, r"1 weights are missing .* first 'projection\.bias'"),
        (weights | {"projection.gate": torch.zeros(1)}, r"unknown here, first 'projection\.gate'"),
        (weights | {"projection.bias": torch.zeros(1)}, r"'projection\.bias' is \(1,\), expected \(96,\)"),
    ):
        save_file(broken, tmp_path / WEIGHTS)
        with pytest.raises(ValueError, match=message):
            TextTransfer.load(tmp_path, wide.encoder, new_text_model(96))
    (tmp_path / DESCRIPTION).unlink()
    with pytest.raises(ValueError, match=r"holds no transfer: transfer\.json is missing"):
        TextTransfer.load(tmp_path, wide.encoder, new_text_model(96))


def test_an_unknown_field_of_the_recipe_is_refused(wide: TextTransfer, new_text_model: NewTextModel, tmp_path: Path):
    wide.save(tmp_path)
    stated = json.loads((tmp_path / DESCRIPTION).read_text())
    stated["recipe"]["gate"] = True
    (tmp_path / DESCRIPTION).write_text(json.dumps(stated))
    with pytest.raises(ValueError, match="has 'gate', which TransferRecipe does not know"):
        TextTransfer.load(tmp_path, wide.encoder, new_text_model(96))


def test_a_bank_of_another_encoder_is_refused(
    wide: TextTransfer, new_encoder: Callable[..., MemoryEncoder], items: Items, questions: Questions
):
    bank = new_encoder().encode(items[:1])
    with pytest.raises(ValueError, match="vectors of two encoders do not mix"):
        wide.answer(questions[:1], bank, item_ids=[[items[0].item_id]])


def test_a_picture_in_a_conversation_is_refused(wide: TextTransfer, questions: Questions):
    conversation = wide.encoder.conversation(questions[0])
    with pytest.raises(ValueError, match="holds a picture, but text sees none"):
        wide.answer_batch([conversation], [torch.zeros(0, 64)], max_new_tokens=1)


def test_vectors_of_the_readers_width_that_were_never_projected_are_refused(
    encoder: MemoryEncoder, new_text_model: NewTextModel, questions: Questions
):
    reader = new_text_model(96)
    tokens = reader.tokenize([without_pictures(encoder.conversation(questions[0]))], generation=True)
    with pytest.raises(ValueError, match=r"memory of shape \(8, 64\), but this reader takes \(vectors, 96\)"):
        inject(reader.embed(tokens), [encoder.empty_memory()])
