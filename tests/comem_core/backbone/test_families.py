"""What every family must do, on a random model of its real class: memory in front, batches, decoding, pictures, LoRA.

Shapes: B questions, L query tokens, P tokens with memory, T tokens of a text, D width.
"""

import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import GenerationConfig

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.conversation import Conversation, Turn, without_pictures
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.images import MAX_ASPECT, VisualTokens
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import list_families, load_backbone
from comem_core.backbone.qwen3_vl import Qwen3VL
from comem_core.backbone.reader import Reader
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.export import MergedEncoder, Probe, export_merged
from comem_core.memory.injection import inject
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.estimate import estimate_training_memory
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.training.shapes import UnknownShape

EXACT: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}  # of logits of about 1 to 10, in float32
SYSTEM = Turn("system", ("You are a helpful assistant.",))


def picture(seed: int, wide: int, tall: int) -> bytes:
    stream = io.BytesIO()
    noise = random.Random(seed).randbytes(6 * 6 * 3)
    Image.frombytes("RGB", (6, 6), noise).resize((wide, tall), Image.Resampling.NEAREST).save(stream, format="PNG")
    return stream.getvalue()


def conversations_for(reader: Reader) -> list[Conversation]:
    """Questions of different lengths with 1, 1, 2 and 0 pictures; without any for a reader that sees none."""
    conversations: list[Conversation] = [
        [SYSTEM, Turn("user", (picture(0, 40, 24), "Which currency?"))],
        [SYSTEM, Turn("user", (picture(1, 24, 56), "What is the capital of this country, please?"))],
        [SYSTEM, Turn("user", (picture(2, 16, 16), picture(3, 48, 40), "Which one?"))],
        [SYSTEM, Turn("user", ("No picture?",))],
    ]
    return conversations if isinstance(reader, Backbone) else [without_pictures(each) for each in conversations]


def embed(reader: Reader, conversations: Sequence[Conversation]) -> Embedded:
    return reader.embed(reader.tokenize(conversations, generation=True))


def logits_of(reader: Reader, embedded: Embedded) -> Tensor:
    return reader.logits(reader.hidden(embedded))


def memories(width: int) -> list[Tensor]:
    """Memories of 0, 1, 3 and 2 items, about as loud as token embeddings."""
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(8 * count, width, generator=generator) for count in (0, 1, 3, 2)]


def behind(text_T: Tensor, tokens: Tokens) -> Tokens:
    """The same tokens behind those of a text."""

    def longer(values_1L: Tensor, filling: int) -> Tensor:
        return torch.cat([torch.full((1, len(text_T)), filling).to(values_1L), values_1L], dim=1)

    images = dict(tokens.images)
    if "mm_token_type_ids" in images:
        images["mm_token_type_ids"] = longer(images["mm_token_type_ids"], 0)
    ids_1L = torch.cat([text_T[None], tokens.ids_BL], dim=1)
    return Tokens(ids_1L, longer(tokens.mask_BL, 1), longer(tokens.answer_BL, 0), images)


def without_cache(reader: Reader, embedded: Embedded, *, num_tokens: int, jump: int = 0) -> str:
    """Decode one row greedily, the whole sequence anew at every step, new tokens `jump` too far back."""
    now, ids = embedded, list[int]()
    for step in range(num_tokens):
        ids.append(int(logits_of(reader, now)[0, -1].argmax()))
        if ids[-1] == reader.markup.end:
            ids.pop()
            break
        new_11D = reader.model.get_input_embeddings()(torch.tensor([[ids[-1]]]))
        following = int(embedded.positions_3BL.max()) + 1 + step + jump
        now = replace(
            now,
            embeds_BLD=torch.cat([now.embeds_BLD, new_11D], dim=1),
            mask_BL=torch.cat([now.mask_BL, now.mask_BL.new_ones(1, 1)], dim=1),
            positions_3BL=torch.cat([now.positions_3BL, torch.full((3, 1, 1), following)], dim=2),
            visual_BL=None if now.visual_BL is None else torch.cat([now.visual_BL, torch.tensor([[False]])], dim=1),
        )
    return reader.tokenizer.decode(ids, skip_special_tokens=True).strip()


LEAKING: list[dict[str, Any]] = [
    {"num_beams": 3},
    {"min_new_tokens": 12},
    {"no_repeat_ngram_size": 1},
    {"suppress_tokens": list(range(4, 60))},
    {"repetition_penalty": 5.0},
    {"temperature": 9.0, "do_sample": True, "top_k": 3},
]


def test_a_family_takes_every_shape_that_is_ingested(family: Backbone):
    for wide, tall in ((1, 1), (2, 1), (1, 3), (MAX_ASPECT, 1), (1, MAX_ASPECT), (3 * MAX_ASPECT, 3), (3, 150)):
        for bounds in (None, VisualTokens(max=36), VisualTokens(min=9, max=64)):
            [grid] = family.compute_visual_grids([picture(4, wide, tall)], visual_tokens=bounds)
            assert torch.isfinite(grid).all() and min(grid.shape[:2]) >= 1


def test_a_folder_s_generation_config_decides_nothing(any_reader: Reader, monkeypatch: pytest.MonkeyPatch):
    model: Any = any_reader.model
    embedded = embed(any_reader, conversations_for(any_reader))

    def answer() -> list[tuple[str, int, bool]]:
        torch.manual_seed(0)
        with torch.inference_mode():
            return any_reader.generate(embedded, max_new_tokens=12)

    before = answer()
    for setting in LEAKING:
        config = GenerationConfig(**setting)
        monkeypatch.setattr(model, "generation_config", config)
        assert answer() == before, setting
        assert model.generation_config is config


@torch.inference_mode()
def test_token_embeddings_in_place_of_a_memory_read_as_the_same_text(any_reader: Reader):
    text_T = torch.tensor(
        any_reader.tokenizer("Capital: Paris. Currency: Euro.", add_special_tokens=False)["input_ids"]
    )
    for conversation in conversations_for(any_reader):
        tokens = any_reader.tokenize([conversation], generation=True)
        written = any_reader.embed(behind(text_T, tokens))
        injected = inject(any_reader.embed(tokens), [any_reader.model.get_input_embeddings()(text_T)])
        assert torch.equal(injected.positions_3BL, written.positions_3BL)
        of_memory, of_text = logits_of(any_reader, injected), logits_of(any_reader, written)
        torch.testing.assert_close(of_memory, of_text, **EXACT)
        without = logits_of(any_reader, any_reader.embed(tokens))
        assert (of_memory[:, -1] - without[:, -1]).abs().max() > 0.05  # the text was read at all


@torch.inference_mode()
def test_logits_are_those_of_the_models_own_forward(any_reader: Reader):
    tokens = any_reader.tokenize(conversations_for(any_reader), generation=True)
    theirs = any_reader.model(input_ids=tokens.ids_BL, attention_mask=tokens.mask_BL.long(), **tokens.images).logits
    ours = logits_of(any_reader, any_reader.embed(tokens))
    torch.testing.assert_close(ours[tokens.mask_BL], theirs[tokens.mask_BL], **EXACT)


@torch.inference_mode()
def test_a_left_padded_batch_with_different_numbers_of_items_reads_as_one_at_a_time(any_reader: Reader):
    conversations, shown = conversations_for(any_reader), memories(any_reader.width)
    together = inject(embed(any_reader, conversations), shown)
    logits_BPV = logits_of(any_reader, together)
    answers = any_reader.generate(together, max_new_tokens=8)
    for row, conversation in enumerate(conversations):
        alone = inject(embed(any_reader, [conversation]), [shown[row]])
        torch.testing.assert_close(logits_BPV[row, together.mask_BL[row]], logits_of(any_reader, alone)[0], **EXACT)
        assert any_reader.generate(alone, max_new_tokens=8) == [answers[row]]
    assert len({text for text, _, _ in answers}) > 1


@torch.inference_mode()
def test_decoding_with_the_cache_continues_right_behind_the_query(any_reader: Reader):
    noticed = 0
    for conversation, memory_MD in zip(conversations_for(any_reader), memories(any_reader.width), strict=True):
        embedded = inject(embed(any_reader, [conversation]), [memory_MD])
        [(text, _, _)] = any_reader.generate(embedded, max_new_tokens=10)
        assert text == without_cache(any_reader, embedded, num_tokens=10)
        noticed += text != without_cache(any_reader, embedded, num_tokens=10, jump=8000 - len(memory_MD))
    assert noticed  # the authors' shift of 8000 in decoding


@torch.inference_mode()
def test_an_answer_ends_before_a_text_that_stops_it_alone_and_in_a_batch(any_reader: Reader):
    """The tokens of a row that has ended, while others go on, are padding and are not counted."""
    tokens = any_reader.tokenize(conversations_for(any_reader), generation=True)
    embedded = inject(any_reader.embed(tokens), memories(any_reader.width))
    whole = any_reader.generate(embedded, max_new_tokens=8)
    ended = 0
    for text, _, _ in whole:
        middle = len(text) // 2
        decoding = Decoding(stop=(text[middle : middle + 2],))
        answers = any_reader.generate(embedded, max_new_tokens=8, decoding=decoding)
        for row, (cut, length, truncated) in enumerate(answers):
            alone = inject(
                any_reader.embed(any_reader.tokenize([conversations_for(any_reader)[row]], generation=True)),
                [memories(any_reader.width)[row]],
            )
            assert any_reader.generate(alone, max_new_tokens=8, decoding=decoding) == [(cut, length, truncated)]
            if (before := decoding.cut(whole[row][0])) is None:
                assert (cut, length, truncated) == whole[row]
            else:
                assert (cut, truncated) == (before.strip(), False) and length < whole[row][1]
                ended += 1
    assert ended >= 4


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty` with `inputs_embeds`")
@torch.inference_mode()
def test_drawing_depends_on_the_seed_and_the_rows_own_prompt_alone(any_reader: Reader):
    decoding = Decoding(temperature=0.8, top_p=0.9, repetition_penalty=1.1, seed=3)
    conversations, shown = conversations_for(any_reader), memories(any_reader.width)

    def drawn(rows: Sequence[int], decoding: Decoding) -> list[str]:
        tokens = any_reader.tokenize([conversations[row] for row in rows], generation=True)
        embedded = inject(any_reader.embed(tokens), [shown[row] for row in rows])
        generated = any_reader.generated(embedded, tokens, max_new_tokens=8, decoding=decoding)
        return [each.text for each in generated]

    together = drawn(range(4), decoding)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert [text for row in (3, 2, 1, 0) for text in drawn([row], decoding)] == together[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn(range(4), replace(decoding, seed=4)) != together
    assert drawn(range(4), Decoding()) != together


@torch.inference_mode()
def test_some_rows_of_a_batch_are_those_rows_alone(any_reader: Reader):
    """Their pictures go with them: none, one or two each, of different sizes."""
    conversations = conversations_for(any_reader)
    tokens = any_reader.prepare(conversations, generation=True)
    assert tokens.lengths == [len(any_reader.prepare([each], generation=True).ids_BL[0]) for each in conversations]
    for rows in ([0], [3], [2, 0], [1, 3], [3, 2, 1, 0]):
        chosen, alone = (
            any_reader.select(tokens, rows),
            any_reader.prepare([conversations[row] for row in rows], generation=True),
        )
        assert torch.equal(chosen.ids_BL, alone.ids_BL)
        assert torch.equal(chosen.mask_BL, alone.mask_BL)
        assert torch.equal(chosen.answer_BL, alone.answer_BL)
        wanted = logits_of(any_reader, any_reader.embed(alone))[:, -1]
        torch.testing.assert_close(logits_of(any_reader, any_reader.embed(chosen))[:, -1], wanted)


@torch.inference_mode()
def test_positions_stay_exact_beyond_256_in_bfloat16(make_family: Callable[[], Backbone]):
    half = make_family()
    half.model.bfloat16()
    query = embed(half, conversations_for(half)[:2])
    injected = inject(query, [torch.randn(333, half.width), torch.randn(8, half.width)])
    assert (injected.embeds_BLD.dtype, injected.positions_3BL.dtype) == (torch.bfloat16, torch.int64)
    own = injected.positions_3BL[:, 0, injected.mask_BL[0]]
    assert own[:, :333].tolist() == [list(range(333))] * 3
    assert torch.equal(own[:, 333:], query.positions_3BL[:, 0, query.mask_BL[0]] + 333)
    seen = half.inputs(injected)["position_ids"]
    assert seen.dtype == torch.int64
    assert int(seen.max()) == int(injected.positions_3BL.max())
    assert half.hidden(injected).isfinite().all()


def test_padding_never_changes_an_items_memory(make_family: Callable[[], Backbone]):
    encoder = MemoryEncoder(make_family(), EncoderRecipe(num_heads=4, lora_rank=4))
    sizes = ((24, 16), (40, 40), (16, 56))
    items = [
        KnowledgeItem(image=picture(seed, *size), text="words " * seed, language="en", source="test", licence="CC0-1.0")
        for seed, size in enumerate(sizes)
    ]
    together_BMD = encoder.encode_batch(items)
    for item, memory_MD in zip(items, together_BMD, strict=True):
        torch.testing.assert_close(encoder.encode_batch([item])[0], memory_MD, **EXACT)
    assert min(torch.pdist(together_BMD.flatten(1)).tolist()) > 0.1


def test_gradients_reach_every_lora_matrix_from_an_answer_through_the_reader(make_family: Callable[[], Backbone]):
    encoder = MemoryEncoder(make_family(), EncoderRecipe(num_heads=4, lora_rank=4))
    encoder.set_trainable(True)
    with torch.no_grad():
        for name, weight in encoder.parameters().items():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    image = picture(0, 40, 24)
    item = KnowledgeItem(image=image, text="Capital: Paris.", language="en", source="test", licence="CC0-1.0")
    reader = encoder.backbone
    memory_MD = encoder.memory([item])[0]
    with reader.switch_adapter(False):
        logits = logits_of(reader, inject(embed(reader, conversations_for(reader)[:1]), [memory_MD]))
        logits[0, -1].logsumexp(dim=-1).backward()
    assert [name for name, weight in encoder.parameters().items() if weight.grad is None or not weight.grad.any()] == []
    assert [
        name for name, weight in reader.model.named_parameters() if weight.grad is not None and "lora_" not in name
    ] == []


def test_lora_is_on_every_linear_layer_but_the_head(make_family: Callable[[], Backbone], num_adapted_in_layer: int):
    backbone = make_family()
    linear = {name for name, module in backbone.model.named_modules() if isinstance(module, nn.Linear)}
    targets = set(backbone.list_lora_targets())
    assert targets == linear - {"lm_head"}
    adapted = MemoryEncoder(backbone, EncoderRecipe(num_heads=4, lora_rank=4)).parameters()
    names = {name.split(".lora_A")[0] for name in adapted if ".lora_A" in name}
    assert names == targets
    language = [name for name in names if "language_model" in name or "text_model" in name]
    assert len(language) == 3 * num_adapted_in_layer
    assert len(names) - len(language) >= 3 * 4 + 1  # the vision tower's layers, and what leads from it to the words


BOUNDS = (VisualTokens(max=36, min=16), VisualTokens(max=25, min=25), VisualTokens(max=4), VisualTokens(max=1))


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_pictures_become_as_many_tokens_as_allowed_and_no_more(family: Backbone, bounds: VisualTokens):
    image_id, chance = family.model.config.image_token_id, random.Random(0)
    sizes = [(chance.randint(4, 300), chance.randint(4, 300)) for _ in range(12)] + [(900, 5), (3, 600), (1, 1)]
    for seed, (wide, tall) in enumerate(sizes):
        image = picture(seed, wide, tall)
        tokens = family.tokenize([[Turn("user", (image,))]], generation=False, visual_tokens=bounds)
        num_tokens = int((tokens.ids_BL == image_id).sum())
        assert bounds.min <= num_tokens <= bounds.max, (wide, tall)
        [seen_RCD] = family.compute_visual_grids([image], visual_tokens=bounds)
        assert seen_RCD.shape[0] * seen_RCD.shape[1] == num_tokens
        family.embed(tokens)  # as many features as places


def test_each_picture_has_an_embedding_of_its_own_whatever_its_neighbours(family: Backbone):
    pictures = [picture(seed, wide, tall) for seed, (wide, tall) in enumerate([(40, 24), (16, 64), (48, 48)])]
    together_ND = family.pool_images(pictures, grid=(2, 2))
    assert (together_ND.shape, together_ND.dtype) == ((3, 4 * family.width), torch.float32)
    for image, row_D in zip(pictures, together_ND, strict=True):
        torch.testing.assert_close(family.pool_images([image], grid=(2, 2))[0], row_D, **EXACT)
    assert min(torch.pdist(together_ND).tolist()) > 0.05


def test_the_mask_marks_exactly_what_the_assistant_writes(any_reader: Reader):
    turns = [
        Turn("user", ("the assistant said:\nAssistant: Rome",)),
        Turn("assistant", ("Paris",)),
        Turn("user", ("and?\nassistant\n",)),
        Turn("assistant", ("two words\nand a line",)),
    ]
    tokens = any_reader.tokenize([[SYSTEM, *turns], [SYSTEM, *turns[:2]], [SYSTEM, turns[0]]], generation=False)
    rows = zip(tokens.ids_BL, tokens.answer_BL, strict=True)
    decoded = [any_reader.tokenizer.decode(ids_L[mask_L]) for ids_L, mask_L in rows]
    end = any_reader.tokenizer.decode(any_reader.markup.end)
    written = [each.replace(f"{end}\n", "|").replace(" Paris", "Paris").replace(" two", "two") for each in decoded]
    assert written == ["Paris|two words\nand a line|", "Paris|", ""]
    opened = any_reader.tokenize([[SYSTEM, turns[0]]], generation=True)
    assert not opened.answer_BL.any()


def test_data_cannot_forge_turns_or_pictures(any_reader: Reader):
    plain = [Turn("user", ("Which currency?",))]
    tokens = any_reader.tokenize([plain], generation=True)
    for mark in any_reader.markup.marks:
        half = len(mark) // 2
        nested = mark[:half] + mark + mark[half:]  # taking the inner one out puts another together
        forged = any_reader.tokenize([[Turn("user", (f"Which {mark}{nested}currency?",))]], generation=True)
        assert torch.equal(forged.ids_BL, tokens.ids_BL), mark


@torch.inference_mode()
def test_a_saved_folder_is_loaded_by_what_its_configuration_says(family: Backbone, tmp_path: Path):
    family.model.save_pretrained(tmp_path)
    family.processor.save_pretrained(tmp_path)  # pyright: ignore[reportAttributeAccessIssue]
    loaded = load_backbone(str(tmp_path))
    assert type(loaded) is type(family)
    assert loaded.hash_base_weights() == family.hash_base_weights()
    for bounds in (None, VisualTokens(max=9)):
        conversations = conversations_for(family)
        ours = family.tokenize(conversations, generation=True, visual_tokens=bounds)
        theirs = loaded.tokenize(conversations, generation=True, visual_tokens=bounds)
        assert torch.equal(theirs.ids_BL, ours.ids_BL)
        of_ours, of_theirs = (
            logits_of(*pair) for pair in ((family, family.embed(ours)), (loaded, loaded.embed(theirs)))
        )
        torch.testing.assert_close(of_theirs, of_ours, rtol=1e-5, atol=1e-5)
    known = re.escape(", ".join(list_families()))
    with pytest.raises(ValueError, match=rf"is of family '\w+', not 'llava' \(known: {known}\)"):
        load_backbone(str(tmp_path), family="llava")


def test_a_folder_as_the_hub_has_it_is_loaded_too(family: Backbone, tmp_path: Path):
    """There the image processor has a file of its own, names the class that needs torchvision, and knows of videos."""
    family.model.save_pretrained(tmp_path)
    family.processor.save_pretrained(tmp_path)  # pyright: ignore[reportAttributeAccessIssue]
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    pixels = saved.pop("image_processor")
    name = pixels["image_processor_type"].removesuffix("Pil").removesuffix("Fast")
    pixels |= {"image_processor_type": name, "video_sampling": {"fps": 1, "max_frames": 64}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    kind = family.model.config.model_type
    saved["processor_class"] = {"smolvlm": "SmolVLMProcessor"}.get(kind, saved["processor_class"])
    (tmp_path / "processor_config.json").write_text(json.dumps(saved))
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    conversations = conversations_for(family)
    found = load_backbone(str(tmp_path)).tokenize(conversations, generation=True)
    assert torch.equal(found.ids_BL, family.tokenize(conversations, generation=True).ids_BL)


def test_a_merged_export_encodes_like_the_adapter(make_family: Callable[[], Backbone], tmp_path: Path):
    encoder = MemoryEncoder(make_family(), EncoderRecipe(num_heads=4, lora_rank=4))
    with torch.no_grad():
        for name, weight in encoder.parameters().items():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    item = KnowledgeItem(image=picture(1, 40, 24), text="words", language="en", source="test", licence="CC0-1.0")
    question = Question(question_id="q", question="Which?", image=picture(2, 24, 40), language="en", answers=("a",))
    export_merged(encoder, tmp_path / "merged", [Probe(question=question, items=(item,))], max_new_tokens=4)
    merged = MergedEncoder.load(tmp_path / "merged")
    assert type(merged.backbone) is type(encoder.backbone)
    torch.testing.assert_close(merged.encode_batch([item]), encoder.encode_batch([item]), rtol=1e-3, atol=1e-3)


def test_the_memory_of_a_training_is_estimated_without_the_weights(
    vision_kind: Callable[[], Backbone],
    items: tuple[KnowledgeItem, ...],
    questions: tuple[Question, ...],
    tmp_path: Path,
) -> None:
    backbone = vision_kind()
    backbone.save(tmp_path)
    for weights in tmp_path.glob("*.safetensors"):
        weights.unlink()
    shapes = load_backbone(str(tmp_path), device="meta")
    assert {str(weight.device) for weight in shapes.model.parameters()} == {"meta"}
    wanted = {name: tuple(weight.shape) for name, weight in backbone.model.named_parameters()}
    assert {name: tuple(weight.shape) for name, weight in shapes.model.named_parameters()} == wanted
    recipe = TrainingRecipe(encoder=EncoderRecipe(num_heads=4, lora_rank=4))
    samples = [TrainingSample.of(question, items[:2]) for question in questions[:2]]
    compute = ComputeOptions(tokens_at_once=300, gradient_checkpointing=True)
    estimate = bind(estimate_training_memory, lambda: MemoryEncoder(shapes, recipe.encoder), recipe, samples, compute)
    if isinstance(backbone, Qwen3VL):  # it finds pictures by comparing embeddings
        with pytest.raises(UnknownShape, match="a computed mask"):
            estimate()
        return
    found = estimate()
    assert found.weights > sum(weight.nbytes for weight in backbone.model.parameters())
    assert found.optimizer > 0 and found.activations > 0
