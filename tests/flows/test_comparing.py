"""Which evaluations of two runs are compared with each other."""

import pytest

from flows.local.comparing import _find_run, pair_evaluations


def evaluated(run: str, *encoders: str, benchmarks: tuple[str, ...] = ("okvqa",)) -> list[dict]:
    return [
        {"run_id": run, "encoder_name": name, "encoder": name, "benchmark": benchmark}
        for benchmark in benchmarks
        for name in encoders
    ]


def names(pairs: list[tuple[dict, dict]]) -> list[tuple[str, str, str]]:
    return [(old["encoder_name"], new["encoder_name"], new["benchmark"]) for old, new in pairs]


def test_runs_of_one_encoder_each_are_compared_whatever_it_is_called() -> None:
    assert names(pair_evaluations(evaluated("a", "latest"), evaluated("b", "tiny-encoder"))) == [
        ("latest", "tiny-encoder", "okvqa")
    ]


def test_of_several_encoders_those_of_one_name_are_compared_on_benchmarks_in_common() -> None:
    before = evaluated("a", "old", "new", benchmarks=("okvqa", "oven"))
    assert names(pair_evaluations(before, evaluated("b", "new", "newer"))) == [("new", "new", "okvqa")]
    with pytest.raises(ValueError, match="no benchmark in common"):
        pair_evaluations(before, evaluated("b", "newer", "newest"))


def test_a_run_with_itself_has_its_encoders_compared() -> None:
    run = evaluated("a", "first", "second", benchmarks=("okvqa", "oven"))
    assert names(pair_evaluations(run, run)) == [("first", "second", "okvqa"), ("first", "second", "oven")]
    with pytest.raises(ValueError, match="this run evaluated one"):
        pair_evaluations(evaluated("a", "first"), evaluated("a", "first"))


def test_a_run_is_found_by_the_beginning_of_its_id_that_pages_show() -> None:
    known = ["6f1fe744-aa", "995b7ea5-bb", "995b7ea5-cc", "995b"]
    assert _find_run(known, "6f1fe744") == "6f1fe744-aa"
    assert _find_run(known, "995b") == "995b"
    with pytest.raises(ValueError, match="'995b7' is 2 runs: 995b7ea5-bb, 995b7ea5-cc"):
        _find_run(known, "995b7")
    for unknown in ("", "0000"):
        with pytest.raises(ValueError, match="runs with evaluations: 6f1fe744-aa, "):
            _find_run(known, unknown)
