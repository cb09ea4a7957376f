"""OVEN's official metric: BM25 finds the Wikipedia title nearest to an answer; its entity must be the right one.

Equal to edchengg/oven_eval (Hu et al. 2023): titles and answers are cut into the word pieces of bert-base-uncased, and
titles are ranked by `title_index`. An answer without any word piece is unparsable. As officially, every such answer
gets the same arbitrary title. The index of the six million titles is built once, beside the titles, and then
memory-mapped.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock
from tokenizers import Tokenizer
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from comem_core.backbone.finding import find_hub_folder
from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored
from comem_core.evaluation.metrics.title_index import LAYOUT, TitleIndex, build_index
from comem_core.stated_fields import parse_json

TITLES = {
    "wikipedia_6m.jsonl": ("content", "id"),
    "Wiki6M_ver_1_0_title_only.jsonl": ("wikipedia_title", "wikidata_id"),
}
"""The title files as released, in the order in which they are looked for, with their fields for title and entity."""

WORD_PIECES, WORD_PIECES_HUB = "bert-base-uncased", "google-bert/bert-base-uncased"
_INDEX_FOLDER = ".bm25"
_CHUNK = 50_000


@dataclass(frozen=True)
class TitleFinder:
    """The index of the titles, and the tokenizer for answers. It caches what it found."""

    index: TitleIndex
    word_pieces: Tokenizer
    _found: dict[str, tuple[str, bool]] = field(default_factory=dict, repr=False)

    def find_entity(self, answer: str) -> str:
        """Return the entity of the title that BM25 ranks first; an arbitrary one for an answer without word pieces."""
        return self.look_up(answer)[0]

    def look_up(self, answer: str) -> tuple[str, bool]:
        """Return what `find_entity` returns, and whether the answer has any word piece."""
        if answer not in self._found:
            tokens = self.word_pieces.encode(answer, add_special_tokens=False).ids
            self._found[answer] = self.index.find_first(tokens), bool(tokens)
        return self._found[answer]


class EntityScorer:
    """Scores answers by the titles in a folder, which are opened for the first answer."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return EntityScorer, (self.folder,)  # another process opens the titles itself

    @cached_property
    def finder(self) -> TitleFinder:
        return open_title_finder(self.folder)

    def __call__(self, answer: str, gold: GoldAnswers) -> Scored:
        """Score an answer by whether the title ranked first belongs to the question's entity.

        Raises ValueError where the titles, the word pieces or the question's entity are missing.
        """
        if gold.entity_id is None:
            raise ValueError("a question of OVEN has no entity_id, so it cannot be scored; give its Wikidata id")
        found, has_word_pieces = self.finder.look_up(answer)
        return Scored(float(found == gold.entity_id), unparsable=not has_word_pieces)


def make_oven_metric(folder: Path | None) -> Metric:
    """Return OVEN's metric over the titles in a folder."""
    return Metric(name="oven_entity", score=EntityScorer(folder))


def open_title_finder(folder: Path | None) -> TitleFinder:
    """Open the titles of a folder; build their index where there is none. A process opens an unchanged file once.

    Raises ValueError that says which file to put where.
    """
    path = _find_title_file(folder)
    state = path.stat()
    return _open_finder(path, state.st_size, state.st_mtime_ns)


@cache
def _open_finder(path: Path, size: int, changed: int) -> TitleFinder:
    word_pieces = _load_word_pieces(path.parent)
    with path.open("rb") as titles:
        digest = hashlib.file_digest(titles, "sha256")
    digest.update(word_pieces.to_str().encode() + LAYOUT.encode())
    made = path.parent / _INDEX_FOLDER / digest.hexdigest()[:16]
    made.parent.mkdir(exist_ok=True)
    with FileLock(f"{made}.lock"):  # only one of several workers builds the index
        if not made.is_dir():
            partial_folder = made.with_suffix(".partial")
            shutil.rmtree(partial_folder, ignore_errors=True)  # left by a process that died
            index = build_index(_tokenise_titles(path, word_pieces), num_tokens=word_pieces.get_vocab_size())
            index.save(partial_folder)
            os.replace(partial_folder, made)
    return TitleFinder(TitleIndex.load(made), word_pieces)


def _find_title_file(folder: Path | None) -> Path:
    names = " or ".join(TITLES)
    if folder is None:
        raise ValueError(f"OVEN is scored against Wikipedia's titles; give the folder that holds {names}")
    for name in TITLES:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"no titles in {folder}; looked for {names}. OVEN's authors release the file with the annotations "
        "(github.com/edchengg/oven_eval): put it there"
    )


def _load_word_pieces(folder: Path) -> Tokenizer:
    """Load the tokenizer from the folder beside the titles, else from the hub or its cache. It does not truncate."""
    beside = folder / WORD_PIECES
    if not beside.is_dir():
        missing = f"the word pieces of {WORD_PIECES} are neither in {beside} (tokenizer.json or vocab.txt)"
        beside = find_hub_folder(WORD_PIECES_HUB, ("tokenizer.json", "vocab.txt"), missing=missing)
    if (beside / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(beside / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    if (beside / "vocab.txt").is_file():
        return Tokenizer.from_str(BertWordPieceTokenizer(str(beside / "vocab.txt"), lowercase=True).to_str())
    raise ValueError(f"neither tokenizer.json nor vocab.txt in {beside}; put one of {WORD_PIECES_HUB} there")


def _tokenise_titles(path: Path, word_pieces: Tokenizer) -> Iterator[tuple[list[str], list[list[int]]]]:
    for ids, titles in _read_chunks(path):
        encoded = word_pieces.encode_batch_fast(titles, add_special_tokens=False)
        yield ids, [each.ids for each in encoded]


def _read_chunks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    title_key, id_key = TITLES[path.name]
    ids: list[str] = []
    titles: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_json(line)
                title, entity_id = row[title_key], row[id_key]
            except (ValueError, TypeError, KeyError) as error:
                wanted = f'{{"{title_key}": ..., "{id_key}": ...}}'
                raise ValueError(f"{path}:{number} is not a title: {line.strip()[:80]!r}; expected {wanted}") from error
            titles.append(title)
            ids.append(entity_id)
            if len(ids) == _CHUNK:
                yield ids, titles
                ids, titles = [], []
    if ids:
        yield ids, titles
