"""SmolVLM and Idefics3 behind the interface: text positions on one axis, and pictures that are squares of fixed tokens.

Shapes as in `interface`. A picture stands on a white square (its aspect is kept) and is never cut into tiles, as the
processor would do with large ones: it becomes one square of at most the model's own number of visual tokens, which is
made smaller where a cap asks for it. The two kinds differ in name only, so both go through Idefics3's processor, which
needs neither torchvision nor num2words.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from comem_core.backbone.conversation import Conversation
from comem_core.backbone.images import VisualTokens, decode, put_on_square
from comem_core.backbone.interface import Backbone, Embedded, Family, Tokens
from comem_core.backbone.markup import Markup, tokenize_text

IMAGE_TOKEN, AROUND_IMAGE, WHOLE_IMAGE = "<image>", "<fake_token_around_image>", "<global-img>"
FIRST, TURN_END = "<|im_start|>", "<end_of_utterance>"
MARKS = (IMAGE_TOKEN, AROUND_IMAGE, WHOLE_IMAGE, FIRST, TURN_END)
HEADER = "Assistant:"
PICTURE_TENSORS = ("pixel_values", "pixel_attention_mask")


class SquareImageProcessor(Idefics3Processor):
    """The family's processor, writing as many picture tokens as a square of any size has."""

    token_side: int  # pixels

    def replace_image_token(self, image_inputs: dict, image_idx: int, **_: Any) -> str:
        num_tokens = (image_inputs["pixel_values"].shape[-1] // self.token_side) ** 2
        return AROUND_IMAGE + WHOLE_IMAGE + IMAGE_TOKEN * num_tokens + AROUND_IMAGE


SquareImageProcessor.__name__ = Idefics3Processor.__name__  # what a saved folder names as its processor


class SmolVLM(Backbone):
    """A SmolVLM or Idefics3 model."""

    def __init__(self, model: PreTrainedModel, processor: SquareImageProcessor, name: str):
        self.processor: Any = processor
        super().__init__(model, self.processor.tokenizer, _markup(self.processor.tokenizer), name)
        # One visual token stands for scale_factor squared patches.
        self.token_side = model.config.vision_config.patch_size * model.config.scale_factor
        self.processor.token_side = self.token_side

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Self:
        """Load model and processor from a local folder, or by name from the hub's cache."""
        model: Any = AutoModelForImageTextToText.from_pretrained(name_or_path, dtype=dtype)
        return cls(model.to(device), SquareImageProcessor.from_pretrained(name_or_path), str(name_or_path))

    def tokenize(
        self, conversations: Sequence[Conversation], *, generation: bool, visual_tokens: VisualTokens | None = None
    ) -> Tokens:
        texts, pictures = [], []
        for conversation in conversations:
            messages, images = self.markup.make_messages(conversation)
            texts.append(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))
            pictures.append([put_on_square(decode(image)) for image in images])
        batch = self.processor(
            text=texts,
            images=pictures if any(pictures) else None,
            images_kwargs=self._size(visual_tokens),
            padding=True,
            add_special_tokens=False,  # the template has written them
            return_tensors="pt",
        ).to(self.device)
        return self.make_tokens(batch, conversations, PICTURE_TENSORS)

    def _size(self, visual_tokens: VisualTokens | None) -> dict[str, Any]:
        """The image processor's settings for one square within the bounds.

        Raises:
            ValueError: no square lies within them: one side is a whole number, and at most the model's own.
        """
        largest = self.model.config.vision_config.image_size // self.token_side
        side = largest if visual_tokens is None else min(largest, math.isqrt(visual_tokens.max))
        if visual_tokens is not None and side**2 < visual_tokens.min:
            raise ValueError(
                f"{visual_tokens.min} to {visual_tokens.max} visual tokens a picture, but pictures of {self.name} are "
                f"squares of 1, 4, 9, ... {largest**2} tokens; expected bounds with one of these between them"
            )
        edge = {
            "longest_edge": side * self.token_side if side < largest else self.model.config.vision_config.image_size
        }
        return {"do_image_splitting": False, "max_image_size": edge, "size": edge}

    def embed(self, tokens: Tokens) -> Embedded:
        embedded = super().embed(tokens)
        if "pixel_values" not in tokens.images:
            return embedded
        visual_PD = torch.cat(self._see(tokens.images)).to(embedded.embeds_BLD.dtype)
        at_image_BL = tokens.ids_BL == self.processor.image_token_id
        embeds_BLD = embedded.embeds_BLD.masked_scatter(at_image_BL[..., None], visual_PD)
        return Embedded(embeds_BLD, embedded.mask_BL, embedded.positions_3BL)

    def _see(self, images: dict[str, Tensor]) -> list[Tensor]:
        """Visual tokens of each conversation's pictures, one behind the other."""
        body: Any = self.model.model
        return list(body.get_image_features(images["pixel_values"], images["pixel_attention_mask"]).pooler_output)

    def compute_visual_grids(
        self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None
    ) -> list[Tensor]:
        pictures = [[put_on_square(decode(image))] for image in images]
        batch = self.processor.image_processor(images=pictures, return_tensors="pt", **self._size(visual_tokens))
        seen = self._see(dict(batch.to(self.device)))
        return [visual.unflatten(0, (math.isqrt(len(visual)), -1)) for visual in seen]


FAMILY = Family(name="smolvlm", model_types=("smolvlm", "idefics3"), backbone=SmolVLM)


def _markup(tokenizer: Any) -> Markup:
    """Turns as `User: ...<end_of_utterance>`, newline, `Assistant: ...<end_of_utterance>`, newline.

    Raises:
        ValueError: the tokenizer does not know these marks.
    """
    vocabulary = tokenizer.get_vocab()
    if missing := [mark for mark in (IMAGE_TOKEN, AROUND_IMAGE, TURN_END) if mark not in vocabulary]:
        raise ValueError(f"this tokenizer has no {', '.join(missing)}, which its family's chat template writes")
    end, newline = vocabulary[TURN_END], tokenize_text(tokenizer, "\n")
    headers = [(end, *tokenize_text(tokenizer, f"\n{HEADER}"))]
    if FIRST in vocabulary:
        headers.append((vocabulary[FIRST], *tokenize_text(tokenizer, HEADER)))
    return Markup(tuple(headers), end, newline, MARKS)
