"""The emoji world as it ships: pictures by three artists, words in a hundred languages, and questions across them."""

import io
import json
from collections import Counter

from PIL import Image

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.metrics.infoseek import normalise_answer
from comem_core.knowledge.items import Question
from comem_core.knowledge.languages import check_language
from comem_core.worlds.emoji import world
from comem_core.worlds.emoji.sources import SOURCES
from comem_core.worlds.emoji.splits import choose_split

MOST_BYTES = 10_000_000
EMOJI = {each.emoji_id: each for each in world.load_emoji()}
ITEMS = {item.item_id: item for item in world.load_knowledge_items()}


def list_questions() -> tuple[Question, ...]:
    return world.load_seed_questions() + world.load_benchmark_questions("dev") + world.load_benchmark_questions("test")


def test_there_are_hundreds_of_things_in_three_splits_and_their_files_are_small() -> None:
    sizes = Counter(each.split for each in EMOJI.values())
    assert len(EMOJI) == len(world.load_emoji()) > 800
    assert sizes["train"] > sizes["test"] > sizes["dev"] >= 200
    assert all(each.split == choose_split(each.emoji_id) for each in EMOJI.values())
    assert sum(path.stat().st_size for path in world.DATA.iterdir()) < MOST_BYTES


def test_every_thing_is_drawn_by_three_artists_and_no_two_drawings_are_the_same() -> None:
    pictures = [picture for each in EMOJI.values() for picture in each.pictures.values()]
    assert {tuple(each.pictures) for each in EMOJI.values()} == {world.STYLES}
    assert len(set(pictures)) == len(pictures)
    for picture in pictures[:: len(pictures) // 50]:
        opened = Image.open(io.BytesIO(picture)).convert("RGB")
        assert max(opened.size) == 96 and len(opened.getcolors(96 * 96) or ()) > 1


def test_each_item_has_a_name_and_keywords_in_one_of_a_hundred_languages() -> None:
    languages = Counter(each.language for each in EMOJI.values())
    assert len(languages) > 95
    assert 0.4 < sum(languages[each] for each in world.ASKED_IN) / len(EMOJI) < 0.6
    for each in EMOJI.values():
        check_language(each.language)
        assert each.name.strip() and each.keywords and each.name not in each.keywords
        assert all(word in each.text for word in (each.name, *each.keywords))
    assert len(ITEMS) == len(EMOJI)


def test_a_question_shows_another_artist_s_picture_and_its_answer_stands_in_its_item() -> None:
    for question in list_questions():
        item, emoji = ITEMS[question.gold_item_id or ""], EMOJI[question.entity_id or ""]
        assert item.entity_id == emoji.emoji_id and question.image != item.image
        assert question.image in [emoji.pictures[style] for style in world.QUESTION_STYLES]
        assert question.answers and all(answer in item.text for answer in question.answers)
        assert all(map(normalise_answer, question.answers)), question  # else an empty answer would be right


def test_questions_are_asked_within_and_across_languages_and_name_the_language_of_the_answer() -> None:
    names = world.read_language_names()
    for part in world.PARTS:
        splits = Counter(question.split for question in world.load_benchmark_questions(part))
        assert splits[world.ACROSS] > splits[world.SAME] > 100
    for question in list_questions():
        spoken = ITEMS[question.gold_item_id or ""].language
        is_across = spoken != question.language
        assert (names[question.language][spoken] in question.question) == is_across, question.question
        assert "{" not in question.question
        if question.split != "train":
            assert question.split == (world.ACROSS if is_across else world.SAME)
    assert {question.language for question in list_questions()} == set(world.ASKED_IN) == set(world.read_templates())


def test_nothing_that_is_scored_is_a_seed_and_ids_are_unique() -> None:
    entities, pairs = find_benchmark(world.BENCHMARK).held_out()
    seeds = world.load_seed_questions()
    assert seeds and not pairs
    assert not {question.entity_id for question in seeds} & entities
    for part in world.PARTS:
        assert {question.entity_id for question in world.load_benchmark_questions(part)} <= entities
    ids = [question.question_id for question in list_questions()]
    assert len(set(ids)) == len(ids)


def test_every_source_is_credited_and_the_pins_are_those_of_the_build() -> None:
    recorded = json.loads((world.DATA / "SOURCES.json").read_text(encoding="utf-8"))["sources"]
    pinned = json.loads((world.DATA.parent / "package.json").read_text(encoding="utf-8"))["dependencies"]
    licences = (world.DATA / "LICENCES.md").read_text(encoding="utf-8")
    assert [source["package"] for source in recorded] == [source.package for source in SOURCES]
    assert {source.package: source.version for source in SOURCES} == pinned
    assert all(f"`{source.package}`" in licences and source.version in licences for source in SOURCES)
