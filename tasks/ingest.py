"""Knowledge in: reads a corpus, keeps the good rows as items, and lists the bad ones with file, row and reason."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from comem_core.evaluation.benchmarks.countries_vqa import revision as countries_revision
from comem_core.knowledge.corpora import BUILT_IN, BadRow, read_corpus
from comem_core.knowledge.items import KnowledgeItem, content_id
from tasks.partial import Partial
from tasks.rows import item_table
from tasks.run import Run
from tasks.stage import run_stage, stage_logger, stage_task
from tasks.store import Reference
from warehouse.schemas import check_rows


@dataclass(frozen=True, kw_only=True)
class Ingesting:
    """A corpus by name and content, so that an edited folder is read again."""

    corpus: str
    content: str


@stage_task(name="ingest-knowledge")
def ingest_knowledge(run: Run) -> Reference:
    """Read the recipe's corpus into items; bad rows are counted and kept beside them."""
    corpus = run.recipe.knowledge.corpus

    def make(artefact: Partial) -> None:
        items: dict[str, KnowledgeItem] = {}
        bad: list[BadRow] = []
        for row in read_corpus(corpus):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                items[row.item_id] = row
        size, ordered = run.context.rows_per_shard * 16, list(items.values())
        for start in range(0, len(ordered), size):
            artefact.write_shard(f"part-{start // size:05d}", item_table(ordered[start : start + size]))
        if bad:
            rows = [asdict(row) for row in bad]
            artefact.write_shard("dropped-rows", check_rows("dropped_row", rows), rows_of="dropped_row")
            reasons = Counter(row.reason for row in bad)
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            stage_logger().warning("%d bad rows were left out: %s", len(bad), counts)

    part = Ingesting(corpus=Path(corpus).name, content=_content(corpus))
    return run_stage(run, "knowledge", part, {}, make, table="knowledge_item", version="1")


def _content(corpus: str) -> str:
    """Name what a corpus holds: the revision of a built-in one, else names, sizes and times of its files."""
    if corpus in BUILT_IN:
        return countries_revision()
    path = Path(corpus)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file.relative_to(path)), file.stat()) for file in files if file.is_file()]
    return content_id(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))
