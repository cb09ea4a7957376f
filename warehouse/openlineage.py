"""Exports the records of a run as OpenLineage run events, made with the official client's own classes.

It is only an export: nothing is read back. Jobs are `<flow>` and `<flow>.<stage>`, datasets `<stage>/<fingerprint>`.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attr
from duckdb import DuckDBPyConnection
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    dataset_type_dataset,
    dataset_version_dataset,
    datasource_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
)
from openlineage.client.serde import Serde

from warehouse.records import find_artefact
from warehouse.schemas import list_row_tables, make_schema
from warehouse.sql import read_report_rows

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

NAMESPACE = "comem"
PRODUCER = "urn:comem:warehouse"
ADDRESSES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT", "OPENLINEAGE__TRANSPORT__TYPE")
"""The official client's settings of which each says where events go."""
WEIGHTS_TABLE = "training_step"
"""The table of the rows of artefacts that are trained weights."""
_RUN_IDS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)  # OpenLineage needs UUIDs, which are derived from our ids
_ENDS = {"completed": RunState.COMPLETE, "failed": RunState.FAIL, "cancelled": RunState.ABORT}


@attr.define
class StageRunFacet(RunFacet):
    """What a run did with an artefact, and why; not in the specification, so its key has the prefix `comem_`."""

    runId: str
    action: str
    reason: str | None = None
    version: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:StageRunFacet"


@attr.define
class FlowRunFacet(RunFacet):
    """The recipe of a run by its name and as JSON, and the commits of the code; not in the specification."""

    runId: str
    recipe: str
    settings: str
    commit: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:FlowRunFacet"


@attr.define
class ArtefactDatasetFacet(DatasetFacet):
    """What decided an artefact, and what was measured when it was made; not in the specification.

    `recipe` is JSON, because the official client leaves empty fields out of what it writes, and these decide too.
    """

    stageVersion: str
    recipe: str
    measured: dict[str, Any]
    seconds: float | None = None
    commit: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:ArtefactDatasetFacet"


@attr.define
class TrainingDatasetFacet(DatasetFacet):
    """The training of weights: its steps, what they saw, and the first and last loss; not in the specification."""

    steps: int
    samples: int
    tokens: int
    firstLoss: float
    lastLoss: float

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:TrainingDatasetFacet"


@attr.define
class ScoresOutputDatasetFacet(OutputDatasetFacet):
    """The scores of whole splits, as the table `score` has them; not in the specification."""

    scores: list[dict[str, Any]]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:ScoresOutputDatasetFacet"


def make_openlineage_events(con: DuckDBPyConnection, run_id: str) -> Iterator[RunEvent]:
    """Yield the events of a run in order: a START of the flow, a START and a COMPLETE (or FAIL) of each stage, reused
    ones included, and, if the run has ended, how."""
    facts = read_report_rows(con, "run_facts", {"run_id": run_id})
    if not facts:
        raise ValueError(f"the warehouse has no run {run_id!r}")
    set_producer(PRODUCER)
    run = facts[0]
    whole: dict[str, Any] = {"run": _describe_flow_run(run), "job": _describe_job(run["flow"], "FLOW")}
    yield _make_event(RunState.START, run["started"], **whole)
    for stage in read_report_rows(con, "stage_table", {"run_id": run_id}):
        record = find_artefact(con, stage["fingerprint"])
        inputs = sorted(set(record["inputs"].values())) if record else []
        shared: dict[str, Any] = {
            "run": _describe_stage_run(run, stage),
            "job": _describe_job(f"{run['flow']}.{stage['stage']}", "STAGE"),
            "inputs": [_describe_input(con, name) for name in inputs],
        }
        outputs = [_describe_output(con, record)] if record else []
        started = stage["finished"] - timedelta(seconds=stage["seconds"] or 0)
        yield _make_event(RunState.START, started, **shared)
        final = RunState.FAIL if stage["action"] == "failed" else RunState.COMPLETE
        yield _make_event(final, stage["finished"], **shared, outputs=outputs)
    if run["status"] in _ENDS:
        yield _make_event(_ENDS[run["status"]], run["ended"], **whole)


def write_openlineage_lines(con: DuckDBPyConnection, run_id: str) -> str:
    """Return the events of a run as JSON lines."""
    return "".join(Serde.to_json(event, ensure_ascii=False) + "\n" for event in make_openlineage_events(con, run_id))


def is_openlineage_address_given() -> bool:
    """Whether the environment says where the official client sends events to."""
    return any(name in os.environ for name in ADDRESSES) and os.environ.get("OPENLINEAGE_DISABLED", "") != "true"


def send_openlineage_events(con: DuckDBPyConnection, run_id: str) -> int:
    """Send the events of a run where the official client's settings say, and return how many there were.

    `OPENLINEAGE_URL` is the simplest of these settings (docs/operations.md).

    Raises:
        ValueError: no such setting, or a server that does not take the events; sending again does no harm.
    """
    from requests import RequestException

    events = list(make_openlineage_events(con, run_id))
    client = _make_client()
    for place, event in enumerate(events):
        try:
            client.emit(event)
        except RequestException as error:
            raise ValueError(
                f"{place} of {len(events)} OpenLineage events were sent, then: {error}. Send them again with "
                f"`python -m warehouse openlineage --run {run_id} --send`"
            ) from error
    client.close()
    return len(events)


def _make_client() -> OpenLineageClient:
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.console import ConsoleTransport

    before = dict(os.environ)
    logging.getLogger("openlineage").setLevel(logging.ERROR)  # what it warns of is an error here
    try:
        client = OpenLineageClient()
    except (LookupError, TypeError, ImportError, RuntimeError) as error:  # of settings that are half there
        raise ValueError(f"the settings of OpenLineage cannot be read: {error}") from error
    finally:
        # The client copies the address and the key into more variables, which children of the process would inherit.
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
    if isinstance(client.transport, ConsoleTransport) and not client.config.transport:
        raise ValueError(
            "OpenLineage events have no address: set OPENLINEAGE_URL (such as http://localhost:5000 for Marquez) and, "
            "if the server wants one, OPENLINEAGE_API_KEY; or write an openlineage.yml"
        )
    return client


def _make_event(state: RunState, moment: datetime, **described: Any) -> RunEvent:
    time = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return RunEvent(eventType=state, eventTime=time, **described)


def _describe_flow_run(run: dict) -> Run:
    settings = FlowRunFacet(run["run_id"], run["recipe_name"], run["recipe"], run["commit"])
    facets: dict[str, RunFacet] = {"comem_flow": settings}
    if run["error"]:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(run["error"], "Python")
    return Run(_name_run(run["run_id"]), facets)


def _describe_stage_run(run: dict, stage: dict) -> Run:
    """Describe the run of one stage, as a child of the flow's run, with what was done and why."""
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(_name_run(run["run_id"])),
        job=parent_run.Job(NAMESPACE, run["flow"]),
    )
    done = StageRunFacet(run["run_id"], stage["action"], stage["reason"], stage["version"])
    facets: dict[str, RunFacet] = {"parent": parent, "comem_stage": done}
    if stage["action"] == "failed" and stage["reason"]:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(stage["reason"], "Python")
    return Run(_name_run(f"{run['run_id']}/{stage['stage']}/{stage['fingerprint']}"), facets)


def _name_run(name: str) -> str:
    return str(uuid.uuid5(_RUN_IDS, name))


def _describe_job(name: str, kind: str) -> Job:
    described = job_type_job.JobTypeJobFacet("BATCH", "COMEM", kind)
    return Job(NAMESPACE, name, {"jobType": described})


def _describe_input(con: DuckDBPyConnection, fingerprint: str) -> InputDataset:
    name, described = _describe_dataset(con, fingerprint)
    return InputDataset(NAMESPACE, name, facets=described)


def _describe_output(con: DuckDBPyConnection, record: dict) -> OutputDataset:
    sizes = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=record["num_rows"], size=record["num_bytes"], fileCount=len(record["shards"])
    )
    facets: dict[str, OutputDatasetFacet] = {"outputStatistics": sizes}
    if scores := read_report_rows(con, "scores_of_splits", {"scores": record["fingerprint"]}):
        facets["comem_scores"] = ScoresOutputDatasetFacet(scores)
    name, described = _describe_dataset(con, record["fingerprint"])
    return OutputDataset(NAMESPACE, name, facets, facets=described)


def _describe_dataset(con: DuckDBPyConnection, fingerprint: str) -> tuple[str, dict[str, DatasetFacet]]:
    """Return the name of an artefact and what is known of it; of an unregistered one (a backbone's weights), only the
    fingerprint is."""
    record = find_artefact(con, fingerprint)
    if record is None:
        return f"external/{fingerprint}", {}
    held = [
        table
        for table in list_row_tables()
        if con.execute(f"SELECT 1 FROM {table} WHERE artefact = ? LIMIT 1", [fingerprint]).fetchall()
    ]
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(record["content_sha256"]),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(
            "MODEL" if WEIGHTS_TABLE in held else "FILE"
        ),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(record["stage"], record["uri"]),
        "comem_artefact": ArtefactDatasetFacet(
            record["version"], json.dumps(record["recipe"], ensure_ascii=False), record["measured"] or {},
            record["seconds"], record["commit"],
        ),
    }  # fmt: skip
    if held:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(_list_fields(held))
    if WEIGHTS_TABLE in held:
        facets["comem_training"] = TrainingDatasetFacet(
            **read_report_rows(con, "training_of", {"weights": fingerprint})[0]
        )
    return f"{record['stage']}/{fingerprint}", facets


def _list_fields(tables: list[str]) -> list[schema_dataset.SchemaDatasetFacetFields]:
    """List the columns of the rows; an artefact with rows of several tables has a struct for each."""
    fields = {
        table: [schema_dataset.SchemaDatasetFacetFields(each.name, str(each.type)) for each in make_schema(table)]
        for table in tables
    }
    if len(fields) == 1:
        return next(iter(fields.values()))
    return [schema_dataset.SchemaDatasetFacetFields(table, "struct", fields=each) for table, each in fields.items()]
