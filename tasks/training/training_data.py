"""The known training data of an encoder: sets of samples in the store, and lists beside shipped weights."""

from dataclasses import dataclass
from pathlib import Path

from comem_core.addresses.copies import open_folder
from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.memory.description import DESCRIPTION
from comem_core.pretraining.trained_on import FILE, read_listing, read_start_weights
from comem_core.serving.layout import Record
from tasks.engine.store import Reference, Store
from tasks.rows.samples import Samples, SampleSet, find_sets
from tasks.training.encoder import ENCODER


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training data of an encoder.

    `sets` are samples in the store, `listed` are lists of samples beside weights, and `unknown` says in words which
    data are not known; if it is empty, the data are complete.
    """

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
    """Find the samples of an encoder, and of the encoders it started from, by records in the store or lists beside
    weights.

    The backbone's own training data are not included, because no record of them exists.
    """
    if record := store.find(ENCODER.name, encoder.fingerprint):
        return _follow_record(store, record, seen=set())
    nothing = f"the encoder {encoder.fingerprint} has no record in the store"
    return _follow_weights(store, encoder.fingerprint, nothing, folder=encoder.folder, seen=set())


def find_samples(store: Store, encoder: Reference) -> Samples:
    """Return the samples that an encoder itself was trained on, without those of the encoder it started from.

    Raises:
        ValueError: the encoder has no record in the store, or its samples were removed.
    """
    record = store.find(ENCODER.name, encoder.fingerprint) or _find_record(store, encoder.fingerprint)
    if record is None:
        raise ValueError(
            f"the encoder {encoder.fingerprint} ({encoder.uri}) was not trained in {store.place}, so its samples are "
            "not known, and a projection to the reader cannot be trained on them. Name an encoder that was trained "
            "here, or a reader of the encoder's own width"
        )
    sets, unknown = _find_own_sets(store, record)
    knowledge = find_reference(store, record["inputs"]["knowledge"])
    if unknown or knowledge is None:
        raise ValueError(
            f"a projection to the reader needs the encoder's own samples, but {'; '.join(unknown)}"
            f"{'' if knowledge else ' knowledge ' + record['inputs']['knowledge'] + ' is not in the store'}. Run "
            "synth-and-train again: it makes the missing ones"
        )
    return Samples(knowledge=knowledge, sets=tuple(sets))


def _follow_weights(
    store: Store, weights: str, nothing: str, *, folder: Path | None = None, seen: set[str]
) -> TrainingData:
    """Find the training data of weights, which may be in `folder`; `nothing` is the message if they are unknown."""
    if weights in seen:
        return TrainingData()
    if record := _find_record(store, weights):
        return _follow_record(store, record, seen=seen)
    seen.add(weights)
    found = folder if folder and (folder / DESCRIPTION).is_file() else _find_shipped(weights)
    if found is None:
        return TrainingData(unknown=(nothing,))
    try:
        listing = read_listing(found)
    except ValueError as error:
        return TrainingData(unknown=(str(error),))
    if listing is None:
        return TrainingData(unknown=(f"{nothing}, and no list of its training data beside it",))
    name = listing.file_sha256[:16]
    here = Reference(stage="training-list", fingerprint=name, uri=str(found), num_rows=listing.num_rows)
    data, start = TrainingData(listed=(here,)), read_start_weights(found)
    return data | _follow_weights(store, start, _describe_unknown_start(start), seen=seen) if start else data


def _describe_unknown_start(weights: str) -> str:
    return f"it started from the weights {weights}, which have no record in the store"


def _find_shipped(weights: str) -> Path | None:
    """Find the folder of the shipped encoder with these weights."""
    folders = [path.parent for path in sorted(SHIPPED.glob(f"*/{DESCRIPTION}"))]
    return next((folder for folder in folders if hash_backbone(folder) == weights), None)


def _follow_record(store: Store, record: Record, *, seen: set[str]) -> TrainingData:
    if record["fingerprint"] in seen:
        return TrainingData()
    seen.add(record["fingerprint"])
    inputs = record["inputs"]
    sets, unknown = _find_own_sets(store, record)
    here = TrainingData(sets=tuple(sets), unknown=tuple(unknown))
    if start := inputs.get("start"):
        return here | _follow_weights(store, start, _describe_unknown_start(start), seen=seen)
    return here


def _find_own_sets(store: Store, record: Record) -> tuple[list[SampleSet], list[str]]:
    """Return the sets in an encoder's own record, and a message for each set that is gone."""
    sets, unknown = [], []
    for names in find_sets(record["inputs"]):
        found = {field: find_reference(store, name) for field, name in names.items()}
        if absent := [f"{field} {names[field]}" for field, reference in found.items() if reference is None]:
            unknown.append(f"samples of the encoder {record['fingerprint']} are not in the store: {', '.join(absent)}")
        else:
            sets.append(SampleSet(**{role: reference for role, reference in found.items() if reference}))
    return sets, unknown


def _find_record(store: Store, weights: str) -> Record | None:
    """Find the encoder trained here with these weights; they name a start, and an encoder that is given as a folder."""
    return next(
        (each for each in store.list_records(ENCODER.name) if hash_backbone(open_folder(each["uri"])) == weights), None
    )


def find_reference(store: Store, fingerprint: str) -> Reference | None:
    """Find an artefact by its fingerprint alone; None if it, or one of its shards, is gone."""
    record = store.find_anywhere(fingerprint)
    if record is None or not store.has_all(record):
        return None
    return Reference(stage=record["stage"], fingerprint=fingerprint, uri=record["uri"], num_rows=record["num_rows"])
