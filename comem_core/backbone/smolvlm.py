"""SmolVLM and Idefics3 behind the interface: positions run on one axis, and each picture is one square of tokens.

Shapes as in `interface`. A picture is placed on a white square, which keeps its aspect. It is never cut into tiles, as
the processor does with large ones: it becomes one square of at most the model's own number of visual tokens, or fewer
under a cap. The two models differ in name only, so both use Idefics3's processor, which needs neither torchvision nor
num2words.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.conversation import Conversation
from comem_core.backbone.images import VisualTokens, decode, put_on_square
from comem_core.backbone.interface import Backbone, Family
from comem_core.backbone.markup import Markup, tokenize_text
from comem_core.backbone.reader import load_model

IMAGE_TOKEN, AROUND_IMAGE, WHOLE_IMAGE = "<image>", "<fake_token_around_image>", "<global-img>"
FIRST, TURN_END = "<|im_start|>", "<end_of_utterance>"
MARKS = (IMAGE_TOKEN, AROUND_IMAGE, WHOLE_IMAGE, FIRST, TURN_END)
HEADER = "Assistant:"
PICTURE_TENSORS = ("pixel_values", "pixel_attention_mask")


class SquareImageProcessor(Idefics3Processor):
    """The family's processor, but it writes as many image tokens as the square needs, whatever its size."""

    token_side: int  # pixels

    def replace_image_token(self, image_inputs: dict, image_idx: int, **_: Any) -> str:
        num_tokens = (image_inputs["pixel_values"].shape[-1] // self.token_side) ** 2
        return AROUND_IMAGE + WHOLE_IMAGE + IMAGE_TOKEN * num_tokens + AROUND_IMAGE


SquareImageProcessor.__name__ = Idefics3Processor.__name__  # a saved folder records this name as its processor


class SmolVLM(Backbone):
    """A SmolVLM or Idefics3 model."""

    vllm_fault = "vLLM cuts its pictures into tiles, but here they are one square"

    def __init__(self, model: PreTrainedModel, processor: SquareImageProcessor, name: str):
        self.processor: Any = processor
        super().__init__(model, self.processor.tokenizer, _make_markup(self.processor.tokenizer), name)
        # One visual token stands for scale_factor squared patches.
        self.token_side = model.config.vision_config.patch_size * model.config.scale_factor
        self.processor.token_side = self.token_side

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Self:
        """Load the model and its processor from a local folder, or by name from the hub's cache."""
        model = load_model(AutoModelForImageTextToText, name_or_path, dtype=dtype, device=device)
        return cls(model, SquareImageProcessor.from_pretrained(name_or_path), str(name_or_path))

    def prepare(
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
            images_kwargs=self._choose_size(visual_tokens),
            padding=True,
            add_special_tokens=False,  # the template has written them
            return_tensors="pt",
        )
        return self.make_tokens(batch, conversations, PICTURE_TENSORS)

    def select(self, tokens: Tokens, rows: Sequence[int]) -> Tokens:
        chosen = super().select(tokens, rows)
        if not (chosen.ids_BL == self.processor.image_token_id).any():
            return chosen  # the model takes a batch of pictures that are all padding for one picture
        return replace(chosen, images={name: tensor[rows] for name, tensor in tokens.images.items()})

    def _choose_size(self, visual_tokens: VisualTokens | None) -> dict[str, Any]:
        """Return the image processor's settings for one square within the bounds.

        Raises:
            ValueError: no square fits the bounds; its side is a whole number of tokens, at most the model's own.
        """
        largest = self.model.config.vision_config.image_size // self.token_side
        side = largest if visual_tokens is None else min(largest, math.isqrt(visual_tokens.max))
        if visual_tokens is not None and side**2 < visual_tokens.min:
            raise ValueError(
                f"{visual_tokens.min} to {visual_tokens.max} visual tokens a picture, but {self.name} takes squares of "
                f"1, 4, 9, ... {largest**2} tokens; expected bounds with one of these numbers between them"
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
        """Run the vision tower: (tokens, D) for each picture, in reading order."""
        body: Any = self.model.model
        return list(body.get_image_features(images["pixel_values"], images["pixel_attention_mask"]).pooler_output)

    def compute_visual_grids(
        self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None
    ) -> list[Tensor]:
        pictures = [[put_on_square(decode(image))] for image in images]
        batch = self.processor.image_processor(images=pictures, return_tensors="pt", **self._choose_size(visual_tokens))
        seen = self._see(dict(batch.to(self.device)))
        return [visual.unflatten(0, (math.isqrt(len(visual)), -1)) for visual in seen]


FAMILY = Family(name="smolvlm", model_types=("smolvlm", "idefics3"), backbone=SmolVLM)


def _make_markup(tokenizer: Any) -> Markup:
    """Make the markup of `User: ...<end_of_utterance>`, newline, `Assistant: ...<end_of_utterance>`, newline.

    Raises:
        ValueError: the tokenizer lacks these marks.
    """
    vocabulary = tokenizer.get_vocab()
    if missing := [mark for mark in (IMAGE_TOKEN, AROUND_IMAGE, TURN_END) if mark not in vocabulary]:
        raise ValueError(f"this tokenizer has no {', '.join(missing)}, which its family's chat template writes")
    end, newline = vocabulary[TURN_END], tokenize_text(tokenizer, "\n")
    headers = [(end, *tokenize_text(tokenizer, f"\n{HEADER}"))]
    if FIRST in vocabulary:
        headers.append((vocabulary[FIRST], *tokenize_text(tokenizer, HEADER)))
    return Markup(tuple(headers), end, newline, MARKS)
