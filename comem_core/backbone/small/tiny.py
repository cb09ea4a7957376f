"""An untrained model of a few million parameters, in the real Qwen2.5-VL class, with a tokenizer of its own.

The vocabulary is closed: every word of the sentences and every name and value of the world is one token; anything else
is split into bytes. Independent of what the model is trained on and where it is stored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from comem_core.backbone.qwen_vl import (
    IMAGE_TOKEN,
    TURN_END,
    TURN_START,
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    QwenImageProcessor,
    QwenVL,
)
from comem_core.backbone.small.tiny_recipe import TinyBackboneRecipe

PADDING = "<|endoftext|>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (PADDING, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_TOKEN, VIDEO_TOKEN)
# vLLM marks the place of a memory with this token, and adds it to a tokenizer that lacks it. The closed vocabulary has
# no row for it, so it takes that of a byte which no UTF-8 text contains.
MEMORY_MARK, UNUSED_BYTE = "<prompt_embeds>", "\u00ff"

COPY_STRENGTH = 0.5
RESIDUAL_OUTPUTS = ("o_proj.weight", "down_proj.weight", "attn.proj.weight")

# A turn in the Qwen2-VL family: role header; each picture as vision-start, pad, vision-end; end token and newline.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer(sentences: Iterable[str], values: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token for every word of `sentences` and every entry of `values`; the rest is bytes."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = sorted({word for sentence in (*ROLES, *sentences) for word, _ in splitter.pre_tokenize_str(sentence)})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [MEMORY_MARK if entry == UNUSED_BYTE else entry for entry in dict.fromkeys([*alphabet, *words])]
    vocabulary = {token: index for index, token in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    values = sorted(set(values))
    tokenizer.decoder = _make_decoder(values, set(alphabet))
    special = [AddedToken(token, special=True, normalized=False) for token in (*SPECIAL_TOKENS, MEMORY_MARK)]
    tokenizer.add_special_tokens(special)
    # Values match whole words only, except numbers and scripts without spaces. The space before a value belongs to its
    # token. The newline is a token of its own, or a value after a role header would absorb it.
    tokenizer.add_tokens(
        [AddedToken("\n", normalized=False)]
        + [AddedToken(value, lstrip=True, normalized=False, single_word=_has_spaces_around(value)) for value in values]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PADDING,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_tiny(
    recipe: TinyBackboneRecipe, tokenizer: PreTrainedTokenizerFast, kinds: Mapping[str, Sequence[str]]
) -> QwenVL:
    """Build a randomly initialised model of the recipe's shape, with its processor.

    `kinds` lists values by kind. Embeddings of one kind start with a common part, as they have in a trained model.
    Without it, most of training goes into learning that capitals are capitals.
    """
    ids: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    head_width = recipe.width // recipe.num_heads
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": recipe.width,
            "intermediate_size": recipe.feed_forward_width,
            "num_hidden_layers": recipe.num_layers,
            "num_attention_heads": recipe.num_heads,
            "num_key_value_heads": recipe.num_key_value_heads,
            "max_position_embeddings": 4096,
            "initializer_range": recipe.initializer_range,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                # The family's shares of the rotary half-width for time, height and width: 16, 24, 24 of 64.
                "mrope_section": [head_width // 8, head_width * 3 // 16, head_width * 3 // 16],
            },
            "bos_token_id": ids[PADDING],
            "eos_token_id": ids[TURN_END],
            "pad_token_id": ids[PADDING],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": recipe.vision_layers,
            "hidden_size": recipe.vision_width,
            "intermediate_size": recipe.vision_feed_forward_width,
            "num_heads": recipe.vision_heads,
            "patch_size": recipe.patch_size,
            "out_hidden_size": recipe.width,
            "window_size": recipe.patch_size * 16,
            "fullatt_block_indexes": list(range(recipe.vision_layers)),
            "initializer_range": recipe.initializer_range,
        },
        image_token_id=ids[IMAGE_TOKEN],
        video_token_id=ids[VIDEO_TOKEN],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=True,
    )
    torch.manual_seed(recipe.seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    _start_small_and_copying(model, std=recipe.residual_initializer_range)
    embeddings_VD: Any = model.get_input_embeddings().weight
    _start_kinds_together(embeddings_VD, tokenizer, kinds, std=recipe.initializer_range)
    pixels = Qwen2VLImageProcessorPil(
        patch_size=recipe.patch_size,
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=(2 * recipe.patch_size) ** 2,
        max_pixels=recipe.max_image_pixels,
    )
    return QwenVL(model, QwenImageProcessor(pixels, tokenizer, chat_template=CHAT_TEMPLATE), "tiny")


def _start_small_and_copying(model: Qwen2_5_VLForConditionalGeneration, *, std: float) -> None:
    """Make layers add little at first, and make attention copy what it attends to: W_o W_v starts near the identity.

    This is mimetic initialisation (Trockman & Kolter 2023). Without it a model of this size spends most of its training
    on learning to copy a token from one position to another.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(RESIDUAL_OUTPUTS):
                torch.nn.init.normal_(weight, std=std)
        layers: Any = model.model.language_model.layers
        for layer in layers:
            layer.self_attn.o_proj.weight += COPY_STRENGTH * layer.self_attn.v_proj.weight.T


def _start_kinds_together(
    embeddings_VD: torch.Tensor, tokenizer: PreTrainedTokenizerFast, kinds: Mapping[str, Sequence[str]], *, std: float
) -> None:
    with torch.no_grad():
        for values in kinds.values():
            ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(values)))
            embeddings_VD[ids] += std * torch.randn(embeddings_VD.shape[1])


def _make_decoder(values: Iterable[str], alphabet: set[str]) -> decoders.Decoder:
    """Make the decoder from bytes to text. A value made only of byte-alphabet characters (é is one) would be decoded
    as bytes, so it is first rewritten as the characters of its own bytes."""
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    mistaken = [value for value in values if not value.isascii() and set(value) <= alphabet]
    rewrite = [
        decoders.Replace(Regex(f"^{re.escape(value)}$"), whole.pre_tokenize_str(value)[0][0]) for value in mistaken
    ]
    return decoders.Sequence([*rewrite, decoders.ByteLevel()])


def _has_spaces_around(text: str) -> bool:
    """Tell whether a word in this script ends at a space or punctuation. Han does not, nor do digits before Han."""
    return not any(character.isdigit() or "\u4e00" <= character <= "\u9fff" for character in text)
