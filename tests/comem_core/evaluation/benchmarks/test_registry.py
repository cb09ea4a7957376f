"""Benchmarks are found by themselves: those of the folder, and those that other packages offer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks, find_benchmark

# The whole of a benchmark in one file, as docs/benchmarks.md shows it.
DOCS = Path(__file__).parents[4] / "docs/benchmarks.md"
NAMES = {
    "a-okvqa", "a-okvqa-mc", "countries-vqa", "cvqa", "emoji-vqa", "infoseek", "infoseek-multilingual", "mrag-bench",
    "okvqa", "oven", "own", "viquae",
}  # fmt: skip


def documented_file() -> str:
    """Return the guide's example under another name, because a reader may have saved it in the folder as it is."""
    text = DOCS.read_text(encoding="utf-8")
    start = text.index("```python\n") + len("```python\n")
    source = text[start : text.index("```", start)]
    assert source.count('"street-signs"') == 1
    return source.replace('"street-signs"', '"signs-of-the-guide"')


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    find_all_benchmarks.cache_clear()
    yield
    find_all_benchmarks.cache_clear()


def offer(folder: Path, value: str) -> None:
    """Install a package that has one module and one entry point, as pip would."""
    (folder / "street_signs-1.dist-info").mkdir(parents=True)
    (folder / "street_signs-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: street-signs\nVersion: 1\n")
    (folder / "street_signs-1.dist-info/entry_points.txt").write_text(f"[comem.benchmarks]\nsigns = {value}\n")


def test_every_benchmark_of_the_folder_is_found_and_says_what_it_needs() -> None:
    assert set(find_all_benchmarks()) == NAMES, "NAMES, at the head of this file, lists the benchmarks"
    assert list(find_all_benchmarks()) == sorted(NAMES)
    for name, benchmark in find_all_benchmarks().items():
        assert benchmark.name == name and benchmark.source and benchmark.licence and benchmark.parts
        assert (benchmark.files is None) == (name in ("countries-vqa", "emoji-vqa", "own"))


def test_the_guide_names_every_benchmark_its_parts_and_the_words_of_its_prompt() -> None:
    text = DOCS.read_text(encoding="utf-8")
    prompts = [row.split("|") for row in text[text.index("## How questions are worded") :].splitlines() if "|" in row]
    for name, benchmark in find_all_benchmarks().items():
        assert f"| `{name}` |" in text, f"add a row for `{name}` to the first table of {DOCS.name}"
        assert name == "own" or all(f"`{part}`" in text for part in benchmark.parts)
        said = benchmark.wording.question["*"].replace("{question}", "").replace("{options}", "")
        lines = {line.strip() for line in said.splitlines()} - {""}
        if lines and name != "cvqa":  # whose words the guide describes, in five languages
            words = " ".join(row[2] for row in prompts if row[1].strip() == f"`{name}`")
            absent = [line for line in lines if f"`{line}`" not in words]
            assert not absent, f"add a row for `{name}` to 'How questions are worded' in {DOCS.name}, with {absent}"


def test_the_last_part_is_the_one_that_is_reported_on() -> None:
    last = {name: benchmark.parts[-1] for name, benchmark in find_all_benchmarks().items()}
    assert {"oven": "val", "viquae": "test", "cvqa": "test", "infoseek": "val"}.items() <= last.items()


def test_the_file_of_the_docs_is_a_benchmark_that_another_package_can_offer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = documented_file()
    assert len(source.splitlines()) <= 42
    (tmp_path / "street_signs.py").write_text(source, encoding="utf-8")
    offer(tmp_path, "street_signs")
    monkeypatch.syspath_prepend(str(tmp_path))
    signs = find_benchmark("signs-of-the-guide")
    assert set(find_all_benchmarks()) == NAMES | {"signs-of-the-guide"}
    data = tmp_path / "data"
    data.mkdir()
    (data / "signs.jsonl").write_text('{"id": 1, "question": "What does it forbid?", "answer": "Parking"}\n{"id": 2}\n')
    yielded = {each.question_id: each for each in signs.read("test", data)}
    assert {name: getattr(each, "reason", None) for name, each in yielded.items()} == {
        "1": "missing_image",
        "2": "bad_row",
    }
    assert len(signs.revision("test", data)) == 16 and signs.metrics(data)[0].name


def test_the_lines_that_the_docs_add_for_seeds_give_seeds_and_no_part_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DOCS.read_text(encoding="utf-8")
    source, block = documented_file(), text[text.index("```diff\n") + len("```diff\n") :]
    for change in ("\n" + block[: block.index("```")]).split("\n-")[1:]:
        removed, *added = change.strip("\n").split("\n+")
        assert source.count(removed) == 1
        source = source.replace(removed, "\n".join(added))
    (tmp_path / "street_signs_seeds.py").write_text(source, encoding="utf-8")
    offer(tmp_path, "street_signs_seeds")
    monkeypatch.syspath_prepend(str(tmp_path))
    signs = find_benchmark("signs-of-the-guide")
    (tmp_path / "signs_train.jsonl").write_text('{"id": 1, "question": "What does it forbid?", "answer": "Parking"}\n')
    assert signs.parts == ("test",) and signs.seeds is not None and len(signs.revision("train", tmp_path)) == 16
    [seed] = signs.seeds(tmp_path)
    assert isinstance(seed, MissingQuestion) and (seed.reason, seed.split) == ("missing_image", "train")


def test_the_file_of_the_docs_works_in_the_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comem_core.evaluation import benchmarks

    (tmp_path / "street_signs_here.py").write_text(documented_file(), encoding="utf-8")
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    assert set(find_all_benchmarks()) == NAMES | {"signs-of-the-guide"}


def test_two_benchmarks_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "comem_core.evaluation.benchmarks.own:BENCHMARK")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"two benchmarks are named 'own': .*own and .*own:BENCHMARK; rename one"):
        find_all_benchmarks()


def test_an_entry_point_that_leads_to_no_benchmark_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "json:dumps")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"signs = json:dumps .*expected a Benchmark.*; found function"):
        find_all_benchmarks()
