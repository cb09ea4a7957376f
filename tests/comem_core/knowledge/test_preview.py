"""A corpus is looked at before any work: whether it gives items, in which languages, and which of them are guessed."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from comem_core.knowledge.preview import ReadingOptions, UncertainLanguages, read_preview
from tests.languages import MANY, list_texts


def fill(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for place, (name, text) in enumerate(texts.items()):
        drawn = BytesIO()
        Image.new("RGB", (16, 16), (place % 256, place // 256, 7)).save(drawn, "PNG")
        (folder / f"{name}.png").write_bytes(drawn.getvalue())
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_numbered_captions_get_the_language_of_their_file_and_ten_are_shown(tmp_path: Path) -> None:
    folder = fill(tmp_path / "valves", {f"valve-{number}": f"Valve {number}, 25 bar" for number in range(30)})
    preview = read_preview(str(folder), reading=ReadingOptions())
    assert preview.languages == {"en": 30} and preview.uncertain.counts == {"en": 30}
    assert len(preview.uncertain.shown) == 10 and preview.uncertain.shown[0] == "Valve 0, 25 bar (en)"
    said = preview.describe()
    assert said[0] == "corpus: all 30 rows were looked at; 30 are items (30 en)"
    assert said[1].startswith(
        "30 texts are too short to tell their language alone, and got one of their file's: 30 en."
    )
    stated = read_preview(str(folder), reading=ReadingOptions(language="de"))
    assert stated.languages == {"de": 30} and stated.uncertain.describe() is None


def test_a_folder_of_many_languages_is_read_whole_and_a_large_one_in_part(tmp_path: Path) -> None:
    texts = {f"{language}_{place}": text for language in MANY for place, text in enumerate(list_texts(language))}
    folder = str(fill(tmp_path / "many", texts))
    preview = read_preview(folder, reading=ReadingOptions())
    assert preview.is_whole and len(preview.texts) == 3 * len(MANY) and set(preview.languages) <= {*MANY}
    part = read_preview(folder, reading=ReadingOptions(), num=20)
    assert not part.is_whole and part.num_rows == 20 and "the first 20 rows" in part.describe()[0]


def test_an_empty_folder_and_one_of_broken_pictures_are_refused_with_the_reasons(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = fill(tmp_path / "broken", {"a": "A lighthouse", "b": "A bridge"})
    for path in broken.glob("*.png"):
        path.write_bytes(path.read_bytes()[:20])
    for folder, said in ((empty, "no usable item; 0 bad rows"), (broken, "2 bad rows, first:\n  a.png row 1: ")):
        with pytest.raises(ValueError, match=said):
            read_preview(str(folder), reading=ReadingOptions()).refuse_without_items()


def test_a_row_with_an_address_counts_by_its_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text(
        '{"image": "https://nowhere.invalid/a.jpg", "text": "A lighthouse stands on the northern pier."}\n'
    )
    preview = read_preview(str(table), reading=ReadingOptions(allow_urls=True))
    assert preview.texts == ("A lighthouse stands on the northern pier.",) and not preview.bad


def test_counts_of_pieces_add_up() -> None:
    whole = UncertainLanguages({"en": 2}, [f"a{each} (en)" for each in range(8)])
    whole.merge(UncertainLanguages({"en": 1, "fr": 4}, [f"b{each} (fr)" for each in range(8)]))
    assert whole.counts == {"en": 3, "fr": 4} and len(whole.shown) == 10 and whole.shown[-1] == "b1 (fr)"
