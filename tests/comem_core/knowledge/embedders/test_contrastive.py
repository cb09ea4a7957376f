"""CLIP and SigLIP from a folder: tiny random models of the real classes, saved as real ones are."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from comem_core.backbone.finding import SHIPPED
from comem_core.backbone.images import MAX_ASPECT
from comem_core.knowledge.embedders.registry import load_embedder, name_embedder
from comem_core.worlds.countries.world import load_knowledge_items

END = "<|endoftext|>"
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = TOWER | {"image_size": 32, "patch_size": 8}


def save_small(kind: str, folder: Path) -> Path:
    """Save a random model, its tokenizer (the shipped model's words) and its image processor."""
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SHIPPED / "tiny", pad_token=END, padding_side="right")
    # As CLIP's own: a text ends with the token at which the model reads its vector.
    end = [(END, tokenizer.convert_tokens_to_ids(END))]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=end)
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 12}
    text |= dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id"), tokenizer.pad_token_id)
    if kind == "clip":
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=10))
        processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    else:
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
        processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    for saved in (model, tokenizer, processor):
        saved.save_pretrained(folder)
    return folder


def draw_plain(size: tuple[int, int]) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, (250, 120, 10)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module", params=["clip", "siglip"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, save_small(request.param, tmp_path_factory.mktemp(request.param))


def test_pictures_and_texts_are_vectors_of_one_space(saved: tuple[str, Path]) -> None:
    kind, folder = saved
    embedder = load_embedder(f"{kind}:{folder}")
    pictures = [item.picture for item in load_knowledge_items()[:15:5]]
    images_NE = embedder.embed_images(pictures)
    texts_NE = embedder.embed_texts(["France", "Country: France. Capital: Paris. " * 9], as_query=True)
    assert images_NE.shape == (3, embedder.width)
    assert texts_NE.shape == (2, embedder.width)
    assert images_NE.dtype == texts_NE.dtype == np.float32
    assert len({row.tobytes() for row in images_NE}) == 3


def test_a_picture_of_every_shape_that_is_ingested_has_a_vector_and_its_colour_counts(saved: tuple[str, Path]) -> None:
    kind, folder = saved
    embedder = load_embedder(f"{kind}:{folder}")
    sizes = [(32, 32), (1, 1), (2, 1), (1, 3), (MAX_ASPECT, 1), (1, MAX_ASPECT), (3 * MAX_ASPECT, 3), (150, 3)]
    plain_NE = embedder.embed_images([draw_plain(size) for size in sizes])
    for found_E in plain_NE[1:]:  # of one colour throughout, they all show the same
        np.testing.assert_allclose(found_E, plain_NE[0], rtol=1e-3, atol=1e-3)


def test_a_batch_changes_no_vector(saved: tuple[str, Path]) -> None:
    kind, folder = saved
    embedder = load_embedder(f"{kind}:{folder}")
    texts = ["France", "Capital: Paris. Currency: Euro."]
    together_NE = embedder.embed_texts(texts, as_query=False)
    for text, row_E in zip(texts, together_NE, strict=True):
        np.testing.assert_allclose(embedder.embed_texts([text], as_query=False)[0], row_E, rtol=1e-4, atol=1e-5)
    assert embedder.embed_texts([], as_query=False).shape == (0, embedder.width)
    assert embedder.embed_images([]).shape == (0, embedder.width)


def test_weights_are_named_by_their_bytes_and_not_by_their_place(saved: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = saved
    moved = shutil.copytree(folder, tmp_path / "moved")
    name = name_embedder(f"{kind}:{moved}")
    assert name == name_embedder(f"{kind}:{folder}")
    assert name.startswith(f"{kind}-")
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert name_embedder(f"{kind}:{moved}") != name


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "tiny" / "config.json", tmp_path)
    kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
    with pytest.raises(ValueError, match=f"holds a '{kind}' model; expected one of clip, siglip"):
        load_embedder(f"clip:{tmp_path}")
