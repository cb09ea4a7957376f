"""The rows of the small world: twelve countries, their flags, and answers invented from a fixed seed."""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from comem_core.evaluation.comparison import ComparisonSettings, add_words, compare
from comem_core.evaluation.metrics.totals import ALL_QUESTIONS
from comem_core.evaluation.statistics import Resampling
from warehouse.schemas import make_blank_row

COUNTRIES = {  # name: (bands of the flag, upright?, capital, currency, Arabic name, Arabic capital)
    "Austria": ("#c8102e #ffffff #c8102e", False, "Vienna", "euro", "النمسا", "فيينا"),
    "Belgium": ("#000000 #ffd90c #ef3340", True, "Brussels", "euro", "بلجيكا", "بروكسل"),
    "Bulgaria": ("#ffffff #00966e #d62612", False, "Sofia", "lev", "بلغاريا", "صوفيا"),
    "Chad": ("#002664 #fecb00 #c60c30", True, "N'Djamena", "Central African franc", "تشاد", "إنجامينا"),
    "Estonia": ("#0072ce #000000 #ffffff", False, "Tallinn", "euro", "إستونيا", "تالين"),
    "Gabon": ("#009e60 #fcd116 #3a75c4", False, "Libreville", "Central African franc", "الغابون", "ليبرفيل"),
    "Guinea": ("#ce1126 #fcd116 #009460", True, "Conakry", "Guinean franc", "غينيا", "كوناكري"),
    "Hungary": ("#ce2939 #ffffff #477050", False, "Budapest", "forint", "المجر", "بودابست"),
    "Lithuania": ("#fdb913 #006a44 #c1272d", False, "Vilnius", "euro", "ليتوانيا", "فيلنيوس"),
    "Peru": ("#d91023 #ffffff #d91023", True, "Lima", "sol", "بيرو", "ليما"),
    "Sierra Leone": ("#1eb53a #ffffff #0072c6", False, "Freetown", "leone", "سيراليون", "فريتاون"),
    "Yemen": ("#ce1126 #ffffff #000000", False, "Sana'a", "rial", "اليمن", "صنعاء"),
}
CONDITIONS = {"none": 0.15, "text": 0.85, "memory": 0.7, "shuffled": 0.15, "empty": 0.1}  # chance of a right answer
LONG = " It is known for mountains, a long coast and a desert, and for a great many kinds of potato." * 2


def short_hash(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def flag(image_id: str) -> bytes | None:
    """Draw a flag as PNG; the image_id is `flag-<country>`, others have no image."""
    name = image_id.removeprefix("flag-")
    if name not in COUNTRIES:
        return None
    bands, upright, *_ = COUNTRIES[name]
    image = Image.new("RGB", (96, 64))
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(bands.split()):
        box = (32 * number, 0, 32 * number + 32, 64) if upright else (0, 21.3 * number, 96, 21.3 * number + 22)
        draw.rectangle(box, fill=colour)
    with io.BytesIO() as file:
        image.save(file, "PNG")
        return file.getvalue()


def items() -> list[dict]:
    """Two knowledge items a country: English and Arabic."""
    rows = []
    for name, (_, _, capital, currency, arabic, arabic_capital) in COUNTRIES.items():
        texts = {
            "en": f"{name} is a country. Its capital is {capital} and its currency is the {currency}."
            + LONG * (name == "Peru"),
            "ar": f"{arabic} دولة وعاصمتها {arabic_capital}.",
        }
        for language, text in texts.items():
            rows.append(
                make_blank_row("knowledge_item")
                | {
                    "item_id": short_hash("item", text),
                    "image_id": f"flag-{name}",
                    "text": text,
                    "language": language,
                    "source": "small world",
                    "licence": "CC0-1.0",
                    "entity_id": name,
                    "title": name if language == "en" else arabic,
                }
            )
    return rows


def questions(split: str) -> list[dict]:
    """One question a country for `test` (two splits, two in Arabic); four a country for `train`."""
    rows = []
    for number, (name, (_, _, capital, currency, arabic, arabic_capital)) in enumerate(COUNTRIES.items()):
        asked = [
            ("capital", "en", "What is the capital of the country with this flag?", [capital], f"{name} is a"),
            ("currency", "en", "Which money is used in the country with this flag?", [currency], f"{name} is a"),
            ("name", "en", "Which country has this flag?", [name], f"{name} is a"),
            ("capital", "ar", "ما هي عاصمة الدولة التي لها هذا العلم؟", [arabic_capital], arabic),
        ]
        picked = asked if split == "train" else [asked[3] if name in ("Yemen", "Chad") else asked[number % 3]]
        for attribute, language, question, answers, opening in picked:
            gold = next(row["item_id"] for row in items() if row["text"].startswith(opening))
            rows.append(
                make_blank_row("question")
                | {
                    "question_id": short_hash("question", split, name, attribute, language),
                    "benchmark": "countries-vqa",
                    "split": ("unseen_entity" if number % 2 else "unseen_question") if split == "test" else "train",
                    "language": language,
                    "question": question,
                    "image_id": f"flag-{name}",
                    "answers": answers,
                    "answer_low": None,
                    "answer_high": None,
                    "question_type": "string",
                    "attribute": attribute,
                    "entity_id": name,
                    "gold_item_id": gold,
                    "origin": "seed",
                }
            )
    return rows


def retrieve(rows: Sequence[Mapping], chance: random.Random) -> list[dict]:
    """Three items a question: mostly the gold one first."""
    pool = [row["item_id"] for row in items()]
    found = []
    for row in rows:
        others = chance.sample([item for item in pool if item != row["gold_item_id"]], 2)
        ranked = [row["gold_item_id"], *others] if chance.random() < 0.8 else [*others, row["gold_item_id"]]
        shown = {"question_id": row["question_id"], "item_ids": ranked, "scores": [0.91, 0.74, 0.52]}
        found.append(shown | {"seconds": 0.01})
    return found


def draft(row: Mapping, found: Mapping, chance: random.Random) -> dict:
    right = chance.random() < 0.8
    return make_blank_row("draft") | {
        "sample_id": short_hash("sample", row["question_id"]),
        "question_id": row["question_id"],
        "mode": "answer",
        "language": row["language"],
        "question": row["question"],
        "image_id": row["image_id"],
        "answer": row["answers"][0] if right else chance.choice(["", "I am sorry but I cannot see it at all", "Oslo"]),
        "item_ids": found["item_ids"],
        "retrieval_scores": found["scores"],
        "prompt_hash": short_hash("prompt", row["question_id"]),
        "seed": 1,
        "prompt_tokens": 612,
        "answer_tokens": 4,
        "truncated": chance.random() < 0.04,
        "seconds": 0.4,
        "model": "tiny",
    }


def verdict(row: Mapping, chance: random.Random) -> dict:
    right = row["answer"] not in ("", "Oslo") and not row["answer"].startswith("I am")
    return make_blank_row("verdict") | {
        "sample_id": row["sample_id"],
        "judge": "metric",
        "metric_score": float(right),
        "answer_without_items": "Paris",
        "without_score": float(chance.random() < 0.15),
        "grounded": right or chance.random() < 0.1,
    }


def predict(row: Mapping, found: Mapping, condition: str, chance: random.Random) -> dict:
    right = chance.random() < CONDITIONS[condition]
    wrong = "<script>alert(1)</script>" if condition == "empty" else chance.choice(["Oslo", "a flag", "crown & co"])
    with_items = condition in ("text", "memory", "shuffled")
    answer = row["answers"][0] if right else wrong
    return make_blank_row("prediction") | {
        "prediction_id": short_hash("prediction", row["question_id"], condition),
        "benchmark": "countries-vqa",
        "question_id": row["question_id"],
        "split": row["split"],
        "condition": condition,
        "k": 3 if condition != "none" else 0,
        "item_ids": found["item_ids"] if with_items else [],
        "answer_raw": answer + " ",
        "answer": answer,
        "correct": float(right),
        "prompt_hash": short_hash("prompt", condition, row["question_id"]),
        "prompt_tokens": 655 if condition == "text" else 96,
        "memory_vectors": 24 if condition in ("memory", "shuffled", "empty") else 0,
        "answer_tokens": 3,
        "truncated": False,
        "seconds": 0.2,
        "retrieve_seconds": 0.01 if with_items else 0.0,
        "encode_seconds": 0.03 if condition in ("memory", "shuffled") else 0.0,
        "prefill_seconds": 0.1,
        "decode_seconds": 0.05,
    }


def trained_on(rows: Sequence[Mapping]) -> list[str]:
    """Two questions that the encoder was trained on, as it were."""
    return sorted({row["question_id"] for row in rows})[:2]


def overlap(rows: Sequence[Mapping]) -> tuple[list[dict], dict]:
    """What contamination finds of these questions, and the counts that are measured of it."""
    flagged = [
        {"question_id": name, "source": "training", "kind": "image", "other_id": "zz-again", "value": 3.0}
        for name in trained_on(rows)
    ]
    none = {"flagged": 0, "image": 0, "question": 0, "both": 0}
    counts = {"benchmark": "countries-vqa", "questions": len(rows), "unknown": [], "knowledge": none}
    return flagged, {"overlap": counts | {"training": none | {"flagged": len(flagged), "image": len(flagged)}}}


def score(rows: Sequence[Mapping]) -> list[dict]:
    """Mean and Wilson's interval by condition, for each split, over all of them, and over clean questions alone."""
    scores, unclean = [], trained_on(rows)
    for condition in CONDITIONS:
        for split in ("all", "unseen_question", "unseen_entity", "all/clean=no", "all/clean=yes"):
            named, _, clean = split.partition("/clean=")
            picked = [
                row
                for row in rows
                if row["condition"] == condition
                and named in ("all", row["split"])
                and clean in ("", "no" if row["question_id"] in unclean else "yes")
            ]
            n, value = len(picked), sum(row["correct"] for row in picked) / len(picked)
            spread = 1.96 * math.sqrt(value * (1 - value) / n + 1.96**2 / (4 * n * n))
            middle, whole = value + 1.96**2 / (2 * n), 1 + 1.96**2 / n
            scores.append(
                {
                    "benchmark": "countries-vqa",
                    "condition": condition,
                    "k": picked[0]["k"],
                    "split": split,
                    "metric": "accuracy",
                    "value": value,
                    "low": max(0.0, (middle - spread) / whole),
                    "high": min(1.0, (middle + spread) / whole),
                    "n": n,
                    "prompt_tokens_mean": sum(row["prompt_tokens"] for row in picked) / n,
                }
            )
    return scores


def difference(rows: Sequence[Mapping], asked: Sequence[Mapping]) -> list[dict]:
    """Compare the main conditions as the stage of scoring does, by split and over all of them."""
    sides = {
        name: {row["question_id"]: row["correct"] for row in rows if row["condition"] == name} for name in CONDITIONS
    }
    settings = ComparisonSettings(total=ALL_QUESTIONS, cluster_by="entity_id", resampling=Resampling(num_swaps=199))
    blank, compared = make_blank_row("difference"), []
    for first, second in (("memory", "none"), ("memory", "text"), ("memory", "shuffled"), ("text", "none")):
        for row in add_words(compare(sides[first], sides[second], asked, settings)):
            shares = {name: row[name] and row[name] / 100 for name in ("low", "high")}
            named = {"benchmark": "countries-vqa", "metric": "accuracy", "first": first, "second": second, "k": 3}
            kept = {name: row[name] for name in blank if name in row}
            compared.append(blank | kept | shares | named | {"value": row["difference"] / 100})
    return compared
