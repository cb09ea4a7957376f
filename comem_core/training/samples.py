"""A sample that an encoder is trained on."""

from dataclasses import dataclass

from comem_core.knowledge.items import KnowledgeItem


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
