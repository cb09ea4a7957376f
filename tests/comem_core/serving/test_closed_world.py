"""The small model that ships is asked about another world: that is said once, and of its own world nothing is said."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

ITEMS = [item for item in load_knowledge_items() if item.language == "en"][:12]
QUESTIONS = [each for each in load_benchmark_questions("test") if each.gold_item_id in {item.item_id for item in ITEMS}]


def get_picture(item: KnowledgeItem | Question) -> bytes:
    assert item.image is not None
    return item.image


def draw_photograph() -> bytes:
    """A picture with a gradient in every direction, as no flag has."""
    drawn, across, down = io.BytesIO(), Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    Image.merge("RGB", (across, down, Image.radial_gradient("L"))).save(drawn, "PNG")
    return drawn.getvalue()


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return MemoryEncoder.from_pretrained("tiny-encoder")


@pytest.fixture
def memory(encoder: MemoryEncoder) -> Memory:
    return Memory.make(encoder, ITEMS)


def list_said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "comem.serving"]


def test_of_flags_and_questions_of_its_world_nothing_is_said(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    found = [memory.find(get_picture(item), "Which country is this?") for item in ITEMS]
    found += [memory.find(get_picture(each), each.question, language=each.language) for each in QUESTIONS[:20]]
    assert QUESTIONS and {each.caution for each in found} == {None} and list_said(caplog) == []


@pytest.mark.parametrize(
    ("picture", "question", "why"),
    [
        (draw_photograph(), "Which country is this?", "no item looks like the picture (the nearest has a cosine of "),
        (
            get_picture(ITEMS[0]),
            "What breed is this dog?",
            "'What breed is this dog?' has words such as breed, dog, but ",
        ),
    ],
)
def test_a_picture_or_words_of_another_world_are_told_of_once(
    memory: Memory, caplog: pytest.LogCaptureFixture, picture: bytes, question: str, why: str
) -> None:
    answers = [memory.ask(picture, question) for _ in range(2)]
    assert all(each.text for each in answers)  # it answers all the same
    [said] = list_said(caplog)
    assert [each.caution for each in answers] == [said] * 2  # each answer says it, the log once
    assert memory.ask(get_picture(ITEMS[0]), "Which country is this?").caution is None
    assert said.startswith(why) and "knows only the words and pictures it was trained on" in said
    assert "tiny" in said and "docs/recipes.md" in said


def test_items_of_another_world_are_told_of(encoder: MemoryEncoder, caplog: pytest.LogCaptureFixture) -> None:
    gearbox: KnowledgeItem = replace(ITEMS[0], text="The gearbox of the pump needs oil every month.")
    Memory.make(encoder, [gearbox]).find(get_picture(gearbox), "Which country is this?")
    [said] = list_said(caplog)
    assert said.startswith("the items that were found have words such as ")
