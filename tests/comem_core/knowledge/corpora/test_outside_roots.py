"""Paths and links in a corpus lead only into its own folder, or into folders that the operator names."""

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.corpora import open_corpus, read_corpus
from comem_core.knowledge.items import KnowledgeItem


@pytest.fixture
def places(tmp_path: Path, picture: Callable[..., bytes]) -> tuple[Path, Path]:
    """Return a corpus with one good row, and a folder outside with a picture, its text and a table."""
    corpus, outside = tmp_path / "corpus", tmp_path / "outside"
    for folder in (corpus, outside):
        folder.mkdir()
    (corpus / "good.png").write_bytes(picture("red"))
    (corpus / "good.txt").write_text("a red valve")
    (outside / "x.png").write_bytes(picture("blue"))
    (outside / "x.txt").write_text("what nobody asked for")
    (outside / "x.json").write_text('{"text": "what nobody asked for"}')
    (outside / "x.jsonl").write_text('{"image": "x.png", "text": "what nobody asked for"}')
    return corpus, outside


def write_table(corpus: Path, form: str, image: str) -> None:
    """Write a table with one row that names a picture."""
    row = {"image": image, "text": "a pump"}
    if form == "rows.jsonl":
        (corpus / form).write_text(json.dumps(row))
    elif form == "rows.csv":
        (corpus / form).write_text(f"image,text\n{image},a pump\n")
    elif form == "rows.parquet":
        pq.write_table(pa.Table.from_pylist([row]), corpus / form)
    elif form == "struct.parquet":
        pq.write_table(pa.Table.from_pylist([row | {"image": {"bytes": None, "path": image}}]), corpus / form)
    elif form == "llava.json":
        turns = [{"from": "gpt", "value": "a pump"}]
        (corpus / form).write_text(json.dumps([{"image": image, "conversations": turns}]))
    else:
        coco = {"images": [{"id": 1, "file_name": image}], "annotations": [{"image_id": 1, "caption": "a pump"}]}
        (corpus / form).write_text(json.dumps(coco))


FORMS = ("rows.jsonl", "rows.csv", "rows.parquet", "struct.parquet", "llava.json", "coco_..json")


@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("way", ["absolute", "up", "up and down", "link"])
@pytest.mark.parametrize("form", FORMS)
def test_a_path_in_a_row_that_leads_outside_is_a_bad_row_until_its_folder_is_named(
    places: tuple[Path, Path], split, form: str, way: str, alone: bool
) -> None:
    corpus, outside = places
    (corpus / "deep").mkdir()
    image = {
        "absolute": str(outside / "x.png"),
        "up": "../outside/x.png",
        "up and down": "deep/../../outside/x.png",
        "link": "linked.png",
    }[way]
    if way == "link":
        (corpus / "linked.png").symlink_to(outside / "x.png")
    write_table(corpus, form, image)
    if alone:
        with pytest.raises(ValueError, match=rf"{form} row 1: outside_roots: .*COMEM_DATA_ROOTS"):
            split(corpus / form)
    else:
        items, bad = split(corpus)
        assert [item.text for item in items] == ["a red valve"]
        [refused] = [row for row in bad if row.file == form]
        assert (refused.row, refused.reason) == (1, "outside_roots")
        assert str(outside / "x.png") in refused.detail and "COMEM_DATA_ROOTS" in refused.detail
    items, bad = split(corpus / form if alone else corpus, roots=(str(outside),))
    assert "a pump" in [item.text for item in items]
    assert "outside_roots" not in [row.reason for row in bad]


@pytest.mark.parametrize("name", ["x.png", "x.txt", "x.json", "x.jsonl", "folder"])
def test_a_link_that_leads_outside_is_a_bad_row_until_its_folder_is_named(
    places: tuple[Path, Path], picture, split, name: str
) -> None:
    corpus, outside = places
    (corpus / name).symlink_to(outside / name.replace("folder", ""))
    if name in ("x.txt", "x.json"):
        (corpus / "x.png").write_bytes(picture("green"))
    elif name in ("x.png", "x.jsonl"):
        (corpus / "x.txt").write_text("a pump")
    items, bad = split(corpus)
    assert [item.text for item in items] == ["a red valve"]
    [refused] = [row for row in bad if row.reason == "outside_roots"]
    assert refused.file == (f"{name}/" if name == "folder" else name) and refused.row > 0
    assert str(outside) in refused.detail and "COMEM_DATA_ROOTS" in refused.detail
    opened = open_corpus(str(corpus))
    assert refused.file in [each.file for each in opened.list_files() if each.reason is None]
    assert "outside_roots" not in [row.reason for row in split(corpus, roots=(str(outside),))[1]]


def test_a_picture_of_img2dataset_is_not_looked_for_outside(places: tuple[Path, Path], split) -> None:
    corpus, outside = places
    row = {"url": "http://127.0.0.1/x.png", "caption": "a pump", "key": "../../outside/x", "status": "success"}
    (outside / "x.txt").unlink()
    (outside / "x.json").unlink()
    (corpus / "00000").mkdir()
    pq.write_table(pa.Table.from_pylist([row | {"error_message": ""}]), corpus / "00000.parquet")
    items, bad = split(corpus)
    assert [item.text for item in items] == ["a red valve"]
    assert [row.reason for row in bad if row.file == "00000.parquet"] == ["outside_roots"]


def test_a_saved_dataset_whose_files_are_outside_is_refused(places: tuple[Path, Path]) -> None:
    corpus, outside = places
    table = pa.table({"text": ["a pump"]})
    with pa.ipc.new_stream(str(outside / "x.arrow"), table.schema) as stream:
        stream.write_table(table)
    (corpus / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../outside/x.arrow"}]}))
    with pytest.raises(ValueError, match=r"x\.arrow.*COMEM_DATA_ROOTS"):
        list(open_corpus(str(corpus)).cut_into_pieces())


def test_what_was_known_while_it_was_allowed_is_not_taken_from_there_again(places: tuple[Path, Path]) -> None:
    corpus, outside = places
    files = open_corpus(str(corpus)).files
    assert files is not None and files.find_version("good.png")
    assert files.find_version(str(outside / "x.png")) is None
    assert files.find_version("../outside/x.png") is None


@pytest.mark.parametrize("image", ["/outside/x.png", "../outside/x.png"])
def test_paths_at_an_address_stay_in_its_folder(places: tuple[Path, Path], split, image: str) -> None:
    import fsspec

    corpus, outside = places
    memory = fsspec.filesystem("memory")
    try:
        for path in (corpus / "good.png", corpus / "good.txt", outside / "x.png"):
            memory.pipe(f"/{path.parent.name}/{path.name}", path.read_bytes())
        memory.pipe("/corpus/rows.jsonl", json.dumps({"image": image, "text": "a pump"}).encode())
        items, bad = split("memory://corpus")
    finally:
        for name in ("/corpus", "/outside"):
            memory.rm(name, recursive=True)
    assert [item.text for item in items] == ["a red valve"]
    assert [(row.file, row.row, row.reason) for row in bad] == [("rows.jsonl", 1, "outside_roots")]


def test_a_link_in_a_tar_and_a_path_in_a_zip_lead_to_nothing_outside(places: tuple[Path, Path], split) -> None:
    corpus, outside = places
    with tarfile.open(corpus / "a.tar", "w") as tar:
        tar.add(outside / "x.png", "x.png")
        link = tarfile.TarInfo("x.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside / "x.txt")
        tar.addfile(link)
    items, bad = split(corpus)
    assert [item.text for item in items] == ["a red valve"]
    assert [(row.file, row.reason) for row in bad] == [("a.tar/x.png", "missing_text")]
    with zipfile.ZipFile(outside / "a.zip", "w") as packed:
        packed.writestr("rows.jsonl", json.dumps({"image": "../x.png", "text": "a pump"}))
    with pytest.raises(ValueError, match=r"rows\.jsonl row 1: outside_roots: "):
        split(f"zip://::{outside / 'a.zip'}")


@pytest.mark.parametrize("address", ["ftp://me:sesame@host/a", "zip://x::sftp://me:sesame@host/a.zip"])
def test_an_address_with_a_password_is_refused_without_naming_it(address: str) -> None:
    with pytest.raises(ValueError, match="has a password in it") as refused:
        open_corpus(address)
    assert "sesame" not in str(refused.value)


def test_usual_corpora_are_read_as_before(tmp_path: Path, picture, split) -> None:
    repository = tmp_path / "datasets--me--flags"
    snapshot = repository / "snapshots" / "12ab"
    for folder in (repository / "blobs", snapshot):
        folder.mkdir(parents=True)
    for name, content in {"a.png": picture(), "rows.jsonl": b'{"image": "a.png", "text": "a pump"}'}.items():
        (repository / "blobs" / f"of-{name}").write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/of-{name}")
    (tmp_path / "link").symlink_to(snapshot)
    for corpus in (snapshot, snapshot / "rows.jsonl", tmp_path / "link", tmp_path / "link/rows.jsonl"):
        items, bad = split(corpus)
        assert [item.text for item in items] == ["a pump"] and not bad


def test_a_folder_whose_pictures_are_all_links_is_told_first_where_they_lead(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    linked, (_, outside) = tmp_path / "linked", places
    linked.mkdir()
    for number in range(6):
        (linked / f"p{number}.png").symlink_to(outside / "x.png")
        (linked / f"p{number}.txt").write_text("a text")
    with pytest.raises(ValueError, match=r"12 bad rows, first:\n.*row 1: outside_roots: .*COMEM_DATA_ROOTS"):
        list(read_corpus(str(linked)))


def test_a_link_to_itself_is_left_out(places: tuple[Path, Path]) -> None:
    corpus, _ = places
    (corpus / "loop.png").symlink_to(corpus / "loop.png")
    assert len([each for each in read_corpus(str(corpus)) if isinstance(each, KnowledgeItem)]) == 1
