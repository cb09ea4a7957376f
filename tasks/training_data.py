"""What an encoder was trained on, as far as its record tells: sets of samples in the store, and what is not known."""

from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.loading import backbone_fingerprint
from tasks.samples import Samples, SampleSet
from tasks.store import Record, Reference, Store

ROLES = ("questions", "drafts", "kept")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The sets of samples that are known, and in words what is not; nothing unknown means that these are all."""

    sets: tuple[SampleSet, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Reference]:
        """The references by role."""
        return {
            f"training {role}-{place}": reference
            for place, part in enumerate(self.sets)
            for role, reference in vars(part).items()
        }


def training_data_of(store: Store, encoder: Reference) -> TrainingData:
    """Follow an encoder's record to its samples, and to those of the encoder that it started from.

    What a backbone has read is no part of it: nobody records that.
    """
    record = store.find("encoder", encoder.fingerprint) or _record_of(store, encoder.fingerprint)
    if record is None:
        return TrainingData(unknown=(f"the encoder {encoder.fingerprint} has no record in the store",))
    return _following(store, record, seen=set())


def samples_of(store: Store, encoder: Reference) -> Samples:
    """The samples that an encoder was trained on itself, not those of the encoder that it started from.

    Raises:
        ValueError: the encoder has no record in the store, or its samples are no longer there.
    """
    record = store.find("encoder", encoder.fingerprint) or _record_of(store, encoder.fingerprint)
    if record is None:
        raise ValueError(
            f"the encoder {encoder.fingerprint} ({encoder.uri}) was not trained in {store.folder}, so the samples that "
            "a projection to the reader is trained on are not known. Name an encoder that was trained here, or a "
            "reader of the encoder's own width"
        )
    sets, unknown = _own_sets(store, record)
    knowledge = _reference(store, record["inputs"]["knowledge"])
    if unknown or knowledge is None:
        raise ValueError(
            f"a projection to the reader is trained on the encoder's own samples, and {'; '.join(unknown)}"
            f"{'' if knowledge else ' knowledge ' + record['inputs']['knowledge'] + ' is not in the store'}. Run "
            "synth-and-train again: it makes what is missing"
        )
    return Samples(knowledge=knowledge, sets=tuple(sets))


def _following(store: Store, record: Record, seen: set[str]) -> TrainingData:
    seen.add(record["fingerprint"])
    inputs = record["inputs"]
    sets, unknown = _own_sets(store, record)
    before = TrainingData()
    if start := inputs.get("start"):
        if (earlier := _record_of(store, start)) is None:
            unknown.append(f"it started from the weights {start}, which have no record in the store")
        elif earlier["fingerprint"] not in seen:
            before = _following(store, earlier, seen)
    return TrainingData(sets=(*sets, *before.sets), unknown=(*unknown, *before.unknown))


def _own_sets(store: Store, record: Record) -> tuple[list[SampleSet], list[str]]:
    """The sets of an encoder's own record, and in words those that are gone."""
    sets, unknown, inputs = [], [], record["inputs"]
    for suffix in [role.removeprefix("kept") for role in inputs if role.startswith("kept")]:
        found = {role: _reference(store, inputs[f"{role}{suffix}"]) for role in ROLES}
        if absent := [f"{role} {inputs[f'{role}{suffix}']}" for role in ROLES if found[role] is None]:
            unknown.append(f"samples of the encoder {record['fingerprint']} are not in the store: {', '.join(absent)}")
        else:
            sets.append(SampleSet(**{role: reference for role, reference in found.items() if reference}))
    return sets, unknown


def _record_of(store: Store, weights: str) -> Record | None:
    """Find the encoder that was trained here and has these weights: so are starts named, and encoders by a folder."""
    return next((each for each in store.records("encoder") if backbone_fingerprint(Path(each["uri"])) == weights), None)


def _reference(store: Store, fingerprint: str) -> Reference | None:
    """Find an artefact by its fingerprint alone; None where it, or one of its shards, is gone."""
    record = store.find_anywhere(fingerprint)
    if record is None or not all((Path(record["uri"]) / shard["file"]).exists() for shard in record["shards"]):
        return None
    return Reference(stage=record["stage"], fingerprint=fingerprint, uri=record["uri"], num_rows=record["num_rows"])
