"""Files as released: found at any depth, named by content, read in a fair order; how a missing file is reported."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comem_core.evaluation.annotations.asking import AnnotatedQuestion, make_questions, require_text
from comem_core.evaluation.annotations.release import Found, Release, list_files, need
from comem_core.evaluation.annotations.rows import Row, read_json_lines, read_parquet_rows
from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.knowledge.items import Question


def asked(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    rows = (row for path in found["questions"] for row in read_json_lines(path))
    yield from make_questions(rows, question_of, id_field="id")


def question_of(row: Row) -> AnnotatedQuestion:
    question = Question(
        question_id=str(row.fields["id"]),
        question=require_text(row.fields["question"]),
        image=b"",
        language="en",
        answers=("x",),
    )
    return AnnotatedQuestion(question, row, tuple(row.fields.get("images", ())))


RELEASE = Release(
    benchmark="things",
    files="things.jsonl, from nowhere, in FOLDER.",
    parts={"test": {"questions": need("things.jsonl", "part/*.jsonl"), "more": need("more.txt", optional=True)}},
    asked=asked,
)


def picture(shade: int = 1) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 20, 60)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """A folder with annotations of `num` questions, each about picture `p<number>`, and the pictures that are given."""

    def folder(name: str = "here", num: int = 40, pictures: dict[str, bytes] | None = None) -> Path:
        (tmp_path / name / "deep").mkdir(parents=True)
        rows = [{"id": f"q{each}", "question": "?!", "images": [f"p{each}"]} for each in range(num)]
        (tmp_path / name / "deep/things.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for picture_name, content in (pictures or {}).items():
            (tmp_path / name / picture_name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / picture_name).write_bytes(content)
        return tmp_path / name

    return folder


def ids(folder: Path) -> list[str]:
    return [each.question_id for each in RELEASE.read("test", folder)]


def test_the_order_is_the_ids_own_whatever_order_the_file_has(make: Callable[..., Path]) -> None:
    folder = make()
    before = ids(folder)
    assert sorted(before) == sorted(f"q{each}" for each in range(40)) and before != sorted(before)
    path = folder / "deep/things.jsonl"
    path.write_text("".join(line + "\n" for line in reversed(path.read_text().splitlines())))
    assert ids(folder) == before
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    assert ids(folder) == [each for each in before if each in set(ids(folder))]


def test_pictures_are_read_only_when_a_question_is_yielded(make: Callable[..., Path]) -> None:
    folder = make(pictures={f"{each // 10}/p{each}.png": picture(each) for each in range(40)})
    yielded = RELEASE.read("test", folder)
    first = next(yielded)
    assert isinstance(first, Question)
    for path in (folder).rglob("p*.png"):
        path.write_bytes(b"")
    assert {each.reason if isinstance(each, MissingQuestion) else "" for each in yielded} == {"unreadable_image"}


def test_the_revision_is_of_content_and_not_of_place(make: Callable[..., Path], tmp_path: Path) -> None:
    here = make("here", pictures={"images/p1.png": picture(1), "images/p2.png": picture(2)})
    there = make("there", pictures={"p1.png": picture(1), "other/p2.png": picture(2), "README": b"x"})
    os.utime(there / "p1.png", (1, 1))
    assert RELEASE.name_revision("test", here) == RELEASE.name_revision("test", there)
    packed = make("packed")
    with zipfile.ZipFile(packed / "images.zip", "w") as archive:
        archive.writestr("images/p1.png", picture(1))
        archive.writestr("images/p2.png", picture(2))
    assert RELEASE.name_revision("test", packed) == RELEASE.name_revision("test", here)
    before = RELEASE.name_revision("test", here)
    (here / "images/p3.png").write_bytes(picture(3))
    with_more = RELEASE.name_revision("test", here)
    (here / "more.txt").write_text("optional")
    with_optional = RELEASE.name_revision("test", here)
    (here / "deep/things.jsonl").write_text((here / "deep/things.jsonl").read_text().replace("?!", "!?"))
    assert len({before, with_more, with_optional, RELEASE.name_revision("test", here)}) == 4


def test_pictures_lie_loose_in_zips_in_tars_and_behind_links(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_DATA_ROOTS", str(tmp_path / "elsewhere"))
    elsewhere = tmp_path / "elsewhere/05"
    elsewhere.mkdir(parents=True)
    (elsewhere / "p3.png").write_bytes(picture(3))
    (elsewhere / "back").symlink_to(tmp_path / "elsewhere")
    folder = make(num=5, pictures={"p0.png": picture(0)})
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("p1.png", picture(1))
        archive.writestr("p0.png", picture(99))  # loose ones come first
    with tarfile.open(folder / "b.tar", "w") as archive:
        entry = tarfile.TarInfo("b/p2.png")
        entry.size = len(picture(2))
        archive.addfile(entry, io.BytesIO(picture(2)))
    (folder / "c.zip").write_bytes(b"cut off")
    yielded = {each.question_id: each for each in RELEASE.read("test", folder)}
    images = {name: each.image for name, each in yielded.items() if isinstance(each, Question)}
    assert images == {f"q{each}": picture(each) for each in range(4)}
    missing = yielded["q4"]
    assert isinstance(missing, MissingQuestion)
    assert missing.detail == "no picture p4; these archives cannot be read, unpack them: c.zip"
    assert len(list(list_files(folder))) == 6  # the circle of links is gone round once


@pytest.mark.parametrize("link", ["images", "images/p3.png", "deep/more.jsonl"])
def test_a_link_out_of_the_folder_is_refused_unless_the_setting_names_the_place(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    target = tmp_path / "elsewhere" / link
    target.parent.mkdir(parents=True)
    target.mkdir() if target.suffix == "" else target.write_bytes(picture(3))
    folder = make(num=1, pictures={"p0.png": picture(0)})
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(target)
    for ask in (RELEASE.name_revision, lambda *asked: list(RELEASE.read(*asked))):
        with pytest.raises(ValueError, match=rf"{link} leads to {target}, which is outside .*COMEM_DATA_ROOTS"):
            ask("test", folder)
    monkeypatch.setenv("COMEM_DATA_ROOTS", f"/usr:{tmp_path / 'elsewhere'}")
    assert len(list(RELEASE.read("test", folder))) == 1


def test_a_link_into_another_benchmark_s_folder_is_followed(make: Callable[..., Path], tmp_path: Path) -> None:
    make("infoseek", pictures={"images/p0.png": picture(0)})
    folder = make("oven", num=1)
    (folder / "images").symlink_to("../infoseek/images")
    [asked] = RELEASE.read("test", folder)
    assert isinstance(asked, Question)


def test_a_changed_archive_is_looked_at_again(make: Callable[..., Path]) -> None:
    folder = make(num=1)
    for shade in (1, 2):
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            archive.writestr("p0.png", picture(shade))
        os.utime(folder / "a.zip", (shade, shade))
        [question] = RELEASE.read("test", folder)
        assert isinstance(question, Question) and question.image == picture(shade)


def test_what_is_not_there_is_said_with_where_it_comes_from(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    with pytest.raises(ValueError, match="things has no part 'train'; allowed are test"):
        RELEASE.read("train", folder)
    (folder / "deep/things.jsonl").rename(folder / "other.jsonl")
    said = (
        r"things, part test: looked for things.jsonl or part/\*.jsonl; found other.jsonl\. "
        rf"It should hold things.jsonl, from nowhere, in {folder}\."
    )
    for ask in (RELEASE.read, RELEASE.name_revision):
        with pytest.raises(ValueError, match=said):
            ask("test", folder)
    with pytest.raises(ValueError, match=r"things needs a folder with its files; found .*nowhere"):
        RELEASE.read("test", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"needs a folder with its files; found None"):
        RELEASE.read("test", None)


def test_the_second_pattern_counts_where_the_first_matches_nothing(make: Callable[..., Path]) -> None:
    folder = make(num=2)
    (folder / "deep").rename(folder / "part")
    (folder / "part/things.jsonl").rename(folder / "part/0.jsonl")
    (folder / "part/1.jsonl").write_text('{"id": "more", "question": "?!"}\n')
    (folder / ".cache").mkdir()
    (folder / ".cache/things.jsonl").write_text("{}")
    assert sorted(ids(folder)) == ["more", "q0", "q1"]


@pytest.mark.parametrize("group", [1, 7, 100])
def test_embedded_pictures_are_read_row_by_row_in_any_order(tmp_path: Path, group: int) -> None:
    pictures = [picture(each) if each % 5 else None for each in range(40)]
    table = pa.table(
        {
            "id": list(range(40)),
            "as_struct": [{"bytes": each, "path": f"{place}.png"} for place, each in enumerate(pictures)],
            "as_bytes": pictures,
            "as_name": [f"{place}.png" for place in range(40)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=group)
    for column in ("as_struct", "as_bytes"):
        rows = list(read_parquet_rows([tmp_path / "a.parquet"], ["id"], picture=column))
        assert [row.number for row in rows] == list(range(1, 41))
        assert [row.embedded() for row in reversed(rows) if row.embedded] == pictures[::-1]
    named = list(read_parquet_rows([tmp_path / "a.parquet"], ["id"], picture="as_name"))
    assert [(row.fields["id"], row.fields["picture"], row.embedded) for row in named[:2]] == [
        (0, "0.png", None),
        (1, "1.png", None),
    ]
