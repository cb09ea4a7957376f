"""Looks at a corpus of one's own before the first stage: does it give items, in which languages, in known words?"""

import logging
from pathlib import Path

from comem_core.backbone.vocabulary import MOST_UNKNOWN, UnknownWords, count_unknown_words, read_closed_tokenizer
from comem_core.knowledge.corpora import BUILT_IN
from comem_core.knowledge.preview import read_preview
from tasks.data.ingest import make_reading_options
from tasks.engine.context import refuse_faults
from tasks.engine.telling import say
from tasks.run import Run

PAGE = "docs/data.md"


def say_preview(run: Run) -> None:
    """Say what the first rows of the corpus are, and what the model does not know of them; a plan shows it too.

    Raises:
        ParameterRefused: the corpus was seen as a whole and has no item, as an empty folder or one of broken pictures.
    """
    recipe = run.recipe.knowledge
    if recipe.corpus in BUILT_IN:
        return
    with refuse_faults("knowledge"):
        preview = read_preview(recipe.corpus, reading=make_reading_options(recipe))
        preview.refuse_without_items()
    tokenizer = read_closed_tokenizer(Path(run.backbone.uri)) if run.backbone.uri else None
    for line in preview.describe():
        say(line)
    if tokenizer is not None:
        unknown = count_unknown_words(tokenizer, preview.texts)
        level = logging.WARNING if unknown.share > MOST_UNKNOWN else logging.INFO
        say(describe_unknown_words(unknown, model=run.recipe.backbone.name), level)


def describe_unknown_words(unknown: UnknownWords, *, model: str) -> str:
    """Return a sentence about words outside a model's vocabulary and, where they are many, the two ways on."""
    said = f"words: {model} does not know {unknown.num_unknown} of {unknown.num_words} words ({unknown.share:.0%})"
    if unknown.share <= MOST_UNKNOWN:
        return said
    return (
        f"{said}, such as {', '.join(unknown.shown)}: it has one token for each word that it was trained on, and reads "
        f"all others byte by byte. Few questions about these texts will be kept, perhaps none. Two ways on: a real VLM "
        f"writes and answers them (smol-cpu after `make smol`, comem-qwen25-vl-7b, or a served model: {PAGE}); or stay "
        "with what needs no words: `make plan`, and the flow rebuild-memory, which makes items, index and bank. What "
        "this run makes before it ends, its items and their index, is kept and used again"
    )
