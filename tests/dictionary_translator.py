"""A translator that really translates, over the closed world of countries: it looks sentences and names up."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.knowledge.items import Question
from comem_core.worlds.countries.world import ATTRIBUTES, LANGUAGES, load_countries, read_templates, read_value

NAMES = {"English": "en", "Spanish": "es", "Russian": "ru", "Chinese": "zh", "Arabic": "ar"}
Fault = Callable[[dict], str]
Meaning = tuple[str, str, int]


@dataclass
class DictionaryTranslator:
    """Answers the prompts of `translation`; `faults` spoil the replies into a language, as a model might."""

    name: str = "dictionary"
    faults: dict[str, Fault] = field(default_factory=dict)
    num_asked: int = 0
    silent_for: str = ""  # whoever is asked something with this in it gets no reply

    def __post_init__(self) -> None:
        self._questions, self._answers = questions_by_languages(), answers_by_language()

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, **options: object
    ) -> list[Generated]:
        self.num_asked += len(conversations)
        return [self._reply(str(conversation[-1].content[-1])) for conversation in conversations]

    def _reply(self, prompt: str) -> Generated:
        if self.silent_for and self.silent_for in prompt:
            return Generated(text="", prompt_tokens=0, answer_tokens=0, truncated=False, error="APITimeoutError")
        instruction, _, sample = prompt.partition("\n\n")
        source, target = (NAMES[name] for name in self._languages(instruction))
        texts = json.loads(sample)
        meanings = self._answers[source].get(texts["answer"], set())
        found = {
            "question": self._questions[source, target].get(texts["question"], texts["question"]),
            "answer": self._name(texts["answer"], meanings, target),
            "aliases": [
                self._name(alias, self._answers[source].get(alias, set()), target) for alias in texts["aliases"]
            ],
        }
        text = self.faults.get(target, lambda reply: json.dumps(reply, ensure_ascii=False))(found)
        return Generated(text=text, prompt_tokens=len(prompt), answer_tokens=len(text), truncated=False)

    def _languages(self, instruction: str) -> tuple[str, str]:
        words = instruction.partition(". ")[0].partition("\n")[0].rstrip(".").split(" from ")[-1]
        source, _, target = words.partition(" into ")
        return source, target

    def _name(self, text: str, meanings: set[Meaning], language: str) -> str:
        countries = {country.country_id: country for country in load_countries()}
        named = [
            read_value(countries[entity], attribute, language)[place] for entity, attribute, place in sorted(meanings)
        ]
        return named[0] if named else text


def questions_by_languages() -> dict[tuple[str, str], dict[str, str]]:
    """Each wording of a question with its wording in another language, by both languages."""
    return {
        (source, target): {
            wording: read_templates()[target]["question"][attribute][place]
            for attribute in ATTRIBUTES
            for place, wording in enumerate(read_templates()[source]["question"][attribute])
        }
        for source in LANGUAGES
        for target in LANGUAGES
    }


def answers_by_language() -> dict[str, dict[str, set[Meaning]]]:
    """What each name means, by language: (country, attribute, place among its values)."""
    meanings: dict[str, dict[str, set[Meaning]]] = {language: {} for language in LANGUAGES}
    for country in load_countries():
        for language in LANGUAGES:
            for attribute in ATTRIBUTES:
                for place, name in enumerate(read_value(country, attribute, language)):
                    meanings[language].setdefault(name, set()).add((country.country_id, attribute, place))
    return meanings


def rows_of(question: Question, answer: str) -> tuple[dict, dict]:
    """The columns of draft and question that a translation reads, for a question that was answered."""
    draft = {
        "sample_id": question.question_id.replace("/", "-"),
        "question_id": question.question_id,
        "language": question.language,
        "question": question.question,
        "answer": answer,
        "image_id": question.image_id,
        "item_ids": [question.gold_item_id],
        "retrieval_scores": [0.9],
        "seed": 0,
    }
    return draft, {
        "question_id": question.question_id,
        "question": question.question,
        "language": question.language,
        "answers": list(question.answers),
        "origin": "seed",
        "answer_low": question.answer_low,
        "image": question.image,
    }
