"""Decides which drafts are dropped, with the reasons: each filter is one SQL file, and nothing is deleted.

Owns the order of the filters. A draft may be dropped for several reasons; the kept ones are the drafts ANTI JOIN the
drops. Runs in memory over Parquet files, or over the rows of a warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import pyarrow as pa
from duckdb import DuckDBPyConnection

from warehouse.samples.sources import Source, define_macros, open_warehouse_in_memory, write_rows_query
from warehouse.schemas import make_schema
from warehouse.sql import list_parameters, list_sql_names, read_heading, read_report_rows, read_sql, write_with_values

# The order decides a draft's first reason, from "nothing to judge" to "there are enough of these". The last five read
# `remaining`, the drafts that no earlier filter dropped, so that a bad draft does not push out a good one.
FILTERS = (
    "failed",
    "unjudged",
    "truncated",
    "empty_or_long",
    "question_length",
    "wrong_language",
    "wrong",
    "mistranslated",
    "inconsistent",
    "ungrounded",
    "not_needed",
    "contaminated_image",
    "contaminated_question",
    "duplicate",
    "near_duplicate",
    "over_represented",
    "over_represented_source",
    "held_out",
)


@dataclass(frozen=True)
class Reason:
    """One filter's line of the funnel: the drafts that it was the first to drop, and all drafts that it drops."""

    reason: str
    first: int
    total: int


@dataclass(frozen=True)
class Funnel:
    """How many drafts were dropped and kept: `drafts` = sum of `first` over the reasons + `kept`."""

    drafts: int
    reasons: tuple[Reason, ...]
    kept: int


def filter_parameters() -> dict[str, set[str]]:
    """Map each filter, in order, to the names of its parameters."""
    assert set(FILTERS) == set(list_sql_names("filters")), "FILTERS and warehouse/filters/*.sql differ"
    return {name: list_parameters(read_sql("filters", name)) for name in FILTERS}


def run_filters(
    con: DuckDBPyConnection | None = None,
    /,
    *,
    drafts: Source,
    verdicts: Source,
    questions: Source,
    parameters: Mapping[str, object],
    benchmarks: Source = (),
) -> pa.Table:
    """Run every filter over the drafts and return the drops (sample_id, reason, value), sorted.

    A str in a source is the fingerprint of an artefact in the warehouse `con`; a Path is a Parquet file (`con` may then
    be left out). `benchmarks` are the questions that no draft may resemble; it may be empty. `parameters` has exactly
    the filters' parameters; None or False switches a filter off. ValueError names a parameter that is missing or that
    no filter uses, and a sample_id or question_id that occurs twice.
    """
    _check_parameters(parameters)
    sources = {"draft": drafts, "verdict": verdicts, "question": questions, "benchmark": benchmarks}
    with _open_database(con) as con, _define_views(con, sources):
        for table, key in (("draft", "sample_id"), ("verdict", "sample_id"), ("question", "question_id")):
            _refuse_repeated(con, table, key)
        for name, used in filter_parameters().items():
            values = {key: parameters[key] for key in used}
            if not _is_off(values):
                con.execute(f"INSERT INTO dropped {read_sql('filters', name)}", values)
        return con.sql("SELECT * FROM dropped ORDER BY sample_id, reason").to_arrow_table().cast(make_schema("drop"))


def list_kept_samples(con: DuckDBPyConnection | None = None, /, *, drafts: Source, drops: pa.Table) -> pa.Table:
    """Return the `sample` rows: the drafts that no drop names, in order of sample_id."""
    with _open_database(con) as con, _define_views(con, {"draft": drafts}):
        con.register("given_drops", drops)
        try:
            query = "SELECT sample_id FROM draft ANTI JOIN given_drops USING (sample_id) ORDER BY sample_id"
            return con.sql(query).to_arrow_table().cast(make_schema("sample"))
        finally:
            con.unregister("given_drops")


def count_funnel(
    con: DuckDBPyConnection, draft_artefact: str | Sequence[str], drop_artefact: str | Sequence[str]
) -> Funnel:
    """Count the drafts, the drops by first and by any reason in the order of the filters, and the kept drafts.

    A reason without drops is listed with zeros; a reason that this version does not know comes last.
    """
    drafts, drops = ([given] if isinstance(given, str) else list(given) for given in (draft_artefact, drop_artefact))
    found = read_report_rows(con, "funnel", {"drafts": drafts, "drops": drops, "reasons": list(FILTERS)})
    counts = {row["reason"]: row for row in found}
    total, kept = counts.pop("drafts")["total"], counts.pop("kept")["total"]
    return Funnel(total, tuple(Reason(name, row["first"], row["total"]) for name, row in counts.items()), kept)


def write_funnel(counts: Funnel) -> list[str]:
    """Return the lines of a funnel for a terminal; reasons that dropped nothing are left out."""
    lines = [f"{'drafts':<24}{counts.drafts:>10}", f"{'':<24}{'first':>10}{'in all':>10}"]
    lines += [f"{each.reason:<24}{each.first:>10}{each.total:>10}" for each in counts.reasons if each.total]
    return [*lines, f"{'kept':<24}{counts.kept:>10}"]


def read_reason_meanings(parameters: Mapping[str, object]) -> dict[str, str]:
    """Map each filter to the description in its SQL file, with the recipe's values filled in, for a person to read."""
    meanings = {}
    for name, used in filter_parameters().items():
        meaning = read_heading(read_sql("filters", name)).split(" Value: ")[0]
        off = _is_off({key: parameters.get(key) for key in used})
        meanings[name] = "Switched off in this recipe." if off else write_with_values(meaning, parameters)
    return meanings


def _is_off(values: Mapping[str, object]) -> bool:
    return any(value is None or value is False for value in values.values())


def _open_database(con: DuckDBPyConnection | None) -> AbstractContextManager[DuckDBPyConnection]:
    """Return `con`, or an empty warehouse in memory."""
    return open_warehouse_in_memory() if con is None else nullcontext(con)


def _check_parameters(parameters: Mapping[str, object]) -> None:
    needed = filter_parameters()
    for name, used in needed.items():
        if missing := sorted(used - parameters.keys()):
            raise ValueError(f"the filter {name} needs the parameter {', '.join(missing)}; got {sorted(parameters)}")
    if unused := sorted(parameters.keys() - set().union(*needed.values())):
        raise ValueError(f"no filter uses {', '.join(unused)}; parameters are {sorted(set().union(*needed.values()))}")


@contextmanager
def _define_views(con: DuckDBPyConnection, sources: Mapping[str, Source]) -> Iterator[None]:
    """Make the names of tables refer to the given sources, and `remaining` to the drafts not yet dropped.

    Temporary views take precedence over the warehouse's tables of the same name, so that a filter has the same text for
    Parquet files and for a warehouse. They are removed afterwards; the macros that filters use stay.
    """
    names = ["remaining", "dropped", *sources]
    try:
        for table, source in sources.items():
            given = "question" if table == "benchmark" else table
            query = write_rows_query(con, given, source, may_be_empty=table == "benchmark")
            con.execute(f"CREATE TEMP VIEW {table} AS {query}")
        con.execute("CREATE TEMP TABLE dropped (sample_id VARCHAR, reason VARCHAR, value DOUBLE)")
        con.execute("CREATE TEMP VIEW remaining AS SELECT * FROM draft ANTI JOIN dropped USING (sample_id)")
        define_macros(con)
        yield
    finally:
        for name in names:
            con.execute(f"DROP {'TABLE' if name == 'dropped' else 'VIEW'} IF EXISTS temp.{name}")


def _refuse_repeated(con: DuckDBPyConnection, table: str, key: str) -> None:
    twice = con.execute(
        f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1 ORDER BY {key} LIMIT 3"
    ).fetchall()
    if twice:
        raise ValueError(f"the {table} rows have {key} {', '.join(value for (value,) in twice)} more than once")
