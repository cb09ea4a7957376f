"""What an encoder was trained on, as far as its record tells: sets of samples in the store, lists beside weights that
ship, and what is not known."""

from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.loading import SHIPPED, hash_backbone
from comem_core.memory.checkpoint import DESCRIPTION
from comem_core.pretraining.trained_on import FILE, read_listing, read_start_weights
from tasks.engine.store import Record, Reference, Store
from tasks.rows.samples import Samples, SampleSet, find_sets
from tasks.training.encoder import ENCODER


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The sets of samples that are known, those that a list beside the weights names, and in words what is not known;
    nothing unknown means that these are all."""

    sets: tuple[SampleSet, ...] = ()
    listed: tuple[Reference, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Reference]:
        """The references by role."""
        roles = {
            f"training {role}-{place}": reference
            for place, part in enumerate(self.sets)
            for role, reference in part.inputs.items()
        }
        return roles | {f"training list-{place}": each for place, each in enumerate(self.listed)}

    @property
    def lists(self) -> list[Path]:
        """The files of the lists."""
        return [each.folder / FILE for each in self.listed]

    def __or__(self, other: "TrainingData") -> "TrainingData":
        return TrainingData(
            sets=(*self.sets, *other.sets),
            listed=(*self.listed, *other.listed),
            unknown=(*self.unknown, *other.unknown),
        )


def find_training_data(store: Store, encoder: Reference) -> TrainingData:
    """Follow an encoder to its samples, and to those of the encoder that it started from, by its record in the store or
    by the list beside its weights.

    The backbone's own training data is not included: no record of it exists.
    """
    if record := store.find(ENCODER.name, encoder.fingerprint):
        return _following(store, record, seen=set())
    nothing = f"the encoder {encoder.fingerprint} has no record in the store"
    return _of_weights(store, encoder.fingerprint, nothing, folder=encoder.folder, seen=set())


def find_samples(store: Store, encoder: Reference) -> Samples:
    """The samples that an encoder was trained on itself, not those of the encoder that it started from.

    Raises:
        ValueError: the encoder has no record in the store, or its samples were removed.
    """
    record = store.find(ENCODER.name, encoder.fingerprint) or _record_of(store, encoder.fingerprint)
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


def _of_weights(
    store: Store, weights: str, nothing: str, *, folder: Path | None = None, seen: set[str]
) -> TrainingData:
    """Follow weights, in `folder` or wherever they are known; `nothing` says that they are not."""
    if weights in seen:
        return TrainingData()
    if record := _record_of(store, weights):
        return _following(store, record, seen=seen)
    seen.add(weights)
    found = folder if folder and (folder / DESCRIPTION).is_file() else _shipped(weights)
    if found is None:
        return TrainingData(unknown=(nothing,))
    try:
        listing = read_listing(found)
    except ValueError as error:
        return TrainingData(unknown=(str(error),))
    if listing is None:
        return TrainingData(unknown=(f"{nothing}, and no list of what it was trained on beside it",))
    name = listing.file_sha256[:16]
    here = Reference(stage="training-list", fingerprint=name, uri=str(found), num_rows=listing.num_rows)
    data, start = TrainingData(listed=(here,)), read_start_weights(found)
    return data | _of_weights(store, start, _no_start(start), seen=seen) if start else data


def _no_start(weights: str) -> str:
    return f"it started from the weights {weights}, which have no record in the store"


def _shipped(weights: str) -> Path | None:
    """Find the folder of an encoder that ships by its weights."""
    folders = [path.parent for path in sorted(SHIPPED.glob(f"*/{DESCRIPTION}"))]
    return next((folder for folder in folders if hash_backbone(folder) == weights), None)


def _following(store: Store, record: Record, *, seen: set[str]) -> TrainingData:
    if record["fingerprint"] in seen:
        return TrainingData()
    seen.add(record["fingerprint"])
    inputs = record["inputs"]
    sets, unknown = _own_sets(store, record)
    here = TrainingData(sets=tuple(sets), unknown=tuple(unknown))
    if start := inputs.get("start"):
        return here | _of_weights(store, start, _no_start(start), seen=seen)
    return here


def _own_sets(store: Store, record: Record) -> tuple[list[SampleSet], list[str]]:
    """The sets of an encoder's own record, and in words those that are gone."""
    sets, unknown = [], []
    for names in find_sets(record["inputs"]):
        found = {field: _reference(store, name) for field, name in names.items()}
        if absent := [f"{field} {names[field]}" for field, reference in found.items() if reference is None]:
            unknown.append(f"samples of the encoder {record['fingerprint']} are not in the store: {', '.join(absent)}")
        else:
            sets.append(SampleSet(**{role: reference for role, reference in found.items() if reference}))
    return sets, unknown


def _record_of(store: Store, weights: str) -> Record | None:
    """Find the encoder that was trained here and has these weights: so are starts named, and encoders by a folder."""
    return next(
        (each for each in store.list_records(ENCODER.name) if hash_backbone(Path(each["uri"])) == weights), None
    )


def _reference(store: Store, fingerprint: str) -> Reference | None:
    """Find an artefact by its fingerprint alone; None where it, or one of its shards, is gone."""
    record = store.find_anywhere(fingerprint)
    if record is None or not all((Path(record["uri"]) / shard["file"]).exists() for shard in record["shards"]):
        return None
    return Reference(stage=record["stage"], fingerprint=fingerprint, uri=record["uri"], num_rows=record["num_rows"])
