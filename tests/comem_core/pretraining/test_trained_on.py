"""What encoders that ship were trained on is listed beside them; drawn again it is the same; no list is of others."""

import json
import shutil
from dataclasses import asdict, fields
from itertools import chain, islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.knowledge.items import hash_content_parts
from comem_core.neutral import is_off
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.trained_on import (
    FILE,
    NOTE,
    RECORD,
    SMOL,
    START,
    TRAINED,
    draw_questions_of_passages,
    draw_samples_of_step,
    read_listing,
    read_start_weights,
    write_listing,
)
from comem_core.worlds.countries.world import load_countries, load_flags, load_seed_questions

ROW = {"sample_id": "1", "words": "Which flag is this?", "image_id": None, "image_hash": -5, "image_chroma": 7}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder with weights and a list of one sample."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "encoder.safetensors").write_bytes(b"weights")
    (folder / RECORD).write_text(json.dumps({"made_by": "a test"}))
    write_listing(folder, [ROW], what="one question", made_by="a test")
    return folder


@pytest.mark.parametrize("step", [0, 900])
def test_the_samples_of_the_start_are_those_that_its_recipe_draws_again(step: int) -> None:
    recipe, record = EncoderPretrainingRecipe(), json.loads((SHIPPED / START / RECORD).read_text())
    stated, options = json.loads(json.dumps(asdict(recipe))), {each.name: each for each in fields(recipe.encoder)}
    later = stated["encoder"].keys() - record["recipes"][0]["encoder"].keys()
    assert all(is_off(options[name], stated["encoder"].pop(name)) for name in later)
    assert stated == record["recipes"][0]
    drawn = draw_samples_of_step(recipe, step)
    listed = pq.read_table(SHIPPED / START / FILE, filters=[("sample_id", "in", [row["sample_id"] for row in drawn])])
    assert sorted(listed.to_pylist(), key=lambda row: row["sample_id"]) == sorted(
        drawn, key=lambda row: row["sample_id"]
    )


def test_the_start_lists_a_batch_for_each_step_and_every_flag_that_may_be_borrowed() -> None:
    sample_ids = pq.read_table(SHIPPED / START / FILE, columns=["sample_id"])["sample_id"].to_pylist()
    assert len(set(sample_ids)) == len(sample_ids)
    steps = {name.split("/")[1].split("-")[0] for name in sample_ids if name.startswith(START)}
    assert len(steps) == EncoderPretrainingRecipe().optimizer.num_steps
    train = {country.country_id for country in load_countries() if country.split == "train"}
    borrowed = {hash_content_parts(flag.image) for flag in load_flags() if flag.country_id in train}
    images = pq.read_table(SHIPPED / START / FILE, columns=["image_id"])["image_id"].to_pylist()
    assert {image for image in images if image} == borrowed


def test_the_trained_encoder_lists_every_seed_and_names_its_start() -> None:
    listed = pq.read_table(SHIPPED / TRAINED / FILE, columns=["sample_id", "words", "image_id"]).to_pylist()
    asked = {(row["sample_id"], row["words"], row["image_id"]) for row in listed}
    assert {(seed.question_id, seed.question, seed.image_id) for seed in load_seed_questions()} <= asked
    assert read_start_weights(SHIPPED / TRAINED) == hash_backbone(SHIPPED / START)


def test_the_encoder_for_smollm2_lists_the_questions_that_its_recipe_draws_again() -> None:
    recipe, record = NamingRecipe(), json.loads((SHIPPED / SMOL / RECORD).read_text())
    stated = json.loads(json.dumps(asdict(recipe)))
    assert stated.items() >= record["recipe"].items() and recipe.names_commas
    drawn = list(chain.from_iterable(islice(draw_questions_of_passages(recipe), 40)))
    listed = pq.read_table(SHIPPED / SMOL / FILE).slice(0, len(drawn)).to_pylist()
    assert listed == drawn and any(row["image_id"] for row in drawn)


@pytest.mark.parametrize("name", [START, TRAINED, SMOL])
def test_a_list_that_ships_is_of_the_weights_beside_it(name: str) -> None:
    listing = read_listing(SHIPPED / name)
    assert listing is not None
    assert listing.num_rows == pq.read_metadata(SHIPPED / name / FILE).num_rows


def test_a_list_is_kept_beside_what_the_record_says_and_read_again(encoder: Path) -> None:
    facts = json.loads((encoder / RECORD).read_text())
    assert facts["made_by"] == "a test" and facts[NOTE]["num_rows"] == 1
    listing = read_listing(encoder)
    assert listing is not None and listing.what == "one question"
    assert pq.read_table(encoder / FILE).to_pylist() == [ROW]
    assert read_start_weights(encoder) is None


def test_other_weights_another_file_and_no_file_are_refused(encoder: Path) -> None:
    shutil.copytree(encoder, other := encoder.with_name("other"))
    (other / "encoder.safetensors").write_bytes(b"other weights")
    with pytest.raises(
        ValueError, match=r"other/trained_on.parquet lists the training samples of the weights \w+; these are"
    ):
        read_listing(other)
    (encoder / FILE).write_bytes(b"another file")
    with pytest.raises(ValueError, match=r"encoder/trained_on.parquet has changed"):
        read_listing(encoder)
    (encoder / FILE).unlink()
    with pytest.raises(ValueError, match=r"encoder/trained_on.parquet is missing"):
        read_listing(encoder)
    (encoder / RECORD).unlink()
    assert read_listing(encoder) is None
