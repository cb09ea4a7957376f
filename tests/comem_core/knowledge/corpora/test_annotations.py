"""JSON files that are a whole table, in the forms in which LLaVA and COCO are published."""

import json
from pathlib import Path

import pytest


def write_json(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("place", ["", "images/", "../images/"])
def test_llava_gives_the_answer_of_one_exchange_or_all_that_was_said(tmp_path: Path, picture, split, place: str):
    ask = {"from": "human", "value": "Render a clear summary of the photo.\n<image>"}
    said = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A valve."}]
    said += [{"from": "human", "value": "Is it open?"}, {"from": "gpt", "value": "No."}]
    rows = [
        {"id": "0", "image": "00/a.png", "conversations": [ask, {"from": "gpt", "value": "a brass pump"}]},
        {"id": "1", "image": "00/b.png", "conversations": said},
        {"id": "2", "image": "00/gone.png", "conversations": said[:2]},
        {"id": "3", "image": "00/a.png", "conversations": []},
        {"id": "4", "image": ["00/a.png", "00/b.png"], "conversations": said[:2]},
    ]
    corpus = write_json(tmp_path / "data/llava.json", rows)
    for name, color in (("a", "red"), ("b", "blue")):
        path = corpus.parent / f"{place}00/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(color))
    items, bad = split(corpus)
    assert [(item.text, item.image) for item in items] == [
        ("a brass pump", picture("red")), ("What is it?\nA valve.\nIs it open?\nNo.", picture("blue"))
    ]  # fmt: skip
    assert [(row.row, row.reason) for row in bad] == [(3, "missing_image"), (4, "missing_text"), (5, "several_images")]


def test_coco_gives_an_item_a_caption_and_names_pictures_without_one(tmp_path: Path, picture, split):
    pictures = [{"id": number, "file_name": f"{number:012d}.jpg", "license": 4} for number in (9, 25, 30)]
    captions = [
        {"image_id": 9, "id": 1, "caption": "a tray of food"},
        {"image_id": 25, "id": 2, "caption": "a giraffe"},
    ]
    captions += [{"image_id": 9, "id": 3, "caption": "colorful dishes"}, {"image_id": 404, "id": 4, "caption": "lost"}]
    licences = [{"id": 4, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"}]
    coco = {"info": {}, "licenses": licences, "images": pictures, "annotations": captions}
    write_json(tmp_path / "annotations/captions_val2017.json", coco)
    write_json(tmp_path / "annotations/instances_val2017.json", coco | {"annotations": [{"image_id": 9, "bbox": [0]}]})
    (tmp_path / "val2017").mkdir()
    for place, each in enumerate(pictures):
        (tmp_path / "val2017" / each["file_name"]).write_bytes(picture(f"#00{place}000", kind="JPEG"))
    items, bad = split(tmp_path)
    assert [(item.text, item.licence) for item in items] == [
        (text, "Attribution License") for text in ("a tray of food", "a giraffe", "colorful dishes")
    ]
    assert items[0].image == items[2].image == picture("#000000", kind="JPEG")
    assert [(row.file, row.row, row.reason) for row in bad] == [
        ("annotations/captions_val2017.json", 4, "missing_image"),
        ("annotations/captions_val2017.json", 5, "missing_text"),
    ]


@pytest.mark.parametrize("bad", [None, "a string", 7, [], {}], ids=repr)
@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_entry_of_llava_takes_no_other_with_it(tmp_path: Path, picture, split, bad: object, place: int):
    rows: list[object] = [
        {"image": f"{name}.png", "conversations": [{"from": "gpt", "value": f"a {name} pump"}]}
        for name in ("red", "blue")
    ]
    write_json(tmp_path / "llava.json", [*rows[:place], bad, *rows[place:]])
    for name in ("red", "blue"):
        (tmp_path / f"{name}.png").write_bytes(picture(name))
    items, faults = split(tmp_path)
    assert [item.text for item in items] == ["a red pump", "a blue pump"]
    assert [(row.file, row.row) for row in faults] == [("llava.json", place + 1)]


@pytest.mark.parametrize("bad", [None, "a string", 7, [], {}], ids=repr)
@pytest.mark.parametrize("part", ["images", "annotations"])
def test_a_bad_entry_of_coco_is_a_bad_row(tmp_path: Path, picture, split, bad: object, part: str):
    coco = {"images": [{"id": 9, "file_name": "a.png"}], "annotations": [{"image_id": 9, "caption": "a giraffe"}]}
    write_json(tmp_path / "captions.json", coco | {part: [bad, *coco[part]]})
    (tmp_path / "a.png").write_bytes(picture("red"))
    items, faults = split(tmp_path)
    assert [item.text for item in items] == ["a giraffe"]
    assert [row.file for row in faults] == ["captions.json"]


def test_two_pictures_of_coco_with_one_id_are_told_and_not_mixed(tmp_path: Path, picture, split):
    pictures = [{"id": 9, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}, {"id": 3, "file_name": "b.png"}]
    captions = [{"image_id": 9, "caption": "a giraffe"}, {"image_id": 3, "caption": "a mill"}]
    write_json(tmp_path / "captions.json", {"images": pictures, "annotations": captions})
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(picture("red" if name == "a" else "blue"))
    items, faults = split(tmp_path)
    assert [(item.text, item.image) for item in items] == [("a mill", picture("blue"))]
    assert [(row.reason, row.row) for row in faults if row.file == "captions.json"] == [("ambiguous_image", 1)]
