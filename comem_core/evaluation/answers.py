r"""Extracts the short answer that is scored from the text that a model wrote, without gold answers or metrics.

An answer that cannot be found is the empty string: it is scored as wrong and counted as unparsable, never guessed.
What models write around an answer is taken off: their thinking, markup, `Answer:`, `\boxed{\text{...}}`. Of the
answer itself nothing is changed.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from comem_core.evaluation.latex import read_latex
from comem_core.prompts import ExtractionMethod, list_all_markers

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"[{}]")
_ANSWER_TAGS = re.compile(r"<(answer|final_answer|conclusion)>(.*?)(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"^\s*(?:`{3,}|~{3,})[\w+-]*\s*$\n?", re.MULTILINE)
_FENCED = re.compile(r"\A\s*(```|~~~)(?:json\b)?\s*((?:(?!\1).)*?)\s*\1\s*\Z", re.DOTALL)
# GLM's box, and what marks turns and ends of texts where a server does not take it off.
_BOX_TOKENS = re.compile(r"<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|\Z)", re.DOTALL)
_TOKENS = re.compile(
    r"<\|(?:im_start|start_header_id|start)\|>\s*\w*\s*(?:<\|end_header_id\|>\s*)?|<[|｜][^|｜<>\n]{1,40}[|｜]>"
    r"|(?:</s>|<eos>|<end_of_turn>)[^\S\n]*$",
    re.MULTILINE,
)

# How thinking begins and ends: the tags of DeepSeek, Qwen and others, Mistral's, Kimi's, Cohere's, Gemma's, those of
# OpenThinker, and OpenAI's channels, where the final one ends it.
_TAGS = r"(?:\w+[:_])?think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad"
_BEGINS = (
    rf"<(?:{_TAGS})(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>|<unused94>"
    r"|<\|channel\|>(?:analysis|commentary)<\|message\|>"
)
_ENDS = (
    rf"</(?:{_TAGS})\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<unused95>"
    r"|<\|channel\|>final<\|message\|>"
)
_THOUGHT = re.compile(rf"(?:{_BEGINS}).*?(?:{_ENDS})", re.IGNORECASE | re.DOTALL)
_THOUGHT_BEFORE = re.compile(rf"\A.*(?:{_ENDS})", re.IGNORECASE | re.DOTALL)
_THOUGHT_BEHIND = re.compile(rf"(?:{_BEGINS}).*\Z", re.IGNORECASE | re.DOTALL)

# What may surround a marker: list numbers, bullets, emphasis, headings; and after it an ASCII or a full-width colon.
_BEFORE = r"^[\s>#*_\-\d.)【]*(?:(?:final|short|endgültige|kurze) |最终|最終|最後の|最终的|最終的な)?"
_BEHIND = r"(?: finale?)?(?:[\s*_】]*[:：][\s*_]*|】[\s*_]*)"
_ALONE = r"[*_]*[ \t]*\n\s*"  # a heading without a colon
_HEADING = re.compile(r"^#{1,6}\s+")
_WRAPPED = re.compile(r"^(\*{1,3}|_{1,3}|`{1,3}|\$\$?)(?=\S)(.+?)(?<=\S)\1$")
_BOLD = re.compile(r"(?<!\w)(\*\*|__)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_MATH = re.compile(r"^\\[(\[](.*)\\[)\]]$")

# How a model says that it will not answer, in the languages of the prompts; each stands at the beginning of a reply.
_REFUSALS = (
    r"(?:I['’]m|I am) (?:very |really |so )?sorry,? (?:but|I|as)\b|(?:I['’]m|I am) (?:unable|not able) to\b|as an AI\b",
    r"sorry,? (?:but )?I (?:can|am not|won)|I apologi[sz]e,? but|unfortunately,? I (?:can|am (?:unable|not able))",
    r"I (?:can ?not|can['’]t|won['’]t|will not|must decline to) (?:help (?:you|with)|assist|answer|provide|comply)",
    r"(?:es )?tut mir (?:sehr )?leid,? (?:aber|ich|da)|leider kann ich|(?:dabei|damit) kann ich .{0,20}nicht helfen",
    r"(?:je suis )?(?:vraiment )?désolée?,? (?:mais )?je|je ne (?:peux|suis) pas",
    r"lo siento(?: mucho)?,? (?:pero )?no|no puedo (?:ayudar|responder|proporcionar|hacer)",
    r"(?:sinto muito|desculpe|lamento),? (?:mas )?(?:eu )?não|não posso (?:ajudar|responder|fornecer|fazer)",
    r"(?:извините|простите|к сожалению|мне жаль),? (?:но )?я|я не могу (?:помочь|ответить|предоставить)",
    r"(?:съжалявам|за съжаление|извинете),? (?:но )?(?:аз )?не мога|не мога да (?:помогна|отговоря|предоставя)",
    r"(?:非常|很)?(?:抱歉|对不起|對不起|遗憾)[,，]?(?:但)?我?(?:无法|不能|無法)|我(?:无法|不能|無法)(?:回答|提供|帮助|协助)",
    r"(?:大変)?(?:申し訳(?:ありません|ございません|ない)|すみません|ごめんなさい)(?:が|けど|、|,)",
    r"(?:عذر[اً]*|آسف|أنا آسف|أعتذر|معلش|للأسف)[،,]? ?(?:و?لكن(?:ي|ني)? )?(?:لا|مش|ما|م?قدرش)|لا (?:أستطيع|يمكنني)",
    r"(?:paumanhin|pasensya na|ikinalulungkot ko),? (?:pero |ngunit |subalit )?hindi|hindi ko (?:kaya|magagawa)",
)
_REFUSAL = re.compile("|".join(_REFUSALS), re.IGNORECASE)


def cut_thinking(text: str) -> str:
    """Return the text without the model's thinking, whether its beginning, its end or both are marked.

    Thinking that never ends is all that the model wrote, so nothing is left from where it begins. Tokens that mark
    turns and ends are taken off too.
    """
    for thought in (_THOUGHT, _THOUGHT_BEFORE, _THOUGHT_BEHIND):
        text = thought.sub("", text)
    return _TOKENS.sub("", _BOX_TOKENS.sub(r"\\boxed{\1}", text)) if "<" in text else text


def is_refusal(text: str) -> bool:
    """Tell whether a model says that it will not answer, instead of answering."""
    return _REFUSAL.match(extract_word(text)) is not None


def find_marker(text: str, markers: Sequence[str], *, start: int = 0) -> re.Match[str] | None:
    """Find the first marker at the beginning of a line, such as `Answer:` in bold."""
    return _compile_markers(tuple(markers)).search(text, start)


def find_first_line(text: str) -> str:
    """Return the first line that is not blank, stripped; empty when there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def find_boxed(text: str) -> str:
    """Return the content of the last closed `\\boxed{...}`, inner braces included; empty when there is none.

    The last one counts because a model that reasons may try an answer before it gives its final one. CoMEM's authors
    take the first box and stop at its first closing brace, which breaks on nested braces.
    """
    closings = _find_closings(text)
    for box in reversed([*_BOX.finditer(text)]):
        if (closing := closings.get(box.end() - 1)) is not None:
            return text[box.end() : closing].strip()
    return ""


def extract_answer(text: str, *, method: ExtractionMethod = "first_line") -> str:
    """Find the short answer in generated text; empty when the text has none (the answer then counts as unparsable).

    `first_line` suits models that are asked for a short answer, `boxed` those that are asked to reason first. A line
    that begins with `Answer:`, in a language of the prompts, is preferred to the first one, and stands for a box where
    none was begun. `boxed` does not fall back to the first line: a model that never closed its box, or was cut off
    before it, gave no answer.
    """
    said = _cut_to_answer(text)
    if method == "first_line":
        return clean_answer(_find_answer_line(said) or _find_line(said))
    if method == "boxed":
        boxed = clean_answer(find_first_line(find_boxed(said)))
        marked = _compile_markers(list_all_markers("answer")).match(boxed)
        return (
            boxed[marked.end() :]
            if marked
            else boxed or clean_answer("" if _BOX.search(said) else _find_last_marked(said))
        )
    allowed = ", ".join(get_args(ExtractionMethod))
    raise ValueError(f"unknown way to extract an answer: {method!r}; allowed are {allowed}")


def extract_question(text: str) -> str:
    """Find the question that a model was asked to write: what is marked as one, else the first line."""
    said = _cut_to_answer(text, kind="question")
    marked = find_marker(said, list_all_markers("question"))
    return clean_answer(find_first_line(said[marked.end() :]) if marked else _find_line(said))


def extract_word(text: str) -> str:
    """Return a reply that should be one word, without what models write around it; other replies stay as long."""
    said = _cut_to_answer(text).strip()
    marked = _compile_markers(list_all_markers("answer")).match(said)
    return clean_answer(said[marked.end() :] if marked else said)


def take_off_fences(text: str) -> str:
    """Leave out the marks of code fences: lines that are nothing else, and those around a whole text."""
    said = _FENCE.sub("", text)
    return fenced[2] if (fenced := _FENCED.match(said)) else said


def _cut_to_answer(text: str, *, kind: Literal["question", "answer"] = "answer") -> str:
    """Leave out thinking, code fences, everything around `<answer>` tags, and JSON around what it names an answer."""
    said = cut_thinking(text)
    tagged = _ANSWER_TAGS.findall(said)
    return _take_out_of_json(take_off_fences(tagged[-1][1] if tagged else said), kind=kind)


def _take_out_of_json(said: str, *, kind: Literal["question", "answer"]) -> str:
    """Return the answer of a text that is one JSON object with a field of that name; numbers as they are written."""
    if not said.lstrip().startswith("{"):
        return said
    try:
        fields = json.loads(said, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return said
    names = {name.casefold() for name in list_all_markers(kind)}
    found = [
        value
        for name, value in fields.items()
        if name.casefold().removeprefix("final_").removeprefix("short_") in names and isinstance(value, str)
    ]
    return found[0] if len(found) == 1 else said


def clean_answer(line: str) -> str:
    """Take markup off an answer: a box, emphasis, code, LaTeX around its words."""
    line = find_first_line(find_boxed(line)) or line.strip()
    line = _HEADING.sub("", line)
    if line.count("**") == 1:  # the other one stood before the marker
        line = line.removeprefix("**").removesuffix("**").strip()
    for _ in range(4):  # marks inside marks
        line = _BOLD.sub(r"\2", line)
        if (wrapped := _WRAPPED.match(line)) and wrapped[1] not in wrapped[2]:
            line = wrapped[2]
        line = _MATH.sub(r"\1", line).strip()
    return read_latex(line)


def _find_answer_line(said: str) -> str:
    """Return the first line that is marked as an answer; not one to a further question that the model asked itself."""
    marked = find_marker(said, list_all_markers("answer"))
    if marked is None:
        return ""
    asked = find_marker(said[: marked.start()], list_all_markers("question"))
    is_repeated = asked is not None and not said[: asked.start()].strip()  # the model was asked this question
    return find_first_line(said[marked.end() :]) if asked is None or is_repeated else ""


def _find_last_marked(said: str) -> str:
    marks = [*_compile_markers(list_all_markers("answer")).finditer(said)]
    return find_first_line(said[marks[-1].end() :]) if marks else ""


def _find_line(said: str) -> str:
    """Return the first line that does not only announce what follows, as `The answer is:` does."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if not line.rstrip("*_ ").endswith((":", "："))), "".join(lines[:1]))


@lru_cache
def _compile_markers(markers: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(re.escape(marker) for marker in markers)
    return re.compile(f"{_BEFORE}(?:{words})(?:{_BEHIND}|{_ALONE})", re.IGNORECASE | re.MULTILINE)


def _find_closings(text: str) -> dict[int, int]:
    """Map the place of each opening brace that is closed to that of its closing brace."""
    found: dict[int, int] = {}
    open_: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            open_.append(brace.start())
        elif open_:
            found[open_.pop()] = brace.start()
    return found
