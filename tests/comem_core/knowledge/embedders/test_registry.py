"""Embedders by name: unknown names, missing packages and missing weights say what to do."""

import pytest

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.registry import can_embed_images, can_embed_texts, load_embedder
from comem_core.knowledge.embedders.weights import import_package
from comem_core.knowledge.items import KnowledgeItem


@pytest.mark.parametrize("name", ["resnet", "clip", "clip:", "minilm:somewhere"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown embedder '{name}'; expected one of backbone, .*clip:<hub name or"):
        load_embedder(name)


def test_missing_weights_and_packages_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"no model 'nowhere': it is not a folder with a config.json, and not a hub name"
    ):
        load_embedder("clip:nowhere")
    with pytest.raises(ValueError, match=r"'nobody/nothing' is neither a folder nor in the local cache"):
        load_embedder("siglip:nobody/nothing")
    with pytest.raises(ValueError, match=r"needs the package not_there, which is not installed; run `pip install x`"):
        import_package("not_there", install="pip install x")


def test_what_an_embedder_can_do_is_known_before_it_is_loaded() -> None:
    assert [can_embed_images(name) for name in ("backbone", "clip:a/b", "efficientnet-lite0", "e5")] == [True] * 3 + [
        False
    ]
    assert [can_embed_texts(name) for name in ("minilm", "siglip:a/b", "e5:a/b", "backbone")] == [True] * 3 + [False]


def test_the_backbone_embeds_pictures_as_its_vision_tower_does(backbone, items: tuple[KnowledgeItem, ...]) -> None:
    embedder = BackboneEmbedder(backbone, grid=(2, 2), visual_tokens=None)
    pictures = [item.picture for item in items]
    found_NE = embedder.embed_images(pictures)
    assert found_NE.shape == (len(items), embedder.width)
    assert (found_NE == backbone.pool_images(pictures, grid=(2, 2)).numpy()).all()
    with pytest.raises(ValueError, match="'backbone' reads no texts"):
        embedder.embed_texts(["a"], as_query=True)
