"""The command that trains an encoder's start: as the recipe says or with one thing changed, and resumable."""

import json
from pathlib import Path

import pytest

from comem_core.memory.description import read_description
from comem_core.pretraining import tiny_base
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.start_encoder import PARTS, change_recipe, main


def test_unchanged_it_is_the_recipe():
    assert change_recipe() == EncoderPretrainingRecipe()


def test_what_is_not_the_papers_can_be_left_out_part_by_part():
    plain = change_recipe(without=PARTS)
    assert not plain.encoder.reads_embeddings
    weights = ("reconstruction_weight", "likeness_weight", "finding_weight")
    assert all(getattr(phase, weight) == 0 for phase in plain.curriculum for weight in weights)
    assert change_recipe(without=("finding",)).curriculum[0] == EncoderPretrainingRecipe().curriculum[0]
    assert change_recipe(without=("finding",)).curriculum[-1].likeness_weight > 0


def test_a_run_that_was_stopped_goes_on_and_saves_what_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(tiny_base, "SAVE_EVERY", 1)
    asked = ["--out", str(tmp_path / "run"), "--num-steps", "2", "--num-vectors", "2", "--seed", "5"]
    main(asked)
    description = read_description(tmp_path / "run" / "encoder")
    assert (description.recipe["num_vectors"], description.recipe["seed"]) == (2, 5)
    assert description.backbone == "tiny"
    assert "2 vectors of width 128" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    main(asked)  # finished: nothing is trained again
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == 2


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path):
    main(["--out", str(tmp_path), "--num-steps", "1", "--num-vectors", "1"])
    with pytest.raises(SystemExit, match="holds a run of another recipe"):
        main(["--out", str(tmp_path), "--num-steps", "2", "--num-vectors", "1"])
