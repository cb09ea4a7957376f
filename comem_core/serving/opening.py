"""Opens a memory by where it is: a run's store, a folder that `Memory.save` wrote, or a repository of the Hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from comem_core.knowledge.stored_items import StoredItems
from comem_core.knowledge.withdrawn import find_shown, list_withdrawn
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.choosing import Choice, choose
from comem_core.serving.folders import MEMORY_FILE, open_folder, read_saved
from comem_core.serving.gates import read_gates
from comem_core.serving.hub import fetch_file, fetch_memory
from comem_core.serving.loading import Loading, load_encoder
from comem_core.serving.memory import Memory, MemorySource
from comem_core.serving.questions import PictureLimits
from comem_core.serving.searching import open_search
from comem_core.serving.stored_artefacts import StoredArtefacts, is_store

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def open(
    where: str | Path = ".comem",
    *,
    encoder: str | None = None,
    bank: str | None = None,
    backbone: str | None = None,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    embedders: Mapping[str, str] | None = None,
    limits: PictureLimits | None = None,
    revision: str | None = None,
) -> Memory:
    """Open the memory of a store, of a folder that `Memory.save` wrote, or of a repository of the Hub (`user/name`).

    A store is `.comem`, the folder `store` in it, or the store's fsspec address. Its latest encoder with a bank is
    opened, or those that `encoder` and `bank` name by fingerprint (`encoder` also by a folder, or a shipped name).
    `backbone`, `dtype` and `device` are as in `MemoryEncoder.from_pretrained`. `embedders` names the embedder of a side
    (`image`, `text`) whose weights lie elsewhere than in the run. `limits` says which pictures are accepted.
    `revision` is a branch, tag or commit of the repository.

    Raises:
        ValueError: nothing like that is there, or something in it is missing, damaged or of another encoder; the
            message says what was found, what was expected and what to do.
    """
    loading = Loading(backbone=backbone, dtype=dtype, device=device, embedders=dict(embedders or {}), limits=limits)
    place = Path(where)
    saved = (place / MEMORY_FILE).is_file()
    on_hub = not saved and isinstance(where, str) and not place.exists() and bool(REPOSITORY.fullmatch(where))
    if (saved or on_hub) and (encoder is not None or bank is not None):
        raise ValueError(f"{where} holds one encoder and one bank; leave encoder= and bank= out")
    if revision is not None and not on_hub:
        raise ValueError(f"revision is {revision!r}, but {where} is not a repository of the Hub; leave it out")
    if saved:
        return FolderSource(place, loading).read()
    if on_hub:
        return HubSource(str(where), revision, loading).read()
    if place.is_dir() and not is_store(place):
        held = ", ".join(sorted(path.name for path in place.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"{where} holds no memory: expected the folder `.comem` of a run, or a folder that `Memory.save` wrote, "
            f"with {MEMORY_FILE} in it; found {held}. Run synth-and-train first (`make demo`), or name another folder"
        )
    return StoreSource(StoredArtefacts(where), loading, encoder=encoder, bank=bank).read()


@dataclass(frozen=True)
class StoreSource(MemorySource):
    """A store, and which encoder and bank of it are wanted; None means the latest."""

    artefacts: StoredArtefacts
    loading: Loading
    encoder: str | None = None
    bank: str | None = None

    def find_version(self) -> str:
        return choose(self.artefacts, encoder=self.encoder, bank=self.bank).version

    def read(self, *, previous: Memory | None = None) -> Memory:
        choice, loading = choose(self.artefacts, encoder=self.encoder, bank=self.bank), self.loading
        encoder = self._load_encoder(choice, previous)
        folders = {each["stage"]: self.artefacts.fetch(each) for each in (choice.bank, choice.knowledge, choice.index)}
        bank_folder, items_folder, index_folder = folders.values()
        searcher, settings = open_search(
            index_folder, choice.index, choice.retrieval, encoder.backbone, named=loading.embedders
        )
        settings = settings if choice.k is None else replace(settings, k=choice.k)
        bank = Bank.load(bank_folder)
        withdrawn = frozenset(each for each in choice.withdrawn if each in bank)
        if withdrawn:
            bank.remove(withdrawn)
        return Memory(
            encoder,
            bank,
            StoredItems(items_folder),
            searcher,
            settings=settings,
            version=choice.version,
            made_from=choice.list_records(),
            source=self,
            limits=loading.limits,
            gates=None if choice.gate is None else read_gates(self.artefacts.fetch(choice.gate)),
            withdrawn=withdrawn,
        )

    def fetch_training_set(self) -> Path | None:
        """Return the local folder of the samples that the encoder was trained on; None if the store has none."""
        found = choose(self.artefacts, encoder=self.encoder, bank=self.bank).training_set
        if found is None:
            return None
        folder, withdrawn = self.artefacts.fetch(found), list_withdrawn(self.artefacts.read_withdrawals())
        if withdrawn and (shown := find_shown(folder, withdrawn)):
            raise ValueError(
                f"{len(shown)} items that the training set shows were withdrawn, such as {shown[0]}; run "
                "synth-and-train, which trains without them, and open the memory again, or leave the training set out"
            )
        return folder

    def _load_encoder(self, choice: Choice, previous: Memory | None) -> MemoryEncoder:
        name = choice.bank["inputs"]["encoder"]
        if previous is not None and previous.version.split("-")[0] == name:
            return previous.encoder
        folder = choice.encoder_folder if choice.encoder is None else self.artefacts.fetch(choice.encoder)
        assert folder is not None  # a choice has one or the other
        return load_encoder(folder, self.loading)


@dataclass(frozen=True)
class FolderSource(MemorySource):
    """A folder that `Memory.save` wrote."""

    folder: Path
    loading: Loading

    def find_version(self) -> str:
        return read_saved(self.folder).version

    def read(self, *, previous: Memory | None = None) -> Memory:
        return open_folder(self.folder, self.loading, source=self, previous=previous)


@dataclass(frozen=True)
class HubSource(MemorySource):
    """A repository of the Hub, at a revision (None: its main branch)."""

    repository: str
    revision: str | None
    loading: Loading

    def find_version(self) -> str:
        return read_saved(fetch_file(self.repository, MEMORY_FILE, revision=self.revision).parent).version

    def read(self, *, previous: Memory | None = None) -> Memory:
        folder = fetch_memory(self.repository, revision=self.revision)
        return open_folder(folder, self.loading, source=self, previous=previous)
