"""The words that a closed vocabulary lacks are counted; an open one lacks none."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.vocabulary import count_unknown_words, read_closed_tokenizer
from comem_core.worlds.countries.world import load_knowledge_items


def read_tiny() -> Tokenizer:
    tokenizer = read_closed_tokenizer(find_backbone_folder("tiny"))
    assert tokenizer is not None
    return tokenizer


TINY = read_tiny()


def test_the_shipped_model_knows_every_word_of_its_world_in_every_language() -> None:
    found = count_unknown_words(TINY, (item.text for item in load_knowledge_items()[:200]))
    assert found.num_words > 2000 and found.num_unknown == 0 and found.share == 0.0


def test_words_of_other_texts_are_counted_and_shown_once() -> None:
    found = count_unknown_words(TINY, ["Capital: Lima. Gearbox GX-40, gearbox oil.", "Gearbox", "42, 7", ""])
    assert (found.num_words, found.num_unknown) == (7, 5)  # Capital and Lima are known
    assert found.shown == ("Gearbox", "GX", "gearbox", "oil")
    assert count_unknown_words(TINY, []) == count_unknown_words(TINY, ["", "1 2 3"])


def test_a_tokenizer_with_merges_knows_every_word(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate([*alphabet, "ge"])}
    Tokenizer(models.BPE(vocab=vocabulary, merges=[("g", "e")])).save(str(tmp_path / "tokenizer.json"))
    assert read_closed_tokenizer(tmp_path) is None and read_closed_tokenizer(tmp_path / "nothing") is None
