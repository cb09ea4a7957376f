"""A folder as users have one: pictures with texts beside them in several languages, and faults among them."""

import io
from pathlib import Path

import pytest
from PIL import Image

from comem_core.worlds.countries.world import load_knowledge_items

NUM_ITEMS = 60
FAULTS = {
    "copy.png": "duplicate_id",
    "broken.png": "unreadable_image",
    "huge.png": "image_too_large",
    "latin.png": "wrong_schema",
    "alone.txt": "missing_image",
    "silent.png": "missing_text",
}


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve flags in five languages as loose files, of which one is misnamed, and one fault of each kind."""
    folder, items = tmp_path_factory.mktemp("own") / "flags", load_knowledge_items()[:NUM_ITEMS]
    folder.mkdir()
    for item in items:
        (folder / f"{item.entity_id}.png").write_bytes(item.picture)
        (folder / f"{item.entity_id}.{item.language}.txt").write_text(item.text, encoding="utf-8")
    misnamed = folder / f"{items[-1].entity_id}.png"
    Image.open(io.BytesIO(items[-1].picture)).convert("RGB").save(misnamed, format="JPEG")

    english = next(item for item in items if item.language == "en")
    (folder / "copy.png").write_bytes(english.picture)
    (folder / "copy.en.txt").write_text(english.text, encoding="utf-8")
    (folder / "broken.png").write_bytes(english.picture[:100])
    (folder / "broken.txt").write_text("This picture is broken.")
    Image.new("1", (9000, 8000)).save(folder / "huge.png")
    (folder / "huge.txt").write_text("This picture is huge.")
    (folder / "latin.png").write_bytes(english.picture)
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (folder / "alone.txt").write_text("A text without a picture.")
    (folder / "silent.png").write_bytes(english.picture)
    return folder
