"""The conditions under which a benchmark question is asked, as data, and the choice of items for each of them.

The choice depends on the set of questions, never on their order or their batches.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from comem_core.knowledge.items import Question

Place = Literal["nowhere", "prompt", "memory"]
Choice = Literal["none", "retrieved", "other_question", "foreign", "gold"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How a question is asked, and how pages describe it. `place` is where the items go, `choice` which items they are.

    `phrase` names the condition in a few words, `meaning` explains it in a sentence or two. `text_only` replaces
    `meaning` for a reader that sees no pictures, where the two differ. `learned_nothing` asks for as many vectors as k
    memories have, taken from the encoder without any item. With `chooses`, nothing is asked: a gate chooses, question
    by question, between the answers under these two conditions, the second of which is trusted or not.
    """

    name: str
    phrase: str
    meaning: str
    text_only: str | None = None
    place: Place
    choice: Choice
    learned_nothing: bool = False
    chooses: tuple[str, str] | None = None

    @property
    def shows_k(self) -> bool:
        """Whether k, the requested number of items, makes a difference."""
        return self.learned_nothing or self.choice not in ("none", "gold")

    @property
    def is_retrieved(self) -> bool:
        """Whether retrieval decides which items are shown."""
        return self.choice in ("retrieved", "other_question")

    def list_numbers(self, all_k: Sequence[int]) -> tuple[int, ...]:
        """Return the values of k at which it is asked: `all_k`, or only 0 or 1 where k makes no difference."""
        return tuple(all_k) if self.shows_k else (int(self.choice == "gold"),)


# In the order in which pages show them.
CONDITIONS: Mapping[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition(
            name="none",
            phrase="without items",
            meaning="The question and its image alone. What the frozen model knows by itself.",
            text_only="The question alone. What the frozen language model knows by itself; it sees no picture.",
            place="nowhere",
            choice="none",
        ),
        Condition(
            name="text",
            phrase="items as text",
            meaning="The retrieved items stand in the prompt as text and image: "
            "ordinary retrieval-augmented generation.",
            text_only="The retrieved items stand in the prompt as text alone: ordinary retrieval-augmented generation.",
            place="prompt",
            choice="retrieved",
        ),
        Condition(
            name="memory",
            phrase="items as memory",
            meaning="Each retrieved item is a few vectors that the trained encoder made of it once, "
            "ahead of any question.",
            place="memory",
            choice="retrieved",
        ),
        Condition(
            name="gated",
            phrase="memory where it is trusted",
            meaning="The answer from memory where the best retrieved item is near enough to the question and the "
            "reader is not sure by itself, else the one without items. Both limits were learnt on questions held out "
            "for it.",
            place="memory",
            choice="retrieved",
            chooses=("none", "memory"),
        ),
        Condition(
            name="shuffled",
            phrase="memories of other questions",
            meaning="A control: as many memories, but of items that were retrieved for a question about another "
            "entity. Should be no better than no items.",
            place="memory",
            choice="other_question",
        ),
        Condition(
            name="foreign",
            phrase="memories of another corpus",
            meaning="A control: memories of items from a different corpus.",
            place="memory",
            choice="foreign",
        ),
        Condition(
            name="empty",
            phrase="empty memories",
            meaning="A control: as many vectors, with nothing learned in them. "
            "Shows what the mere presence of vectors does.",
            place="memory",
            choice="none",
            learned_nothing=True,
        ),
        Condition(
            name="oracle",
            phrase="memory of the right item",
            meaning="An upper bound: the memory of the one item that holds the answer, as if retrieval never failed.",
            place="memory",
            choice="gold",
        ),
        Condition(
            name="text_gold",
            phrase="the right item as text",
            meaning="An upper bound: the one item that holds the answer stands in the prompt as text and image.",
            text_only="An upper bound: the one item that holds the answer stands in the prompt as text alone.",
            place="prompt",
            choice="gold",
        ),
    )
}


def condition_rows() -> list[dict[str, str | None]]:
    """Return the description of each condition as rows, in the order in which pages show them."""
    return [
        {"name": each.name, "phrase": each.phrase, "meaning": each.meaning, "text_only": each.text_only}
        for each in CONDITIONS.values()
    ]


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question without its picture, with columns of the question table."""

    question_id: str
    language: str
    image_id: str
    entity_id: str | None = None
    gold_item_id: str | None = None


Asked = Question | AskedQuestion


@dataclass(frozen=True, kw_only=True)
class ShowableItems:
    """The items that can be shown, as ids.

    `retrieved` maps a question to its items in rank order, `entity_of` an item to its entity. `foreign` lists items of
    a different corpus.
    """

    retrieved: Mapping[str, Sequence[str]] = field(default_factory=dict)
    entity_of: Mapping[str, str | None] = field(default_factory=dict)
    foreign: Sequence[str] = ()


def find_condition(name: str) -> Condition:
    """Return a condition by name. Raises ValueError for an unknown one."""
    if name not in CONDITIONS:
        raise ValueError(f"unknown condition: {name!r}; allowed are {', '.join(CONDITIONS)}")
    return CONDITIONS[name]


class ItemChooser:
    """Chooses the items that each question of a benchmark is shown under each condition."""

    def __init__(self, questions: Iterable[Asked], shown: ShowableItems):
        self._questions = {question.question_id: question for question in questions}
        self._shown = shown
        languages = {question.language for question in self._questions.values()}
        self._rings = {language: self._make_ring(language) for language in sorted(languages)}
        self._whole_ring = self._make_ring(None)
        self._foreign = sorted(shown.foreign, key=_hash)

    def choose_items(self, condition: str, question_id: str, *, k: int) -> tuple[str, ...]:
        """Return the ids of the items to show, in rank order; at most k, fewer where fewer were retrieved.

        Raises ValueError for an unknown condition or question, k < 1, or a question without what the condition needs.
        """
        choice = find_condition(condition).choice
        if question_id not in self._questions:
            raise ValueError(f"question {question_id!r} is not among the {len(self._questions)} questions given")
        if k < 1:
            raise ValueError(f"k is the number of items to show, at least 1; found {k}")
        question = self._questions[question_id]
        match choice:
            case "none":
                return ()
            case "retrieved":
                return tuple(self._retrieved(question)[:k])
            case "gold":
                return (self._gold(question),)
            case "foreign":
                return self._foreign_items(question, k=k)
            case "other_question":
                return self._items_of_another(question, k=k)

    def _retrieved(self, question: Asked) -> Sequence[str]:
        if question.question_id not in self._shown.retrieved:
            raise ValueError(f"question {question.question_id!r} has no retrieved items; retrieve for it first")
        return self._shown.retrieved[question.question_id]

    def _gold(self, question: Asked) -> str:
        if question.gold_item_id is None:
            raise ValueError(f"question {question.question_id!r} has no gold item, which oracle and text_gold need")
        return question.gold_item_id

    def _foreign_items(self, question: Asked, *, k: int) -> tuple[str, ...]:
        if len(self._foreign) < k:
            raise ValueError(f"the condition foreign needs at least {k} foreign items; found {len(self._foreign)}")
        start = int(_hash(question.question_id), 16) % len(self._foreign)
        return tuple(self._foreign[(start + step) % len(self._foreign)] for step in range(k))

    def _items_of_another(self, question: Asked, *, k: int) -> tuple[str, ...]:
        """Take items of the next question on the ring; go on to later ones only while items are still missing."""
        own = self._retrieved(question)
        num_wanted, chosen = min(k, len(own)), []
        for donor in self._donors(question):
            for item_id in self._retrieved(donor):
                if len(chosen) == num_wanted:
                    return tuple(chosen)
                if item_id not in chosen and item_id not in own and not self._is_about(item_id, question):
                    chosen.append(item_id)
        if len(chosen) == num_wanted:
            return tuple(chosen)
        raise ValueError(
            f"for question {question.question_id!r} there are only {len(chosen)} of {num_wanted} items of questions "
            "about other entities; give more questions, or lower k"
        )

    def _is_about(self, item_id: str, question: Asked) -> bool:
        if item_id == question.gold_item_id:
            return True
        return question.entity_id is not None and self._shown.entity_of.get(item_id) == question.entity_id

    def _donors(self, question: Asked) -> Iterator[Asked]:
        for ring in (self._rings[question.language], self._whole_ring):
            yield from ring.others(question)

    def _make_ring(self, language: str | None) -> "_Ring":
        return _Ring([each for each in self._questions.values() if language in (None, each.language)])


class _Ring:
    """Questions in a fixed pseudo-random circle, entity by entity.

    A step as long as the largest entity leads to another entity. Every question takes the same step, so every question
    lends its items to exactly one other, as long as no entity has more than half of the questions.
    """

    def __init__(self, questions: Sequence[Asked]):
        self._circle = sorted(
            questions,
            key=lambda each: (
                _hash(_name_subject(each)),
                _name_subject(each),
                _hash(each.question_id),
                each.question_id,
            ),
        )
        self._place = {question.question_id: place for place, question in enumerate(self._circle)}
        sizes: dict[str, int] = {}
        for question in questions:
            sizes[_name_subject(question)] = sizes.get(_name_subject(question), 0) + 1
        self._step = max(sizes.values(), default=0)

    def others(self, question: Asked) -> Iterator[Asked]:
        """Yield the questions about other entities, the next on the circle first."""
        start = self._place[question.question_id] + self._step
        for further in range(len(self._circle)):
            donor = self._circle[(start + further) % len(self._circle)]
            if _name_subject(donor) != _name_subject(question):
                yield donor


def _name_subject(question: Asked) -> str:
    """Return what a question is about: its entity, or its image where the entity is unknown."""
    return question.entity_id or question.image_id


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
