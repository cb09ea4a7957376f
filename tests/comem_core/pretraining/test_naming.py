"""Naming and answering from memory: what a step is made of, what it trains, and how a killed run goes on."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
import torch

from comem_core.backbone.finding import hash_backbone
from comem_core.backbone.markup import tokenize_text
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.qformer import Read
from comem_core.pretraining import smol, stored_readings
from comem_core.pretraining.naming import NamingAndAnswering, pair_vectors_with_tokens
from comem_core.pretraining.naming_recipe import READING, UNSTATED, NamingRecipe
from comem_core.pretraining.passages import PRODUCT_FACTS, Passage, draw_passage
from comem_core.pretraining.smol import main, save_for_float32, train_smol_encoder, write_record
from comem_core.pretraining.stored_readings import StoredReadings
from comem_core.pretraining.trained_on import FILE, RECORD, read_listing, read_start_weights
from comem_core.training.loop import Training
from comem_core.worlds.countries.splits import choose_pair_split
from comem_core.worlds.countries.world import load_countries
from comem_core.worlds.invented.passages import choose_split
from tests.written import stamp_files

NAMING, ANSWERING = 0, 1
MAX_PASSAGES = 12
SHARES = {"invented_share": 0.2, "real_share": 0.2, "product_share": 0.2}


@pytest.fixture(scope="module")
def recipe() -> NamingRecipe:
    """The recipe, for a model of width 64 that knows the words of countries alone."""
    whole = NamingRecipe()
    stages = tuple(
        replace(stage, optimizer=replace(stage.optimizer, num_steps=4, batch_size=3, learning_rate=3e-3))
        for stage in whole.stages
    )
    encoder = replace(whole.encoder, num_heads=4, num_vectors=8)
    return replace(whole, encoder=encoder, stages=stages, num_passages=MAX_PASSAGES, num_drawn_tokens=50, **SHARES)


@pytest.fixture(scope="module")
def readings(
    recipe: NamingRecipe, backbone: QwenVL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoredReadings]:
    made = StoredReadings(tmp_path_factory.mktemp("readings"), recipe)
    made.write_missing(MemoryEncoder(QwenVL(copy_model(backbone), backbone.processor, backbone.name), recipe.encoder))
    yield made


@pytest.fixture
def make_objective(
    recipe: NamingRecipe, readings: StoredReadings, new_backbone: Callable[[], QwenVL]
) -> Callable[[int], NamingAndAnswering]:
    return lambda stage: NamingAndAnswering(
        MemoryEncoder(new_backbone(), recipe.encoder), recipe, recipe.stages[stage], readings
    )


def copy_model(backbone: QwenVL) -> Any:
    return copy.deepcopy(backbone.model)


def drawn(count: int, **shares: float) -> list[Passage]:
    kinds = {"real_share": 0.0, "product_share": 0.0} | shares
    return [draw_passage(Random(place), num_facts=1 + place % 8, **kinds) for place in range(count)]


@pytest.mark.parametrize(
    "shares", [{}, {"real_share": 1.0}, {"product_share": 1.0}], ids=["country", "real", "product"]
)
def test_a_passage_says_what_its_questions_ask_for_and_is_a_function_of_its_seed(shares: dict[str, float]):
    passages = drawn(40, **shares)
    for place, passage in enumerate(passages):
        assert 1 <= len(passage.questions) == len(passage.values) <= 1 + place % 8
        assert place % 8 == 0 or len(passage.questions) > 1
        for question, answer in passage.questions:
            assert question and answer in passage.item.text
        assert [passage.item.text.find(value) for value in passage.values].count(-1) == 0
        assert re.findall(r": (.*?)(?: km²| kcal| g)?\.(?: |$)", passage.item.text) == list(passage.values)
    assert passages == drawn(40, **shares)
    assert len({passage.item.item_id for passage in passages}) > 30


def test_numbers_of_imaginary_countries_are_not_those_of_the_world():
    known = {country.facts["en"]["area"][0] for country in load_countries()}
    areas = [answer for p in drawn(200) for q, answer in p.questions if "area" in q or "km²" in q or "large" in q]
    assert len(areas) > 30
    assert sum(area in known for area in areas) < len(areas) / 4


def test_real_passages_never_name_stage_held_out_countries_or_held_out_facts():
    countries = {country.facts["en"]["name"][0]: country for country in load_countries()}
    flags = set()
    for passage in drawn(300, real_share=1.0):
        for question, answer in passage.questions:
            if answer in countries and question in ("Which country is this?", "Name this country."):
                country = countries[answer]
                assert country.split == "train"
                assert choose_pair_split(country.country_id, "name") == "train"
                flags.add(country.country_id)
    assert len(flags) > 20


def test_products_have_numbers_with_a_decimal_point():
    questions = {wording for _, wordings in PRODUCT_FACTS.values() for wording in wordings}
    passages = drawn(60, product_share=1.0)
    assert all(question in questions for passage in passages for question, _ in passage.questions)
    assert sum("." in answer for passage in passages for _, answer in passage.questions) > 20


def test_invented_passages_are_of_the_names_of_training():
    for passage in drawn(60, invented_share=1.0):
        assert passage.item.title == passage.values[0] and passage.item.image
        assert {answer for _, answer in passage.questions} == set(passage.values[1:])
        people = [answer for question, answer in passage.questions if question.startswith("Who ") and " " in answer]
        assert all(choose_split(people[0].split()[0]) == "train" for _ in people[:1])


def test_a_share_of_the_invented_passages_is_prose():
    plain, half, prose = (drawn(80, invented_share=1.0, prose_share=share) for share in (0.0, 0.5, 1.0))
    counted = [sum(passage.item.text.count(".") for passage in passages) for passages in (plain, half, prose)]
    assert counted[0] > counted[1] > counted[2] and plain == drawn(80, invented_share=1.0)
    for passage in prose:
        assert {answer for _, answer in passage.questions} == set(passage.values[1:])


def test_a_share_of_the_questions_is_not_answered_by_their_passages(
    recipe: NamingRecipe, make_objective: Callable[..., NamingAndAnswering]
):
    objective = make_objective(ANSWERING)
    passages = [passage for passage in drawn(60, invented_share=1.0) if len(passage.unstated) > 1]
    assert len(passages) > 30 and not any(passage.unstated for passage in drawn(9, product_share=1.0))
    asked: dict[float, list[tuple[str, str]]] = {}
    for share in (0.0, 0.5, 1.0):
        objective.recipe = replace(recipe, unstated_share=share)
        random = Random(0)
        asked[share] = [turn for each in passages for turn in objective._choose_questions(random, each)]
    answers = [answer for _, answer in asked[1.0]]
    assert set(answers) == {UNSTATED} and len({question for question, _ in asked[1.0]}) == len(answers)
    assert asked[0.0] == [turn for each in passages for turn in each.questions[:2]]
    assert 0 < sum(answer == UNSTATED for _, answer in asked[0.5]) < len(asked[0.5])


def test_what_is_stored_is_what_the_encoder_reads(readings: StoredReadings, make_objective: Callable[..., Any]):
    encoder, numbers = make_objective(NAMING).encoder, [7, 0, 3]
    passages = [readings.passage(number) for number in numbers]
    inputs_BTD, mask_BT, firsts = readings.load(numbers)
    with encoder.run_inference():
        stored_BMD = encoder.qformer(inputs_BTD, mask_BT)
        fresh_BMD = encoder.memory([passage.item for passage in passages])
    torch.testing.assert_close(stored_BMD, fresh_BMD, rtol=1e-4, atol=1e-4)
    tokens = encoder.prepare_items([passage.item for passage in passages])
    for row, (passage, first) in enumerate(zip(passages, firsts, strict=True)):
        ids = stored_readings.split_text(encoder.backbone.tokenizer, passage.item.text)[0]
        at = first - mask_BT.shape[1] + tokens.ids_BL.shape[1]
        assert tokens.ids_BL[row, at : at + len(ids)].tolist() == ids


def test_a_shard_that_is_there_is_not_read_again(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_readings, "SHARD", 4)
    made, encoder = (
        StoredReadings(tmp_path, replace(recipe, num_passages=10)),
        MemoryEncoder(new_backbone(), recipe.encoder),
    )
    seen: list[tuple[int, int, bool]] = []

    def on_shard(done: int, total: int, seconds: float) -> None:
        seen.append((done, total, seconds > 0))

    made.write_missing(encoder, on_shard)
    assert seen == [(4, 10, True), (8, 10, True), (10, 10, True)]
    written = stamp_files(tmp_path, "*")
    (tmp_path / "000001.safetensors").unlink()
    made.write_missing(encoder, on_shard)
    assert seen[3:] == [(4, 10, False), (8, 10, True), (10, 10, False)]
    assert {name for name, _ in written.items() & stamp_files(tmp_path, "*").items()} == {
        "000000.safetensors",
        "000002.safetensors",
    }


@pytest.mark.parametrize("stage", [NAMING, ANSWERING], ids=["naming", "answering"])
def test_a_step_is_a_function_of_seed_and_number(make_objective: Callable[..., NamingAndAnswering], stage: int):
    objective = make_objective(stage)
    first = float(objective.loss(2)[0].detach())
    objective.loss(1)
    assert float(objective.loss(2)[0].detach()) == first != float(objective.loss(1)[0].detach())


def test_a_step_names_and_answers_and_counts_what_was_read(make_objective: Callable[..., NamingAndAnswering]):
    one, two = (make_objective(stage).loss(0)[1] for stage in (NAMING, ANSWERING))
    assert one.keys() == {"samples", "tokens", "naming_loss", "named"}
    assert two.keys() == one.keys() | {"answer_loss", "answer_accuracy"}
    assert one["samples"] == two["samples"] == 3
    assert one["tokens"] > 20 and two["tokens"] > 20


def test_other_memories_stand_beside_some_and_change_what_is_read(
    make_objective: Callable[..., NamingAndAnswering],
):
    objective = make_objective(ANSWERING)
    counts = {}
    for share in (0.0, 1.0):
        objective.stage = replace(objective.stage, beside_share=share)
        counts[share] = objective.loss(0)[1]["tokens"]
    assert 3 * 8 <= counts[1.0] - counts[0.0] <= 2 * 3 * 8


def test_values_are_named_in_the_order_of_the_text_with_a_comma_after_each(backbone: QwenVL):
    tokenizer: Any = backbone.tokenizer
    passage = next(each for each in drawn(8) if len(each.spans) == 2)
    named = pair_vectors_with_tokens([passage], [5], tokenizer, num_vectors=8)
    comma = tokenize_text(tokenizer, ",")[-1]
    ids = stored_readings.split_text(tokenizer, passage.item.text)[0]
    assert named.vectors_S.tolist() == [*range(len(named.ids_S))] and set(named.passages_S.tolist()) == {0}
    values = [id_ for value in passage.values for id_ in [*tokenize_text(tokenizer, value), comma]]
    assert named.ids_S.tolist() == values
    kept = [(id_, place - 5) for id_, place in zip(named.ids_S.tolist(), named.places_S.tolist(), strict=True)]
    assert all(ids[place] == id_ for id_, place in kept if id_ != comma)
    plain = pair_vectors_with_tokens([passage], [5], tokenizer, num_vectors=8, commas=False)
    assert plain.ids_S.tolist() == [each for each in values if each != comma]
    assert plain.vectors_S.tolist() == [*range(len(plain.ids_S))]
    crowded = pair_vectors_with_tokens([passage, passage], [0, 9], tokenizer, num_vectors=2)
    assert sorted(set(crowded.vectors_S.tolist())) == [0, 1]
    assert crowded.passages_S.tolist() == [0] * len(values) + [1] * len(values)
    assert (crowded.places_S[len(values) :] - crowded.places_S[: len(values)]).unique().tolist() == [9]


def test_only_the_qformer_is_trained_and_every_part_of_it(make_objective: Callable[..., NamingAndAnswering]):
    objective = make_objective(ANSWERING)
    backbone = objective.encoder.backbone
    before = backbone.hash_base_weights()
    training = Training(objective, objective.stage.optimizer)
    own = {name: weight.detach().clone() for name, weight in objective.encoder.parameters().items()}
    training.run(lambda report: None, until=4)
    changed = {name for name, weight in objective.encoder.parameters().items() if not torch.equal(weight, own[name])}
    assert changed == {name for name in own if name.startswith("qformer.")}
    assert backbone.hash_base_weights() == before


def test_the_naming_loss_is_least_for_the_values_own_embeddings_and_where_attention_and_worth_are_right(
    make_objective: Callable[..., NamingAndAnswering], readings: StoredReadings
):
    objective = make_objective(NAMING)
    number = next(each for each in range(MAX_PASSAGES) if len(readings.passage(each).spans) == 1)
    passages, (_, mask_BT, firsts) = [readings.passage(number)], readings.load([number])
    named = pair_vectors_with_tokens(passages, firsts, objective.encoder.backbone.tokenizer, num_vectors=8)
    memory_BMD, weights_BHMT = (
        torch.zeros(1, 8, objective.encoder.backbone.width),
        torch.zeros(1, 4, 8, mask_BT.shape[1]),
    )
    memory_BMD[0, named.vectors_S] = objective.embeddings_VD[named.ids_S].float()
    weights_BHMT[0, :, named.vectors_S, named.places_S] = 1.0
    worth_BT = torch.full(mask_BT.shape, -9.0)
    worth_BT[0, named.places_S] = 9.0
    right = Read(memory_BMD, weights_BHMT, worth_BT)

    def measure(read: Read) -> float:
        return float(objective.compute_naming(read, named, passages, mask_BT, step=0)[0])

    for wrong in (
        right._replace(memory_BMD=memory_BMD.roll(1, dims=1)),
        right._replace(memory_BMD=0.2 * memory_BMD),
        right._replace(weights_BHMT=weights_BHMT.roll(1, dims=3)),
        right._replace(worth_BT=-worth_BT),
    ):
        assert measure(right) < measure(wrong) - 0.3


@pytest.mark.parametrize("stage", [NAMING, ANSWERING], ids=["naming", "answering"])
def test_the_loss_of_a_step_falls_when_it_is_trained_on(make_objective: Callable[..., NamingAndAnswering], stage: int):
    objective = make_objective(stage)
    optimizer = torch.optim.AdamW(objective.trainable().values(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss, _ = objective.loss(2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_a_killed_run_goes_on_and_ends_with_the_weights_of_an_unbroken_one(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("comem_core.pretraining.smol.SAVE_EVERY", 2)
    unbroken = train_smol_encoder(recipe, new_backbone(), tmp_path / "unbroken")

    class Killed(Exception):
        pass

    kills = [("naming", 3), ("answering", 1), ("answering", 3)]

    def kill(stage: str, report: Any) -> None:
        if kills and (stage, report.step) == kills[0]:
            del kills[0]
            raise Killed

    for _ in list(kills):
        with pytest.raises(Killed):
            train_smol_encoder(recipe, new_backbone(), tmp_path / "killed", on_step=kill)
    resumed = train_smol_encoder(recipe, new_backbone(), tmp_path / "killed")
    for name, weight in unbroken.parameters().items():
        assert torch.equal(weight, resumed.parameters()[name]), name
    lines = [json.loads(line) for line in (tmp_path / "killed" / "steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["samples"]) for line in lines if line["stage"] == READING] == [(1, MAX_PASSAGES)]
    assert [line["step"] for line in lines if line["stage"] == "naming"] == [1, 2, 3, 3, 4]
    assert [line["step"] for line in lines if line["stage"] == "answering"] == [1, 1, 2, 3, 3, 4]
    last = tmp_path / "killed" / "answering" / "encoder"
    assert MemoryEncoder.load(last, new_backbone()).encoder_id == unbroken.encoder_id
    again = train_smol_encoder(recipe, new_backbone(), tmp_path / "killed")
    assert again.encoder_id == unbroken.encoder_id, "a finished run is loaded, not trained again"


def test_a_training_goes_on_from_an_encoder_s_weights_with_the_last_stage_alone_and_its_record_names_them(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    first = train_smol_encoder(recipe, new_backbone(), tmp_path / "first")
    start = tmp_path / "first" / "encoder"
    save_for_float32(tmp_path / "first" / "answering" / "encoder", recipe, new_backbone(), start)
    further = replace(recipe, stages=recipe.stages[1:], start=hash_backbone(start))
    encoder = train_smol_encoder(further, new_backbone(), tmp_path / "more", start=start, until=0)
    for name, weight in first.parameters().items():
        assert torch.equal(weight.half().float(), encoder.parameters()[name]), name
    encoder = train_smol_encoder(further, new_backbone(), tmp_path / "more", start=start)
    assert any(not torch.equal(weight, encoder.parameters()[name]) for name, weight in first.parameters().items())
    assert not (tmp_path / "more" / "naming").exists()
    made = save_for_float32(
        tmp_path / "more" / "answering" / "encoder", further, new_backbone(), tmp_path / "more" / "encoder"
    )
    write_record(tmp_path / "more", further, made, made_by="a test")
    assert read_start_weights(tmp_path / "more" / "encoder") == hash_backbone(start)


def test_an_encoder_trained_beside_a_bfloat16_model_is_saved_for_the_float32_one(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    half = new_backbone()
    cast(Any, half.model).to(torch.bfloat16)
    trained = train_smol_encoder(recipe, half, tmp_path)
    last = tmp_path / "answering" / "encoder"
    with pytest.raises(ValueError, match=r"trained for backbone .* in bfloat16"):
        MemoryEncoder.load(last, new_backbone())
    made = save_for_float32(last, recipe, new_backbone(), tmp_path / "encoder")
    loaded = MemoryEncoder.load(tmp_path / "encoder", new_backbone())
    assert loaded.encoder_id == made.encoder_id
    for name, weight in trained.parameters().items():
        assert torch.equal(weight.half().float(), loaded.parameters()[name]), name
    sizes = [(folder / "encoder.safetensors").stat().st_size for folder in (tmp_path / "encoder", last)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_finished_encoder_says_how_it_was_made_and_lists_its_questions(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    recipe = replace(recipe, unstated_share=0.5)
    train_smol_encoder(recipe, new_backbone(), tmp_path)
    made = save_for_float32(tmp_path / "answering" / "encoder", recipe, new_backbone(), tmp_path / "encoder")
    write_record(tmp_path, recipe, made, made_by="a test")
    facts = json.loads((tmp_path / "encoder" / RECORD).read_text(encoding="utf-8"))
    assert facts["encoder_id"] == made.encoder_id and facts["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert facts["seconds"].keys() == {READING, "naming", "answering"}
    listing = read_listing(tmp_path / "encoder")
    readings = StoredReadings(tmp_path, recipe)
    passages = [readings.passage(number) for number in range(MAX_PASSAGES)]
    asked = [words for each in passages for words in [*(question for question, _ in each.questions), *each.unstated]]
    assert any(each.unstated for each in passages)
    listed = pq.read_table(tmp_path / "encoder" / FILE).to_pylist()
    assert listing is not None and [row["words"] for row in listed] == asked
    assert len({row["sample_id"] for row in listed}) == len(asked) == listing.num_rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vectors", "0"], "argument --vectors: found '0'; expected a number of at least 1"),
        (["--vectors", "-3"], "argument --vectors"),
        (["--passages", "many"], "argument --passages: found 'many'; expected a number of at least 1"),
        (["--passages", "8"], "8 passages; a step of naming takes 32, so give more"),
        (["--prose", "1.5"], "prose_share is 1.5; expected a share from 0 to 1"),
        (["--unstated", "nan"], "unstated_share is nan; expected a share from 0 to 1"),
        (["--prose", "some"], "argument --prose: invalid float value: 'some'"),
        (["--start", "nowhere"], "argument --start: nowhere holds no encoder: there is no such folder"),
        (
            ["--start", "smol-encoder", "--naming-steps", "5"],
            "--start goes on with answering: its encoder names",
        ),
        (["--start", "smol-encoder", "--vectors", "16"], "cannot be the start: it has num_vectors 24 (wanted: 16)"),
        (["--start", "tiny-encoder"], "lora_rank 16 (wanted: 1)"),
        (["--start", "smol-encoder"], "holds a run of another recipe"),
        (["--seed", "1"], "holds a run of another recipe"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), *options])
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize(
    ("has", "chosen"),
    [({"avx512_f": True, "avx512_bf16": False}, "float32"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_a_processor_without_bfloat16_computes_in_float32(
    has: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert smol._choose_dtype() == chosen


def test_a_folder_of_another_recipe_is_refused(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    train_smol_encoder(recipe, new_backbone(), tmp_path, until=1)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        train_smol_encoder(replace(recipe, naming_scale=2.0), new_backbone(), tmp_path)
