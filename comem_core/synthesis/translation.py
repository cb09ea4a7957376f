"""Translates a question with its answers into another language, and back, to see what survives.

Owns the prompt, the parsing of a reply, and the rows of a translated sample. The generator is anything that answers
conversations, wherever its weights run.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from babel import Locale, UnknownLocaleError

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.evaluation.answers import cut_thinking, take_off_fences
from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.languages import UNKNOWN, identify_language_as_declared, read_primary_code
from comem_core.prompts import hash_prompt
from comem_core.prompts.files import read_prompt_file
from comem_core.stated_fields import parse_json
from comem_core.synthesis.generator import Generator
from comem_core.synthesis.translation_checks import (
    is_left_untranslated,
    list_changed_numbers,
    merge_texts,
    score_round_trip,
)

FOLDER = "translations"
MODE, ORIGIN, JUDGE = "translate", "translated", "round_trip"


@dataclass(frozen=True, kw_only=True)
class TranslationPrompts:
    """The prompts that ask for a translation, with a hash of their exact words."""

    name: str
    sha256: str
    system: str
    instruction: str
    languages: Mapping[str, str]

    def make_conversation(self, texts: "Texts", *, source: str, target: str) -> Conversation:
        """Build the request to translate texts into another language. Raises ValueError as `name_language`."""
        sample = json.dumps(
            {"question": texts.question, "answer": texts.answer, "aliases": list(texts.aliases)},
            ensure_ascii=False,
            indent=1,
        )
        named = {"{source}": self.name_language(source), "{target}": self.name_language(target), "{sample}": sample}
        parts = re.split(r"(\{source\}|\{target\}|\{sample\})", self.instruction)
        return [Turn("system", (self.system,)), Turn("user", ("".join(named.get(part, part) for part in parts),))]

    def name_language(self, language: str) -> str:
        """Return a language's English name: these prompts' own, else CLDR's; `und` is a text's own language.

        Raises:
            ValueError: nobody has a name for the language; the message lists the prompts' own.
        """
        if found := self.languages.get(language) or _find_english_name(language):
            return found
        raise ValueError(
            f"translation prompts {self.name!r} cannot name the language {language!r}; they name "
            f"{', '.join(sorted(self.languages))}, and CLDR's names of languages are known too"
        )


@lru_cache(maxsize=1024)
def _find_english_name(language: str) -> str | None:
    """Return CLDR's English name of a language, with its script and region; None if it has none."""
    if language == UNKNOWN:
        return "the language it is written in"
    try:
        return Locale.parse(language.replace("-", "_")).get_display_name("en")
    except (ValueError, UnknownLocaleError):  # without a locale of its own, a language may still have a name
        return Locale("en").languages.get(read_primary_code(language))


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A question, its answer, and the other accepted answers."""

    question: str
    answer: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TranslationRequest:
    """A kept sample to translate into `language`. `draft` and `asked` are its rows in the draft and question tables."""

    draft: Mapping[str, Any]
    asked: Mapping[str, Any]
    language: str

    @property
    def texts(self) -> Texts:
        answer = self.draft["answer"]
        others = [alias for alias in merge_texts((answer, *(self.asked["answers"] or ()))) if alias != answer]
        return Texts(question=self.draft["question"], answer=answer, aliases=tuple(others))


def translate(
    generator: Generator, requests: Sequence[TranslationRequest], prompts: TranslationPrompts, *, max_new_tokens: int
) -> list[dict[str, Any]]:
    """Translate samples and return rows of the draft table, each with its translated `aliases`.

    `error` says why a row is not a translation: the reply could not be read, numbers changed, or the answer is still a
    word of the original language. Such a row keeps the original question and has no answer. `failed` says that
    there was no reply.
    """
    started = time.perf_counter()
    conversations = [
        prompts.make_conversation(each.texts, source=each.draft["language"], target=each.language) for each in requests
    ]
    replies = generator.answer(conversations, max_new_tokens=max_new_tokens)
    seconds = (time.perf_counter() - started) / len(requests)
    return [
        _make_draft_row(request, hash_prompt(conversation), reply) | {"seconds": seconds, "model": generator.name}
        for request, conversation, reply in zip(requests, conversations, replies, strict=True)
    ]


def _make_draft_row(request: TranslationRequest, hashed: str, reply: Generated) -> dict[str, Any]:
    draft, texts, error = request.draft, read_reply(reply.text), reply.error
    if error is None:
        error = "unreadable: the reply is not a JSON object with question and answer" if texts is None else None
    if error is None and texts is not None:
        error = _find_fault(request.texts, texts)
    good = texts is not None and error is None
    return {
        **name_translation(request, hashed),
        "mode": MODE,
        "language": request.language,
        "question": texts.question if texts is not None and good else draft["question"],
        "answer": texts.answer if texts is not None and good else None,
        "aliases": list(_keep_aliases(request.texts, texts)) if texts is not None and good else [],
        "answer_raw": reply.text,
        "error": error,
        "prompt_hash": hashed,
        "prompt_tokens": reply.prompt_tokens,
        "answer_tokens": reply.answer_tokens,
        "truncated": reply.truncated,
        "failed": reply.error is not None,
    }


def name_translation(request: TranslationRequest, prompt_hash: str) -> dict[str, Any]:
    """Return what a row has of the sample that it translates, whatever the reply."""
    draft = request.draft
    sample_id = hash_content_parts(MODE, draft["sample_id"], request.language, prompt_hash)
    named = {"sample_id": sample_id, "question_id": f"{ORIGIN}/{sample_id}", "translated_from": draft["sample_id"]}
    return named | {name: draft[name] for name in ("image_id", "item_ids", "retrieval_scores", "seed")}


def _find_fault(original: Texts, found: Texts) -> str | None:
    for name in ("question", "answer"):
        if changed := list_changed_numbers(getattr(original, name), getattr(found, name)):
            return f"numbers: the {name} lost or gained {', '.join(changed)}"
    if is_left_untranslated(original.answer, found.answer, question=found.question):
        return "untranslated: the answer is a word of the original language"
    return None


def _keep_aliases(original: Texts, found: Texts) -> tuple[str, ...]:
    """Return the translated answers, the main one first, without those whose numbers match no original answer."""
    originals = (original.answer, *original.aliases)
    good = [alias for alias in found.aliases if any(not list_changed_numbers(each, alias) for each in originals)]
    return merge_texts((found.answer, *good))


def read_reply(text: str) -> Texts | None:
    """Parse a reply: one JSON object with question and answer, bare or fenced, after any thinking; else None."""
    try:
        found = parse_json(take_off_fences(cut_thinking(text)))
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    question, answer, aliases = found.get("question"), found.get("answer"), found.get("aliases", [])
    if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
        return None
    if not (isinstance(aliases, list) and all(isinstance(alias, str) for alias in aliases)):
        return None
    return Texts(question=" ".join(question.split()), answer=" ".join(answer.split()), aliases=tuple(aliases))


def judge_round_trip(
    generator: Generator,
    translated: Sequence[tuple[TranslationRequest, Mapping[str, Any]]],
    prompts: TranslationPrompts,
    *,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Translate drafts back, compare them with the originals, and return rows of the verdict table.

    A row has `judge`, `metric_score` (0 to 1), `language_found`, tokens and seconds. A draft without a translation is
    not sent and scores 0. `failed` says that there was no reply: the score of 0 then says nothing of the draft.
    """
    good = [(request, row) for request, row in translated if row["error"] is None]
    started = time.perf_counter()
    conversations = [
        prompts.make_conversation(
            Texts(question=row["question"], answer=row["answer"]),
            source=request.language,
            target=request.draft["language"],
        )
        for request, row in good
    ]
    replies = generator.answer(conversations, max_new_tokens=max_new_tokens) if good else []
    seconds = (time.perf_counter() - started) / max(1, len(good))
    back = {row["sample_id"]: reply for (_, row), reply in zip(good, replies, strict=True)}
    return [_make_verdict(request, row, back.get(row["sample_id"]), seconds) for request, row in translated]


def _make_verdict(
    request: TranslationRequest, row: Mapping[str, Any], reply: Generated | None, seconds: float
) -> dict[str, Any]:
    failed = reply is not None and reply.error is not None
    verdict: dict[str, Any] = {"sample_id": row["sample_id"], "judge": JUDGE, "metric_score": 0.0, "failed": failed}
    if reply is None:
        return verdict
    original, found = request.texts, read_reply(reply.text)
    if found is not None and reply.error is None:
        verdict["metric_score"] = score_round_trip(
            original.question,
            original.answer,
            back_question=found.question,
            back_answer=found.answer,
            aliases=original.aliases,
        )
    return verdict | {
        "second_answer": found.answer if found else None,
        "language_found": identify_language_as_declared(row["question"], request.language),
        "prompt_tokens": reply.prompt_tokens,
        "answer_tokens": reply.answer_tokens,
        "seconds": seconds,
    }


def make_translated_question(asked: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the question row of a translated draft: the original row with translated question and answers."""
    changed = {"question_id": row["question_id"], "question": row["question"], "language": row["language"]}
    return {**asked, **changed, "answers": list(row["aliases"]), "origin": ORIGIN}


@lru_cache
def read_translation_prompts(name: str) -> TranslationPrompts:
    """Read translation prompts by name.

    Raises:
        ValueError: there are no prompts of that name; the message lists the known ones.
    """
    folder = resources.files("comem_core.synthesis") / FOLDER
    return TranslationPrompts(**read_prompt_file(folder, name, what="translation prompts"))


def check_languages(prompts: TranslationPrompts, languages: Sequence[str], *, num_translated: int) -> None:
    """Check that translation is possible, before any work is done.

    Raises:
        ValueError: a language has no name, or samples are to be translated but no language is given.
    """
    for language in languages:
        prompts.name_language(language)
    if num_translated and not languages:
        raise ValueError(f"the recipe translates {num_translated} samples, but into no language; name some languages")
