"""lmms-eval's own evaluator asks our model a task of countries. Skipped where lmms-eval is not installed."""

import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import Question
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

for package in ("lmms_eval", "lmms_eval.evaluator"):
    pytest.importorskip(
        package,
        reason="lmms-eval or a package that it needs is not installed (docs/other_programs.md)",
        exc_type=ImportError,
    )

ROOT = Path(__file__).parents[3]
NUM_QUESTIONS = 5
TASK = """
task: countries_of_comem
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {data}
  cache_dir: {cache}
test_split: test
output_type: generate_until
doc_to_visual: !function {module}.pictures
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  max_new_tokens: 16
  until: ["\\n\\n"]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
"""
PICTURES = """
import io
from PIL import Image


def pictures(doc):
    return [Image.open(io.BytesIO(doc["image"]))]
"""


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return [each for each in load_benchmark_questions("dev") if each.language == "en"][:NUM_QUESTIONS]


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory, questions: Sequence[Question]) -> Path:
    """A task of lmms-eval's own kind: a YAML file, its functions, and rows in Parquet."""
    folder = tmp_path_factory.mktemp("task")
    rows = [{"question": each.question, "answer": each.answers[0], "image": each.image} for each in questions]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
    text = TASK.format(data=folder / "test.parquet", cache=folder / "cache", module="pictures_of_countries")
    (folder / "countries_of_comem.yaml").write_text(text)
    (folder / "pictures_of_countries.py").write_text(PICTURES)
    return folder


@pytest.fixture(scope="module")
def bank_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Memories of the first hundred items, so that no test encodes the world."""
    encoder = MemoryEncoder.load(find_encoder_folder("tiny-encoder"), load_backbone("tiny"))
    path = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    encoder.encode(load_knowledge_items()[:100]).save(path)
    return path


def test_the_entry_point_names_the_model() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    module, _, name = declared["comem"].partition(":")
    manifest = getattr(import_module(module), name)
    registry = import_module("lmms_eval.models").MODEL_REGISTRY_V2
    registry.register_manifest(manifest, overwrite=True)
    assert registry.get_model_class("comem").__name__ == "CoMEM"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_lmms_eval_gets_the_answers_that_the_library_gives(
    task_folder: Path, bank_file: Path, questions: Sequence[Question], batch_size: int
) -> None:
    arguments = f"encoder=tiny-encoder,bank={bank_file},condition=memory,k=2,language=en"
    answers, score = _evaluated(task_folder, arguments, batch_size=batch_size)
    encoder = MemoryEncoder.load(find_encoder_folder("tiny-encoder"), load_backbone("tiny"))
    bank = import_module("comem_core.memory.bank").Bank.load(bank_file)
    ours = encoder.answer(questions, bank, k=2, max_new_tokens=16)
    assert answers == [each.text for each in ours]
    right = [each.text == asked.answers[0] for each, asked in zip(ours, questions, strict=True)]
    assert score == pytest.approx(sum(right) / len(right))


def _evaluated(task_folder: Path, arguments: str, *, batch_size: int) -> tuple[list[str], float]:
    registry = import_module("lmms_eval.models").MODEL_REGISTRY_V2
    registry.register_manifest(import_module("comem_core.evaluation.lmms_eval_adapter").MANIFEST, overwrite=True)
    tasks = import_module("lmms_eval.tasks").TaskManager(include_path=str(task_folder), include_defaults=False)
    found: dict[str, Any] = import_module("lmms_eval.evaluator").simple_evaluate(
        model="comem",
        model_args=arguments,
        tasks=["countries_of_comem"],
        task_manager=tasks,
        batch_size=batch_size,
        device="cpu",
        log_samples=True,
        bootstrap_iters=0,
    )
    samples = sorted(found["samples"]["countries_of_comem"], key=lambda each: each["doc_id"])
    [score] = [
        value for name, value in found["results"]["countries_of_comem"].items() if name.startswith("exact_match,")
    ]
    return [each["filtered_resps"][0] for each in samples], score


def test_settings_of_a_task_become_decoding_and_stops() -> None:
    adapter = import_module("comem_core.evaluation.lmms_eval_adapter")
    assert adapter.decoding_of({"temperature": 0, "do_sample": False, "num_beams": 1, "top_p": None}).temperature == 0
    drawn = adapter.decoding_of({"temperature": 0.7, "do_sample": True, "top_p": 0.9})
    assert (drawn.temperature, drawn.top_p) == (0.7, 0.9)
    with pytest.raises(ValueError, match="asks for 3 beams"):
        adapter.decoding_of({"num_beams": 3})
    assert adapter.stops_of({"until": "###"}) == ["###"] and adapter.stops_of({}) == []


def test_what_is_no_picture_is_refused() -> None:
    adapter = import_module("comem_core.evaluation.lmms_eval_adapter")
    with pytest.raises(ValueError, match="a task shows str"):
        adapter.encoded("film.mp4")
    with pytest.raises(ValueError, match="expected a number as batch_size and no max_batch_size"):
        adapter.CoMEM(batch_size="auto")
