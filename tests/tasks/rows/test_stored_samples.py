"""Samples that are read when a step shows them: the batches of a list of them, bit by bit, holding little."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.batches import Batches, PreparedBatch
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.engine.partial import Partial
from tasks.engine.store import Reference
from tasks.rows.samples import Samples, SampleSet
from tasks.rows.stored_samples import StoredSamples
from tasks.rows.tables import make_item_table, write_questions
from warehouse.schemas import check_rows, make_blank_row

QUESTIONS = load_benchmark_questions("dev")[:90]
GOLD = {question.gold_item_id for question in QUESTIONS}
ITEMS = [item for number, item in enumerate(load_knowledge_items()) if number % 9 == 0 or item.item_id in GOLD]
Drafted = tuple[str, Question, Sequence[KnowledgeItem]]  # the sample's id, its question, its items


def refer(folder: Path) -> Reference:
    return Reference(stage="x", fingerprint=folder.name, uri=str(folder), num_rows=0)


def draw_drafts(first: int, questions: Sequence[Question]) -> list[Drafted]:
    """Draw a draft of each question, in another order than that of its id; every second shows its gold item."""
    by_id = {item.item_id: item for item in ITEMS}
    drafted = []
    for number, question in enumerate(questions):
        random = Random(number)
        items = random.sample(ITEMS, random.randint(1, 6))
        gold = by_id.get(question.gold_item_id or "")
        if gold and number % 2 == 0:
            items[random.randrange(len(items))] = gold
        distinct = list({item.item_id: item for item in items}.values())
        drafted.append((f"{random.getrandbits(32):08x}-{first}", question, distinct))
    return drafted


def write_set(folder: Path, drafted: Sequence[Drafted]) -> SampleSet:
    """Write a set in shards of seven drafts; every fifth draft is not kept."""
    for name in ("questions", "drafts", "kept"):
        (folder / name).mkdir(parents=True)
    write_questions(Partial(folder / "questions"), "part-00000", [question for _, question, _ in drafted])
    rows = [
        make_blank_row("draft")
        | {"sample_id": sample_id, "question_id": question.question_id, "question": question.question}
        | {
            "language": question.language,
            "answer": f"answer {sample_id} é",
            "item_ids": [each.item_id for each in items],
        }
        for sample_id, question, items in drafted
    ]
    for start in range(0, len(rows), 7):
        Partial(folder / "drafts").write_shard(f"part-{start:05d}", check_rows("draft", rows[start : start + 7]))
    kept = [make_blank_row("sample") | {"sample_id": sample_id} for sample_id, _, _ in take_kept(drafted)]
    Partial(folder / "kept").write_shard("part-00000", check_rows("sample", kept))
    return SampleSet(**{name: refer(folder / name) for name in ("questions", "drafts", "kept")})


def take_kept(drafted: Sequence[Drafted]) -> list[Drafted]:
    return [each for number, each in enumerate(drafted) if number % 5]


def list_samples(drafted: Sequence[Drafted]) -> list[TrainingSample]:
    """Return the samples as a list in memory."""
    return [
        replace(
            TrainingSample.of(question, items, answer=f"answer {sample_id} é"),
            sample_id=sample_id,
            about=next((n for n, item in enumerate(items) if item.item_id == question.gold_item_id), None),
        )
        for sample_id, question, items in take_kept(drafted)
    ]


@pytest.fixture(scope="module")
def drafted() -> list[list[Drafted]]:
    return [draw_drafts(0, QUESTIONS[:60]), draw_drafts(1, QUESTIONS[60:])]


@pytest.fixture(scope="module")
def listed(drafted: list[list[Drafted]]) -> list[TrainingSample]:
    return sorted((each for part in drafted for each in list_samples(part)), key=lambda each: each.sample_id)


@pytest.fixture(scope="module")
def written(drafted: list[list[Drafted]], tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("written")
    (folder / "knowledge").mkdir()
    for number, start in enumerate(range(0, len(ITEMS), 20)):
        Partial(folder / "knowledge").write_shard(f"part-{number:05d}", make_item_table(ITEMS[start : start + 20]))
    sets = [write_set(folder / str(number), each) for number, each in enumerate(drafted)]
    return Samples(knowledge=refer(folder / "knowledge"), sets=tuple(sets))


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return MemoryEncoder(load_backbone("tiny"), find_recipe("tiny_cpu").training.encoder)


@pytest.fixture(scope="module")
def recipe() -> TrainingRecipe:
    training = find_recipe("tiny_cpu").training
    return replace(training, distractor_share=0.6, optimizer=replace(training.optimizer, num_steps=40, batch_size=8))


def open_small(written: Samples, *, held_bytes: int) -> StoredSamples:
    return StoredSamples(written.knowledge.folder, [each.list_paths() for each in written.sets], held_bytes=held_bytes)


@pytest.mark.parametrize("held_bytes", [0, 256_000_000])
def test_stored_samples_are_the_list_of_what_was_kept(
    written: Samples, listed: list[TrainingSample], held_bytes: int
) -> None:
    stored = open_small(written, held_bytes=held_bytes)
    assert len(stored) == len(listed) == 72 and list(stored) == listed
    assert stored[3:60:7] == listed[3:60:7] and stored[-1] == listed[-1]
    assert len({sample.about for sample in listed}) > 2 and stored.list_bare() == []
    assert [list(sample.items[1:4]) for sample in stored] == [list(sample.items[1:4]) for sample in listed]
    with pytest.raises(IndexError):
        stored[72]


def compare(one: PreparedBatch, other: PreparedBatch) -> bool:
    """Tell whether two batches are equal bit by bit."""
    pairs = [(one.questions, other.questions), (one.item_tokens, other.item_tokens)]
    same = [
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in pairs
        for name, value in vars(a).items()
        if isinstance(value, torch.Tensor)
    ]
    return len(same) > 4 and all(same) and (one.items, one.shown) == (other.items, other.shown)


@pytest.mark.parametrize("num_ranks", [1, 4])
def test_batches_of_stored_samples_are_those_of_the_list(
    encoder: MemoryEncoder, recipe: TrainingRecipe, written: Samples, listed: list[TrainingSample], num_ranks: int
) -> None:
    """Over more than four epochs; and where a training goes on in the middle, each batch prepared beforehand."""
    for rank in range(num_ranks):
        ways = [
            Batches(encoder, encoder, recipe, samples, rank=rank, num_ranks=num_ranks)
            for samples in (listed, open_small(written, held_bytes=1))
        ]
        for step in range(40):
            one, other = (
                [each.choose_items(each.samples[place], step) for place in each.choose_indices(step)] for each in ways
            )
            assert one == other
        resumed = [list(each.iterate(36)) for each in ways]
        assert len(resumed[0]) == 4 and all(compare(*pair) for pair in zip(*resumed, strict=True))


def test_distractors_are_those_that_a_list_of_the_others_gives(
    encoder: MemoryEncoder, recipe: TrainingRecipe, written: Samples, listed: list[TrainingSample]
) -> None:
    """The rule in its plainest words, which needs all items in memory."""
    items = {item.item_id: item for sample in listed for item in sample.items}
    batches, changed = Batches(encoder, encoder, recipe, written.read()), 0
    for place, sample in enumerate(listed):
        random, shown = Random(f"{sample.sample_id}-9"), sample.items[: recipe.items_per_sample]
        if recipe.random_item_count:
            shown = shown[: random.randint(1, len(shown))]
        if sample.about is not None and random.random() < recipe.distractor_share:
            own = sample.items[sample.about]
            others = [
                items[item_id]
                for item_id in sorted(items)
                if items[item_id].language == own.language and items[item_id] != own
                if own.entity_id is None or items[item_id].entity_id != own.entity_id
            ]
            mixed = [own, *random.sample(others, min(len(shown) - 1, len(others)))]
            random.shuffle(mixed)
            shown, changed = tuple(mixed), changed + 1
        assert batches.choose_items(batches.samples[place], 9) == shown
    assert changed > 10


def test_a_training_of_stored_samples_goes_on_where_one_of_the_list_stopped(
    encoder: MemoryEncoder, recipe: TrainingRecipe, written: Samples, listed: list[TrainingSample]
) -> None:
    described = [AnswerFromMemory(encoder, recipe, samples).describe() for samples in (listed, written.read())]
    assert described[0] == described[1]
    reworded = replace(listed[5], items=(replace(listed[5].items[0], text="Other."), *listed[5].items[1:]))
    changed = AnswerFromMemory(encoder, recipe, [*listed[:5], reworded, *listed[6:]])
    assert changed.describe() != described[0]


def test_memory_holds_numbers_and_what_a_step_shows(written: Samples) -> None:
    stored = written.read()
    assert stored.list_bare() == [] and len(list(stored.describe_each())) == 72
    pool = stored.pool_items()
    assert not stored.items.rows.held and not any(rows.held for rows in stored.pictures)
    assert sum(each.nbytes for each in vars(stored.where).values()) < 72 * 64
    assert pool.ids_N.nbytes + pool.languages_N.nbytes + pool.entities_N.nbytes <= len(ITEMS) * 16
    assert stored[0].items[:1][0].text and len(stored.items.rows.held) == 1


@pytest.mark.parametrize("gone", ["item", "question"])
def test_a_sample_whose_parts_are_gone_is_named_before_the_first_step(
    written: Samples, tmp_path: Path, gone: str
) -> None:
    parts = write_set(tmp_path / "set", [("dropped", QUESTIONS[0], ITEMS[:2]), ("s", QUESTIONS[1], ITEMS[:2])])
    knowledge, name = written.knowledge, ITEMS[0].item_id
    if gone == "item":
        knowledge = refer(tmp_path / "others")
        knowledge.folder.mkdir()
        Partial(knowledge.folder).write_shard("part-00000", make_item_table(ITEMS[1:]))
    else:
        write_questions(Partial(parts.questions.folder), "part-00000", QUESTIONS[:1])
        name = QUESTIONS[1].question_id
    with pytest.raises(
        ValueError, match=rf"the sample s \(.*/part-00000.parquet\) has the {gone} {name}, which is not"
    ):
        Samples(knowledge=knowledge, sets=(parts,)).read()


def test_a_stored_sample_without_items_is_refused_as_one_of_a_list_is(
    encoder: MemoryEncoder, recipe: TrainingRecipe, written: Samples, tmp_path: Path
) -> None:
    kept = [("b", QUESTIONS[2], ITEMS[:1]), ("bare", QUESTIONS[1], ())]
    parts = write_set(tmp_path / "set", [("dropped", QUESTIONS[0], ITEMS[:1]), *kept])
    samples = Samples(knowledge=written.knowledge, sets=(parts,)).read()
    assert [(sample.sample_id, len(sample.items)) for sample in samples] == [("b", 1), ("bare", 0)]
    with pytest.raises(ValueError, match="1 training samples have no item to encode, first 'bare'"):
        Batches(encoder, encoder, recipe, samples)
