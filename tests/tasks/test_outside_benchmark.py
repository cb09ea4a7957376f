"""A benchmark of another package, in one file with seeds, gives questions whose answers its own metric judges."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = """
from dataclasses import replace
from itertools import islice

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.metrics.squad import EXACT_MATCH
from comem_core.worlds.countries.world import load_seed_questions

BENCHMARK = Benchmark(
    name="street-flags",
    source="a package of the test",
    licence="CC0-1.0",
    parts=("test",),
    read=lambda part, folder: iter(()),
    revision=lambda part, folder: "1",
    metrics=lambda folder: (EXACT_MATCH,),
    seeds=lambda folder: (replace(each, benchmark="{names}") for each in islice(load_seed_questions(), 3)),
)
"""
RUN = """
import json
from dataclasses import replace

from comem_core.recipes import find_recipe
from tasks.data.filter import filter_qa
from tasks.data.ingest import ingest_knowledge
from tasks.data.questions import pose_questions
from tasks.data.index import build_index
from tasks.data.retrieve import retrieve
from tasks.rows.tables import read_rows
from tasks.run import open_run
from tasks.data.synthesize import judge_qa, synthesize_qa

tiny = find_recipe("tiny_cpu")
few = replace(tiny.synthesis, seeds=("street-flags",), num_seed_questions=3, num_asked_items=0)
with open_run("test", replace(tiny, synthesis=few), needs_generator=True) as run:
    knowledge = ingest_knowledge.fn(run)
    questions = pose_questions.fn(run, knowledge)
    retrieved = retrieve.fn(run, build_index.fn(run, knowledge), questions)
    drafts = synthesize_qa.fn(run, knowledge, questions, retrieved)
    verdicts = judge_qa.fn(run, knowledge, questions, retrieved, drafts)
    print(json.dumps([(row["judge"], row["metric_score"]) for row in read_rows(verdicts)]))
"""


def offer(folder: Path, *, names: str) -> None:
    """Put a package with one module and one entry point into a folder, as pip would."""
    (folder / "street_flags.py").write_text(BENCHMARK.replace("{names}", names), encoding="utf-8")
    information = folder / "street_flags-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: street-flags\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[comem.benchmarks]\nstreet-flags = street_flags\n")


@pytest.mark.slow  # a Ray of its own, whose workers see the package
def test_seeds_of_an_outside_benchmark_are_judged_by_its_own_metric(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    offer(outside, names="street-flags")
    script = tmp_path / "run.py"
    script.write_text(RUN, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(outside),
        "COMEM_ROOT": str(tmp_path / "root"),
        "COMEM_NUM_ACTORS": "1",
        "COMEM_MIN_FREE_DISK_MB": "10",
        "COMEM_MIN_FREE_MEMORY_MB": "10",
    }
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts = json.loads(done.stdout.splitlines()[-1])
    assert len(verdicts) == 3 and {judge for judge, _ in verdicts} == {"exact_match"}
    assert all(score in (0.0, 1.0) for _, score in verdicts)


def test_seeds_that_name_another_benchmark_are_refused_before_any_is_drafted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comem_core.evaluation.benchmarks.registry import find_all_benchmarks
    from comem_core.synthesis.seeds import find_seed_metric, find_source

    offer(tmp_path, names="street-signs")
    monkeypatch.syspath_prepend(str(tmp_path))
    find_all_benchmarks.cache_clear()
    try:
        assert find_seed_metric("street-flags").name == "exact_match"
        with pytest.raises(ValueError, match="names the benchmark 'street-signs'"):
            list(find_source("street-flags").read_questions(3))
    finally:
        find_all_benchmarks.cache_clear()
