"""What an item of so many facts states, and what is then counted as right."""

from pathlib import Path

import pytest

from comem_core.measures.countries import capacity
from comem_core.measures.countries.capacity import NUM_FACTS, ShownFacts, measure_capacity
from comem_core.measures.countries.exam import CountriesExam
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import ATTRIBUTES, load_countries, read_templates

COUNTRIES = {country.country_id: country for country in load_countries()}


def list_stated(text: str, language: str) -> set[str]:
    """The kinds of fact of which a text has the sentence."""
    sentences = read_templates()[language]["sentence"]
    return {kind for kind in ATTRIBUTES if sentences[kind].partition("{value}")[0] in text}


@pytest.mark.parametrize("num_facts", NUM_FACTS)
def test_an_item_states_the_fact_that_is_asked_about_and_so_many_in_all(exam: CountriesExam, num_facts: int) -> None:
    shown, orders = ShownFacts.of(exam, num_facts), set()
    for question in shown.exam.questions:
        item = shown.item_of[question.question_id]
        stated = list_stated(item.text, question.language)
        assert question.attribute in stated and len(stated) == num_facts
        assert any(answer in item.text for answer in question.answers)
        assert item.image == exam.items[question.gold_item_id or ""].image
        orders.add(item.text.startswith(read_templates()[question.language]["sentence"]["name"].partition("{")[0]))
    assert orders == {True, False} or num_facts == 1
    left_out = [each for each in exam.questions if each.question_id not in shown.item_of]
    assert all(sum(map(bool, COUNTRIES[q.entity_id or ""].facts[q.language].values())) < num_facts for q in left_out)


def test_an_item_without_the_fact_states_all_others_and_their_values_count_as_others(exam: CountriesExam) -> None:
    shown = ShownFacts.of(exam, None)
    others = shown.ask_for_others()
    assert len(shown.exam.questions) == len(exam.questions)
    for question, other in zip(shown.exam.questions, others.exam.questions, strict=True):
        facts = COUNTRIES[question.entity_id or ""].facts[question.language]
        text = shown.item_of[question.question_id].text
        wanted = {kind for kind in ATTRIBUTES if facts[kind] and kind != question.attribute}
        assert list_stated(text, question.language) == wanted
        assert not set(other.answers) & set(question.answers)
        assert set(other.answers) | set(question.answers) >= {value for kind in wanted for value in facts[kind]}


def test_every_encoder_has_a_row_for_every_number_of_facts(exam: CountriesExam, shipped_encoder: MemoryEncoder) -> None:
    rows = {row.measure: row for row in measure_capacity(exam, [shipped_encoder], command="make it")}
    numbers = [f"facts_{number}" for number in NUM_FACTS]
    assert set(rows) == {
        *(f"em_text_{name}" for name in (*numbers, "unstated")),
        *(f"em_memory_{name}_vectors_16" for name in (*numbers, "unstated")),
        "other_text_unstated",
        "other_memory_unstated_vectors_16",
    }
    assert rows["em_memory_facts_2_vectors_16"].value > 70 > rows["em_memory_unstated_vectors_16"].value
    assert rows["em_memory_facts_2_vectors_16"].n == len(exam.questions)


def test_encoders_of_one_number_of_vectors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"the encoders have \[16, 16\] vectors; expected another number each"):
        capacity.main(["tiny-encoder", "tiny-encoder-start", "--questions", "5"])
    assert not list(tmp_path.iterdir())
