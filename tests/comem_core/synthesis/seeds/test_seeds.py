"""Seed questions of the paper's three training sets, in their real formats, with pictures in a folder or an archive."""

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks
from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set
from comem_core.synthesis.seeds import FORMATS, find_seed_metric, find_source, share_out
from comem_core.synthesis.seeds.files import SeedFile, SeedRow

INFOSEEK = Path(__file__).parents[4] / "../shared/fixtures/infoseek/infoseek_val.jsonl"
IDS = ("oven_1", "oven_2", "oven_3", "oven_4")


def picture(shade: int, kind: str = "JPEG") -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 20, 60)).save(encoded, kind)
    return encoded.getvalue()


def in_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def in_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def in_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path.with_suffix(".tar")


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Three InfoSeek rows of the three kinds, one whose picture is missing, and two broken ones."""
    rows = [
        {"data_id": "a", "image_id": "oven_1", "question": "Capital?", "answer": ["Rome"],
         "answer_eval": ["Rome", "Roma"]},
        {"data_id": "b", "image_id": "oven_2", "question": "Length?", "answer": ["10"],
         "answer_eval": [{"wikidata": 10.0, "range": [9.0, 11.0]}]},
        {"data_id": "c", "image_id": "oven_3", "question": "Year?", "answer": ["1999"],
         "answer_eval": ["1999", "2000"]},
        {"data_id": "d", "image_id": "oven_9", "question": "Gone?", "answer": ["x"], "answer_eval": ["x"]},
        {"data_id": "e", "image_id": "oven_1", "answer": ["x"]},
    ]  # fmt: skip
    path = tmp_path / "infoseek_train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n{broken\n")
    return path


@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_infoseek_rows_find_their_pictures_wherever_they_lie(
    tmp_path: Path, annotations: Path, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    files = {"00/oven_1.JPEG": picture(1), "01/deep/oven_2.png": picture(2, "PNG"), "oven_3.webp": picture(3, "WEBP")}
    source = find_source(f"infoseek:{annotations}:{pack(tmp_path / 'pictures', files)}")
    found = {question.question_id: question for question in source.read_questions(source.count(10))}
    assert sorted(found) == ["infoseek/a", "infoseek/b", "infoseek/c"]
    assert (found["infoseek/a"].answers, found["infoseek/a"].question_type) == (("Rome", "Roma"), "string")
    assert (found["infoseek/b"].answer_low, found["infoseek/b"].answer_high) == (9.0, 11.0)
    assert found["infoseek/b"].question_type == "numerical" and found["infoseek/c"].question_type == "time"
    assert found["infoseek/a"].image == files["00/oven_1.JPEG"]
    assert sorted((fault.row, fault.reason) for fault in source.list_faults()) == [
        (4, "missing_image"), (5, "bad_row"), (6, "bad_row"),
    ]  # fmt: skip


def test_gold_answers_that_say_nothing_are_no_gold_and_a_row_with_no_other_is_named(tmp_path: Path) -> None:
    row = {"image_id": "oven_1", "question": "Grade?", "answer": ["A"]}
    golds = {"a": ["A", "the", "..."], "b": ["the", "-"]}
    lines = [json.dumps(row | {"data_id": name, "answer_eval": found}) for name, found in golds.items()]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    source = find_source(f"infoseek:{tmp_path / 'train.jsonl'}:{in_folder(tmp_path / 'p', {'oven_1.jpg': picture(1)})}")
    assert [question.answers for question in source.read_questions(source.count(2))] == [("A",)]
    [fault] = source.list_faults()
    assert (fault.row, fault.reason) == (
        2,
        "bad_row",
    ) and "no accepted answer says anything: ['the', '-']" in fault.detail


def test_what_is_taken_is_decided_by_hash_and_named_by_content_and_not_by_place(
    tmp_path: Path, annotations: Path
) -> None:
    files = {f"{name}.jpg": picture(shade) for shade, name in enumerate(IDS)}
    here, there = in_folder(tmp_path / "here", files), in_tar(tmp_path / "there", files)
    first, second = (find_source(f"infoseek:{annotations}:{path}") for path in (here, there))
    assert list(first.read_questions(2)) == list(second.read_questions(2)) == list(first.read_questions(3))[:2]
    assert first.name_content(2) == second.name_content(2) != first.name_content(3)
    changed = in_folder(tmp_path / "changed", files | {"oven_1.jpg": picture(99)})
    assert find_source(f"infoseek:{annotations}:{changed}").name_content(3) != first.name_content(3)


@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_pictures_are_hashed_once_and_again_when_their_file_has_changed(
    tmp_path: Path, annotations: Path, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    files = {f"{name}.png": picture(shade, "BMP") for shade, name in enumerate(IDS)}  # all of one size
    packed, kept = pack(tmp_path / "pictures", files), tmp_path / "kept"
    past = 1_600_000_000_000_000_000

    def written_at(when: int) -> None:
        for path in packed.iterdir() if packed.is_dir() else [packed]:
            os.utime(path, ns=(when, when))

    def content_and_reads() -> tuple[str, int]:
        source, reads = find_source(f"infoseek:{annotations}:{packed}", kept=kept), []
        assert isinstance(source, SeedFile)
        read = source.pictures.read
        source.pictures.read = lambda name: reads.append(name) or read(name)
        return source.name_content(3), len(reads)

    written_at(past)
    first, _ = content_and_reads()
    assert content_and_reads() == (first, 0)
    assert find_source(f"infoseek:{annotations}:{packed}").name_content(3) == first
    pack(tmp_path / "pictures", files | {"oven_1.png": picture(99, "BMP")})
    changed, _ = content_and_reads()
    assert changed != first
    assert content_and_reads() == (changed, 3)  # written just now: it may change again unseen
    written_at(past + 1)
    assert [content_and_reads() for _ in range(2)] == [(changed, 3), (changed, 0)]
    if packed.is_dir():
        os.utime(packed / "oven_1.png", ns=(past, past))
        assert content_and_reads() == (changed, 1)


def test_a_broken_picture_is_a_fault_and_no_picture_at_all_an_error(tmp_path: Path, annotations: Path) -> None:
    files = {"oven_1.jpg": b"no picture", "oven_2.jpg": picture(2)}
    source = find_source(f"infoseek:{annotations}:{in_folder(tmp_path / 'some', files)}")
    assert [question.question_id for question in source.read_questions(5)] == ["infoseek/b"]
    assert "unreadable_image" in {fault.reason for fault in source.list_faults()}
    none = find_source(f"infoseek:{annotations}:{in_folder(tmp_path / 'none', {'other.jpg': picture(1)})}")
    with pytest.raises(ValueError, match=r"no seed question of infoseek has its picture \(.*4 missing_image"):
        none.count(5)


def test_encyclopedic_vqa_rows_have_alternatives_lists_and_any_of_several_pictures(tmp_path: Path) -> None:
    columns = ("question", "answer", "question_type", "dataset_name", "dataset_image_ids", "encyclopedic_vqa_split",
               "wikipedia_url", "wikipedia_title", "question_original")  # fmt: skip
    rows = [
        ("Bird?", "grey heron|Ardea cinerea", "templated", "inaturalist", "7|8", "train", "wiki/H", "H", "Bird"),
        ("Lakes?", "Como&&Garda|Como&&Garda&&Iseo", "multi_answer", "landmarks", "8", "train", "wiki/L", "L", "Lakes"),
        ("Which river, then?", "Po", "2_hop", "landmarks", "8", "train", "", "", ""),
        ("Test?", "x", "templated", "landmarks", "8", "test", "", "", ""),
        ("Empty?", "|", "templated", "landmarks", "8", "train", "", "", ""),
    ]
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    files = {"inaturalist/train/8.jpg": picture(1), "landmarks/8.jpg": picture(2)}
    source = find_source(f"encyclopedic-vqa:{path}:{in_folder(tmp_path / 'pictures', files)}")
    found = {question.question: question for question in source.read_questions(9)}
    assert sorted(found) == ["Bird?", "Lakes?"]
    assert found["Bird?"].answers == ("grey heron", "Ardea cinerea")
    assert found["Bird?"].image == files["inaturalist/train/8.jpg"]
    assert found["Lakes?"].image == files["landmarks/8.jpg"]
    assert right("Garda and Como", found["Lakes?"]) and not right("Como, Malta, Peru", found["Lakes?"])
    assert [fault.reason for fault in source.list_faults()] == ["bad_row"]


def test_okvqa_rows_join_questions_and_ten_answers_and_find_the_pictures_of_coco(tmp_path: Path) -> None:
    asked = [
        {"image_id": 42, "question_id": 1, "question": "Sport?"},
        {"image_id": 42, "question_id": 2, "question": "?"},
    ]
    ten = [{"answer": "surf", "raw_answer": "surfing", "answer_id": number} for number in range(10)]
    (tmp_path / "questions.json").write_text(json.dumps({"questions": asked}))
    (tmp_path / "answers.json").write_text(
        json.dumps({"annotations": [{"question_id": 1, "question_type": "four", "answers": ten}]})
    )
    pictures = in_folder(tmp_path / "train2014", {"COCO_train2014_000000000042.jpg": picture(1)})
    spec = f"okvqa:{tmp_path / 'questions.json'},{tmp_path / 'answers.json'}:{pictures}"
    source = find_source(spec)
    [question] = source.read_questions(5)
    assert (question.answers, question.benchmark, question.attribute) == (("surf",) * 10, "okvqa", "four")
    assert right("surf", question)  # where all ten agree, officially compared to the letter
    assert [(fault.row, fault.reason) for fault in source.list_faults()] == [(2, "bad_row")]
    swapped = f"okvqa:{tmp_path / 'answers.json'},{tmp_path / 'questions.json'}:{pictures}"
    with pytest.raises(ValueError, match="has no list `questions`"):
        find_source(swapped).count(5)


def right(answer: str, question: Question) -> bool:
    return find_seed_metric(question.benchmark).score(answer, question).correct == 1.0


@pytest.mark.skipif(not INFOSEEK.is_file(), reason=f"no InfoSeek annotations at {INFOSEEK}")
def test_real_infoseek_annotations_are_right_by_their_own_answers(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in INFOSEEK.open(encoding="utf-8")]
    files = {f"{row['image_id']}.jpg": picture(1) for row in rows[::40]}
    source = find_source(f"infoseek:{INFOSEEK}:{in_folder(tmp_path / 'pictures', files)}")
    taken = list(source.read_questions(200))
    assert 100 < len(taken) <= 200
    for question in taken:
        gold = str(question.answer_low) if question.question_type == "numerical" else question.answers[0]
        assert right(gold, question)
    missing = {row["image_id"] for row in rows} - {name.removesuffix(".jpg") for name in files}
    assert len(source.list_faults()) == len(missing)


def test_a_benchmark_is_a_source_by_its_name() -> None:
    source = find_source("countries-vqa")
    assert source.count(7) == 7 == len(list(source.read_questions(7)))
    assert source.name_content(7).startswith("countries-vqa@") and source.list_faults() == []


def test_a_benchmark_s_seeds_come_from_its_folder_and_rows_without_a_question_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one, two] = list(find_source("countries-vqa").read_questions(2))

    def read_seeds(folder: Path | None) -> Iterator[Question | MissingQuestion]:
        assert folder == tmp_path
        yield replace(one, benchmark="of-files")
        yield MissingQuestion("x", "bad_row", "no answer", file="train.jsonl", row=2)
        yield replace(two, benchmark="of-files")

    found = replace(find_all_benchmarks()["countries-vqa"], name="of-files", files="a file", seeds=read_seeds)
    monkeypatch.setattr("comem_core.synthesis.seeds.find_all_benchmarks", lambda: {"of-files": found})
    monkeypatch.setattr("comem_core.synthesis.seeds.find_benchmark", lambda name: found)
    source = find_source("of-files", find_folder=lambda benchmark: tmp_path)
    assert source.count(5) == 2 == len(list(source.read_questions(5)))
    assert [(each.file, each.row, each.reason) for each in source.list_faults()] == [("train.jsonl", 2, "bad_row")]


def test_a_question_in_a_language_without_prompts_is_a_fault_of_its_row_and_the_others_are_taken(
    tmp_path: Path, annotations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = in_folder(tmp_path / "pictures", {f"{name}.jpg": picture(shade) for shade, name in enumerate(IDS)})
    rows = {
        row.question.question_id: row for row in FORMATS["infoseek"].rows([annotations]) if isinstance(row, SeedRow)
    }
    odd = replace(rows["infoseek/b"], question=replace(rows["infoseek/b"].question, language="xx"))

    def read_rows(paths: Sequence[Path]) -> Iterator[SeedRow]:
        yield from (rows | {"infoseek/b": odd}).values()

    def read_seeds(folder: Path | None) -> Iterator[Question]:
        for row in read_rows([]):
            yield replace(row.question, benchmark="of-files", image=picture(1))

    found = replace(find_all_benchmarks()["countries-vqa"], name="of-files", files="a file", seeds=read_seeds)
    monkeypatch.setattr("comem_core.synthesis.seeds.find_all_benchmarks", lambda: {"of-files": found})
    monkeypatch.setattr("comem_core.synthesis.seeds.find_benchmark", lambda name: found)
    monkeypatch.setitem(FORMATS, "infoseek", replace(FORMATS["infoseek"], rows=read_rows))  # pyright: ignore
    short = read_prompt_set("short")
    check = replace(short, default_language="none").check_language
    for spec, place in ((f"infoseek:{annotations}:{files}", odd.row), ("of-files", 2)):
        source = find_source(spec, check_language=check, find_folder=lambda _: tmp_path)
        assert "infoseek/b" not in {each.question_id for each in source.read_questions(source.count(9))}
        [fault] = [each for each in source.list_faults() if each.reason == "no_prompts"]
        assert (
            fault.row == place and "infoseek/b: prompt set 'short' has no language 'xx'; it has ar, en" in fault.detail
        )
        whole = find_source(spec, find_folder=lambda _: tmp_path)
        assert whole.count(9) == source.count(9) + 1
        assert whole.name_content(9) != source.name_content(9)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("countries", "expected a benchmark"),
        ("infoseek:only.jsonl", "format:annotations:pictures"),
        ("webqa:a:b", "a format of infoseek, encyclopedic-vqa, okvqa"),
        ("okvqa:a.json:b", r"okvqa has 2 annotation file\(s\); found 1"),
        ("infoseek:/nowhere/a.jsonl:/nowhere", "/nowhere/a.jsonl does not exist"),
    ],
)
def test_a_wrong_name_is_refused_with_what_was_expected(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_source(spec)


def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, annotations: Path) -> None:
    with tarfile.open(tmp_path / "pictures.tar.gz", "w:gz") as archive:
        archive.add(annotations)
    with pytest.raises(ValueError, match="decompress it, or unpack it"):
        find_source(f"infoseek:{annotations}:{tmp_path / 'pictures.tar.gz'}")


@pytest.mark.parametrize(
    ("counts", "total", "shares"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 10, 10], 10, [4, 3, 3]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([2, 3], 9, [2, 3]),
        ([], 9, []),
        ([0, 4], 3, [0, 3]),
    ],
)
def test_sources_give_the_same_number_each_as_far_as_they_can(counts: list[int], total: int, shares: list[int]) -> None:
    assert share_out(counts, total) == shares
