"""Chooses what to open in a store: an encoder, a bank that it made, the bank's items, and the index that finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.finding import hash_backbone
from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.withdrawn import list_withdrawn
from comem_core.memory.description import find_encoder_folder
from comem_core.serving.gates import find_gates
from comem_core.serving.layout import (
    BANK_ROLE,
    BANK_STAGE,
    CORPUS_ADDRESS,
    ENCODER_STAGE,
    FOREIGN_BANK_ROLE,
    GATE_STAGE,
    INDEX_STAGE,
    KNOWLEDGE_STAGE,
    PREDICTIONS_STAGE,
    RETRIEVAL_STAGE,
    SEARCHES_STAGE,
    TRAINING_SET_STAGE,
    TRIED_K_STAGE,
    TRIED_SEARCH_ROLE,
    Record,
)
from comem_core.serving.stored_artefacts import StoredArtefacts

SAMPLES = ("questions", "drafts", "kept")  # roles of inputs, some with a number behind
OF_A_STATE = ("content", "withdrawn")  # fields of the key of knowledge that tell states of one corpus apart
LEAST_LETTERS = 6  # of a fingerprint, to name an artefact


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The records of what is opened together. `encoder` is None for an encoder in `encoder_folder`, outside the store.

    `retrieval` says how the run searched this index, or else another one; None if no question was retrieved for yet.
    `asked` has the latest answers from memory by this encoder, if there are any: the first number of items that they
    show is the one to show. `withdrawn` has the ids of items that are not to be found, though bank and index may still
    have them.
    """

    encoder: Record | None
    encoder_folder: Path | None
    bank: Record
    knowledge: Record
    index: Record
    retrieval: Record | None
    training_set: Record | None
    gate: Record | None = None
    asked: Record | None = None
    withdrawn: frozenset[str] = frozenset()

    @property
    def k(self) -> int | None:
        """How many items to show; None if no evaluation says it."""
        return None if self.asked is None else self.asked["recipe"]["k"][0]

    @property
    def version(self) -> str:
        """What decides every answer: the fingerprints of encoder, bank and index, the gate's and the number of items
        where an evaluation gave them, and what was withdrawn."""
        parts = [self.bank["inputs"]["encoder"], self.bank["fingerprint"], self.index["fingerprint"]]
        parts += [] if self.gate is None else [self.gate["fingerprint"]]
        parts += [] if self.k is None else [f"k{self.k}"]
        parts += [f"w{hash_content_parts(*sorted(self.withdrawn))}"] if self.withdrawn else []
        return "-".join(parts)

    def list_records(self) -> dict[str, Record]:
        """Return the records by stage, without those that are missing."""
        named = (self.encoder, self.bank, self.knowledge, self.index, self.retrieval, self.gate)
        return {record["stage"]: record for record in named if record is not None}


def choose(store: StoredArtefacts, *, encoder: str | None = None, bank: str | None = None) -> Choice:
    """Choose the latest encoder that has a bank, and its latest bank that can be searched; or those that are named.

    A bank that only the condition `foreign` asked comes last. Of one corpus it is the bank that was made or used last.

    `encoder` is a fingerprint (or its first letters) in the store, a folder, or a shipped encoder's name; `bank` is a
    fingerprint.

    Raises:
        ValueError: the store lacks something, or a name is unknown; the message says what was found and what to do.
    """
    trained = store.list_records(ENCODER_STAGE)
    banks = [each for each in store.list_records(BANK_STAGE) if _has_name(each, bank)]
    if not banks:
        raise ValueError(_describe_no_bank(store, bank, trained))
    places = {record["fingerprint"]: place for place, record in enumerate(trained)}
    folder = None
    if encoder is not None:
        wanted, folder = _find_encoder(encoder, trained)
        made = [each for each in banks if each["inputs"]["encoder"] == wanted]
    else:
        made = [each for each in banks if each["inputs"]["encoder"] in places]
    if not made:
        raise ValueError(_describe_other_banks(store, encoder, banks, trained))
    answers = store.list_records(PREDICTIONS_STAGE)
    foreign = _list_foreign_banks(answers)
    made.sort(
        key=lambda each: (
            places.get(each["inputs"]["encoder"], -1),
            each["fingerprint"] not in foreign,
            each["created"],
        )
    )
    indexes, searched = store.list_records(INDEX_STAGE), _list_searched(store, answers)
    for chosen in reversed(_order_states(store, made)):
        if (index := _find_index(indexes, chosen, searched)) is not None:
            return _complete(store, chosen, index, searched, trained, answers, folder)
    raise ValueError(
        f"{len(made)} banks in {store.address} have no index of their items' pictures or texts, so nothing can be "
        "found in them. Run rebuild-memory on the same corpus: it keeps the bank and makes the index"
    )


def _order_states(store: StoredArtefacts, banks: Sequence[Record]) -> list[Record]:
    """Return the banks with those of the last one's encoder and corpus at the end, in the order of their last use."""
    if not (uses := store.read_uses()):
        return list(banks)
    corpora = {record["fingerprint"]: _name_corpus(record) for record in store.list_records(KNOWLEDGE_STAGE)}

    def is_state(bank: Record) -> bool:
        one, other = bank["inputs"], banks[-1]["inputs"]
        return one["encoder"] == other["encoder"] and corpora.get(one["knowledge"]) == corpora.get(other["knowledge"])

    def find_use(bank: Record) -> str:
        return max(bank["created"], uses.get(bank["fingerprint"], ""))

    others = [bank for bank in banks if not is_state(bank)]
    return [*others, *sorted(filter(is_state, banks), key=find_use)]


def _name_corpus(knowledge: Record) -> tuple[object, ...]:
    """Return what the states of one corpus have in common: how it is read, and where it is."""
    read = {name: value for name, value in knowledge["recipe"].items() if value is not None and name not in OF_A_STATE}
    return repr(sorted(read.items())), knowledge["measured"].get(CORPUS_ADDRESS)


def _complete(
    store: StoredArtefacts,
    bank: Record,
    index: Record,
    searched: "_Searched",
    trained: Sequence[Record],
    answers: Sequence[Record],
    folder: Path | None,
) -> Choice:
    encoder = next((each for each in trained if each["fingerprint"] == bank["inputs"]["encoder"]), None)
    known = {each["fingerprint"]: each for each in store.list_records(KNOWLEDGE_STAGE)}
    if (knowledge := known.get(bank["inputs"]["knowledge"])) is None:
        raise ValueError(
            f"the items of bank {bank['fingerprint']} (knowledge {bank['inputs']['knowledge']}) are not in "
            f"{store.address}; run the flow again, or copy the whole store"
        )
    own = [each for each in searched.used if each["inputs"].get("index") == index["fingerprint"]]
    retrieval = next(reversed(own or searched.used), None)
    return Choice(
        encoder=encoder,
        encoder_folder=folder if encoder is None else None,
        bank=bank,
        knowledge=knowledge,
        index=index,
        retrieval=retrieval,
        gate=find_gates(store, bank["inputs"]["encoder"], index, retrieval),
        asked=_find_asked(store, answers, bank),
        withdrawn=list_withdrawn(store.read_withdrawals()),
        training_set=None if encoder is None else _find_training_set(store, encoder),
    )


def _find_asked(store: StoredArtefacts, answers: Sequence[Record], bank: Record) -> Record | None:
    """Return the latest answers from memory by the bank's encoder, best those from this bank; but not those on which an
    evaluation only decided something."""
    decided = [record["inputs"] for stage in (GATE_STAGE, TRIED_K_STAGE) for record in store.list_records(stage)]
    tried = {inputs.get("predictions") for inputs in decided}
    asked = [
        record
        for record in answers
        if record["inputs"].get("encoder") == bank["inputs"]["encoder"]
        and record["fingerprint"] not in tried
        and "memory" in record["recipe"].get("conditions", ())
    ]
    own = [record for record in asked if record["inputs"].get(BANK_ROLE) == bank["fingerprint"]]
    return next(reversed(own or asked), None)


def _list_foreign_banks(answers: Sequence[Record]) -> set[str]:
    """Return the fingerprints of banks that only the condition `foreign` asked: they are controls."""
    asked = [record["inputs"] for record in answers]
    foreign = {inputs[FOREIGN_BANK_ROLE] for inputs in asked if FOREIGN_BANK_ROLE in inputs}
    return foreign - {inputs[BANK_ROLE] for inputs in asked if BANK_ROLE in inputs}


@dataclass(frozen=True)
class _Searched:
    """The retrievals of a store: those that were `used`, and those that were only `tried`, to compare searches."""

    used: Sequence[Record]
    tried: Sequence[Record]

    def is_only_tried(self, index: Record) -> bool:
        """Tell whether an index was only made to compare it with others."""
        used, tried = ({each["inputs"].get("index") for each in some} for some in (self.used, self.tried))
        return index["fingerprint"] in tried - used


def _list_searched(store: StoredArtefacts, answers: Sequence[Record]) -> _Searched:
    compared = [record["inputs"] for record in store.list_records(SEARCHES_STAGE)]
    others = {name for inputs in compared for role, name in inputs.items() if role.startswith(TRIED_SEARCH_ROLE)}
    others -= {name for record in answers for name in record["inputs"].values()}
    found = store.list_records(RETRIEVAL_STAGE)
    used = [each for each in found if each["fingerprint"] not in others]
    return _Searched(used, [each for each in found if each["fingerprint"] in others])


def _find_index(indexes: Sequence[Record], bank: Record, searched: _Searched) -> Record | None:
    """Return the latest index of a bank's items, made by the bank's own backbone or by a model apart; one that was only
    tried comes last."""
    wanted = bank["inputs"]
    made = [each for each in indexes if each["inputs"].get("knowledge") == wanted["knowledge"]]
    fitting = [each for each in made if each["inputs"].get("backbone", wanted["backbone"]) == wanted["backbone"]]
    fitting.sort(key=lambda each: not searched.is_only_tried(each))
    return fitting[-1] if fitting else None


def _find_training_set(store: StoredArtefacts, encoder: Record) -> Record | None:
    """Return the latest training set that was written from the kept samples that the encoder was trained on.

    A stage may leave out some of what the filter kept: then it is the set of what the filter kept.
    """
    trained = _list_samples(encoder)
    made = store.list_records(TRAINING_SET_STAGE) if trained else []
    exact = [each for each in made if trained.items() <= each["inputs"].items()]
    if exact or not made:
        return exact[-1] if exact else None
    known = {each["fingerprint"]: each for stage in store.stages for each in store.list_records(stage)}
    above = {role: _list_above(known, name) for role, name in trained.items()}
    wider = [each for each in made if all(each["inputs"].get(role) in names for role, names in above.items())]
    return wider[-1] if wider else None


def _list_samples(record: Record) -> dict[str, str]:
    """Return the inputs of an artefact that are samples, by role."""
    return {role: name for role, name in record["inputs"].items() if role.startswith(SAMPLES)}


def _list_above(known: Mapping[str, Record], name: str) -> set[str]:
    """Return an artefact of samples with all those that it was made from."""
    found, waiting = set[str](), [name]
    while waiting:
        found.add(name := waiting.pop())
        if name in known:
            waiting += set(_list_samples(known[name]).values()) - found
    return found


def _has_name(record: Record, name: str | None) -> bool:
    return name is None or (len(name) >= LEAST_LETTERS and record["fingerprint"].startswith(name))


def _find_encoder(name: str, trained: Sequence[Record]) -> tuple[str, Path | None]:
    """Return the fingerprint of an encoder, and its folder if it was not trained here."""
    for record in reversed(trained):
        if _has_name(record, name):
            return record["fingerprint"], None
    try:
        folder = find_encoder_folder(name)
    except ValueError as error:
        raise ValueError(f"no encoder {name!r}; trained here: {_list(trained)}. {error}") from error
    return hash_backbone(folder), folder


def _describe_no_bank(store: StoredArtefacts, bank: str | None, trained: Sequence[Record]) -> str:
    if bank is not None and (known := store.list_records(BANK_STAGE)):
        return f"no bank {bank!r} in {store.address}; there are: {_list(known)}"
    holds = ", ".join(store.stages) or "no complete result"
    todo = "run rebuild-memory, which makes a bank" if trained else "run synth-and-train (`make demo`) first"
    return f"the store {store.address} has no bank (it holds: {holds}); {todo}"


def _describe_other_banks(
    store: StoredArtefacts, encoder: str | None, banks: Sequence[Record], trained: Sequence[Record]
) -> str:
    made_by = ", ".join(sorted({each["inputs"]["encoder"] for each in banks}))
    whose = f"encoder {encoder!r}" if encoder is not None else "an encoder in this store"
    return (
        f"no bank in {store.address} was made by {whose}: its banks are of encoders {made_by}, and the encoders "
        f"trained here are {_list(trained)}. Run rebuild-memory, or name an encoder with comem.open(..., encoder=...)"
    )


def _list(records: Sequence[Record]) -> str:
    return ", ".join(record["fingerprint"] for record in records) or "none"
