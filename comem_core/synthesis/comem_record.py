"""A training row in the record format of CoMEM's own code: pictures, and two lists of turns.

Knows the names of a row's columns; nothing of where the row lies.
"""

from collections.abc import Mapping
from typing import Any

PICTURE = "<image>"


def comem_record(row: Mapping[str, Any], *, remark: str = "Knowledge:") -> dict[str, Any]:
    """Turn a row of a training set into `image`, `knowledge_image`, `conversations` and `knowledge_conversations`.

    Item i is the turns 2i and 2i + 1 of `knowledge_conversations`: a remark with the picture, answered by the text. An
    item of text alone has no place in that format and is left out, as CoMEM leaves out what it cannot load.
    """
    shown = [
        (image, text) for image, text in zip(row["item_images"], row["item_texts"], strict=True) if image is not None
    ]
    return {
        "image": row["image"],
        "knowledge_image": [image for image, _ in shown],
        "conversations": [_turn("human", f"{PICTURE}\n{row['question']}"), _turn("gpt", row["answer"])],
        "knowledge_conversations": [
            turn for _, text in shown for turn in (_turn("human", f"{PICTURE}\n{remark}"), _turn("gpt", text))
        ],
    }


def _turn(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}
