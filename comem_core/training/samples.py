"""A sample that an encoder is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from comem_core.knowledge.items import KnowledgeItem, Question


@dataclass(frozen=True, kw_only=True)
class TrainingSample:
    """A question with the answer to learn and its retrieved items in rank order. `about` is the place of the answering
    item, if it is known."""

    sample_id: str
    question: str
    image: bytes
    language: str
    answer: str
    items: tuple[KnowledgeItem, ...]
    about: int | None = None

    @classmethod
    def of(cls, question: Question, items: Sequence[KnowledgeItem], *, answer: str | None = None) -> "TrainingSample":
        """Return the sample of a question that shows some items, with its first gold answer or another one."""
        return cls(
            sample_id=question.question_id,
            question=question.question,
            image=question.image,
            language=question.language,
            answer=question.answers[0] if answer is None else answer,
            items=tuple(items),
        )
