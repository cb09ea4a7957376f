"""Corpora are the same by their addresses; their names are short, and tell apart those that end alike."""

from pathlib import Path

import pytest

from comem_core.knowledge.corpus_names import find_address, name_corpora

NAMES = [
    (["/home/me/photos"], ["photos"]),
    (["/home/me/photos", "/home/me/texts"], ["photos", "texts"]),
    (["/home/me/a/photos", "/home/me/b/photos"], ["a/photos", "b/photos"]),
    (["/home/me/a/photos", "/home/me/b/photos", "/home/me/texts"], ["a/photos", "b/photos", "texts"]),
    (["/a/photos", "/b/photos"], ["/a/photos", "/b/photos"]),
    (["/x/a/photos/new", "/x/b/photos/new"], ["a/photos/new", "b/photos/new"]),
    (["hf://datasets/one/photos", "hf://datasets/other/photos"], ["one/photos", "other/photos"]),
    (["s3://bucket/photos", "/bucket/photos"], ["s3://bucket/photos", "/bucket/photos"]),
    (["countries", "/home/me/countries"], ["countries", "me/countries"]),
    (["/photos", "/home/photos"], ["/photos", "/home/photos"]),
    (["/home/me/photos", "/home/me/photos"], ["photos", "photos"]),
]


@pytest.mark.parametrize(("addresses", "names"), NAMES)
def test_a_name_is_the_shortest_end_that_no_other_corpus_has(addresses: list[str], names: list[str]) -> None:
    found = name_corpora(addresses)
    assert len({*found}) == len({*addresses})
    assert found == names


def test_an_address_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "photos").mkdir(parents=True)
    addresses = set()
    for name in ("a", "b"):
        monkeypatch.chdir(tmp_path / name)
        spellings = ["photos", "./photos", "photos/", "../" + name + "/photos", str(tmp_path / name / "photos")]
        [address] = {find_address(each) for each in spellings}
        addresses.add(address)
    assert addresses == {str(tmp_path / name / "photos") for name in ("a", "b")}
    for given in ("countries", "s3://bucket/photos"):
        assert find_address(given) == given
