"""The filters of warehouse/filters as they would be written in pandas, to measure the SQL against.

Defines no rule of its own: a test compares its drops with those of the SQL. Independent of DuckDB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_CHINESE, _THAI = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "\u0e00-\u0e7f",
)
_LETTER = rf"[^\W_{_CHINESE}{_THAI}]"
_TERM = re.compile(rf"[{_CHINESE}{_THAI}]|[<>≤≥]|(?:−?[0-9]+(?:\.[0-9]+)*|{_LETTER}){_LETTER}*[+#−]*")
_TELLING = re.compile(r"^[−0-9<>≤≥]|[+#−]$")
_UNIT = re.compile(r"[0-9]\s?(°?[^\W\d_]{1,4}(?:[/·][^\W\d_]{1,4})?)(?![^\W\d_])")
_UNIFIED = (
    *[(re.compile(r"([0-9])[,'’]([0-9]{3})\b"), r"\1\2")] * 2,
    (re.compile(r"([0-9]),([0-9])"), r"\1.\2"),
    (re.compile(r"(^|[\s(])[-−–]([0-9])"), r"\1−\2"),
    (re.compile(r"([^\W\d_])[-−–]([\s).,?!]|$)"), r"\1−\2"),
)
_WORD = re.compile(rf"[{_CHINESE}]{{1,2}}|[{_THAI}]{{1,4}}|[^\s{_CHINESE}{_THAI}]+")
_PICTURE = ["image_hash", "image_chroma"]


@dataclass(frozen=True)
class _Frames:
    """Drafts joined with their questions and verdicts (missing values if there is no verdict), benchmark and limits."""

    drafts: Any  # a data frame, but the type checker cannot tell a frame from its column
    benchmark: Any
    limits: Mapping[str, Any]


def filter_in_pandas(
    *,
    drafts: Sequence[Path],
    verdicts: Sequence[Path],
    questions: Sequence[Path],
    benchmarks: Sequence[Path],
    parameters: Mapping[str, Any],
) -> pd.DataFrame:
    """Return the drops (sample_id, reason, value), sorted, as `run_filters` does; every filter here must be on."""
    frames: list[Any] = [
        pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
        for paths in (drafts, verdicts, questions, benchmarks)
    ]
    draft, verdict, question, benchmark = frames
    question = question[["question_id", "attribute", "entity_id", "gold_item_id", *_PICTURE]]
    verdict = verdict[
        ["sample_id", "judge", "metric_score", "without_score", "grounded", "consistent", "language_found"]
    ]
    joined = draft.merge(question, on="question_id", how="left").merge(
        verdict, on="sample_id", how="left", indicator="judged"
    )
    joined = joined.sort_values("sample_id", ignore_index=True)
    found = [_alone(name, _Frames(joined, benchmark, parameters)) for name in _ALONE]
    for name, places in _AMONG.items():
        dropped = pd.concat(found)["sample_id"]
        remaining = joined[~joined["sample_id"].isin(dropped)]
        found.append(places(_Frames(remaining, benchmark, parameters)).assign(reason=name))
    drops: Any = pd.concat(found)[["sample_id", "reason", "value"]]
    return drops.sort_values(["sample_id", "reason"], ignore_index=True)


def _alone(name: str, frames: _Frames) -> Any:
    dropped, value = _ALONE[name](frames)
    drops = pd.DataFrame({"sample_id": frames.drafts["sample_id"], "reason": name, "value": value})
    return drops[dropped.fillna(False).astype(bool)]


_Found = tuple[Any, Any]  # which drafts are dropped, and the value of each


def _empty_or_long(frames: _Frames) -> _Found:
    words = _num_words(frames.drafts["answer"].fillna(""))
    return (words == 0) | (words > frames.limits["max_answer_words"]), words


def _question_length(frames: _Frames) -> _Found:
    words = _num_words(frames.drafts["question"])
    return ~words.between(frames.limits["min_question_words"], frames.limits["max_question_words"]), words


def _wrong_language(frames: _Frames) -> _Found:
    found = frames.drafts["language_found"]
    return found.notna() & (found != frames.drafts["language"]) & (found != "und"), np.nan


def _contaminated_image(frames: _Frames) -> _Found:
    asked = frames.drafts[_PICTURE].drop_duplicates()
    shown = frames.benchmark[_PICTURE].drop_duplicates().to_numpy()
    nearest = np.array([_bits(row, shown).min() for row in asked.to_numpy()])
    bits = frames.drafts[_PICTURE].merge(asked.assign(bits=nearest), on=_PICTURE, how="left")["bits"]
    return bits <= frames.limits["contaminated_bits"], bits


def _contaminated_question(frames: _Frames) -> _Found:
    size = frames.limits["contaminated_ngram"]
    about: list[dict[str, set[str]]] = [{}, {}]
    for asked, pictures in zip((frames.benchmark, frames.drafts), about, strict=True):
        images = asked["image_id"].fillna(asked["question_id"])
        for question, image in set(zip(asked["question"], images, strict=True)):
            for run in _runs(question, size):
                pictures.setdefault(run, set()).add(image)
    limit = frames.limits["contaminated_pictures"]
    told = {run for run, images in about[0].items() if len(images) <= limit and len(about[1].get(run, ())) <= limit}
    shares: dict[Any, float] = {}
    for question in frames.drafts["question"].unique():
        runs = _runs(question, size)
        shares[question] = sum(run in told for run in runs) / len(runs)
    share = frames.drafts["question"].map(shares.get)
    return (share >= frames.limits["contaminated_share"]) & (share > 0), share


def _duplicate(frames: _Frames) -> Any:
    drafts = frames.drafts
    keys = [drafts["question"].str.strip().str.lower(), drafts["image_id"], drafts["answer"].str.strip().str.lower()]
    keys += [drafts[text].map(_list_units).astype(str) for text in ("question", "answer")]
    return _after(drafts, drafts.groupby(keys, dropna=False).cumcount() + 1, 1)


def _near_duplicate(frames: _Frames) -> Any:
    drafts = frames.drafts.assign(subject=frames.drafts.groupby(_PICTURE).ngroup())
    subjects = drafts.drop_duplicates("subject").sort_values("subject")
    pictures = subjects[_PICTURE].to_numpy()
    near = [
        (subject, other)
        for subject, row in enumerate(pictures)
        for other in np.flatnonzero(_bits(row, pictures) <= frames.limits["near_duplicate_bits"])
    ]
    terms = {question: frozenset(_split_terms(question)) for question in drafts["question"].unique()}
    of_subject = dict(list(drafts.groupby("subject")[["sample_id", "question"]]))
    earliest: dict[str, tuple[str, float]] = {}
    for subject, other in near:
        later, earlier = of_subject[subject], of_subject[other]
        for sample, question in zip(later["sample_id"], later["question"], strict=True):
            for before, asked in zip(earlier["sample_id"], earlier["question"], strict=True):
                if before >= sample or (sample in earliest and earliest[sample][0] <= before):
                    break  # the drafts of a subject are in order of sample_id
                one, two = terms[question], terms[asked]
                alike = one and two and set(filter(_TELLING.search, one ^ two)) == set()
                alike = alike and sorted(_list_units(question)) == sorted(_list_units(asked))
                similarity = len(one & two) / len(one | two) if alike else 0.0
                if question == asked or similarity >= frames.limits["near_duplicate_similarity"]:
                    earliest[sample] = (before, similarity)
                    break
    return pd.DataFrame(
        {"sample_id": list(earliest), "value": [similarity for _, similarity in earliest.values()]}
    ).astype({"sample_id": "str"})


def _over_represented(frames: _Frames) -> Any:
    drafts = _shuffled(frames.drafts)
    units = drafts["answer"].map(_list_units).astype(str)
    keys = [drafts["answer"].str.strip().str.lower(), units, "attribute"]
    places = drafts.groupby(keys, dropna=False).cumcount() + 1
    return _after(drafts, places, frames.limits["max_per_answer"])


def _over_represented_source(frames: _Frames) -> Any:
    drafts = _shuffled(frames.drafts)
    first = drafts["item_ids"].str[0]
    return _after(
        drafts, drafts.groupby(drafts["gold_item_id"].fillna(first)).cumcount() + 1, frames.limits["max_per_item"]
    )


def _held_out(frames: _Frames) -> Any:
    drafts = frames.drafts
    about = drafts["entity_id"].fillna(drafts["gold_item_id"]).fillna(drafts["image_id"])
    places = {each: int(hashlib.sha256(each.encode()).hexdigest()[:8], 16) / 2**32 for each in about.unique()}
    place = about.map(places.get)
    is_held = place < frames.limits["held_out_share"]
    is_held |= place.rank(method="dense") <= min(5, len(set(places.values())) // 2)
    return drafts[["sample_id"]].assign(value=place)[is_held]


def _is_translated(frames: _Frames) -> Any:
    return frames.drafts["judge"] == "round_trip"


_ALONE: dict[str, Callable[[_Frames], _Found]] = {
    "failed": lambda frames: (frames.drafts["error"].notna(), np.nan),
    "unjudged": lambda frames: (frames.drafts["judged"] == "left_only", np.nan),
    "truncated": lambda frames: (frames.drafts["truncated"], frames.drafts["answer_tokens"]),
    "empty_or_long": _empty_or_long,
    "question_length": _question_length,
    "wrong_language": _wrong_language,
    "wrong": lambda frames: (
        (frames.drafts["metric_score"] < frames.limits["min_metric_score"]) & ~_is_translated(frames),
        frames.drafts["metric_score"],
    ),
    "mistranslated": lambda frames: (
        (frames.drafts["metric_score"] < frames.limits["min_round_trip"]) & _is_translated(frames),
        frames.drafts["metric_score"],
    ),
    "inconsistent": lambda frames: (frames.drafts["consistent"] == False, 0.0),  # noqa: E712  a null is neither
    "ungrounded": lambda frames: (frames.drafts["grounded"] == False, 0.0),  # noqa: E712
    "not_needed": lambda frames: (
        frames.drafts["without_score"] >= frames.limits["max_without_score"],
        frames.drafts["without_score"],
    ),
    "contaminated_image": _contaminated_image,
    "contaminated_question": _contaminated_question,
}
_AMONG: dict[str, Callable[[_Frames], Any]] = {
    "duplicate": _duplicate,
    "near_duplicate": _near_duplicate,
    "over_represented": _over_represented,
    "over_represented_source": _over_represented_source,
    "held_out": _held_out,
}


def _after(drafts: Any, places: Any, limit: int) -> Any:
    return drafts[["sample_id"]].assign(value=places)[places > limit]


def _shuffled(drafts: Any) -> Any:
    hashed = drafts["sample_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    return drafts.assign(hashed=hashed).sort_values(["hashed", "sample_id"])


def _num_words(texts: Any) -> Any:
    return texts.map(lambda text: len(_WORD.findall(text)))


def _list_units(text: str) -> list[str]:
    return _UNIT.findall(text)


def _split_terms(text: str) -> list[str]:
    text = text.lower()
    for pattern, unified in _UNIFIED:
        text = pattern.sub(unified, text)
    return _TERM.findall(text)


def _runs(text: str, num_words: int) -> list[str]:
    terms = _split_terms(text)
    words = len(_WORD.findall(text))
    size = num_words * max(1, int(len(terms) / words + 0.5))
    return [" ".join(terms[first : first + size]) for first in range(max(len(terms) - size, 0) + 1)]


def _bits(picture: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.bitwise_count((others ^ picture).view(np.uint64)).sum(axis=1)
