"""ViQuAE, in JSON lines and Parquet that are written here in the released schema."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUESTION = "this singer's re-issued song became the UK Christmas number one after helping to advertise what brand?"
ROW = {
    "image": "512px-Jackie_Wilson.png", "input": QUESTION, "kilt_id": "sfq_14", "id": "d3b2", "meta": {},
    "original_question": "Jackie Wilson's re-issued song ...?", "url": "http://upload.wikimedia.org/x.png",
    "output": {"original_answer": "Levi's", "answer": ["Levi's", "Levi Strauss", "levis"], "provenance": []},
    "wikidata_id": "Q316454",
}  # fmt: skip
# The name of a file as one system writes it and as another does.
ACCENTED = "512px-Bj\u00f6rk_1.0.jpg"


def test_a_question_has_its_aliases_entity_and_picture(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    accented = ROW | {"id": "b", "image": ACCENTED}
    fallback = ROW | {"id": "c", "output": {"original_answer": "Levi's", "answer": []}}
    none = ROW | {"id": "e", "output": {"answer": []}}
    gone = ROW | {"id": "f", "image": "512px-Jackie_Wilson_2.png"}
    write.lines(tmp_path / "viquae_dataset/test.jsonl", [ROW, accented, fallback, none, gone])
    write.pictures(
        tmp_path / "viquae_images/images",
        {
            "512px-Jackie_Wilson.png": picture(1, "PNG"),
            "512px-Jackie_Wilson.jpg": picture(2),  # the ending tells two pictures apart
            unicodedata.normalize("NFD", ACCENTED): picture(3),
        },
    )
    found = reading("viquae", tmp_path, "test")
    question = found.questions["d3b2"]
    assert (question.answers, question.entity_id) == (("Levi's", "Levi Strauss", "levis"), "Q316454")
    assert question.image == picture(1, "PNG") and found.questions["b"].image == picture(3)
    assert found.questions["c"].answers == ("Levi's",)
    assert found.prompt("d3b2") == QUESTION
    assert found.reasons == {"e": "no_gold", "f": "missing_image"}
    assert found.percent(lambda _: "the Levi Strauss!") == 66.67  # not the one with a single alias
    exact, f1 = found.benchmark.metrics(tmp_path)
    assert (exact.score("Strauss", question).correct, f1.score("Strauss", question).correct) == (0.0, 2 / 3)


def test_parquet_names_pictures_as_json_does_and_an_archive_that_cannot_be_read_is_named(
    tmp_path: Path, reading: Callable[..., Any], write: Any
) -> None:
    row = {name: ROW[name] for name in ("image", "input", "id", "output", "wikidata_id")}
    row["output"] = {"original_answer": "Levi's", "answer": ["Levi's"]}
    write.parquet(tmp_path / "default/validation/0000.parquet", [row])
    (tmp_path / "images.tar.gz").write_bytes(b"\x1f\x8b")
    [missing] = reading("viquae", tmp_path, "validation").missing
    assert (missing.reason, missing.split, missing.row) == ("missing_image", "validation", 1)
    assert missing.detail == (
        "no picture 512px-Jackie_Wilson.png; these archives cannot be read, unpack them: images.tar.gz"
    )
