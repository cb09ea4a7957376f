"""Which files the paths and links in data may lead to."""

import os
from pathlib import Path

import pytest

from comem_core.data_roots import DataRoots, read_data_roots


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of data and one beside it whose name begins alike, each with a file."""
    for name in ("data", "data-of-others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    return tmp_path / "data", tmp_path / "data-of-others"


def test_only_what_is_in_the_folder_itself_is_held(folders: tuple[Path, Path]) -> None:
    own, other = folders
    roots = DataRoots.of(own)
    (own / "inside").symlink_to("a.txt")
    (own / "outside").symlink_to(other / "a.txt")
    (own / "up").symlink_to(other)
    assert all(map(roots.hold, [own, own / "a.txt", own / "inside", own / "gone", other / "../data/a.txt"]))
    assert not any(map(roots.hold, [other, own / "outside", own / "up/a.txt", own / "../data-of-others/a.txt", "/"]))


def test_a_folder_that_is_reached_by_a_link_holds_its_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders[0])
    assert DataRoots.of(tmp_path / "link").hold(tmp_path / "link" / "a.txt")
    assert DataRoots.of("/").hold(folders[0])


def test_a_snapshot_of_the_hub_holds_the_files_of_its_own_repository(tmp_path: Path) -> None:
    repository, other = tmp_path / "datasets--me--flags", tmp_path / "datasets--you--flags"
    for each in (repository, other):
        (each / "blobs").mkdir(parents=True)
        (each / "blobs" / "0a1b").write_text("x")
        (each / "snapshots" / "12ab" / "deep").mkdir(parents=True)
    snapshot = repository / "snapshots" / "12ab"
    for folder in (snapshot, snapshot / "deep"):
        (folder / "own.txt").symlink_to(repository / "blobs" / "0a1b")
        (folder / "other.txt").symlink_to(other / "blobs" / "0a1b")
        assert DataRoots.of(folder).hold(folder / "own.txt")
        assert not DataRoots.of(folder).hold(folder / "other.txt")


def test_a_link_named_blobs_allows_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--me--flags" / "snapshots" / "12ab"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "blobs").symlink_to(folders[1])
    assert not DataRoots.of(snapshot).hold(folders[1] / "a.txt")


def test_the_setting_names_several_folders_and_each_must_be_there(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMEM_DATA_ROOTS", raising=False)
    assert read_data_roots() == ()
    monkeypatch.setenv("COMEM_DATA_ROOTS", os.pathsep.join(map(str, folders)))
    assert read_data_roots() == tuple(map(str, folders))
    monkeypatch.setenv("COMEM_DATA_ROOTS", f"{folders[0]}/gone{os.pathsep}{folders[1]}")
    with pytest.raises(ValueError, match=r"COMEM_DATA_ROOTS names .*/data/gone, which is not a folder"):
        read_data_roots()
