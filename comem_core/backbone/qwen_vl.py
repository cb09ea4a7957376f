"""Qwen2-VL and Qwen2.5-VL behind the interface, through their real transformers classes.

Shapes as in `interface`. Videos are not used, so the processor is assembled without its video part (which would need
torchvision); pictures go through the family's own image processor (Pillow backend) and chat template.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

from comem_core.backbone.conversation import Conversation
from comem_core.backbone.images import decode
from comem_core.backbone.interface import Backbone, Embedded, Tokens

IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
MARKS = (IMAGE_TOKEN, VIDEO_TOKEN, TURN_START, TURN_END, VISION_START, VISION_END)


class QwenImageProcessor(Qwen2_5_VLProcessor):
    """The family's processor for pictures and text; a folder that it saves also opens as the family's own class."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **_: Any):
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
        super(Qwen2_5_VLProcessor, self).__init__(image_processor, tokenizer, chat_template=chat_template)


QwenImageProcessor.__name__ = Qwen2_5_VLProcessor.__name__  # what a saved folder names as its processor


class QwenVL(Backbone):
    """A Qwen2-VL or Qwen2.5-VL model."""

    def __init__(self, model: PreTrainedModel, processor: QwenImageProcessor, name: str):
        self.model, self.name = model.eval().requires_grad_(False), name
        self.processor: Any = processor
        self.tokenizer: Any = self.processor.tokenizer
        self.tokenizer.padding_side = "left"
        self._start, self._end = self.tokenizer.convert_tokens_to_ids([TURN_START, TURN_END])
        self._assistant: list[int] = self.tokenizer("assistant\n", add_special_tokens=False)["input_ids"]
        self._newline: list[int] = self.tokenizer("\n", add_special_tokens=False)["input_ids"]

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> "QwenVL":
        """Load model and processor from a local folder, or by name from the hub's cache."""
        model: Any = AutoModelForImageTextToText.from_pretrained(name_or_path, dtype=dtype)
        return cls(model.to(device), QwenImageProcessor.from_pretrained(name_or_path), str(name_or_path))

    @property
    def width(self) -> int:
        return self.model.config.text_config.hidden_size

    def tokenize(
        self, conversations: Sequence[Conversation], *, generation: bool, max_image_pixels: int | None = None
    ) -> Tokens:
        texts, pictures = [], []
        for conversation in conversations:
            messages = []
            for turn in conversation:
                content: list[dict[str, Any]] = []
                for part in turn.content:
                    if isinstance(part, bytes):
                        pictures.append(decode(part, max_pixels=max_image_pixels))
                        content.append({"type": "image"})
                    else:
                        content.append({"type": "text", "text": self._inert(part)})
                messages.append({"role": turn.role, "content": content})
            texts.append(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))
        size = self._picture_size(max_image_pixels)
        batch = self.processor(
            text=texts, images=pictures or None, images_kwargs={"size": size}, padding=True, return_tensors="pt"
        ).to(self.device)
        ids_BL, mask_BL = batch["input_ids"], batch["attention_mask"].bool()
        images = {
            name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if name in batch
        }
        return Tokens(ids_BL, mask_BL, self._answer_mask(ids_BL), images)

    def _inert(self, text: str) -> str:
        """Take marks of turns and pictures out of data, or an item's text could forge a turn or claim a picture."""
        for mark in MARKS:
            text = text.replace(mark, "")
        return text

    def _picture_size(self, max_image_pixels: int | None) -> dict[str, int]:
        """The image processor's bounds, in pixels; it rounds to whole visual tokens, so it has to know the cap too."""
        bounds = self.processor.image_processor.size
        largest = min(bounds["longest_edge"], max_image_pixels or bounds["longest_edge"])
        return {"shortest_edge": min(bounds["shortest_edge"], largest), "longest_edge": largest}

    def _answer_mask(self, ids_BL: Tensor) -> Tensor:
        """Mark what the assistant writes: from behind its header to its end token and the newline after it."""
        mask_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        header = [self._start, *self._assistant]
        for row, ids in enumerate(ids_BL.tolist()):
            at = 0
            while self._start in ids[at:]:
                at = ids.index(self._start, at)
                if ids[at : at + len(header)] == header and self._end in ids[at:]:
                    end = ids.index(self._end, at) + 1
                    end += len(self._newline) if ids[end : end + len(self._newline)] == self._newline else 0
                    mask_BL[row, at + len(header) : end] = True
                at += 1
        return mask_BL

    @property
    def turn_end_ids(self) -> Tensor:
        """Ids of the end token and the newline: supervised, but no part of an answer's content."""
        return torch.tensor([self._end, *self._newline], device=self.device)

    def text_mask(self, tokens: Tokens) -> Tensor:
        """Mark every token that is neither padding nor a place for a picture."""
        return tokens.mask_BL & (tokens.ids_BL != self.processor.image_token_id)

    def image_features(self, tokens: Tokens) -> tuple[Tensor, ...]:
        """Visual tokens of each picture in reading order: a tuple of (tokens, D)."""
        return self.model.model.get_image_features(  # pyright: ignore[reportAttributeAccessIssue]
            tokens.images["pixel_values"], tokens.images["image_grid_thw"]
        ).pooler_output

    def embed(self, tokens: Tokens, features: Sequence[Tensor] | None = None) -> Embedded:
        embeds_BLD = self.model.get_input_embeddings()(tokens.ids_BL)
        if "pixel_values" in tokens.images:
            features = self.image_features(tokens) if features is None else features
            at_image_BL = tokens.ids_BL == self.processor.image_token_id
            visual = torch.cat(list(features)).to(embeds_BLD.dtype)
            embeds_BLD = embeds_BLD.masked_scatter(at_image_BL[..., None], visual)
        return Embedded(embeds_BLD, tokens.mask_BL, self._positions(tokens))

    def _positions(self, tokens: Tokens) -> Tensor:
        if "pixel_values" not in tokens.images:
            positions_BL = (tokens.mask_BL.long().cumsum(dim=1) - 1).clamp(min=0)
            return positions_BL.expand(3, -1, -1)
        positions_3BL, _ = self.model.model.get_rope_index(  # pyright: ignore[reportAttributeAccessIssue]
            tokens.ids_BL,
            mm_token_type_ids=tokens.images["mm_token_type_ids"],
            image_grid_thw=tokens.images["image_grid_thw"],
            attention_mask=tokens.mask_BL.long(),
        )
        return positions_3BL

    def hidden(self, embedded: Embedded) -> Tensor:
        return self.model.model(  # pyright: ignore[reportAttributeAccessIssue]
            inputs_embeds=embedded.embeds_BLD,
            attention_mask=embedded.mask_BL.long(),
            position_ids=embedded.positions_3BL,
            use_cache=False,
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        return self.model.lm_head(hidden)  # pyright: ignore[reportAttributeAccessIssue]

    def generate(self, embedded: Embedded, *, max_new_tokens: int) -> list[tuple[str, int, bool]]:
        # transformers continues given position ids by +1 a step on every axis: the query's shift holds in decoding.
        ids_BT = self.model.generate(  # pyright: ignore[reportCallIssue]
            inputs_embeds=embedded.embeds_BLD,
            attention_mask=embedded.mask_BL.long(),
            position_ids=embedded.positions_3BL,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            repetition_penalty=1.0,  # a model folder may bring another one, and then greedy is not the likeliest
            eos_token_id=self._end,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        answers = []
        for ids in ids_BT.tolist():
            truncated = self._end not in ids
            ids = ids if truncated else ids[: ids.index(self._end)]
            answers.append((self.tokenizer.decode(ids, skip_special_tokens=True).strip(), len(ids), truncated))
        return answers

    def pooled_images(
        self, images: Sequence[bytes], *, max_image_pixels: int | None = None, grid: tuple[int, int] = (1, 1)
    ) -> Tensor:
        processor: Any = self.processor.image_processor
        pictures = [decode(image, max_pixels=max_image_pixels) for image in images]
        size = self._picture_size(max_image_pixels)
        batch = processor(images=pictures, size=size, return_tensors="pt").to(self.device)
        with torch.inference_mode(), self.adapter(False):
            tokens = Tokens(torch.empty(0), torch.empty(0), torch.empty(0), dict(batch))
            shapes = (batch["image_grid_thw"][:, 1:] // processor.merge_size).tolist()
            cells = [
                adaptive_avg_pool2d(visual.float().T.reshape(-1, *shape), grid)
                for visual, shape in zip(self.image_features(tokens), shapes, strict=True)
            ]
            return normalize(torch.stack(cells), dim=1).flatten(start_dim=1)

    def lora_targets(self) -> list[str]:
        return [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and not name.endswith("lm_head")
        ]
