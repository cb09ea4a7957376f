"""Naming and answering from memory: what a step is made of, what it trains, and how a killed run goes on."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from comem_core.backbone.markup import tokenize_text
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.naming import NamingAndAnswering, pair_vectors_with_tokens
from comem_core.pretraining.naming_recipe import NamingPhase, NamingRecipe
from comem_core.pretraining.passages import PRODUCT_FACTS, Passage, draw_passage
from comem_core.pretraining.smol import train_smol_encoder
from comem_core.training.loop import Training
from comem_core.worlds.countries.splits import choose_pair_split
from comem_core.worlds.countries.world import load_countries

CURRICULUM = (
    NamingPhase(share=0.5, num_facts=(1, 2), num_passages=3, num_asked=1, named_again=(1, 2)),
    NamingPhase(share=0.5, num_facts=(1, 8), num_passages=3, num_asked=2, named_again=()),
)


@pytest.fixture(scope="module")
def recipe() -> NamingRecipe:
    """The recipe, for a model of width 64."""
    whole = NamingRecipe()
    return replace(
        whole,
        encoder=replace(whole.encoder, num_heads=4),
        optimizer=replace(whole.optimizer, num_steps=6, learning_rate=3e-3),
        curriculum=CURRICULUM,
    )


@pytest.fixture
def objective(recipe: NamingRecipe, new_backbone: Callable[[], QwenVL]) -> NamingAndAnswering:
    return NamingAndAnswering(MemoryEncoder(new_backbone(), recipe.encoder), recipe)


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


def test_a_step_is_a_function_of_seed_and_number(objective: NamingAndAnswering):
    first = float(objective.loss(4)[0].detach())
    objective.loss(1)
    assert float(objective.loss(4)[0].detach()) == first
    assert objective.passages(4) == objective.passages(4) != objective.passages(5)


def test_a_step_names_and_answers_and_counts_what_the_reader_took(objective: NamingAndAnswering):
    one, two = objective.loss(0)[1], objective.loss(4)[1]
    assert one.keys() == {"samples", "tokens", "naming_loss", "named", "answer_loss", "answer_accuracy"}
    assert one["samples"] == two["samples"] == 3
    assert 20 < one["tokens"] < two["tokens"]


def test_values_are_named_in_the_order_of_the_text_a_vector_for_each_token(objective: NamingAndAnswering):
    tokenizer: Any = objective.encoder.backbone.tokenizer
    passage = replace(drawn(2)[1], values=("Oslo", "Norwegian Krone"))
    places, ids = pair_vectors_with_tokens(passage, tokenizer, num_vectors=8)
    assert places == list(range(8))
    assert tokenizer.convert_ids_to_tokens(ids[:2]) == ["Oslo", "Norwegian Krone"]
    assert set(ids[2:]) == set(tokenize_text(tokenizer, "."))
    places, ids = pair_vectors_with_tokens(passage, tokenizer, num_vectors=1)
    assert (places, len(ids)) == ([0, 0], 2)
    longer = replace(passage, values=("Oslo",) * 12)
    assert pair_vectors_with_tokens(longer, tokenizer, num_vectors=8)[0] == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]


def test_only_the_qformer_is_trained_and_every_part_of_it(objective: NamingAndAnswering):
    backbone = objective.encoder.backbone
    before = backbone.hash_base_weights()
    training = Training(objective, objective.recipe.optimizer)
    own = {name: weight.detach().clone() for name, weight in objective.encoder.parameters().items()}
    training.run(lambda report: None, until=4)
    changed = {name for name, weight in objective.encoder.parameters().items() if not torch.equal(weight, own[name])}
    assert changed == {name for name in own if name.startswith("qformer.")}
    assert backbone.hash_base_weights() == before


def test_a_memory_of_the_values_own_embeddings_names_them_and_in_another_order_it_does_not(
    objective: NamingAndAnswering,
):
    passage, backbone = replace(drawn(1)[0], values=("Oslo", "Norwegian Krone")), objective.encoder.backbone
    embeddings_VD: Any = backbone.model.get_input_embeddings().weight
    _, ids = pair_vectors_with_tokens(passage, backbone.tokenizer, num_vectors=8)
    right_BMD = embeddings_VD[torch.tensor(ids)][None]
    losses_B, _ = objective._compute_naming([passage], right_BMD)
    turned_B, _ = objective._compute_naming([passage], right_BMD.roll(1, dims=1))
    assert float(losses_B) < float(turned_B) - 0.5


@pytest.mark.parametrize("step", [2, 4], ids=["few facts", "many facts"])
def test_the_loss_of_a_step_falls_when_it_is_trained_on(objective: NamingAndAnswering, step: int):
    optimizer = torch.optim.AdamW(objective.trainable().values(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss, _ = objective.loss(step)
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

    def killed_at_five(report: Any) -> None:
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_smol_encoder(recipe, new_backbone(), tmp_path / "killed", on_step=killed_at_five)
    resumed = train_smol_encoder(recipe, new_backbone(), tmp_path / "killed")
    for name, weight in unbroken.parameters().items():
        assert torch.equal(weight, resumed.parameters()[name]), name
    lines = [json.loads(line)["step"] for line in (tmp_path / "killed" / "steps.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 5, 6]
    assert MemoryEncoder.load(tmp_path / "killed" / "encoder", new_backbone()).encoder_id == unbroken.encoder_id


def test_a_folder_of_another_recipe_is_refused(
    recipe: NamingRecipe, new_backbone: Callable[[], QwenVL], tmp_path: Path
):
    train_smol_encoder(recipe, new_backbone(), tmp_path, until=1)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        train_smol_encoder(replace(recipe, naming_scale=2.0), new_backbone(), tmp_path)
