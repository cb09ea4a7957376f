"""The shape of an untrained tiny Qwen2.5-VL, as plain values that need no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TinyBackboneRecipe:
    """The shape of a tiny Qwen2.5-VL. One visual token covers `2 * patch_size` pixels squared."""

    width: int = 128
    num_layers: int = 5
    num_heads: int = 4
    num_key_value_heads: int = 4
    feed_forward_width: int = 384
    vision_width: int = 96
    vision_layers: int = 3
    vision_heads: int = 3
    vision_feed_forward_width: int = 192
    patch_size: int = 8
    max_image_pixels: int = 3600
    # transformers' default of 0.02 is far too small for tied embeddings of this width: the model never learns to read.
    initializer_range: float = 0.08
    # A layer's output must start small relative to the embeddings, or copying a token is hard to learn.
    residual_initializer_range: float = 0.01
    seed: int = 0
