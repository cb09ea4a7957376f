"""The samples that an encoder is trained on: kept drafts of one or more sets, with their pictures and items."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import count

from tasks.engine.store import Reference
from tasks.rows.stored_samples import SetPaths, StoredSamples
from tasks.rows.tables import list_shards, read_columns


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """Kept samples, by references to their parts. Translations have one artefact for both questions and drafts."""

    questions: Reference
    drafts: Reference
    kept: Reference

    @property
    def inputs(self) -> dict[str, Reference]:
        """The references by role, without parts that do not decide the samples, such as verdicts."""
        return {"questions": self.questions, "drafts": self.drafts, "kept": self.kept}

    def list_paths(self) -> SetPaths:
        """List the shards that the samples are read from."""
        return SetPaths(
            questions=list_shards(self.questions, "question"),
            drafts=list_shards(self.drafts, "draft"),
            kept=list_shards(self.kept),
        )


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What an encoder is trained on, by reference: the items, and the sets of samples about them."""

    knowledge: Reference
    sets: tuple[SampleSet, ...]

    @property
    def inputs(self) -> dict[str, Reference]:
        """The references by role; roles of the first set have no number."""
        roles = {"knowledge": self.knowledge}
        for place, part in enumerate(self.sets):
            roles |= {_name_role(name, place): reference for name, reference in part.inputs.items()}
        return roles

    @property
    def num_kept(self) -> int:
        return sum(1 for part in self.sets for _ in read_columns(part.kept, "sample_id"))

    def refuse_none(self) -> None:
        """Raise ValueError if no draft was kept."""
        if not self.num_kept:
            raise ValueError(
                "no draft was kept, so there is nothing to train on; the funnel says why they were dropped"
            )

    def read(self) -> StoredSamples:
        """Return the kept drafts of every set, in order of sample id; pictures and items are read on demand."""
        return StoredSamples(self.knowledge.folder, [part.list_paths() for part in self.sets])


def find_sets(inputs: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the sets among the inputs of an artefact made from `Samples`, each as the fields of `SampleSet` by name."""
    for place in count():
        if _name_role("kept", place) not in inputs:
            return
        yield {each.name: inputs[_name_role(each.name, place)] for each in fields(SampleSet)}


def _name_role(name: str, place: int) -> str:
    """Name a part of a set among all inputs; roles of the first set have no number."""
    return f"{name}-{place}" if place else name
