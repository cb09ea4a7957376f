"""Prompts as data: how items and questions become conversations. One JSON file per prompt set, one text per language.

The layout is the paper's (reference code). For the encoder, a knowledge item is a user turn (picture, remark) answered
by the item's text. For the `text` condition, each item is a user turn of its own, before the question's turn. Pictures
come before their text, both in training and at inference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Literal, TypeVar

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.knowledge.items import KnowledgeItem, hash_content_parts
from comem_core.knowledge.languages import read_primary_code
from comem_core.prompts.files import list_prompt_files, read_prompt_file

# Reference code: every turn's text is cut at 5000 characters.
MAX_CHARACTERS = 5000

# The language whose texts serve languages that a prompt set has none for, unless it names another. A sentence then
# asks for the question's or the item's own language.
DEFAULT_LANGUAGE = "en"
ANSWER_IN_ITS_LANGUAGE = "Answer in the language of the question."
WRITE_IN_ITS_LANGUAGE = "Write in the language of the text above."

NEEDED = ("system", "remark", "item", "question", "ask")
OPTIONAL = (
    "examples", "asks", "extract", "stop", "default_language", "ask_system", "ask_frame", "markers", "ask_examples",
)  # fmt: skip

Text = TypeVar("Text")
ExtractionMethod = Literal["first_line", "boxed"]


@dataclass(frozen=True)
class PromptSet:
    """One set of prompts by language, with a hash of its exact words.

    A language without texts of its own (`en-US`) uses those of its primary code (`en`), or else of `default_language`.
    If that is None, English texts serve every language, with a sentence that asks for the language of the question (or
    of the item, where a question is to be written).
    """

    name: str
    sha256: str
    system: str
    remark: dict[str, str]
    item: dict[str, str]
    question: dict[str, str]
    ask: dict[str, dict[str, str]]
    # Worked examples by language, each with `item`, `question` and `answer`. They come directly after the system turn,
    # without pictures, and without their items if the question itself has none.
    examples: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    # What the VLM writes when it is asked about an item: a question, or a question with its answer.
    asks: Literal["question", "pair"] = "question"
    # How the short answer is extracted from the VLM's reply to a question.
    extract: ExtractionMethod = "first_line"
    # Texts at which the answer to a question ends in an application, for models that go on by themselves.
    stop: tuple[str, ...] = ()
    default_language: str | None = None
    # For asking: a system turn, if it differs; the frame around the instruction `{ask}`; the markers before the
    # `question` and the `answer` of a pair; worked examples of pairs (`item`, `kind`, `question`, `answer`), of which
    # only those of the wanted kind are shown.
    ask_system: str | None = None
    ask_frame: Mapping[str, str] = field(default_factory=dict)
    markers: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    ask_examples: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def check_language(self, language: str) -> None:
        """Raise ValueError unless questions in this language can be asked, trained on and written about an item."""
        for texts in (self.remark, self.item, self.question, self.ask):
            self._choose_language(texts, language)

    def _choose_language(self, texts: Mapping[str, Text], language: str) -> Text:
        for known in (language, read_primary_code(language), self.default_language or DEFAULT_LANGUAGE):
            if known in texts:
                return texts[known]
        raise ValueError(f"prompt set {self.name!r} has no language {language!r}; it has {', '.join(sorted(texts))}")

    def _lacks(self, texts: Mapping[str, object], language: str) -> bool:
        """Tell whether a language has no texts here, and those that serve it do not ask for it themselves."""
        return self.default_language is None and not {language, read_primary_code(language)} & texts.keys()

    def make_item_conversation(self, item: KnowledgeItem) -> Conversation:
        """Build the memory encoder's input: the item alone, without a question or a system turn.

        A remark may also contain the `{text}`. Then the assistant repeats it, and hidden states know what comes next.
        """
        text = item.text[:MAX_CHARACTERS]
        remark = self._choose_language(self.remark, item.language).replace("{text}", text)
        return [Turn("user", _add_picture(item, remark)), Turn("assistant", (text,))]

    def make_system_turn(self) -> Turn:
        return Turn("system", (self.system,))

    def make_item_turn(self, item: KnowledgeItem) -> Turn:
        """Build the turn of an item as prompt tokens (condition `text`)."""
        text = self._choose_language(self.item, item.language).replace("{text}", item.text[:MAX_CHARACTERS])
        return Turn("user", _add_picture(item, text))

    def make_question_turn(self, question: str, image: bytes, language: str) -> Turn:
        return Turn("user", (image, self._word_question(question[:MAX_CHARACTERS], language)))

    def _word_question(self, question: str, language: str) -> str:
        wording = self._choose_language(self.question, language)
        if self._lacks(self.question, language):
            wording = wording.replace("{question}", f"{{question}}\n{ANSWER_IN_ITS_LANGUAGE}")
        return wording.replace("{question}", question)

    def make_conversation(
        self,
        question: str,
        image: bytes,
        language: str,
        *,
        items: Sequence[KnowledgeItem] = (),
        answer: str | None = None,
    ) -> Conversation:
        """Build a conversation: the system turn, the set's worked examples, the items in rank order, the question, and
        the answer if it is given."""
        turns = [self.make_system_turn(), *self.make_example_turns(language, with_items=bool(items))]
        turns += [self.make_item_turn(item) for item in items]
        turns.append(self.make_question_turn(question, image, language))
        if answer is not None:
            turns.append(Turn("assistant", (answer,)))
        return turns

    def make_example_turns(self, language: str, *, with_items: bool) -> Conversation:
        """Build the turns of the worked examples in a language, worded like items and questions."""
        turns: list[Turn] = []
        for example in self.examples.get(language, ()):
            if with_items:
                turns.append(
                    Turn("user", (self._choose_language(self.item, language).replace("{text}", example["item"]),))
                )
            asked = self._word_question(example["question"], language)
            turns += [Turn("user", (asked,)), Turn("assistant", (example["answer"],))]
        return turns

    def make_ask_conversation(self, item: KnowledgeItem, kind: str) -> Conversation:
        """Build the prompt that makes the VLM ask a question of one kind about an item."""
        turns = [Turn("system", (self.ask_system or self.system,))]
        for example in self.ask_examples.get(item.language, ()):
            if example["kind"] != kind:
                continue
            before = self._choose_language(self.markers, item.language)
            pair = f"{before['question'][0]}: {example['question']}\n{before['answer'][0]}: {example['answer']}"
            text = self._choose_language(self.item, item.language).replace("{text}", example["item"])
            turns += [
                Turn("user", (text,)),
                self.make_ask_turn(example["kind"], item.language),
                Turn("assistant", (pair,)),
            ]
        return [*turns, self.make_item_turn(item), self.make_ask_turn(kind, item.language)]

    def make_ask_turn(self, kind: str, language: str) -> Turn:
        """Build the instruction, placed after an item, to ask a question of one kind."""
        wanted = self._choose_language(self.ask, language)[kind]
        if self._lacks(self.ask, language):
            wanted = f"{wanted} {WRITE_IN_ITS_LANGUAGE}"
        frame = self._choose_language(self.ask_frame, language) if self.ask_frame else "{ask}"
        return Turn("user", (frame.replace("{ask}", wanted),))

    def list_pair_markers(self, language: str) -> Mapping[str, Sequence[str]]:
        """Return the markers before the `question` and the `answer` of a written pair."""
        return self._choose_language(self.markers, language)

    @property
    def num_kinds(self) -> int:
        """The largest number of kinds in any language."""
        return max(len(kinds) for kinds in self.ask.values())

    def list_kinds(self, language: str) -> tuple[str, ...]:
        """List the kinds of question that can be asked in a language."""
        return tuple(self._choose_language(self.ask, language))


def _add_picture(item: KnowledgeItem, text: str) -> tuple[str | bytes, ...]:
    return (text,) if item.image is None else (item.image, text)


@lru_cache
def read_prompt_set(name: str) -> PromptSet:
    """Read a prompt set by name.

    Raises:
        ValueError: the set does not exist; the message lists the known ones.
    """
    data = read_prompt_file(resources.files(__name__), name, what="prompt set")
    data["stop"] = tuple(data.get("stop", ()))
    wanted = ("name", "sha256", *NEEDED)
    return PromptSet(**{key: data[key] for key in wanted} | {key: data[key] for key in OPTIONAL if key in data})


@lru_cache
def list_all_markers(kind: Literal["question", "answer"]) -> tuple[str, ...]:
    """List what stands before a question or an answer, in every language of every prompt set."""
    sets = [read_prompt_set(name) for name in list_prompt_files(resources.files(__name__))]
    return tuple(dict.fromkeys(word for each in sets for of in each.markers.values() for word in of[kind]))


def hash_prompt(conversation: Conversation) -> str:
    """Hash exactly what a model was asked: roles, texts and pictures in order (16 hex digits)."""
    return hash_content_parts(*(part for turn in conversation for part in (turn.role, *turn.content)))
