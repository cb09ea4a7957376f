"""WIT's real columns: how a row becomes a text, and where its picture comes from."""

import csv
import gzip
import io
from pathlib import Path

import pytest

from comem_core.knowledge.corpora import BadRow, FoundItem, ReadingOptions, open_corpus

HEADER = (
    "language", "page_url", "image_url", "page_title", "section_title", "hierarchical_section_title",
    "caption_reference_description", "caption_attribution_description", "caption_alt_text_description", "mime_type",
    "original_height", "original_width", "is_main_image", "attribution_passes_lang_id", "page_changed_recently",
    "context_page_description", "context_section_description",
)  # fmt: skip
ADDRESS = "http://upload.wikimedia.org/wikipedia/commons/a/ab/Gro%C3%9Fe_Flagge.jpg"


def wit_row(**values: str) -> dict[str, str]:
    row = dict.fromkeys(HEADER, "") | {"language": "de", "page_url": "https://de.wikipedia.org/wiki/Flagge"}
    return row | {"page_title": "Flagge", "image_url": ADDRESS, "mime_type": "image/jpeg"} | values


def write_wit(file: Path, rows: list[dict[str, str]], header: tuple[str, ...] = HEADER) -> Path:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    raw = stream.getvalue().encode()
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return file


@pytest.mark.parametrize("name", ["wit_v1.test.tsv", "wit_v1.train-00000-of-00010.tsv.gz"])
def test_the_text_is_the_title_with_the_section_or_else_the_page(tmp_path: Path, split, name: str):
    both = {"context_page_description": "Von der Seite.", "context_section_description": "Vom\nAbschnitt."}
    rows = [
        wit_row(**both, caption_reference_description="a caption is not used"),
        wit_row(context_page_description="Von der Seite."),
        wit_row(context_page_description="Von der Seite.", context_section_description="nan", page_title="NaN"),
        wit_row(context_page_description="Ohne Titel.", page_title=""),
        wit_row(),
        wit_row(context_page_description="nan", context_section_description="NaN"),
    ]
    items, bad = split(write_wit(tmp_path / name, rows), images="optional")
    assert [item.text for item in items] == [
        "Flagge: Vom\nAbschnitt.",
        "Flagge: Von der Seite.",
        "NaN: Von der Seite.",
        "Ohne Titel.",
    ]
    assert {(item.language, item.source, item.licence) for item in items} == {
        ("de", "https://de.wikipedia.org/wiki/Flagge", "unknown")
    }
    assert [item.title for item in items] == ["Flagge", "Flagge", "NaN", None]
    assert [(row.row, row.reason) for row in bad] == [(5, "missing_text"), (6, "missing_text")]


def test_pictures_that_were_downloaded_are_found_beside_the_table(tmp_path: Path, picture, split):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/Große_Flagge.jpg").write_bytes(picture("red", kind="JPEG"))
    (tmp_path / "images/Blue%20flag.png").write_bytes(picture("blue"))
    (tmp_path / "own.png").write_bytes(picture("green"))
    header = (*HEADER, "image_path")
    said = {"context_page_description": "Text."}
    rows = [
        wit_row(**said),
        wit_row(**said, image_url="https://upload.wikimedia.org/x/Blue%20flag.png"),
        wit_row(**said, image_path="own.png"),
        wit_row(**said, image_url="https://upload.wikimedia.org/x/../images/..", page_title="Gone"),
    ]
    items, bad = split(write_wit(tmp_path / "wit.tsv", rows, header))
    assert [item.image for item in items] == [picture("red", kind="JPEG"), picture("blue"), picture("green")]
    assert [(row.row, row.reason) for row in bad] == [(4, "missing_image")]
    assert "addresses are not allowed" in bad[0].detail


@pytest.mark.parametrize("size", [1, 2, 99])
def test_a_release_file_with_open_quotes_gives_every_row_or_its_reason(tmp_path: Path, picture, size: int):
    """The file as it is downloaded: packed, with addresses, and here written without quoting."""
    (tmp_path / "images").mkdir()
    texts = ['"Die Flagge', "hat drei Streifen", 'und misst 5"', "aus Tuch", "und hängt"]
    rows = [
        wit_row(
            language=language,
            context_page_description=text,
            caption_reference_description="Flagge vor dem Haus",
            caption_attribution_description="English: Flag\nDeutsch: Flagge".replace("\n", " "),
            image_url=f"http://upload.wikimedia.org/wikipedia/commons/0/0{place}/Flagge_{place}.png",
        )
        for place, (language, text) in enumerate(zip(["de", "nds", "de", "gsw", "de"], texts, strict=True))
    ]
    for place in range(4):
        (tmp_path / f"images/Flagge_{place}.png").write_bytes(picture(f"#0000{place:02x}"))
    lines = ["\t".join(HEADER), *("\t".join(row.values()) for row in rows)]
    file = tmp_path / "wit_v1.train.all-00000-of-00010.tsv.gz"
    file.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    corpus = open_corpus(str(file), reading=ReadingOptions())
    found = [row for piece in corpus.cut_into_pieces(size) for row in corpus.read(piece)]
    items = [row.item for row in found if isinstance(row, FoundItem)]
    assert [(item.text, item.image) for item in items] == [
        (f"Flagge: {text}", picture(f"#0000{place:02x}")) for place, text in enumerate(texts[:4])
    ]
    [bad] = [row for row in found if isinstance(row, BadRow)]
    assert (bad.row, bad.reason) == (5, "missing_image")
    assert rows[4]["image_url"] in bad.detail
