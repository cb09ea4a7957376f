"""Looks at the first rows of a corpus, before any work is done: do they give items, and in which languages?"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from comem_core.knowledge.corpora import BadRow, Corpus, FoundItem, ReadingOptions, describe_no_good_row, open_corpus

ROWS_SEEN = 128
NUM_SHOWN = 10
LONGEST_SHOWN = 60


@dataclass
class UncertainLanguages:
    """How many texts were too short to tell their language, by the language that they got, and up to ten of them."""

    counts: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def add(self, found: FoundItem) -> None:
        if found.language_certain:
            return
        language = found.item.language
        self.counts[language] = self.counts.get(language, 0) + 1
        if len(self.shown) < NUM_SHOWN:
            text = " ".join(found.item.text.split())
            cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
            self.shown.append(f"{cut} ({language})")

    def merge(self, other: "UncertainLanguages") -> None:
        """Add those of another part of the corpus."""
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        self.shown = [*self.shown, *other.shown][:NUM_SHOWN]

    def describe(self) -> str | None:
        """Return a sentence about them; None if there are none."""
        if not self.counts:
            return None
        taken = ", ".join(f"{count} {language}" for language, count in Counter(self.counts).most_common())
        num = sum(self.counts.values())
        return (
            f"{num} texts are too short to tell their language alone, and got one of their file's: "
            f"{taken}. Such as: {'; '.join(self.shown)}"
        )


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The first rows of a corpus: the texts of those that are items, their languages, and the others."""

    corpus: str
    texts: tuple[str, ...]
    languages: Counter[str]
    uncertain: UncertainLanguages
    bad: tuple[BadRow, ...]
    is_whole: bool

    @property
    def num_rows(self) -> int:
        return len(self.texts) + len(self.bad)

    def refuse_without_items(self) -> None:
        """Raise ValueError, with the first reasons, if the whole corpus was seen and no row is an item."""
        if self.is_whole and not self.texts:
            raise describe_no_good_row(self.corpus, len(self.bad), list(self.bad))

    def describe(self) -> list[str]:
        """Return sentences about the rows seen: how many are items, in which languages, and which are uncertain."""
        seen = f"all {self.num_rows} rows" if self.is_whole else f"the first {self.num_rows} rows"
        languages = ", ".join(f"{count} {language}" for language, count in self.languages.most_common())
        said = [f"corpus: {seen} were looked at; {len(self.texts)} are items ({languages or 'none'})"]
        if self.bad:
            reasons = Counter(each.reason for each in self.bad)
            said[0] += f", {len(self.bad)} are not: " + ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        return said + [each for each in [self.uncertain.describe()] if each]


def read_preview(name: str, *, reading: ReadingOptions, num: int = ROWS_SEEN) -> Preview:
    """Read the first `num` rows of a corpus as items. Fetches no address: such a row counts as an item of its text.

    Raises ValueError as `open_corpus`.
    """
    fetches = reading.allow_urls
    corpus = open_corpus(name, reading=replace(reading, allow_urls=False, images="optional") if fetches else reading)
    rows = list(islice(_read_rows(corpus, num), num + 1))
    seen, uncertain = rows[:num], UncertainLanguages()
    found = [row for row in seen if isinstance(row, FoundItem)]
    for each in found:
        uncertain.add(each)
    return Preview(
        corpus=name,
        texts=tuple(each.item.text for each in found),
        languages=Counter(each.item.language for each in found),
        uncertain=uncertain,
        bad=tuple(row for row in seen if isinstance(row, BadRow)),
        is_whole=len(rows) == len(seen),
    )


def _read_rows(corpus: Corpus, num: int) -> Iterator[FoundItem | BadRow]:
    pieces: Iterable = corpus.cut_into_pieces(num)
    for piece in pieces:
        yield from corpus.read(piece)
