"""Answers questions about pictures from a bank: finds items, lets the frozen reader answer, and returns both.

Finding and answering are two steps that keep nothing between calls, so a service can batch each as it likes.

Shapes: K items of a question, M vectors of an item, D width.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.evaluation.held_out.gate import Gate
from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.index.vector_index import Hits
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.knowledge.languages import UNKNOWN
from comem_core.knowledge.retrieval import Restriction
from comem_core.knowledge.searching import IMAGE, Searcher
from comem_core.memory.answering import Answering, cut_into_batches
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.answering import ClosedWorld, answer_found
from comem_core.serving.answers import (
    EVERY_LANGUAGE,
    Found,
    Inquiry,
    MemoryAnswer,
    SearchSettings,
    describe_item,
)
from comem_core.serving.loading import MemorySource
from comem_core.serving.questions import PictureLike, PictureLimits, make_question

MAX_NEW_TOKENS = 64


class Memory:
    """An encoder with its frozen reader, a bank, the bank's items, and the search that finds them.

    Calls keep nothing but what they have read; one thread at a time may call. `version` names encoder, bank and index
    by their fingerprints, and the gate and the number of items where an evaluation gave them.
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        bank: Bank,
        items: Mapping[str, KnowledgeItem],
        searcher: Searcher,
        *,
        settings: SearchSettings,
        version: str,
        made_from: Mapping[str, Any],
        source: MemorySource | None = None,
        limits: PictureLimits | None = None,
        has_pictures: bool = True,
        gates: Mapping[int, Gate] | None = None,
        withdrawn: Collection[str] = (),
    ):
        """`made_from` has the records of encoder, bank, knowledge and index, from which cards are written. Without
        `has_pictures`, items that show a picture lack it, because it was not saved with them. `gates` decide whether
        items are trusted, by how many are shown. Items that are `withdrawn` are not found; the bank lacks them too."""
        bank.refuse_other_encoder(encoder.encoder_id)
        self.encoder, self.bank, self.items, self.searcher = encoder, bank, items, searcher
        self.settings, self.version, self.made_from = settings, version, made_from
        self.source, self.limits, self.has_pictures = source, limits or PictureLimits(), has_pictures
        self.gates, self.withdrawn = dict(gates or {}), frozenset(withdrawn)
        self._world = ClosedWorld(encoder.backbone)
        self.languages = tuple(sorted({each for index in searcher.indexes.values() for each in index.languages}))
        self._guesser = Guesser(latin=frozenset(self.languages), others=frozenset(self.languages))

    @classmethod
    def from_pretrained(cls, where: str | Path, **options: Any) -> "Memory":
        """Open a folder that `save` wrote, a repository of the Hub, or a store; the same as `comem_core.open`."""
        from comem_core.serving.opening import open as open_memory

        return open_memory(where, **options)

    @classmethod
    def make(
        cls, encoder: MemoryEncoder, items: Iterable[KnowledgeItem], *, k: int = 3, same_language: bool = True
    ) -> "Memory":
        """Make a memory of items without a run: encode them, and index their pictures by the encoder's backbone.

        Raises:
            ValueError: no item has a picture, or as `MemoryEncoder.encode`.
        """
        from comem_core.serving.making import make_memory

        return make_memory(encoder, items, k=k, same_language=same_language)

    def __len__(self) -> int:
        return len(self.bank)

    def __repr__(self) -> str:
        return (
            f"Memory of {len(self)} items in {', '.join(self.languages)}: shows {self.settings.k} of them, searched by "
            f"{self.searcher.by}; version {self.version}\n  {self.encoder!r}\n  {self.bank!r}"
        )

    def ask(
        self,
        image: PictureLike,
        question: str,
        *,
        language: str | None = None,
        k: int | None = None,
        with_memory: bool = True,
        item_ids: Sequence[str] | None = None,
        gated: bool = False,
        max_new_tokens: int = MAX_NEW_TOKENS,
        decoding: Decoding = GREEDY,
    ) -> MemoryAnswer:
        """Answer a question about a picture: a path, encoded bytes, a PIL image, or an address.

        Without `language` it is identified, or is the only one of the items. `k` items are shown, by default as many as
        in the encoder's latest evaluation. With `item_ids` these are shown instead; without memory, none. If `gated`,
        items are shown only where the best one is near enough to the question and the reader is not sure by itself.

        Raises:
            ValueError: the picture cannot be read, the question is empty, k is less than 1, or no gate was fitted.
            KeyError: an item is not in the bank.
        """
        how: dict[str, Any] = {"language": language, "k": k, "with_memory": with_memory, "gated": gated}
        chosen = None if item_ids is None else tuple(item_ids)
        inquiry = Inquiry(image=image, question=question, item_ids=chosen, **how)
        return self.ask_many([inquiry], max_new_tokens=max_new_tokens, decoding=decoding)[0]

    def ask_many(
        self,
        inquiries: Iterable[Inquiry],
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        decoding: Decoding = GREEDY,
        batch_size: int = 8,
    ) -> list[MemoryAnswer]:
        """Answer any number of inquiries, in batches. Raises as `ask`."""
        answers: list[MemoryAnswer] = []
        for batch in cut_into_batches(inquiries, batch_size):
            answers += self.answer(self.find_many(batch), max_new_tokens=max_new_tokens, decoding=decoding)
        return answers

    def find(
        self,
        image: PictureLike,
        question: str,
        *,
        language: str | None = None,
        k: int | None = None,
        with_memory: bool = True,
    ) -> Found:
        """Find the items to show for a question, with their memory vectors. Raises as `ask`."""
        inquiry = Inquiry(image=image, question=question, language=language, k=k, with_memory=with_memory)
        return self.find_many([inquiry])[0]

    def find_many(self, inquiries: Sequence[Inquiry]) -> list[Found]:
        """Find the items to show for each inquiry; equal settings are searched together. Raises as `ask`."""
        understood = [self._understand(each) for each in inquiries]
        found: list[Found | None] = [None] * len(understood)
        groups: dict[tuple[int, bool], list[int]] = {}
        for place, (inquiry, (question, alone)) in enumerate(zip(inquiries, understood, strict=True)):
            if not inquiry.with_memory or inquiry.item_ids is not None:
                found[place] = self._show(question, Hits(inquiry.item_ids or (), ()), None)
                continue
            k = self.settings.k if inquiry.k is None else inquiry.k
            groups.setdefault((k, alone), []).append(place)
        for (k, alone), places in groups.items():
            asked = [understood[place][0] for place in places]
            among = Restriction(
                languages=[each.language for each in asked] if alone else None,
                excluded=[self.withdrawn] * len(asked) if self.withdrawn else None,
            )
            hits = self.searcher.find(asked, k=k, among=among)
            for place, question, each in zip(places, asked, hits, strict=True):
                gate = self.find_gate(k) if inquiries[place].gated else None
                searched = question.language if alone else EVERY_LANGUAGE
                found[place] = self._show(question, each, searched, gate)
        return [each for each in found if each is not None]

    def answer(
        self,
        found: Sequence[Found],
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        decoding: Decoding = GREEDY,
        reader: Answering | None = None,
        max_seconds: float | None = None,
    ) -> list[MemoryAnswer]:
        """Let a reader answer one batch of questions, with the vectors found for each in front of it.

        It is the encoder's frozen model, or `reader`. After `max_seconds` no further token is begun. Where a gate asks
        how sure the reader is, it first answers alone.
        """
        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "decoding": decoding, "max_seconds": max_seconds}
        return answer_found(reader or self.encoder, found, options)

    def find_gate(self, k: int) -> Gate:
        """Return the gate for k items. Raises ValueError if none was fitted for that number."""
        if k not in self.gates:
            known = ", ".join(map(str, sorted(self.gates))) or "no number of items"
            raise ValueError(
                f"no gate was fitted for k={k} (there is one for {known}); evaluate this encoder under the condition "
                "`gated`, which fits one (docs/evaluation.md), and open the memory again"
            )
        return self.gates[k]

    def is_current(self) -> bool:
        """Tell whether opening again would give this version; cheap, as only records are read."""
        return self.source is None or self.source.find_version() == self.version

    def reload(self) -> "Memory":
        """Return the newest version of what was opened: this one if nothing changed, else another memory.

        This one stays usable, and an encoder that is still the same is not loaded again. Raises ValueError as `open`.
        """
        return self if self.source is None or self.is_current() else self.source.read(previous=self)

    def save(self, folder: str | Path, *, pictures: bool = False, training_set: bool = False) -> Path:
        """Write everything but the backbone into a folder that `open` reads, in the Hub's layout.

        The items' texts, sources and licences are always written, their pictures only on request: with `training_set`,
        also the samples that the encoder was trained on, which hold pictures.

        Raises:
            ValueError: the folder has other files, pictures or training set are not here, or items of the index were
                withdrawn.
        """
        from comem_core.serving.folders import save_memory

        return save_memory(self, Path(folder), pictures=pictures, training_set=training_set)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        pictures: bool = False,
        training_set: bool = False,
        token: str | None = None,
    ) -> str:
        """Save into a model repository of the Hub (`user/name`), made if it is missing, and return its address.

        Raises:
            ValueError: the Hub refuses, is not reached, or may not be asked (HF_HUB_OFFLINE).
        """
        from comem_core.serving.hub import push_memory

        return push_memory(self, repository, private=private, token=token, pictures=pictures, training_set=training_set)

    def _understand(self, inquiry: Inquiry) -> tuple[Question, bool]:
        """Return the question, and whether only items in its language are searched."""
        if not isinstance(inquiry, Inquiry):
            raise ValueError(f"an inquiry is a {type(inquiry).__name__}; expected an Inquiry(image=..., question=...)")
        if inquiry.k is not None and inquiry.k < 1:
            raise ValueError(f"k is the number of items to show, at least 1; found {inquiry.k}")
        language, sure = (inquiry.language, True) if inquiry.language else self._choose_language(inquiry.question)
        question = make_question(inquiry.image, inquiry.question, language=language, limits=self.limits)
        return question, self.settings.same_language and sure and self.searcher.has_language(question.language)

    def _choose_language(self, question: str) -> tuple[str, bool]:
        """Choose the language of a question that names none, and tell whether it is sure.

        It is the items' only language, or else the most likely one, in which another than the items' needs clear
        evidence. If the prompts do not know it, it is one that they know.
        """
        if len(self.languages) == 1:
            return self.languages[0], True
        has_words = isinstance(question, str) and any(sign.isalpha() for sign in question)
        likely = self._guesser.guess([question])[0] if has_words else UNKNOWN
        if likely != UNKNOWN and self._can_ask_in(likely):
            return likely, True
        return next((each for each in ("en", *self.languages) if self._can_ask_in(each)), UNKNOWN), False

    def _can_ask_in(self, language: str) -> bool:
        try:
            self.encoder.prompts.check_language(language)
        except ValueError:
            return False
        return True

    def _show(self, question: Question, hits: Hits, searched: str | None, gate: Gate | None = None) -> Found:
        trusted = gate is None or gate.can_trust(hits.scores)
        kept = hits if trusted else Hits((), ())
        scores = kept.scores or (None,) * len(kept.item_ids)
        vectors = self.bank.of(kept.item_ids)  # first, because it names an item that is not there
        ranked = enumerate(zip(kept.item_ids, scores, strict=True), start=1)
        shown = tuple(describe_item(name, self.items[name], rank, score) for rank, (name, score) in ranked)
        nearest = hits.scores[0] if hits.scores and self.searcher.by == IMAGE else None
        texts = [self.items[item_id].text for item_id in hits.item_ids]  # also of items that the gate leaves out
        return Found(
            question=question,
            items=shown,
            vectors=vectors,
            searched=searched,
            trusted=trusted,
            gate=gate,
            caution=self._world.find_caution(question.question, texts, nearest=nearest),
        )
