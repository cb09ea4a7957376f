"""Exports the records of a run as OpenLineage run events: plain dicts, one JSON object on each line.

It is only an export: nothing is read back. Jobs are `<flow>.<stage>`, datasets are `<stage>/<fingerprint>`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from duckdb import DuckDBPyConnection

from warehouse.records import find_artefact
from warehouse.schemas import list_row_tables, make_schema
from warehouse.sql import read_report_rows

NAMESPACE = "comem"
PRODUCER = "urn:comem:warehouse"
_SPEC = "https://openlineage.io/spec"
_RUN_IDS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)  # OpenLineage needs UUIDs, which are derived from our ids


def make_openlineage_events(con: DuckDBPyConnection, run_id: str) -> Iterator[dict]:
    """Yield a START and a COMPLETE (or FAIL) event for each stage of a run, reused ones included, in order."""
    facts = read_report_rows(con, "run_facts", {"run_id": run_id})
    if not facts:
        raise ValueError(f"the warehouse has no run {run_id!r}")
    for stage in read_report_rows(con, "stage_table", {"run_id": run_id}):
        record = find_artefact(con, stage["fingerprint"])
        ended = stage["finished"].astimezone(UTC)
        started = ended - timedelta(seconds=stage["seconds"] or 0)
        inputs = [_describe_dataset(con, name) for name in sorted(set(record["inputs"].values()))] if record else []
        outputs = [_describe_dataset(con, stage["fingerprint"], is_output=True)] if record else []
        shared = {"run": _describe_run(facts[0], stage), "job": _describe_job(facts[0], stage), "producer": PRODUCER}
        shared["schemaURL"] = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
        final = "FAIL" if stage["action"] == "failed" else "COMPLETE"
        yield {"eventType": "START", "eventTime": _write_time(started), **shared, "inputs": inputs, "outputs": []}
        yield {"eventType": final, "eventTime": _write_time(ended), **shared, "inputs": inputs, "outputs": outputs}


def write_openlineage_lines(con: DuckDBPyConnection, run_id: str) -> str:
    """Return the events of a run as JSON lines."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in make_openlineage_events(con, run_id))


def _describe_run(run: dict, stage: dict) -> dict:
    """Describe the run of one stage, as a child of the flow's run, with what was done and why."""
    own = uuid.uuid5(_RUN_IDS, f"{run['run_id']}/{stage['stage']}/{stage['fingerprint']}")
    parent = {
        "run": {"runId": str(uuid.uuid5(_RUN_IDS, run["run_id"]))},
        "job": {"namespace": NAMESPACE, "name": run["flow"]},
    }
    done = {"runId": run["run_id"], "action": stage["action"], "reason": stage["reason"], "version": stage["version"]}
    facets = {
        "parent": _make_facet("1-0-1/ParentRunFacet", parent),
        "comem_stage": _make_own_facet("StageRunFacet", done),
    }
    return {"runId": str(own), "facets": facets}


def _describe_job(run: dict, stage: dict) -> dict:
    kind = {"processingType": "BATCH", "integration": "COMEM", "jobType": "STAGE"}
    return {
        "namespace": NAMESPACE,
        "name": f"{run['flow']}.{stage['stage']}",
        "facets": {"jobType": _make_facet("2-0-3/JobTypeJobFacet", kind)},
    }


def _describe_dataset(con: DuckDBPyConnection, fingerprint: str, *, is_output: bool = False) -> dict:
    """Describe an artefact; an unregistered one (a backbone's weights) has only its fingerprint."""
    record = find_artefact(con, fingerprint)
    if record is None:
        return {"namespace": NAMESPACE, "name": f"external/{fingerprint}", "facets": {}}
    facets = {"version": _make_facet("1-0-1/DatasetVersionDatasetFacet", {"datasetVersion": record["content_sha256"]})}
    if fields := _list_fields(con, fingerprint):
        facets["schema"] = _make_facet("1-1-1/SchemaDatasetFacet", {"fields": fields})
    dataset = {"namespace": NAMESPACE, "name": f"{record['stage']}/{fingerprint}", "facets": facets}
    if is_output:
        sizes = {"rowCount": record["num_rows"], "size": record["num_bytes"], "fileCount": len(record["shards"])}
        dataset["outputFacets"] = {"outputStatistics": _make_facet("1-0-2/OutputStatisticsOutputDatasetFacet", sizes)}
    return dataset


def _list_fields(con: DuckDBPyConnection, fingerprint: str) -> list[dict]:
    """List the columns of the artefact's rows; an artefact with rows of several tables has a struct for each."""
    held = {
        table: [{"name": field.name, "type": str(field.type)} for field in make_schema(table)]
        for table in list_row_tables()
        if con.execute(f"SELECT 1 FROM {table} WHERE artefact = ? LIMIT 1", [fingerprint]).fetchall()
    }
    if len(held) == 1:
        return next(iter(held.values()))
    return [{"name": table, "type": "struct", "fields": fields} for table, fields in held.items()]


def _make_facet(schema: str, content: dict) -> dict:
    """Add the fields that every facet has; `schema` is "<version>/<name>" of the OpenLineage specification."""
    name = schema.split("/")[1]
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{schema}.json#/$defs/{name}", **content}


def _make_own_facet(name: str, content: dict) -> dict:
    """Make a facet of our own, outside the specification; the prefix `comem_` marks it."""
    return {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}:{name}", **content}


def _write_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
